"""Published ports: what an endpoint contributes to make ports of its host lead to it. Who publishes nothing pays nothing.

A packet to a local address of the host is looked up in a map by protocol and port (before that, with the address it was
sent to), once per connection, and translated to the container's address; from then on it is routed as any packet to the
container. Its source stays, but where the answer would not come back by this host: from a port of the same bridge, and
from the host's own loopback addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.base.net import FAMILIES, Family, IPAddress, IPNetwork, family
from weft.hoststate import NftChain, NftElement, NftSet, Object, Sysctl
from weft.model import PublishedPort

_LOOPBACK = "127.0.0.0/8"
_RULES: dict[Family, tuple[str, str]] = {
    4: (
        "dnat ip to ip daddr . meta l4proto . th dport map @published-at4",
        "dnat ip to meta l4proto . th dport map @published4",
    ),
    6: (
        "dnat ip6 to ip6 daddr . meta l4proto . th dport map @published-at6",
        "dnat ip6 to meta l4proto . th dport map @published6",
    ),
}


def published(
    ports: Iterable[PublishedPort], targets: Iterable[IPAddress], dev: str, subnets: Iterable[IPNetwork]
) -> Iterator[Object]:
    """`targets`: the container's addresses that the host reaches by the device `dev`, at most one of each family;
    `subnets`: those on it whose addresses answer each other, or themselves, without passing the host."""
    to = {family(address): address for address in targets}
    elements = [element for port in ports for element in _elements(port, to)]
    if not elements:
        return
    yield from _tables()
    yield from elements
    for subnet in subnets:
        text = (
            str(subnet.network_address) if subnet.prefixlen == subnet.max_prefixlen else str(subnet)
        )  # as nft prints it
        yield NftElement(set=f"hairpin{subnet.version}", value=f"{text} . {text}")
    if 4 in to:
        yield Sysctl(name=f"net/ipv4/conf/{dev}/route_localnet", value="1")


def _elements(port: PublishedPort, to: dict[Family, IPAddress]) -> Iterator[NftElement]:
    for fam in port.families:
        if fam not in to:
            continue
        name, at = (f"published{fam}", "") if port.only_at is None else (f"published-at{fam}", f"{port.only_at} . ")
        for outer, inner in port.pairs:
            yield NftElement(set=name, value=f"{at}{port.protocol} . {outer}", to=f"{to[fam]} . {inner}")


def _tables() -> Iterator[Object]:
    for fam in FAMILIES:
        kind = f"ipv{fam}_addr"
        yield NftSet(name=f"published{fam}", type="inet_proto . inet_service", to=f"{kind} . inet_service")
        yield NftSet(name=f"published-at{fam}", type=f"{kind} . inet_proto . inet_service", to=f"{kind} . inet_service")
        yield NftSet(name=f"hairpin{fam}", type=f"{kind} . {kind}", flags=("interval",))
    yield NftChain(name="publish", rules=tuple(rule for pair in zip(*_RULES.values(), strict=True) for rule in pair))
    # With route_localnet on a bridge, containers have to be kept from the host's loopback addresses by rule.
    yield NftChain(
        name="published-guard",
        hook="type filter hook prerouting priority raw; policy accept;",
        rules=tuple(f'iifname "weft*" ip {end} {_LOOPBACK} drop' for end in ("saddr", "daddr")),
    )
    local = "fib daddr type local jump publish"
    # From outside, 127.0.0.0/8 is a martian and has to stay one: translated, it would no longer look like one.
    for name, hook, never in (
        ("published-prerouting", "prerouting priority dstnat", f"ip daddr {_LOOPBACK} return"),
        ("published-output", "output priority -100", "ip6 daddr ::1 return"),
    ):
        yield NftChain(name=name, hook=f"type nat hook {hook}; policy accept;", rules=(never, local))
    yield NftChain(
        name="published-postrouting",
        hook="type nat hook postrouting priority srcnat; policy accept;",
        rules=(
            "ct status dnat ip saddr . ip daddr @hairpin4 masquerade",
            "ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade",
            f'ct status dnat oifname "weft*" ip saddr {_LOOPBACK} masquerade',
        ),
    )
