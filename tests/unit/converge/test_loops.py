"""The kernel's loop beside that of a far target: neither waits for the other, and both are told of in the same way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from support.agents import FakeHost, until
from support.clouds import CloudRoute, FakeCloud, route
from weft.converge.loops import Loops
from weft.converge.pacing import Pacing
from weft.hoststate import Address, Bridge, Contribution, Link, Union
from weft.hoststate import route as kernel_route
from weft.hoststate.union import Source
from weft.targets.calls import Limits
from weft.targets.remote import Remote

BRIDGE = Link(name="weft-a", type=Bridge())
GATEWAY = Address(address="10.1.1.1/24", dev="weft-a")
A, B = Source("network", "a"), Source("peer", "a", "node-2")


def peer(n: int) -> Source:
    return Source("peer", "a", f"node-{n}")


class Both:
    """Loops that run, over a host and a cloud, and what their sources want."""

    def __init__(self, limits: Limits, interval: float = 60.0) -> None:
        self.host, self.cloud = FakeHost(), FakeCloud("rtb-1", clock=time.monotonic)
        self.wishes: dict[Source, Contribution] = {}
        far = Pacing(interval=interval, jitter=0.2, gather=0.01, near=False)
        remote = Remote(self.cloud, limits)
        self.loops = Loops(self.host, Union(), self.wishes.get, Pacing(interval=60), (remote,), far)
        self.target = self.loops.targets["cloud"]

    def want(self, source: Source, *objects: object, problems: tuple[str, ...] = ()) -> None:
        self.wishes[source] = Contribution(objects=objects, problems=problems)  # type: ignore[arg-type]
        self.loops.touch([source])


@contextlib.asynccontextmanager
async def run(both: Both) -> AsyncIterator[Both]:
    tasks = [asyncio.create_task(loop.run()) for loop in both.loops.all]
    await until(lambda: both.loops.kernel.started)
    try:
        yield both
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        both.loops.end()
        both.loops.close()


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    async with run(Both(Limits(rate=200.0, burst=200, timeout=0.2))) as found:
        yield found


async def test_each_gets_its_part(both: Both) -> None:
    both.want(A, BRIDGE, GATEWAY, route(1))
    both.want(B, kernel_route("10.1.2.0/24", via="192.168.1.2", dev="eth0"), route(2, via="node-2"))
    assert await both.loops.kernel.settle([A, B]) == []
    await until(lambda: len(both.cloud.objects) == 2)
    await until(lambda: not both.loops.busy)
    assert GATEWAY.key in both.host.objects and route(1).key not in both.host.objects
    counts = {kind: (c.desired, c.actual, c.failed) for kind, c in both.loops.counts().items()}
    assert counts == {"link": (1, 1, 0), "address": (1, 1, 0), "route": (1, 1, 0), "cloud-route": (2, 2, 0)}
    both.wishes.pop(B)
    both.loops.touch([B])
    await until(lambda: list(both.cloud.objects) == [route(1).key])


async def test_the_kernel_goes_on_while_a_call_to_a_target_lasts() -> None:
    both = Both(Limits(timeout=600.0))
    both.cloud.hangs = True
    async with run(both), asyncio.timeout(20):
        await until(lambda: both.cloud.calls)
        for n in range(50):
            source = peer(n)
            both.want(source, kernel_route(f"10.1.{n}.0/24", via="192.168.1.2", dev="eth0"), route(n))
            assert await both.loops.kernel.settle([source]) == []
            assert await both.loops.dry_run() == [], "nothing is known of what was not read yet"
        assert len(both.cloud.calls) == 1 and both.target.busy and both.loops.busy and not both.loops.kernel.busy


@pytest.mark.parametrize("trouble", ["hangs", "away"])
async def test_a_dead_target_is_told_and_comes_back(both: Both, trouble: str) -> None:
    setattr(both.cloud, trouble, True)
    for n in range(60):
        both.want(peer(n), kernel_route(f"10.1.{n}.0/24", via="192.168.1.2", dev="eth0"), route(n))
    await until(lambda: len([o for o in both.host.objects if o[0] == "route" and o[3].startswith("10.1.")]) == 60)
    await until(lambda: "reading cloud of rtb-1" in {x.object for x in both.loops.troubles()})
    assert await both.loops.dry_run() == [], "nothing is known of what cannot be read"
    setattr(both.cloud, trouble, False)
    await until(lambda: len(both.cloud.objects) == 60, 20)
    await until(lambda: not both.loops.troubles())


async def test_a_plan_tells_of_both(both: Both) -> None:
    both.cloud.refused[route(1).key] = "RouteLimitExceeded"
    both.want(A, BRIDGE, route(1))
    assert await both.loops.kernel.settle([A]) == []
    await until(lambda: [x.reason for x in both.loops.troubles()] == ["RouteLimitExceeded"])
    assert await both.loops.dry_run("a") == ["cloud route create rtb-1 10.1.1.0/24 --via node-2"]
    assert await both.loops.dry_run("b") == []


async def test_all_it_may_do_and_everything_converges() -> None:
    """It is slow, takes few calls, asks for pauses, refuses, loses what it had, and has other people's routes."""
    both = Both(Limits(rate=100.0, burst=5, timeout=1.0, turn=0.1, settling=0.05), interval=0.3)
    cloud = both.cloud
    cloud.delay, cloud.page = 0.002, 7
    cloud.throttle = lambda number: 0.02 if number % 11 == 0 else None
    cloud.foreign[route(99).key] = route(99, via="printer")
    cloud.objects[route(77).key] = route(77, via="gone")
    cloud.refused[route(3).key] = "RouteLimitExceeded"
    async with run(both):
        began = time.monotonic()
        for n in (*range(40), 99):
            both.want(peer(n), BRIDGE, route(n))
        await until(lambda: len(cloud.objects) >= 20)
        cloud.objects.clear()
        await until(lambda: any(x.reason == "RouteLimitExceeded" for x in both.loops.troubles()))
        cloud.refused.clear()
        await until(lambda: len(cloud.objects) == 40, 20)
        await until(lambda: len(both.loops.troubles()) == 1)
        [trouble] = both.loops.troubles()
        assert trouble.object == "cloud-route 10.1.99.0/24 in rtb-1" and "not Weft's" in trouble.reason
        assert cloud.foreign == {route(99).key: route(99, via="printer")} and both.loops.repairs > 0
        assert set(cloud.objects.values()) == {route(n) for n in range(40)}
        assert len(cloud.calls) <= 5 + 100 * (time.monotonic() - began)


async def test_what_nothing_here_can_make_is_a_problem(both: Both) -> None:
    class OtherRoute(CloudRoute, frozen=True, kw_only=True, gc=False):
        kind = "other-route"

    both.want(A, BRIDGE, OtherRoute(place="x", destination="10.1.0.0/24", via="y"), problems=("no v6",))
    await both.loops.kernel.settle([A])
    assert both.loops.problems == {A: ("no v6", "nothing on this host can make a other-route")}
    assert BRIDGE.key in both.host.objects


async def test_nothing_far_is_done_before_it_runs() -> None:
    both = Both(Limits())
    both.cloud.objects[route(9).key] = route(9)
    both.want(A, route(1))
    await asyncio.sleep(0)
    assert not both.cloud.calls and both.cloud.objects
    both.loops.close()
