"""FROM and TO: who is meant by a name or an address."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from weft.api import services as s
from weft.api import types as t
from weft.base.errors import Invalid, NotFound
from weft.base.net import FAMILIES, Family, IPAddress, parse_address


class End(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, a node (`ns` is ""), or a stranger (`node` is ""). `addresses`: those that were meant."""

    name: str
    addresses: tuple[IPAddress, ...]
    node: str = ""
    ns: str = ""

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(f for f in FAMILIES if any(a.version == f for a in self.addresses))

    def address(self, family: Family) -> IPAddress:
        return next(a for a in self.addresses if a.version == family)


def origin(ref: str, endpoints: Iterable[t.EndpointInfo], nodes: Iterable[t.NodeInfo]) -> End:
    """An endpoint by name, NODE/NAME, id or address; a node by name or address. Raises NotFound, Invalid."""
    found = _known(ref, endpoints, nodes)
    if found is None:
        raise NotFound(f"{ref} is no endpoint and no node: `weft endpoint ls` and `weft node ls` show those there are")
    return found


def target(
    ref: str,
    endpoints: Iterable[t.EndpointInfo],
    nodes: Iterable[t.NodeInfo],
    services: Iterable[s.ServiceInfo] = (),
) -> End:
    """As `origin`, or any address but a virtual one. Raises NotFound, Invalid."""
    found = _known(ref, endpoints, nodes)
    if found is not None:
        return found
    for each in services:
        if _address(ref) in each.service.addresses:
            raise Invalid(_instead(ref, each))
    try:
        address = parse_address(ref)
    except Invalid:
        raise NotFound(
            f"{ref} is no endpoint, node or address: `weft endpoint ls` and `weft node ls` show those there are"
        ) from None
    return End(name=str(address), addresses=(address,))


def _instead(ref: str, found: s.ServiceInfo) -> str:
    what = f"{ref} is the virtual address of service {found.service.network}/{found.service.name}"
    members = [f"{member.node}/{member.name}" for member in found.members]
    if not members:
        return f"{what}, which has no members: `weft service show` says whom it looks for"
    return f"{what}: trace one of its members, which packets to it go on to: {', '.join(members[:4])}"


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
