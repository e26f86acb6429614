"""A far target under the reconciler: everything it may do to us, and what comes of it. Time passes only where it is waited."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.clouds import CloudRoute, CloudTag, FakeClock, FakeCloud, NeedyRoute, busiest, route
from support.waiting import until
from weft.hoststate import Key, Object
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.render import commands
from weft.targets.calls import Limits
from weft.targets.remote import Remote

LIMITS = Limits(rate=5.0, burst=5, timeout=0.05, turn=60.0)


class Scene:
    """A reconciler over a cloud, with a clock that the test moves."""

    def __init__(self, limits: Limits = LIMITS, *places: str) -> None:
        self.clock = FakeClock()
        self.cloud = FakeCloud(*places, clock=self.clock)
        self.remote = Remote(self.cloud, limits, self.clock, self.clock.sleep)
        self.desired: dict[Key, Object] = {}
        self.reconciler = Reconciler(self.remote, self.desired, self.clock, self.cloud.places)
        self.reconciler.complete = True

    def want(self, *objects: Object) -> set[Key]:
        """These instead of what was wanted; the keys that changed."""
        before = dict(self.desired)
        self.desired.clear()
        self.desired.update((obj.key, obj) for obj in objects)
        return {key for key in before.keys() | self.desired.keys() if before.get(key) != self.desired.get(key)}

    def converge(self, seconds: float = 3600) -> None:
        """What is due is tried until nothing fails."""
        end = self.clock.now + seconds
        while (due := self.reconciler.next_try()) is not None:
            assert due < end, self.reasons()
            self.clock.now = max(self.clock.now, due)
            self.reconciler.retry()

    def reasons(self) -> list[str]:
        return sorted({t.reason for t in self.reconciler.failures.values()})


@pytest.fixture
def scene() -> Iterator[Scene]:
    found = Scene()
    yield found
    found.remote.close()


def test_what_is_wanted_is_made_changed_and_removed(scene: Scene) -> None:
    routes = [route(n) for n in range(3)]
    scene.reconciler.update(scene.want(*routes))
    scene.converge()
    assert list(scene.cloud.objects.values()) == routes
    scene.reconciler.update(scene.want(route(0, via="node-3"), route(7)))
    scene.converge()
    assert set(scene.cloud.objects.values()) == {route(0, via="node-3"), route(7)}
    assert [line.split()[0] for line in scene.cloud.order[3:]] == ["change", "create", "remove", "remove"]
    assert scene.reconciler.resync().ops == ()


def test_what_others_made_is_never_written_to(scene: Scene) -> None:
    """Not even in a place of which nothing was known."""
    scene.cloud.foreign[route(1).key] = route(1, via="printer")
    scene.reconciler.update(scene.want(route(1), route(2)))
    scene.reconciler.retry()
    assert list(scene.cloud.objects) == [route(2).key] and scene.cloud.made("create") == 1
    assert scene.reasons() == ["cloud-route 10.1.1.0/24 in rtb-1 exists and is not Weft's: remove it"]
    scene.reconciler.update(scene.want(route(1, via="node-4"), route(2)))
    assert scene.cloud.made("create") == 1 and scene.cloud.made("change") == 0
    scene.cloud.foreign.clear()
    scene.converge()
    assert scene.cloud.objects[route(1).key] == route(1, via="node-4")


def test_nothing_is_removed_before_the_model_is_complete() -> None:
    scene = Scene(LIMITS, "rtb-1")
    scene.cloud.objects[route(9).key] = route(9)
    scene.reconciler.complete = False
    scene.want(route(1))
    scene.reconciler.resync()
    assert set(scene.cloud.objects) == {route(1).key, route(9).key}
    scene.reconciler.complete = True
    scene.reconciler.resync()
    assert set(scene.cloud.objects) == {route(1).key}, "what an earlier agent left in a place that is always read"
    scene.remote.close()


def test_its_rate_is_kept_over_readings_and_writings(scene: Scene) -> None:
    scene.cloud.page = 10
    scene.want(*(route(n) for n in range(100)))
    scene.reconciler.resync()
    scene.converge()
    scene.reconciler.resync()
    times = [at for at, _ in scene.cloud.calls]
    assert len(scene.cloud.objects) == 100 and len(times) >= 110
    for seconds in (1, 10):
        assert busiest(times, seconds) <= LIMITS.burst + LIMITS.rate * seconds


def test_it_may_ask_for_a_pause(scene: Scene) -> None:
    scene.cloud.throttle = lambda number: 7.0 if number % 10 == 5 else None
    scene.want(*(route(n) for n in range(30)))
    scene.reconciler.resync()
    assert len(scene.cloud.objects) == 30 and not scene.reconciler.failures
    for number, (at, _) in enumerate(scene.cloud.calls[:-1], start=1):
        if number % 10 == 5:
            assert scene.cloud.calls[number][0] - at >= 7.0, "Retry-After"


def test_a_pause_that_is_longer_than_a_turn_is_not_sat_out(scene: Scene) -> None:
    scene.cloud.throttle = lambda number: 300.0 if number == 3 else None
    scene.want(*(route(n) for n in range(5)))
    began = scene.clock.now
    scene.reconciler.resync()
    assert scene.clock.now < began + LIMITS.turn and len(scene.cloud.calls) == 3
    assert scene.reasons() == ["cloud wants no calls for 300 s"]
    scene.converge()
    assert len(scene.cloud.objects) == 5 and scene.cloud.calls[3][0] >= scene.cloud.calls[2][0] + 300


@pytest.mark.parametrize("trouble", ["hangs", "away"])
def test_one_that_is_dead_costs_one_call_in_a_turn(scene: Scene, trouble: str) -> None:
    scene.want(*(route(n) for n in range(20)), *(route(n, place="rtb-2") for n in range(20)))
    scene.reconciler.resync()
    setattr(scene.cloud, trouble, True)
    calls, began = len(scene.cloud.calls), time.monotonic()
    scene.reconciler.update(scene.want(*(route(n, via="node-9") for n in range(20))))
    assert len(scene.cloud.calls) == calls + 1 and time.monotonic() - began < 5
    assert len(scene.reconciler.failures) == 40, "of which 20 were to be removed"
    scene.reconciler.resync()
    assert len(scene.cloud.calls) == calls + 2
    said = {"hangs": "cloud has not answered in 0.05 s", "away": "cloud cannot be reached: Connection refused"}[trouble]
    assert {ns for _, ns in scene.reconciler.unread} == {"rtb-1", "rtb-2"}
    assert all(t.reason.startswith(said) for t in scene.reconciler.unread.values())
    assert len(scene.cloud.objects) == 40, "what cannot be read stays"
    setattr(scene.cloud, trouble, False)
    scene.converge()
    assert set(scene.cloud.objects.values()) == {route(n, via="node-9") for n in range(20)}


def test_what_it_refuses_costs_that_one(scene: Scene) -> None:
    scene.cloud.refused[route(1).key] = "RouteLimitExceeded"
    scene.reconciler.update(scene.want(*(route(n) for n in range(3))))
    scene.reconciler.retry()
    assert set(scene.cloud.objects) == {route(0).key, route(2).key}
    assert scene.reasons() == ["RouteLimitExceeded"]
    scene.cloud.refused.clear()
    scene.converge()
    assert len(scene.cloud.objects) == 3


def test_a_defect_of_the_target_costs_what_it_concerns(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.want(route(1))
    with monkeypatch.context() as broken:
        broken.setattr(scene.cloud, "read", lambda place, more: 1 // 0)
        scene.reconciler.resync()
        [told] = scene.reconciler.unread.values()
        assert told.reason.startswith("ZeroDivisionError")
    scene.converge()
    assert scene.cloud.objects


def test_what_it_loses_is_put_back(scene: Scene) -> None:
    scene.want(route(1), route(2))
    scene.reconciler.resync()
    del scene.cloud.objects[route(1).key]
    scene.cloud.objects[route(2).key] = route(2, via="elsewhere")
    scene.reconciler.resync()
    assert set(scene.cloud.objects.values()) == {route(1), route(2)}


def test_what_does_not_show_yet_is_not_made_twice() -> None:
    """A route just made may be missing from the next readings."""
    scene = Scene(Limits(rate=5.0, burst=5, settling=30.0))
    scene.cloud.lag = 2
    scene.want(route(1), route(2))
    for _ in range(3):
        assert not scene.reconciler.resync().failures
    assert scene.cloud.made("create") == 2
    scene.reconciler.update(scene.want(route(1)))
    for _ in range(3):
        assert not scene.reconciler.resync().failures
    assert scene.cloud.made("remove") == 1
    scene.clock.now += 31
    scene.cloud.lag = 0
    scene.cloud.objects.clear()
    scene.reconciler.resync()
    assert scene.cloud.objects, "after that time its word counts"
    scene.remote.close()


def test_a_turn_ends_and_the_rest_has_the_next_one() -> None:
    scene = Scene(Limits(rate=5.0, burst=1, turn=2.0))
    scene.want(*(route(n) for n in range(50)))
    scene.reconciler.resync()
    assert 0 < len(scene.cloud.objects) <= 12 and not scene.reconciler.failures, "which is no trouble"
    assert len(scene.reconciler.later) == 50 - len(scene.cloud.objects)
    scene.desired.update((obj.key, obj) for obj in [route(n, via="node-3") for n in range(40, 50)])
    scene.converge()
    assert len(scene.cloud.objects) == 50 and scene.cloud.made("change") == 0, "what is not wanted any more is not made"
    scene.remote.close()


def test_what_needs_another_comes_after_it_and_waits_for_it(scene: Scene) -> None:
    tag, needy = CloudTag(place="rtb-1"), NeedyRoute(place="rtb-1", destination="10.1.0.0/24", via="node-2")
    scene.cloud.refused[tag.key] = "no tags left"
    scene.want(needy, tag)
    scene.reconciler.resync()
    assert not scene.cloud.objects and scene.reasons() == ["no tags left", "waits for cloud-tag weft in rtb-1"]
    scene.cloud.refused.clear()
    scene.converge()
    scene.reconciler.update(scene.want())
    assert scene.cloud.order == [f"{word} {' '.join(obj.key)}" for word, obj in
                                 [("create", tag), ("create", needy), ("remove", needy), ("remove", tag)]]  # fmt: skip


def _want(scene: Scene, numbers: set[int], via: str) -> None:
    scene.reconciler.update(scene.want(*(route(n, via) for n in numbers)))


def _lose(scene: Scene, number: int) -> None:
    scene.cloud.objects.pop(route(number).key, None)


def _spoil(scene: Scene, number: int) -> None:
    if route(number).key in scene.cloud.objects:
        scene.cloud.objects[route(number).key] = route(number, via="elsewhere")


def _take(scene: Scene, number: int) -> None:
    """Somebody else makes one of his own, where there is none."""
    if route(number).key not in scene.cloud.objects:
        scene.cloud.foreign[route(number).key] = route(number, via="printer")
        scene.reconciler.resync({"rtb-1"})


def _trouble(scene: Scene, kind: str) -> None:
    number = len(scene.cloud.calls)
    scene.cloud.away = kind == "away"
    scene.cloud.refused = {route(3).key: "no"} if kind == "refuses" else {}
    scene.cloud.throttle = (lambda n: 90.0 if n == number + 2 else None) if kind == "busy" else lambda _: None
    scene.reconciler.resync()


NUMBERS = st.integers(0, 7)
EVENTS = st.one_of(
    st.builds(lambda ns, via: (_want, ns, via), st.sets(NUMBERS), st.sampled_from(["node-2", "node-3"])),
    st.builds(lambda act, n: (act, n), st.sampled_from([_lose, _spoil, _take]), NUMBERS),
    st.builds(lambda kind: (_trouble, kind), st.sampled_from(["away", "refuses", "busy", "none"])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=12))
def test_whatever_happens_it_converges_at_the_end(events: list[tuple[Any, ...]]) -> None:
    scene = Scene(Limits(rate=5.0, burst=3, turn=3.0), "rtb-1")
    try:
        for act, *arguments in events:
            act(scene, *arguments)
            scene.clock.now += 1
        _trouble(scene, "none")
        for _ in range(20):
            scene.clock.now += 120
            scene.reconciler.resync()
        wanted = {key: obj for key, obj in scene.desired.items() if key not in scene.cloud.foreign}
        assert scene.cloud.objects == wanted
        assert set(scene.reconciler.failures) == scene.desired.keys() & scene.cloud.foreign.keys()
        assert busiest([at for at, _ in scene.cloud.calls], 10) <= 3 + 5 * 10
        assert all(isinstance(obj, CloudRoute) and obj.via == "printer" for obj in scene.cloud.foreign.values())
    finally:
        scene.remote.close()


def test_a_forecast_asks_nobody(scene: Scene) -> None:
    scene.want(route(1), route(2))
    scene.reconciler.resync()
    scene.want(route(1, via="node-3"), route(3))
    scene.cloud.hangs, calls = True, len(scene.cloud.calls)
    told = [line for op in scene.reconciler.forecast().ops for line in commands(op)]
    assert told == [
        "cloud route replace rtb-1 10.1.1.0/24 --via node-3",
        "cloud route create rtb-1 10.1.3.0/24 --via node-2",
        "cloud route delete rtb-1 10.1.2.0/24",
    ]
    assert len(scene.cloud.calls) == calls
    scene.reconciler.resync()
    assert scene.reconciler.forecast().ops == (), "nothing is known of what cannot be read"


def test_its_end_gives_up_a_call_that_hangs() -> None:
    scene = Scene(Limits(timeout=600))
    scene.cloud.hangs = True
    scene.want(route(1))
    worker = threading.Thread(target=scene.reconciler.resync)
    worker.start()
    until(lambda: scene.cloud.calls, 5, "the call")
    scene.remote.close()
    worker.join(5)
    assert not worker.is_alive()
    assert [t.reason for t in scene.reconciler.unread.values()] == ["the agent is stopping"]
