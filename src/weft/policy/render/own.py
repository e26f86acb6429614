"""What a host itself says and hears on its uplink, by nftables, where a policy is about hosts.

    host-in, host-out           hooks input and output: what belongs to an open connection passes, then what has to pass in any
                                case, then the chain of the policies is asked
    failsafe-in, failsafe-out   what has to pass: the same whatever policies say, so that nobody locks himself out

A container's packets come and go by other devices: they are not the host's. Where a packet passes here, other rules of the
host are asked as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.base.net import FAMILIES
from weft.hoststate import NftChain, Object
from weft.hoststate.firewall import FILTER, Hook
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, RETURN, Jump
from weft.hoststate.rules.matches import CT_STATE, DADDR, IIFNAME, L4PROTO, OIFNAME, TCP_DPORT, UDP_DPORT, field
from weft.policy.model import Direction
from weft.policy.program import Chain
from weft.policy.render.failsafe import LINK, TCP, TUNNELS, UDP

_GOES_ON = (
    rule(CT_STATE.is_("established", "related"), ACCEPT),
    rule(field("tcp flags").is_not("syn/fin,syn,rst,ack"), ACCEPT),
)
"""Nobody begins a TCP connection without SYN. What is open may be older than the host's tracking of connections."""

_ALWAYS = (
    rule(field("icmpv6 type").is_(*LINK), ACCEPT),
    rule(UDP_DPORT.among("cluster-tunnels"), ACCEPT),
    rule(L4PROTO.is_(*TUNNELS), ACCEPT),
)
FAILSAFE: dict[Direction, NftChain] = {
    "ingress": NftChain(
        name="failsafe-in",
        rules=(
            *_ALWAYS,
            rule(TCP_DPORT.is_(*TCP["ingress"]), ACCEPT),
            rule(TCP_DPORT.among("control-ports"), ACCEPT),
            rule(UDP_DPORT.is_(*UDP["ingress"]), ACCEPT),
        ),
    ),
    "egress": NftChain(
        name="failsafe-out",
        rules=(
            *_ALWAYS,
            rule(TCP_DPORT.is_(*TCP["egress"]), ACCEPT),
            *(rule((DADDR[fam] + TCP_DPORT).among(f"control{fam}"), ACCEPT) for fam in FAMILIES),
            rule(UDP_DPORT.is_(*UDP["egress"]), ACCEPT),
        ),
    ),
}
"""The sets are those of the guard against containers: control ports, and tunnels' ports, of this cluster's hosts."""


def own(uplink: str, chains: Mapping[Direction, Chain]) -> Iterator[Object]:
    """`chains`: of the policies, those that are asked first."""
    for direction, chain in chains.items():
        here, device = ("host-in", IIFNAME) if direction == "ingress" else ("host-out", OIFNAME)
        failsafe = FAILSAFE[direction]
        yield failsafe
        yield NftChain(
            name=here,
            hook=Hook(type="filter", hook="input" if direction == "ingress" else "output", priority=FILTER),
            rules=(
                rule(device.is_not(uplink), RETURN),
                *_GOES_ON,
                rule(Jump(failsafe.name)),
                rule(Jump(chain.name)),
            ),
        )
