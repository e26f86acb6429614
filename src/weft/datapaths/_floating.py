"""Floating addresses: what an endpoint contributes to be reached, and seen, at addresses outside of Weft's networks. Who
floats nothing pays nothing.

The address is on no interface. Routers and other hosts send its packets here since BGP announces it from here; the first
of a connection is looked up in a map and translated to the container's address, and from then on routed as any packet to
the container. The container's own connections to outside come from its floating address: that is decided before the
masquerade rule is asked, with the first of a family where there are several. Between containers there is nothing to
translate but what a container sends to itself by its floating address: it would not take a packet from its own.

The host's route to the address leads to the container too: so the host itself has a way to it, and what belongs to no
connection ends there instead of going round between the host and its router.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.base.net import FAMILIES, IPAddress, family, host_prefix
from weft.datapaths import _isolation, _rules
from weft.hoststate import NftElement, NftSet, Object, route
from weft.hoststate.firewall import DSTNAT, SRCNAT
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import Nat
from weft.hoststate.rules.matches import DADDR, SADDR


def floating(addresses: Iterable[IPAddress], targets: Iterable[IPAddress], dev: str) -> Iterator[Object]:
    """`targets`: the container's addresses that the host reaches by `dev`, at most one of each family."""
    to = {family(target): target for target in targets}
    pairs = [(address, to[family(address)]) for address in addresses if family(address) in to]
    if not pairs:
        return
    yield from _tables()
    yield from _isolation.door({target: None for _, target in pairs})
    seen_as = {target: address for address, target in reversed(pairs)}
    for address, target in pairs:
        yield NftElement(set=f"floating{family(address)}", value=str(address), to=str(target))
        yield route(host_prefix(address), dev=dev)
    for target, address in seen_as.items():
        yield NftElement(set=f"floating-out{family(address)}", value=str(target), to=str(address))
        yield NftElement(set=f"floating-self{family(address)}", value=f"{target} . {target}", to=str(address))


def _tables() -> Iterator[Object]:
    inward, outward = [], []
    for fam in FAMILIES:
        kind, source, target = _rules.address(fam), SADDR[fam], DADDR[fam]
        for name in ("floating", "floating-out"):
            yield NftSet(name=f"{name}{fam}", type=(kind,), to=(kind,))
        yield NftSet(name=f"floating-self{fam}", type=(kind, kind), to=(kind,))
        inward.append(rule(Nat("dnat", fam, by=target, map=f"floating{fam}")))
        outward.append(rule(Nat("snat", fam, by=source + target, map=f"floating-self{fam}")))
        outward.append(rule(*_rules.outside(fam), Nat("snat", fam, by=source, map=f"floating-out{fam}")))
    yield from _rules.sets("cluster")
    yield _rules.base_chain("floating-prerouting", "nat", "prerouting", DSTNAT, *inward)
    yield _rules.base_chain("floating-output", "nat", "output", DSTNAT, *inward)
    yield _rules.base_chain("floating-postrouting", "nat", "postrouting", SRCNAT - 1, *outward)
