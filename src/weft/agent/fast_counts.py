"""What took a short way on this host, by network. Read when somebody asks, in a thread, and seldom where that takes
long: there may be a hundred thousand flows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

import msgspec

from weft.base.errors import WeftError
from weft.base.net import IPAddress
from weft.hoststate import HOST
from weft.kernel.host.short import Count, Direction, Repeated, of_side
from weft.kernel.host.tracked import Tracked
from weft.policy.model import Identity

FLOWTABLE, PROGRAMS = "flowtable", "tcx"
"""Features of the kernel (`weft.kernel.host.facts`)."""
SHARE = 10
"""An answer is good enough for so many times what it took to find it: a moment, but on a host with very many flows."""
MOST = 200
"""Networks that have time series of their own; all others together are one."""
OTHERS = "others"

Means = Literal["flowtable", "cache"]


class ShortWays(Protocol):
    """`weft.kernel.host.short`. All block, and raise WeftError."""

    def spaces(self) -> Iterable[str]: ...

    def counts(self, ns: str) -> Mapping[str, Count]: ...

    def repeated(self, ns: str) -> Repeated: ...

    def offloaded(self, ns: str) -> list[Tracked]: ...


class Fast(msgspec.Struct):
    """Of one network. `packets`, `octets`: that programs passed on, `entered`: how often they were told how; of what the
    flowtable passes on nobody counts these. `flows`: at the moment."""

    packets: int = 0
    octets: int = 0
    entered: int = 0
    flows: Counter[Means] = msgspec.field(default_factory=Counter)


class FastCounts:
    def __init__(
        self,
        places: Callable[[], Mapping[str, Mapping[IPAddress, Identity]]],
        features: Callable[[], frozenset[str]],
        ways: ShortWays,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`places`: by namespace, whose addresses are there. `features`: what the kernel has. `clock`: seconds."""
        self._places, self._features, self._ways, self._clock = places, features, ways, clock
        self._good_until = clock()
        self._reading = asyncio.Lock()
        self.found: dict[str, Fast] = {}
        """By network, as of the last `refresh`."""
        self.trouble = ""
        """Why some of it could not be read."""

    @property
    def means(self) -> tuple[Means, ...]:
        """What this host's kernel has for it."""
        of: dict[str, Means] = {FLOWTABLE: "flowtable", PROGRAMS: "cache"}
        return tuple(means for feature, means in of.items() if feature in self._features())

    async def refresh(self) -> None:
        async with self._reading:
            began = self._clock()
            if began < self._good_until:
                return
            places = {ns: dict(some) for ns, some in self._places().items()}
            self.found, self.trouble = await asyncio.to_thread(self._count, places)
            now = self._clock()
            self._good_until = now + SHARE * (now - began)

    def _count(self, places: Mapping[str, Mapping[IPAddress, Identity]]) -> tuple[dict[str, Fast], str]:
        found: dict[str, Fast] = {}
        trouble = ""
        try:
            for ns in self._ways.spaces():
                for network, count in self._ways.counts(ns).items():
                    fast = found.setdefault(network, Fast())
                    fast.packets += count.packets
                    fast.octets += count.octets
                    fast.entered += count.entered
                repeated = self._ways.repeated(ns)
                for direction in {min(each, each.turned()) for each in repeated}:
                    network = repeated.get(direction, repeated.get(direction.turned(), ""))
                    found.setdefault(network, Fast()).flows["cache"] += 1
            if FLOWTABLE in self._features():
                own = places.get(HOST, {})
                for each in self._ways.offloaded(HOST):
                    ends = (each.there.src, each.back.src, each.there.dst, each.back.dst)
                    who = next((own[end] for end in ends if end in own), None)
                    if who is not None:
                        found.setdefault(who.network, Fast()).flows["flowtable"] += 1
        except WeftError as error:
            trouble = str(error)
        return dict(sorted(found.items())), trouble

    def shown(self) -> dict[str, Fast]:
        """For the metrics: those of the first networks, and of all others together."""
        if len(self.found) <= MOST:
            return self.found
        shown = dict(list(self.found.items())[:MOST])
        others = shown[OTHERS] = Fast()
        for fast in list(self.found.values())[MOST:]:
            others.packets += fast.packets
            others.octets += fast.octets
            others.entered += fast.entered
            others.flows.update(fast.flows)
        return shown


def way_of(flow: Tracked, repeated: Repeated) -> tuple[str, tuple[Literal["sent", "answered"], ...]]:
    """By which means it goes, and which of its directions; "" for the ordinary way."""
    if flow.offloaded:
        return "flowtable", ("sent", "answered")
    there, back = of_side(flow.protocol, flow.there), of_side(flow.protocol, flow.back)
    sides: tuple[tuple[Literal["sent", "answered"], Direction], ...] = (("sent", there), ("answered", back))
    ways = tuple(name for name, side in sides if side in repeated or _any(side) in repeated)
    return ("cache" if ways else ""), ways


def _any(side: Direction) -> Direction:
    """The same, whatever the packets are."""
    return Direction(0, side.src, side.dst)
