"""What a walk begins with and what it finds: hops, and how the way ends."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from weft.base.net import IPAddress

Step = Literal[
    "route",
    "forward",
    "neighbour",
    "bridge",
    "veth",
    "encapsulate",
    "wire",
    "router",
    "decapsulate",
    "deliver",
    "filter",
    "nat",
    "service",
]
"""route: the sender's own lookup. forward: a host routes it on. router: one that is no Weft host does. filter: a rule let it
pass, or changed its mark. nat: an address or a port of it changes. service: a balancer chooses a member."""

Ending = Literal[
    "delivered",
    "left",  # out of the cluster
    "elsewhere",  # to a host whose state is not at hand
    "no-state",
    "no-address",
    "no-route",
    "unreachable",
    "blackhole",
    "prohibit",
    "no-device",
    "link-down",
    "no-neighbour",
    "no-fdb",
    "wrong-mac",
    "no-vtep",
    "not-forwarding",
    "router",
    "ttl",
    "loop",
    "filtered",  # a rule of a packet filter drops or refuses it
    "no-socket",  # it arrives, and no program takes it
    "source",  # its source address is not believed: rp_filter, martian
    "port",  # a bridge's port does not let it through: spanning tree, isolation, VLAN
    "too-large",
    "depends",  # on something that cannot be judged from here
]


class Place(NamedTuple):
    """A network namespace: its host's name, its path there ("" is the host's own)."""

    host: str
    ns: str = ""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends: the namespace `ns` on `host`, with `source` as its address; `free`: with the one that its kernel chooses for
    that target, `source` where it has no say."""

    host: str
    ns: str = ""
    source: IPAddress
    free: bool = False


ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
"""IP's protocol numbers (IANA)."""
SYN, SYN_ACK = 0x02, 0x12
"""Flags of TCP (RFC 9293)."""


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """`protocol`: IP's number. Of ICMP (and ICMPv6) both ports are the echo's identifier. `flags`: of TCP. `answer`: the packet
    goes back to who began. `size`: of the IP packet in octets, 0 for one that is small enough everywhere. `free`: the sender
    takes any source port that is free, so `sport` is a stand-in. `mark`: the sender's (SO_MARK). `uid`: the sender's, where it
    is known."""

    protocol: int = ICMP
    sport: int = 0
    dport: int = 0
    flags: int = SYN
    answer: bool = False
    size: int = 0
    free: bool = True
    mark: int = 0
    uid: int | None = None

    def turned(self) -> Flow:
        """Of the first answer."""
        return msgspec.structs.replace(
            self, sport=self.dport, dport=self.sport, flags=SYN_ACK, answer=not self.answer, mark=0, uid=None
        )


ECHO = Flow(protocol=ICMP, sport=0x5746, dport=0x5746)
"""The default: a ping."""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """`place`: "node-1", or "node-1/web" inside an endpoint's namespace; `host` and `ns` (a path, "" is the host's own) say
    the same for programs. `dev`: the device at which it happens, "" for none. `entry`: what decided, as ip(8), bridge(8) and
    nft(8) write it. `result`: what becomes of the packet. `hook`: of packet filters, where one of their rules decided."""

    place: str
    step: Step
    entry: str
    result: str = ""
    host: str = ""
    ns: str = ""
    dev: str = ""
    hook: str = ""


class Between(msgspec.Struct, frozen=True, kw_only=True):
    """Who talks to whom, in the words of `weft policy explain`. `port`: 0 where the protocol has none."""

    source: str
    target: str
    protocol: str
    port: int = 0

    @property
    def command(self) -> str:
        port = f" --proto {self.protocol} --port {self.port}" if self.port else f" --proto {self.protocol}"
        return f"weft policy explain {self.source} {self.target}{port}"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`text`: one line. `advice`: what to do about it, "" where nothing is wrong. `host`: where that is to be done. `fault`:
    the kind of fault it is, by its id in the catalogue (docs/faults.md), "" where it has none. `fix`: the command that mends
    it, to be run on `host` as it stands, "" where there is none. `ns`: the path of the namespace where the way ends.
    `between`: of a policy that denies, whom it denies what."""

    ending: Ending
    place: str
    text: str
    advice: str = ""
    host: str = ""
    ns: str = ""
    fault: str = ""
    fix: str = ""
    between: Between | None = None

    @property
    def known(self) -> bool:
        """Whether it is known if the packet arrives."""
        return self.ending not in ("elsewhere", "no-state", "depends")

    @property
    def arrived(self) -> bool:
        """Delivered, or out of the cluster, where Weft has no say."""
        return self.ending in ("delivered", "left")


class Short(msgspec.Struct, frozen=True, kw_only=True):
    """On `place` further packets of the flow go from the device `came_by` to `out` past what the first one is asked (`skips`,
    in plain words). `by`: "flowtable"; "cache" (the programs); "bypass" (they, and whatever the packet is)."""

    place: str
    host: str
    ns: str = ""
    by: Literal["flowtable", "cache", "bypass"]
    came_by: str
    out: str
    skips: tuple[str, ...]


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """`mtu`: the largest packet, in octets, that every device on the way takes. `ttl`: at the end, from 64. `flow`: as the
    packet was sent. `start`: who sent it, None for an answer. `short`: where further packets take a short way, once the flow is
    open in both directions."""

    source: IPAddress
    target: IPAddress
    hops: tuple[Hop, ...]
    outcome: Outcome
    mtu: int
    ttl: int
    flow: Flow = ECHO
    start: Start | None = None
    short: tuple[Short, ...] = ()


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """`back`: the way of the answer, where the packet arrives. `notes`: what was not seen, and why."""

    origin: str
    target: str
    there: Path
    back: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether it is known if both arrive, or one is known not to."""
        ways = [self.there, *([self.back] if self.back else [])]
        return all(way.outcome.known for way in ways) or any(
            way.outcome.known and not way.outcome.arrived for way in ways
        )

    @property
    def arrived(self) -> bool:
        return self.there.outcome.arrived and (self.back is None or self.back.outcome.arrived)
