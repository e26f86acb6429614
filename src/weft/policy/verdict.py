"""What is asked about a connection, and the answer: `weft.policy.evaluate` gives it."""

from __future__ import annotations

import msgspec

from weft.base.net import IPAddress
from weft.base.numbers import is_number
from weft.policy.model import Direction, Identity

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ipv6-icmp": 58}
PROTOCOLS |= {"ipencap": 4, "ipv6": 41, "sctp": 132, "udplite": 136}
"""Numbers of what rules call by a name (IANA, Protocol Numbers)."""
PORTED = frozenset(PROTOCOLS[name] for name in ("tcp", "udp", "dccp", "sctp", "udplite"))


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a connection, by the address that its packets have. `identity`: of the endpoint that has it; `node`: the
    name of the one whose own it is."""

    address: IPAddress
    identity: Identity | None = None
    node: str = ""

    @property
    def name(self) -> str:
        return self.identity.name if self.identity else self.node or str(self.address)


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """The first one of a connection. `protocol`: as in rules. `port`: of the destination; None: one that no rule names."""

    protocol: str = "tcp"
    port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that fitted, or that of a policy none did, or a tier's default. `rule`: counted from 1; 0: none of the policy;
    `policy`: "" for the default. `action`: of the rule, "none" where none fitted; "deny" or "pass" of a default."""

    tier: str
    policy: str = ""
    rule: int = 0
    name: str = ""
    action: str


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked at one end. `steps`: in order, the last one decides; () where nothing is asked. `reason`: in words.
    `asked`: False where the packet comes to no rules, whatever policies select its ends."""

    direction: Direction
    end: str
    allowed: bool
    reason: str
    steps: tuple[Step, ...] = ()
    asked: bool = True


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`sides`: the sender's egress, and the receiver's ingress."""

    allowed: bool
    sides: tuple[Side, ...]


def number(protocol: str) -> int | str:
    """Of IP, where it is known."""
    return PROTOCOLS.get(protocol) or (int(protocol) if is_number(protocol) else protocol)
