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
from weft.datapaths import _rules
from weft.datapaths._rules import IP, MULTICAST
from weft.hoststate import NftElement, NftSet, Object, route


def floating(addresses: Iterable[IPAddress], targets: Iterable[IPAddress], dev: str) -> Iterator[Object]:
    """`targets`: the container's addresses that the host reaches by `dev`, at most one of each family."""
    to = {family(target): target for target in targets}
    pairs = [(address, to[family(address)]) for address in addresses if family(address) in to]
    if not pairs:
        return
    yield from _tables()
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
        kind, ip = f"ipv{fam}_addr", IP[fam]
        for name in ("floating", "floating-out"):
            yield NftSet(name=f"{name}{fam}", type=kind, to=kind)
        yield NftSet(name=f"floating-self{fam}", type=f"{kind} . {kind}", to=kind)
        outside = f"{ip} daddr != @cluster{fam} {ip} daddr != {MULTICAST[fam]}"
        inward.append(f"dnat {ip} to {ip} daddr map @floating{fam}")
        outward.append(f"snat {ip} to {ip} saddr . {ip} daddr map @floating-self{fam}")
        outward.append(f"{outside} snat {ip} to {ip} saddr map @floating-out{fam}")
    yield from _rules.sets("cluster")
    yield _rules.base_chain("floating-prerouting", "type nat hook prerouting priority dstnat", *inward)
    yield _rules.base_chain("floating-output", "type nat hook output priority -100", *inward)
    yield _rules.base_chain("floating-postrouting", "type nat hook postrouting priority srcnat - 1", *outward)
