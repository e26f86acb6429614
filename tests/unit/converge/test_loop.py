"""The convergence loop on a kernel in memory: waiters, batches, drift, disturbances, retries, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from errno import EBUSY
from functools import partial

import pytest

from support.agents import FakeHost, until
from weft.base.errors import Unavailable
from weft.cluster.view import View
from weft.compile.compiler import Compiler
from weft.converge.complaints import Complaints
from weft.converge.loop import Loop
from weft.converge.pacing import Pacing
from weft.converge.stepper import Outcome, line
from weft.hoststate import Address, Bridge, Contribution, Link, NftFlowtable, Object, Union, route
from weft.hoststate.union import Source
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Disturbed, Op, Unread
from weft.reconcile.reconciler import key_of
from weft.reconcile.trouble import Troubles

BRIDGE = Link(name="weft-a", type=Bridge())
GATEWAY = Address(address="10.1.1.1/24", dev="weft-a")
FLOWTABLE = NftFlowtable(name="short")
ROUTE = route("10.1.2.0/24", via="192.168.1.2", dev="eth0")
A, B = Source("network", "a"), Source("peer", "a", "node-2")


class Wishes(Compiler):
    """What each source contributes is told by the test."""

    def __init__(self) -> None:
        super().__init__(View("node-1"))
        self.wishes: dict[Source, Contribution] = {}
        self.asked = 0

    def contribution(self, source: Source) -> Contribution | None:
        self.asked += 1
        return self.wishes.get(source)

    def want(self, source: Source, *objects: Object, problems: tuple[str, ...] = ()) -> None:
        self.wishes[source] = Contribution(objects=objects, problems=problems)


@pytest.fixture
def wishes() -> Wishes:
    return Wishes()


class Steps(list[Outcome]):
    pass


@pytest.fixture
def make(host: FakeHost, wishes: Wishes) -> Callable[..., contextlib.AbstractAsyncContextManager[Loop]]:
    @contextlib.asynccontextmanager
    async def running(interval: float = 60.0) -> AsyncIterator[Loop]:
        loop = Loop(host, Union(), lambda source: wishes.contribution(source), Pacing(interval=interval))
        task = asyncio.create_task(loop.run())
        await until(lambda: loop.started or task.done())
        try:
            yield loop
        finally:
            task.cancel()
            await asyncio.wait({task})
            loop.end()
            loop.close()

    return running


@pytest.fixture
async def loop(make: Callable[..., contextlib.AbstractAsyncContextManager[Loop]]) -> AsyncIterator[Loop]:
    async with make() as running:
        yield running


@pytest.fixture
def steps(loop: Loop) -> Steps:
    found = Steps()
    loop.listeners.append(found.append)
    return found


def refuse(host: FakeHost, *keys: tuple[str, ...]) -> None:
    def fault(_: int, op: Op) -> int:
        return EBUSY if key_of(op) in keys else 0

    host.fault = fault


async def test_settle_returns_when_it_stands(loop: Loop, wishes: Wishes, host: FakeHost) -> None:
    wishes.want(A, BRIDGE, GATEWAY)
    assert await loop.settle([A]) == []
    assert GATEWAY.key in host.objects
    assert loop.desired(GATEWAY.key) == GATEWAY
    assert {kind: (c.desired, c.actual, c.failed) for kind, c in loop.counts().items()} == {
        "link": (1, 1, 0),
        "address": (1, 1, 0),
    }


async def test_each_waiter_gets_the_failures_of_its_own_sources(loop: Loop, wishes: Wishes, host: FakeHost) -> None:
    wishes.want(A, BRIDGE, GATEWAY)
    wishes.want(B, ROUTE)
    refuse(host, GATEWAY.key)
    of_a, of_b, of_both = await asyncio.gather(loop.settle([A]), loop.settle([B]), loop.settle([B, A]))
    assert of_b == []
    assert of_a == of_both == ["address 10.1.1.1/24 on weft-a: Device or resource busy"]
    assert [t.object for t in loop.troubles()] == ["address 10.1.1.1/24 on weft-a"]


def test_an_object_is_named_once() -> None:
    assert line(GATEWAY.key, "address 10.1.1.1/24 on weft-a: no") == "address 10.1.1.1/24 on weft-a: no"
    assert line(GATEWAY.key, "waits for link weft-a") == "address 10.1.1.1/24 on weft-a: waits for link weft-a"


async def test_a_hundred_waiters_cost_a_few_steps(loop: Loop, wishes: Wishes, host: FakeHost, steps: Steps) -> None:
    sources = [Source("peer", "a", f"node-{n}") for n in range(100)]
    for n, source in enumerate(sources):
        wishes.want(source, route(f"10.1.{n}.0/24", via="192.168.1.2", dev="eth0"))

    async def later(n: int, source: Source) -> list[str]:
        for _ in range(n % 7):
            await asyncio.sleep(0)
        return await loop.settle([source])

    assert await asyncio.gather(*(later(n, s) for n, s in enumerate(sources))) == [[]] * 100
    assert len([o for o in host.objects if o[0] == "route" and o[3].startswith("10.1.")]) == 100
    assert len(steps) <= 10
    assert wishes.asked <= 110


async def test_a_problem_is_told_until_its_source_has_none(loop: Loop, wishes: Wishes) -> None:
    wishes.want(B, problems=("node-2 is on another segment",))
    await loop.settle([B])
    assert loop.problems == {B: ("node-2 is on another segment",)}
    del wishes.wishes[B]
    await loop.settle([B])
    assert loop.problems == {}


async def test_two_sources_that_want_a_thing_otherwise(loop: Loop, wishes: Wishes) -> None:
    wishes.want(A, ROUTE)
    wishes.want(B, route("10.1.2.0/24", via="192.168.1.3", dev="eth0"))
    await loop.settle([A, B])
    assert loop.conflicts == ["route 10.1.2.0/24: peer a node-2 wants it otherwise than network a"]


async def test_what_is_deleted_by_hand_comes_back(loop: Loop, wishes: Wishes, host: FakeHost) -> None:
    wishes.want(A, BRIDGE, GATEWAY)
    wishes.want(B, ROUTE)
    await loop.settle([A, B])
    for victim in (ROUTE, GATEWAY, BRIDGE):
        repairs = loop.repairs
        await loop.in_thread(partial(host.destroy, victim.key))
        await until(lambda: loop.repairs > repairs)  # noqa: B023
        await until(lambda: {BRIDGE.key, GATEWAY.key, ROUTE.key} <= set(host.objects), seconds=1)
    assert loop.last_repair


async def test_what_nobody_waits_for_is_a_repair_as_well(loop: Loop, wishes: Wishes, host: FakeHost) -> None:
    """It is made later than all else, the first time and each time that it is lost."""
    wishes.want(A, FLOWTABLE)
    await loop.settle([A])
    await until(lambda: FLOWTABLE.key in host.objects)
    assert loop.repairs == 0
    for number in (1, 2):
        await loop.in_thread(partial(host.destroy, FLOWTABLE.key))
        await until(lambda: loop.repairs == number)  # noqa: B023
        await until(lambda: FLOWTABLE.key in host.objects)
    assert loop.last_repair == describe(FLOWTABLE.key)


async def test_disturbances_are_read_together(
    loop: Loop, wishes: Wishes, host: FakeHost, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes.want(A, BRIDGE)
    await loop.settle([A])
    monkeypatch.setattr("weft.converge.loop.SOONEST", 0.1)
    before = host.reads
    for _ in range(50):
        await loop.in_thread(lambda: host._tell(Disturbed("", "link flaps")))
        await asyncio.sleep(0.004)
    await until(lambda: host.reads > before and not loop._disturbed and loop._read_again is None)
    assert host.reads - before <= 5


async def test_reading_takes_a_tenth_of_the_time_at_most(loop: Loop, host: FakeHost) -> None:
    loop._reading = 0.03
    reads, began = host.reads, time.monotonic()
    await loop.in_thread(lambda: host._tell(Disturbed("", "rules were changed")))
    await until(lambda: host.reads > reads)
    assert time.monotonic() - began >= 0.27


async def test_what_failed_is_tried_again_and_succeeds(loop: Loop, wishes: Wishes, host: FakeHost) -> None:
    wishes.want(B, ROUTE)
    refuse(host, ROUTE.key)
    assert await loop.settle([B])
    (trouble,) = loop.troubles()
    assert trouble.attempts == 1 and trouble.next_try > trouble.since
    host.fault = None
    await until(lambda: ROUTE.key in host.objects, seconds=5)
    await until(lambda: not loop.troubles())


async def test_delays_grow_while_it_fails(loop: Loop, wishes: Wishes, host: FakeHost) -> None:
    wishes.want(B, ROUTE)
    refuse(host, ROUTE.key)
    await loop.settle([B])
    await until(lambda: any(t.attempts == 2 for t in loop.troubles()))
    (trouble,) = loop.troubles()
    assert trouble.next_try - trouble.since == pytest.approx(1.5, abs=0.3)


async def test_in_intervals_all_is_compared(
    make: Callable[..., contextlib.AbstractAsyncContextManager[Loop]], host: FakeHost, wishes: Wishes
) -> None:
    async with make(0.05) as loop:
        wishes.want(B, ROUTE)
        await loop.settle([B])
        await loop.in_thread(lambda: host.objects.pop(ROUTE.key))  # no event tells of it
        await until(lambda: ROUTE.key in host.objects, seconds=2)
        assert loop.last_resync > 0


async def test_a_dry_run_tells_and_does_nothing(loop: Loop, wishes: Wishes, host: FakeHost) -> None:
    wishes.want(A, BRIDGE)
    wishes.want(Source("peer", "b", "node-2"), ROUTE)
    refuse(host, BRIDGE.key, ROUTE.key)
    await loop.settle([A, Source("peer", "b", "node-2")])
    whole = await loop.dry_run()
    assert any("weft-a" in line for line in whole) and any("10.1.2.0/24" in line for line in whole)
    assert [line for line in await loop.dry_run("b") if "weft-a" in line] == []
    assert ROUTE.key not in host.objects and len(loop.troubles()) == 2


async def test_nothing_is_done_before_it_runs(host: FakeHost, wishes: Wishes) -> None:
    host.plant(BRIDGE)  # of an earlier agent, and nobody has said yet that it is still wanted
    loop = Loop(host, Union(), wishes.contribution, Pacing(interval=60))
    wishes.want(B, ROUTE)
    loop.touch([B])
    await asyncio.sleep(0.02)
    assert BRIDGE.key in host.objects and ROUTE.key not in host.objects and not loop.started
    loop.close()


async def test_a_step_that_breaks_hangs_nobody_and_the_loop_can_begin_again(
    host: FakeHost, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(host, Union(), wishes.contribution, Pacing(interval=60))
    task = asyncio.create_task(loop.run())
    await until(lambda: loop.started)
    wishes.want(B, ROUTE)
    with monkeypatch.context() as broken:
        broken.setattr(host, "apply", lambda ops: 1 // 0)
        said = "this host cannot be changed now: integer division or modulo by zero"
        assert await asyncio.wait_for(loop.settle([B]), 5) == [said]
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(task, 5)
    task = asyncio.create_task(loop.run())
    await until(lambda: ROUTE.key in host.objects)  # nothing that was asked for is forgotten
    task.cancel()
    await asyncio.wait({task})
    loop.end()
    loop.close()


async def test_a_source_that_cannot_be_computed_keeps_what_it_has(
    loop: Loop, host: FakeHost, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes.want(A, BRIDGE)
    wishes.want(B, ROUTE)
    assert await loop.settle([A, B]) == []
    with monkeypatch.context() as broken:
        broken.setattr(wishes, "contribution", lambda source: 1 // 0 if source == B else None)
        [line] = await asyncio.wait_for(loop.settle([A, B]), 5)
        assert line == "its driver failed, what it has stays as it is: integer division or modulo by zero"
        assert loop.problems == {B: (line,)} and ROUTE.key in host.objects and BRIDGE.key not in host.objects
    assert await loop.settle([B]) == [] and not loop.problems


async def test_a_read_that_fails_is_told_and_tried_again(
    make: Callable[..., contextlib.AbstractAsyncContextManager[Loop]], host: FakeHost, wishes: Wishes
) -> None:
    async with make(interval=0.2) as loop:
        wishes.want(A, BRIDGE)
        host.unreadable = [Unread("", "nftables", frozenset({"nft-set"}), "nft has not finished in 30 s")]
        await until(lambda: [x.object for x in loop.troubles()] == ["reading nftables of this host"])
        assert await loop.settle([A]) == [] and BRIDGE.key in host.objects
        host.unreadable = []
        await until(lambda: not loop.troubles())


async def test_the_log_tells_once_what_fails_and_that_it_is_over(
    make: Callable[..., contextlib.AbstractAsyncContextManager[Loop]], host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "weft.converge.complaints")
    async with make() as loop:
        host.unreadable = [Unread("", "nftables", frozenset({"nft-set"}), "nft is not installed: install nftables")]
        loop.resync()
        await until(lambda: any(x.attempts > 3 for x in loop.troubles()))
        assert caplog.messages == [
            "failing, and tried again: reading nftables of this host: nft is not installed: install nftables"
        ]
        host.unreadable = []
        await until(lambda: not loop.troubles())
        await until(lambda: caplog.messages[1:] == ["not failing any more: reading nftables of this host"])


async def test_what_fails_once_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "weft.converge.complaints")
    clock = [0.0]
    troubles, complaints = Troubles(lambda: clock[0]), Complaints()
    for key in (BRIDGE.key, ROUTE.key):
        troubles.add(key, "Device or resource busy", tried=True)
    complaints.look({describe(key): x for key, x in troubles.by_key.items()})
    troubles.clear(BRIDGE.key)
    complaints.look({describe(key): x for key, x in troubles.by_key.items()})
    assert not caplog.messages
    clock[0] = 30.0
    troubles.add(ROUTE.key, "nft has not finished in 30 s", tried=True)
    complaints.look({describe(key): x for key, x in troubles.by_key.items()})
    assert caplog.messages == ["failing, and tried again: route 10.1.2.0/24: nft has not finished in 30 s"]


async def test_whoever_waits_at_the_end_is_told(host: FakeHost, wishes: Wishes) -> None:
    loop = Loop(host, Union(), wishes.contribution, Pacing(interval=60))
    waiting = asyncio.create_task(loop.settle([A]))
    await asyncio.sleep(0)
    loop.end()
    with pytest.raises(Unavailable, match="the agent is stopping"):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(Unavailable, match="the agent is stopping"):
        await asyncio.wait_for(loop.settle([A]), 5)
    loop.close()


async def test_a_waiter_that_gave_up_does_no_harm(loop: Loop, wishes: Wishes, host: FakeHost) -> None:
    wishes.want(B, ROUTE)
    impatient = asyncio.create_task(loop.settle([B]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await loop.settle([B]) == []
    assert ROUTE.key in host.objects
