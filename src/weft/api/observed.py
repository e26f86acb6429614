"""What is told of policy: verdicts with their reasons, what rules have counted, what they have logged. As in `weft.api.types`:
keys are stable."""

from __future__ import annotations

from weft.api.types import Reply
from weft.base.net import IPAddress


class VerdictStep(Reply, frozen=True, kw_only=True):
    """A rule that fitted, or that of a policy none did, or a tier's default. `rule`: counted from 1; 0: none of the policy.
    `policy`: "" for the default. `action`: of the rule, "none" where none fitted; "deny" or "pass" of a default."""

    tier: str
    policy: str = ""
    rule: int = 0
    name: str = ""
    action: str


class VerdictSide(Reply, frozen=True, kw_only=True):
    """What is asked at one end. `direction`: "egress" at the sender, "ingress" at the receiver. `node`: whose host asks; ""
    where none does. `steps`: in order, the last one decides. `enforced`: whether that host has it in force, None where it was
    not looked at; `rules`: by which of its rules; `faults`: what is amiss there, a line each."""

    direction: str
    end: str
    node: str = ""
    allowed: bool
    reason: str
    steps: tuple[VerdictStep, ...] = ()
    enforced: bool | None = None
    rules: str = ""
    faults: tuple[str, ...] = ()


class Explanation(Reply, frozen=True, kw_only=True):
    """`port`: None: one that no rule names. `isolated`: why the networks keep the two apart, whatever policies say."""

    allowed: bool
    source: str
    source_address: IPAddress
    target: str
    target_address: IPAddress
    protocol: str
    port: int | None = None
    isolated: str = ""
    sides: tuple[VerdictSide, ...]


class RuleCount(Reply, frozen=True, kw_only=True):
    """`policy`: "" for a tier's default, and for what begins in the midst of a connection (`action` "midway"). `rule`: counted
    from 1, 0 for these. `octets`: of the packets that the rule fitted, headers of IP included."""

    policy: str = ""
    tier: str
    direction: str
    rule: int = 0
    action: str
    packets: int
    octets: int


class PolicyCounters(Reply, frozen=True, kw_only=True):
    """Of one host, since its rules were made. Only packets that begin a connection come to rules."""

    node: str
    rules: tuple[RuleCount, ...] = ()


class LogEnd(Reply, frozen=True, kw_only=True):
    """`name`, `network`: of the endpoint that has the address; "" where it is none that this host knows. `node`: that it is on,
    or whose own address it is."""

    address: IPAddress
    name: str = ""
    network: str = ""
    node: str = ""


class LogEntry(Reply, frozen=True, kw_only=True):
    """A packet that a rule with the action `log` fitted. `number`: they rise by one. `time`: Unix seconds. `direction`: of the
    rule. `port`: the receiver's. `rule`: counted from 1. `allowed`: what policies say of the packet at this end; None where
    that is not known."""

    number: int
    time: float
    direction: str
    source: LogEnd
    target: LogEnd
    protocol: str
    source_port: int | None = None
    port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    tier: str
    policy: str
    rule: int
    allowed: bool | None = None


class LogPage(Reply, frozen=True, kw_only=True):
    """`last`: the number of the last entry that there was, to ask for what comes after it. `missed`: so many entries came after
    the one asked for and are not kept any more. `lost`: packets that came too fast, since the agent's start. `problem`: why
    not all is heard."""

    entries: tuple[LogEntry, ...] = ()
    last: int = 0
    missed: int = 0
    lost: int = 0
    problem: str = ""
