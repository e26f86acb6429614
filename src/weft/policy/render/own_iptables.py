"""What a host itself says and hears on its uplink, by iptables, where a policy is about hosts.

    INPUT, OUTPUT                         their first rules lead to these:
    WEFT-failsafe-in, WEFT-failsafe-out   back for what belongs to an open connection, and what has to pass in any case: the
                                          same whatever policies say; all else goes on to
    WEFT-host-in, WEFT-host-out           the chain of the policies

What passes goes on in INPUT and OUTPUT, where all is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from weft.base.net import Family, family
from weft.hoststate import IptablesChain, Object
from weft.hoststate.iptables import Backend
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import RETURN, Jump
from weft.hoststate.rules.iptables import CHAIN_PREFIX
from weft.hoststate.rules.matches import (
    CT_STATE,
    DADDR,
    IIFNAME,
    L4PROTO,
    OIFNAME,
    TCP_DPORT,
    UDP_DPORT,
    Selector,
    field,
)
from weft.policy.model import Direction
from weft.policy.program import Chain
from weft.policy.render.failsafe import LINK, TCP, TUNNELS, UDP, Cluster

_PORTS = 15
"""In one rule."""
_NUMBERS = {"mld-listener-query": "130", "mld-listener-report": "131", "mld2-listener-report": "143"}
"""Of types that have no name here (RFC 2710, RFC 3810)."""


def own(
    where: tuple[Backend, Sequence[Family]], uplink: str, chains: Mapping[Direction, Chain], cluster: Cluster
) -> Iterator[Object]:
    """`chains`: of the policies, those that are asked first."""
    backend, families = where
    for direction, chain in chains.items():
        hook, end = ("INPUT", "in") if direction == "ingress" else ("OUTPUT", "out")
        onward = f"{CHAIN_PREFIX}host-{end}"
        for fam in families:
            rules = tuple(_failsafe(direction, fam, uplink, cluster))
            safe = IptablesChain(
                backend=backend,
                family=fam,
                table="filter",
                parent=hook,
                first=True,
                name=f"{CHAIN_PREFIX}failsafe-{end}",
                rules=(*rules, rule(Jump(onward, back=False))),
            )
            to = rule(Jump(CHAIN_PREFIX + chain.name, back=False))
            yield safe
            yield IptablesChain(backend=backend, family=fam, table="filter", name=onward, rules=(to,))


def _failsafe(direction: Direction, fam: Family, uplink: str, cluster: Cluster) -> Iterator[Rule]:
    device = IIFNAME if direction == "ingress" else OIFNAME
    yield rule(device.is_not(uplink), RETURN)
    yield rule(CT_STATE.is_("established", "related"), RETURN)
    yield rule(field("tcp flags").is_not("syn/fin,syn,rst,ack"), RETURN)
    if fam == 6:
        yield from (rule(field("icmpv6 type").is_(_NUMBERS.get(name, name)), RETURN) for name in LINK)
    yield from (rule(L4PROTO.is_(number), RETURN) for number in TUNNELS)
    yield from _ports(UDP_DPORT, (*UDP[direction], *cluster.tunnels))
    if direction == "ingress":
        yield from _ports(TCP_DPORT, (*TCP[direction], *cluster.control))
        return
    yield from _ports(TCP_DPORT, TCP[direction])
    for address, port in cluster.store:
        if family(address) == fam:
            yield rule(DADDR[fam].is_(f"{address}/{address.max_prefixlen}"), TCP_DPORT.is_(port), RETURN)


def _ports(end: Selector, ports: Sequence[int]) -> Iterator[Rule]:
    some = sorted(set(ports))
    for start in range(0, len(some), _PORTS):
        yield rule(end.is_(*some[start : start + _PORTS]), RETURN)
