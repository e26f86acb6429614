"""What a walk begins with and what it finds: hops, and how the way ends."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from weft.base.net import IPAddress

Step = Literal[
    "route", "forward", "neighbour", "bridge", "veth", "encapsulate", "wire", "router", "decapsulate", "deliver"
]
"""route: the sender's own lookup. forward: a host routes it on. router: one that is no Weft host does."""

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
]


class Place(NamedTuple):
    """A network namespace: its host's name, its path there ("" is the host's own)."""

    host: str
    ns: str = ""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends: the namespace `ns` on `host`, with `source` as its address."""

    host: str
    ns: str = ""
    source: IPAddress


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """`place`: "node-1", or "node-1/web" inside an endpoint's namespace. `entry`: what decided, as ip(8) and bridge(8)
    write it. `result`: what becomes of the packet."""

    place: str
    step: Step
    entry: str
    result: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`text`: one line. `advice`: what to do about it, "" where nothing is wrong."""

    ending: Ending
    place: str
    text: str
    advice: str = ""

    @property
    def arrived(self) -> bool:
        """Delivered, or out of the cluster, where Weft has no say."""
        return self.ending in ("delivered", "left")


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """`mtu`: the largest packet, in octets, that every device on the way takes. `ttl`: at the end, from 64."""

    source: IPAddress
    target: IPAddress
    hops: tuple[Hop, ...]
    outcome: Outcome
    mtu: int
    ttl: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """`back`: the way of the answer, where the packet is delivered to an endpoint. `notes`: what was not seen, and why."""

    origin: str
    target: str
    there: Path
    back: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def arrived(self) -> bool:
        return self.there.outcome.arrived and (self.back is None or self.back.outcome.arrived)
