"""Who is meant by the ends of a connection that somebody asks about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from weft.base.errors import Invalid, NotFound
from weft.base.nearby import did_you_mean
from weft.base.net import FAMILIES, Family, IPAddress, family, parse_address
from weft.compile.policy import identity_of
from weft.model import Endpoint, Node
from weft.policy.model import Identity
from weft.policy.verdict import End
from weft.services.model import Service


class Meant(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, a node, or whoever has an address outside. `addresses`: those that were meant."""

    name: str
    addresses: tuple[IPAddress, ...]
    identity: Identity | None = None
    node: str = ""

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(fam for fam in FAMILIES if any(family(a) == fam for a in self.addresses))

    def at(self, fam: Family) -> End:
        address = next(a for a in self.addresses if family(a) == fam)
        return End(address=address, identity=self.identity, node="" if self.identity else self.node)


def meant(
    ref: str, endpoints: Iterable[Endpoint], nodes: Mapping[str, Node], services: Iterable[Service] = ()
) -> Meant:
    """`ref`: of an endpoint: id, name, NODE/NAME, NETWORK/NAME, NAMESPACE/NAME, container or address; of a node: name or
    address; or any address but a virtual one. Raises NotFound, Invalid."""
    if not ref:
        raise Invalid("two ends are needed: whose packet it is, and to whom it goes")
    address = _address(ref)
    found = [*_endpoints(ref, address, endpoints), *_nodes(ref, address, nodes)]
    if len(found) > 1:
        which = ", ".join(what for what, _ in found[:4])
        raise Invalid(f"{ref} is more than one: {which}: name one by its id or NETWORK/NAME")
    if found:
        return found[0][1]
    for service in services:
        if address in service.addresses:
            raise Invalid(
                f"{ref} is the virtual address of service {service.network}/{service.name}: policy is asked about the member "
                "that a packet goes on to, and its port: say one of those that `weft service show` lists"
            )
    if address is None:
        near = did_you_mean(ref, (*(e.name for e in endpoints), *nodes))
        shown = "`weft endpoint ls` and `weft node ls` show those there are"
        raise NotFound(f"{ref} is no endpoint, node or address: {near}{' ' if near else ''}{shown}")
    return Meant(name=str(address), addresses=(address,))


def one_family(source: Meant, target: Meant, wanted: Family | None) -> Family:
    """v4 where both have it, unless another is wanted. Raises Invalid."""
    both = [fam for fam in source.families if fam in target.families]
    if wanted is None and both:
        return both[0]
    if wanted is None:
        has = " and ".join(f"{one.name} has only IPv{one.families[0]}" for one in (source, target))
        raise Invalid(f"{has}: no packet can go between them")
    for one in (source, target):
        if wanted not in one.families:
            raise Invalid(f"{one.name} has no IPv{wanted} address: leave the family out, or ask for another end")
    return wanted


def _endpoints(ref: str, address: IPAddress | None, endpoints: Iterable[Endpoint]) -> Iterator[tuple[str, Meant]]:
    for e in endpoints:
        own = tuple(a.ip for a in e.addresses)
        names = (e.id, e.name, e.container, *(f"{of}/{e.name}" for of in (e.node, e.network, e.policy_namespace)))
        if ref in names or address in (*own, *e.floating):
            only = (address,) if address is not None and address in own else own
            what = f"endpoint {e.node}/{e.name} in {e.network} (id {e.id})"
            yield what, Meant(name=f"{e.node}/{e.name}", addresses=only, identity=identity_of(e), node=e.node)


def _nodes(ref: str, address: IPAddress | None, nodes: Mapping[str, Node]) -> Iterator[tuple[str, Meant]]:
    for node in nodes.values():
        own = tuple(a.ip for a in node.addresses)
        if ref == node.name or address in own:
            only = (address,) if address is not None and address in own else own
            yield f"node {node.name}", Meant(name=node.name, addresses=only, node=node.name)


def _address(text: str) -> IPAddress | None:
    try:
        return parse_address(text)
    except Invalid:
        return None
