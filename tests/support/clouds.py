"""A cloud in memory whose route tables are a target: slow, limited, refusing, hanging, forgetful and shared with others, on
demand.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

from weft.base.errors import Conflict, Failed, NotFound, Throttled
from weft.hoststate import Key, TargetObject
from weft.model import Node
from weft.targets.protocol import Check, Page


class CloudRoute(TargetObject, frozen=True, kw_only=True, gc=False):
    """`place`: the table's id. `via`: the host that has the destination."""

    kind: ClassVar[str] = "cloud-route"

    destination: str
    via: str

    @property
    def name(self) -> tuple[str, ...]:
        return (self.destination,)

    def making(self) -> list[str]:
        return [f"cloud route create {self.place} {self.destination} --via {self.via}"]

    def changing(self, old: TargetObject) -> list[str]:
        return [f"cloud route replace {self.place} {self.destination} --via {self.via}"]

    def removing(self) -> list[str]:
        return [f"cloud route delete {self.place} {self.destination}"]


class CloudTag(TargetObject, frozen=True, kw_only=True, gc=False):
    """A mark on a table that its routes need."""

    kind: ClassVar[str] = "cloud-tag"
    order: ClassVar[int] = -1

    @property
    def name(self) -> tuple[str, ...]:
        return ("weft",)

    def making(self) -> list[str]:
        return [f"cloud tag {self.place}"]

    def changing(self, old: TargetObject) -> list[str]:
        return self.making()

    def removing(self) -> list[str]:
        return [f"cloud untag {self.place}"]


class NeedyRoute(CloudRoute, frozen=True, kw_only=True, gc=False):
    """One that needs the mark on its table."""

    def needs(self) -> tuple[Key, ...]:
        return (CloudTag(place=self.place).key,)


class FakeCloud:
    """`foreign`: routes that somebody else made. `delay`: seconds of each call; `hangs`: none comes back; `away`: none is
    taken; `refused`: keys, and what is said about them; `throttle`: given a call's number, the seconds for which no more
    are wanted, or None. `page`: routes in one answer. `lag`: how many readings old is what a reading shows.
    `learnt`: what it says of a host, else the host's name. `calls`: when
    each was made, and which. `order`: of what was done."""

    name = "cloud"
    kinds = frozenset({CloudRoute.kind, CloudTag.kind})

    def __init__(self, *places: str, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.places = frozenset(places)
        self.objects: dict[Key, TargetObject] = {}
        self.foreign: dict[Key, TargetObject] = {}
        self.refused: dict[Key, str] = {}
        self.throttle: Callable[[int], float | None] = lambda _: None
        self.delay, self.page, self.lag = 0.0, 100, 0
        self.hangs = self.away = False
        self.learnt: dict[str, str] = {}
        self.calls: list[tuple[float, str]] = []
        self.order: list[str] = []
        self._clock = clock
        self._shown: list[dict[Key, TargetObject]] = []

    def made(self, what: str) -> int:
        return Counter(name for _, name in self.calls)[what]

    async def _called(self, what: str) -> None:
        self.calls.append((self._clock(), what))
        number = len(self.calls)
        if self.hangs:
            await asyncio.Event().wait()
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.away:
            raise ConnectionRefusedError(111, "Connection refused")
        if (seconds := self.throttle(number)) is not None:
            raise Throttled("RequestLimitExceeded", seconds)

    async def learn(self, node: Node) -> dict[str, str]:
        await self._called("learn")
        return self.learnt or {"host": node.name}

    def checks(self) -> tuple[Check, ...]:
        return ()

    async def read(self, place: str, more: str) -> Page:
        await self._called("read")
        self._shown.append(dict(self.objects))
        shown = self._shown[max(0, len(self._shown) - 1 - self.lag)]
        ours = [obj for _, obj in sorted(shown.items()) if obj.place == place]
        begin = int(more or 0)
        rest = begin + self.page < len(ours)
        return Page(
            tuple(ours[begin : begin + self.page]),
            tuple(key for key, obj in self.foreign.items() if obj.place == place),
            str(begin + self.page) if rest else "",
        )

    async def create(self, obj: TargetObject) -> None:
        await self._write("create", obj)
        if obj.key in self.foreign:
            raise AssertionError(f"{obj.key} is somebody else's")
        if obj.key in self.objects:
            raise Conflict("RouteAlreadyExists")
        self._put("create", obj)

    async def change(self, old: TargetObject, new: TargetObject) -> None:
        await self._write("change", new)
        if old.key not in self.objects:
            raise NotFound("no route defined")
        self._put("change", new)

    async def remove(self, obj: TargetObject) -> None:
        await self._write("remove", obj)
        assert obj.key not in self.foreign
        if self.objects.pop(obj.key, None) is None:
            raise NotFound("InvalidRoute.NotFound")
        self.order.append(f"remove {' '.join(obj.key)}")

    async def _write(self, what: str, obj: TargetObject) -> None:
        await self._called(what)
        if obj.key in self.refused:
            raise Failed(self.refused[obj.key])

    def _put(self, what: str, obj: TargetObject) -> None:
        self.objects[obj.key] = obj
        self.order.append(f"{what} {' '.join(obj.key)}")


def route(number: int, via: str = "node-2", place: str = "rtb-1") -> CloudRoute:
    return CloudRoute(place=place, destination=f"10.1.{number}.0/24", via=via)


class FakeClock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def busiest(times: list[float], seconds: float) -> int:
    """How many of these lie within so many seconds, at most."""
    return max((sum(begin <= t < begin + seconds for t in times) for begin in times), default=0)
