"""Published ports: what an endpoint contributes to make ports of its host lead to it. Who publishes nothing pays nothing.

A packet to a local address of the host is looked up in a map by protocol and port (before that, with the address it was
sent to), once per connection, and translated to the container's address; from then on it is routed as any packet to the
container. Its source address stays, except where the answer would not come back through this host: from a port of the same
bridge, and from the host's own loopback addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.base.net import FAMILIES, Family, IPAddress, family
from weft.datapaths import _isolation, _rules
from weft.datapaths.driver import Reached
from weft.hoststate import NftChain, NftElement, NftSet, Object, Sysctl
from weft.hoststate.firewall import DSTNAT, RAW, SRCNAT
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP, RETURN, Jump, Masquerade, Nat
from weft.hoststate.rules.matches import (
    CT_STATUS,
    DADDR,
    DADDR_TYPE,
    IIFNAME,
    L4PROTO,
    OIFNAME,
    SADDR,
    SENT_TO,
    TH_DPORT,
)
from weft.model import PublishedPort

_LOOPBACK = "127.0.0.0/8"
_PORT = L4PROTO + TH_DPORT
_FROM_CONTAINER = IIFNAME.is_("weft*")
_TRANSLATED = CT_STATUS.is_("dnat")


def published(ports: Iterable[PublishedPort], reached: Reached) -> Iterator[Object]:
    """`reached`: how the host reaches the container."""
    to = {family(address): address for address in reached.targets}
    elements = [element for port in ports for element in _elements(port, to)]
    if not elements:
        return
    yield from tables()
    yield from elements
    yield from answered(reached)


def answered(reached: Reached) -> Iterator[Object]:
    """What it takes that ports of the host lead to a container, and that its answers come back."""
    yield from _isolation.door(reached.targets)
    for subnet in reached.subnets:
        text = (
            str(subnet.network_address) if subnet.prefixlen == subnet.max_prefixlen else str(subnet)
        )  # as nft prints it
        yield NftElement(set=f"hairpin{subnet.version}", value=f"{text} . {text}")
    if any(target.version == 4 for target in reached.targets):
        yield Sysctl(name=f"net/ipv4/conf/{reached.dev}/route_localnet", value="1")


def _elements(port: PublishedPort, to: dict[Family, IPAddress]) -> Iterator[NftElement]:
    for fam in port.families:
        if fam not in to:
            continue
        name, at = (f"published{fam}", "") if port.only_at is None else (f"published-at{fam}", f"{port.only_at} . ")
        for outer, inner in port.pairs:
            yield NftElement(set=name, value=f"{at}{port.protocol} . {outer}", to=f"{to[fam]} . {inner}")


def tables() -> Iterator[Object]:
    """Rules and sets."""
    for fam in FAMILIES:
        at, to = (_rules.address(fam), "inet_proto", "inet_service"), (_rules.address(fam), "inet_service")
        yield NftSet(name=f"published{fam}", type=at[1:], to=to)
        yield NftSet(name=f"published-at{fam}", type=at, to=to)
    yield from _rules.sets("hairpin", "", "")
    by_address = [rule(Nat("dnat", fam, by=DADDR[fam] + _PORT, map=f"published-at{fam}")) for fam in FAMILIES]
    by_port = [rule(Nat("dnat", fam, by=_PORT, map=f"published{fam}")) for fam in FAMILIES]
    yield NftChain(name="publish", rules=(*by_address, *by_port))
    # With route_localnet on a bridge, containers have to be kept from the host's loopback addresses by rule.
    loopback = [rule(_FROM_CONTAINER, end[4].is_(_LOOPBACK), DROP) for end in (SADDR, DADDR)]
    yield _rules.base_chain("published-guard", "filter", "prerouting", RAW, *loopback)
    yield from entrances("published", "publish")
    yield from _rules.virtual()
    # Services see to themselves (`_services`).
    hairpins = [
        rule(
            _TRANSLATED,
            SENT_TO[fam].not_among(f"virtual{fam}"),
            (SADDR[fam] + DADDR[fam]).among(f"hairpin{fam}"),
            Masquerade(),
        )
        for fam in FAMILIES
    ]
    from_loopback = rule(_TRANSLATED, OIFNAME.is_("weft*"), SADDR[4].is_(_LOOPBACK), Masquerade())
    yield _rules.base_chain("published-postrouting", "nat", "postrouting", SRCNAT, *hairpins, from_loopback)


def entrances(name: str, chain: str, priority: int = DSTNAT) -> Iterator[NftChain]:
    """What is sent to a local address of the host goes through `chain`. From outside, 127.0.0.0/8 is a martian and has to stay
    one: translated, it would no longer look like one."""
    local = rule(DADDR_TYPE.is_("local"), Jump(chain))
    for hook, never in (("prerouting", DADDR[4].is_(_LOOPBACK)), ("output", DADDR[6].is_("::1"))):
        yield _rules.base_chain(f"{name}-{hook}", "nat", hook, priority, rule(never, RETURN), local)
