"""Interfaces that a container's engine takes over: it finds the veth's end, or the device on a parent, in the host's
namespace, moves it into the container's, names it there and gives it addresses and routes.

What a data path wants is computed as ever, with a namespace that does not exist in the container's place. Of that the host
has its own part; the rest is told to the engine. The pair is made once, a device on a parent only until it is known where
the engine takes it: what the engine made of its end is its matter, and if that goes, with the container, the engine says so.
"""

from __future__ import annotations

import msgspec

from weft.hoststate import HOST, Contribution, Ipvlan, Link, Macvlan, Object, Veth
from weft.hoststate.links import TAKEN
from weft.model import Endpoint, Namespace


def with_inside(endpoint: Endpoint) -> Endpoint:
    """The endpoint as data paths take it."""
    if not endpoint.handover:
        return endpoint
    return msgspec.structs.replace(endpoint, namespace=Namespace(path=f"handover:{endpoint.id}", cookie=0))


def host_part(endpoint: Endpoint, whole: Contribution) -> Contribution:
    """`whole`: what the data path wants of `with_inside(endpoint)`."""
    if not endpoint.handover:
        return whole
    inside = with_inside(endpoint).namespace.path
    kept = (_given(endpoint, inside, o) for o in whole.objects if o.ns != inside or _on_parent(o))
    return msgspec.structs.replace(whole, objects=tuple(o for o in kept if o is not None))


def _on_parent(o: Object) -> bool:
    return isinstance(o, Link) and isinstance(o.type, Macvlan | Ipvlan)


def _given(endpoint: Endpoint, inside: str, o: Object) -> Object | None:
    """None for the host's end of a pair that is not handed over: an engine takes one interface."""
    if isinstance(o, Link) and o.ns == inside:
        taken, mark = bool(endpoint.namespace.path), f"{TAKEN}{endpoint.network}/{endpoint.name}"
        return msgspec.structs.replace(
            o, name=endpoint.handover, ns=HOST, lent=False, up=False, taken=taken, alias=mark
        )
    if not (isinstance(o, Link) and isinstance(o.type, Veth) and o.type.peer_ns == inside):
        return o
    if o.type.peer != endpoint.interface:
        return None
    return msgspec.structs.replace(o, type=Veth(peer=endpoint.handover, peer_ns=HOST, given=True))
