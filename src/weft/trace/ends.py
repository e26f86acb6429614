"""FROM and TO: who is meant by a name or an address."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

import msgspec

from weft.api import services as s
from weft.api import types as t
from weft.base.errors import Invalid, NotFound
from weft.base.nearby import did_you_mean
from weft.base.net import FAMILIES, Family, IPAddress, parse_address
from weft.services.model import Service

_EVERYBODY = IPv4Address("255.255.255.255")


class End(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, a node (`ns` is ""), or a stranger (`node` is ""), such as a virtual address, with the `service` whose it
    is. `addresses`: those that were meant."""

    name: str
    addresses: tuple[IPAddress, ...]
    node: str = ""
    ns: str = ""
    service: Service | None = None

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(f for f in FAMILIES if any(a.version == f for a in self.addresses))

    def address(self, family: Family) -> IPAddress:
        return next(a for a in self.addresses if a.version == family)


def origin(ref: str, endpoints: Iterable[t.EndpointInfo], nodes: Iterable[t.NodeInfo]) -> End:
    """An endpoint by name, NODE/NAME, id or address; a node by name or address. Raises NotFound, Invalid."""
    found = _known(ref, endpoints, nodes)
    if found is None:
        meant = _nearby(ref, endpoints, nodes)
        raise NotFound(
            f"{ref} is no endpoint and no node: {meant}`weft endpoint ls` and `weft node ls` show those there are"
        )
    return found


def _nearby(
    ref: str, endpoints: Iterable[t.EndpointInfo], nodes: Iterable[t.NodeInfo], more: Iterable[str] = ()
) -> str:
    found = did_you_mean(ref, (*(e.name for e in endpoints), *(n.name for n in nodes), *more))
    return f"{found} " if found else ""


def target(
    ref: str,
    endpoints: Iterable[t.EndpointInfo],
    nodes: Iterable[t.NodeInfo],
    services: Iterable[s.ServiceInfo] = (),
) -> End:
    """As `origin`, or a service by NAME, NETWORK/NAME or its virtual address, or any address. Raises NotFound, Invalid."""
    found = _known(ref, endpoints, nodes)
    if found is not None:
        return found
    if (service := _service(ref, services)) is not None:
        return service
    try:
        address = parse_address(ref)
    except Invalid:
        meant = _nearby(ref, endpoints, nodes, [service.service.name for service in services])
        raise NotFound(
            f"{ref} is no endpoint, node, service or address: {meant}`weft endpoint ls`, `weft node ls` and `weft service ls` "
            "show those there are"
        ) from None
    if address.is_multicast or address.is_unspecified or address == _EVERYBODY:
        raise Invalid(f"{address} is not the address of one receiver: a trace follows a packet to one, name it")
    return End(name=str(address), addresses=(address,))


def knows(ref: str, endpoints: Iterable[t.EndpointInfo], nodes: Iterable[t.NodeInfo]) -> bool:
    """Whether somebody is called so."""
    try:
        return _known(ref, endpoints, nodes) is not None
    except Invalid:  # several are
        return True


def _service(ref: str, services: Iterable[s.ServiceInfo]) -> End | None:
    address = _address(ref)
    every = [info.service for info in services]
    found = [one for one in every if ref in (one.name, f"{one.network}/{one.name}") or address in one.addresses]
    if len(found) > 1:
        names = ", ".join(f"{one.network}/{one.name}" for one in found[:4])
        raise Invalid(f"{ref} is more than one service: {names}: say which")
    if not found:
        return None
    one = found[0]
    name = f"service {one.network}/{one.name}"
    if not one.addresses:
        raise Invalid(f"{name} has no virtual address, its name says those of its members: trace one of them")
    meant = (address,) if address is not None else one.addresses
    return End(name=name, addresses=meant, service=one)


def choose_family(start: End, end: End, wanted: Family | None) -> Family:
    """v4 where both have it, unless another is wanted. Raises Invalid."""
    both = [f for f in start.families if f in end.families]
    if wanted is None and both:
        return both[0]
    for one in (start, end):
        if wanted is not None and wanted not in one.families:
            raise Invalid(f"{one.name} has no IPv{wanted} address: leave --family out, or trace another")
    if wanted is None:
        has = " and ".join(f"{one.name} has only IPv{one.families[0]}" for one in (start, end))
        raise Invalid(f"{has}: no packet can go between them")
    return wanted


def _known(ref: str, endpoints: Iterable[t.EndpointInfo], nodes: Iterable[t.NodeInfo]) -> End | None:
    meant = _address(ref)
    found = [
        (f"endpoint {e.node}/{e.name} in {e.network} (id {e.id})", _endpoint(e, meant))
        for e in endpoints
        if _is(ref, e)
    ]
    for node in nodes:
        addresses = tuple(a.ip for a in node.addresses)
        if ref == node.name or meant in addresses:
            end = End(name=node.name, node=node.name, addresses=addresses if meant is None else (meant,))
            found.append((f"node {node.name}", end))
    if len(found) > 1:
        which = ", ".join(what for what, _ in found[:4])
        raise Invalid(f"{ref} is more than one: {which}: name one by its id or address")
    return found[0][1] if found else None


def _is(ref: str, e: t.EndpointInfo) -> bool:
    return ref in (e.id, e.name, f"{e.node}/{e.name}", e.container) or _address(ref) in [a.ip for a in e.addresses]


def _endpoint(e: t.EndpointInfo, meant: IPAddress | None) -> End:
    addresses = tuple(a.ip for a in e.addresses)
    own = (meant,) if meant is not None and meant in addresses else addresses
    return End(name=f"{e.node}/{e.name}", node=e.node, ns=e.namespace, addresses=own)


def _address(text: str) -> IPAddress | None:
    try:
        return parse_address(text)
    except Invalid:
        return None
