"""What is told of connections that containers have: from conntrack, with names. As in `weft.api.types`: keys are stable."""

from __future__ import annotations

from weft.api.observed import LogEntry
from weft.api.types import Reply
from weft.base.net import IPAddress


class FlowEnd(Reply, frozen=True, kw_only=True):
    """`port`: None where the protocol has none. `kind`: "container", "service" (its virtual address), "floating" (an external
    address of a container), "node", or "outside" for an address that is nobody's here; then `name` is "". `network`: of
    the container or service. `node`: that it is on."""

    address: IPAddress
    port: int | None = None
    kind: str = "outside"
    name: str = ""
    network: str = ""
    node: str = ""


class Flow(Reply, frozen=True, kw_only=True):
    """A connection, as the conntrack of one host has it. `event`: "new" or "end" where it is followed, "" in a list. `where`:
    the namespace on `node` that tracks it, "" for the host's own. `source`, `target`: as the first packet was sent. `member`:
    who answers, where that is another one than `target` (of a service, a published port, a floating address). `translated`:
    as whom `source` appears to it, where the source is translated (masquerade). `protocol`: "tcp", or a number.
    `cut`: policy has cut it off. Seconds: `timeout` until it is forgotten if nothing comes; `age`: None where the host does
    not keep it. `packets`, `octets` from the source, `reply_…` to it: None where the host does not count. `time`: Unix
    seconds of the event, 0.0 in a list. `short`: by which means it goes past the rules at the moment, "flowtable" or "cache"
    (programs), "" for the ordinary way; `short_ways`: which of its directions do. What goes so is not in the counts."""

    event: str = ""
    node: str
    where: str = ""
    protocol: str
    state: str
    source: FlowEnd
    target: FlowEnd
    member: FlowEnd | None = None
    translated: FlowEnd | None = None
    cut: bool = False
    timeout: int = 0
    age: float | None = None
    packets: int | None = None
    octets: int | None = None
    reply_packets: int | None = None
    reply_octets: int | None = None
    time: float = 0.0
    short: str = ""
    short_ways: tuple[str, ...] = ()


class Dropped(Reply, frozen=True, kw_only=True):
    """Packets that rules of this host refused, since these were made. `reason`: "policy", "isolation" (between networks),
    "spoofing" (a container in another's name) or "service" (no member took it). `where`: the namespace, "" for the host's
    own. `what`: the policy, or the chain of rules. `direction`: of policy. `octets`: headers of IP included."""

    reason: str
    where: str = ""
    what: str
    direction: str = ""
    packets: int
    octets: int


class FlowPage(Reply, frozen=True, kw_only=True):
    """`flows`: the largest first; where followed: events in order. `total`: how many there are. `accounting`: whether all
    that was looked at counts packets; `timestamps`: whether it keeps when connections began. `logged`: packets that policy
    refused, as its rules with the action Log told; only where followed. `last`: to ask for what comes after.
    `missed`: events that came meanwhile and are not kept any more. `overruns`: how often events came too fast to be
    read. `problems`: what could not be looked at, a line each."""

    node: str
    flows: tuple[Flow, ...] = ()
    total: int = 0
    accounting: bool = True
    timestamps: bool = True
    dropped: tuple[Dropped, ...] = ()
    logged: tuple[LogEntry, ...] = ()
    last: str = ""
    missed: int = 0
    overruns: int = 0
    problems: tuple[str, ...] = ()
