"""Whatever there is and whatever happens, the kernel ends up as desired, and what is not ours as it was."""

from __future__ import annotations

from errno import EBUSY, ENOBUFS
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from support.hoststates import Clock, differences, host, hoststates
from weft.hoststate import Contribution, Key, Object, Union
from weft.kernel.fake import FakeKernel, Killed
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Op, Remove
from weft.reconcile.reconciler import Reconciler, key_of

State = dict[Key, Object]


def start(kernel: FakeKernel, desired: State, clock: Clock | None = None) -> Reconciler:
    reconciler = Reconciler(kernel, desired, clock or Clock())
    reconciler.complete = True
    return reconciler


def settle(reconciler: Reconciler, clock: Clock) -> None:
    for _ in range(20):
        if (when := reconciler.next_try()) is None:
            return
        clock.now = max(when, clock.now)
        reconciler.retry()
    raise AssertionError(f"still in trouble: {dict(reconciler.failures)}")


@given(hoststates(), hoststates())
def test_converges_from_anywhere_and_then_writes_nothing(actual: State, desired: State) -> None:
    kernel = host(*actual.values())
    others = kernel.others()
    reconciler = start(kernel, desired)
    report = reconciler.resync(None)
    assert not report.failures
    assert not differences(kernel, desired)
    assert kernel.others() | {k: o for k, o in others.items() if k[0] == "sysctl"} == others
    written = len(kernel.log)
    assert not reconciler.resync(None).ops
    assert len(kernel.log) == written
    assert all(reconciler.known[key] is obj for key, obj in desired.items())


@given(hoststates(), hoststates())
def test_add_before_delete(actual: State, desired: State) -> None:
    """Only what cannot be turned into what is wanted is removed before things are made."""
    kernel = host(*actual.values())
    everywhere = kernel.namespaces
    ops = plan(desired, kernel.read(desired, everywhere), everywhere).ops
    made = [place for place, op in enumerate(ops) if not isinstance(op, Remove)]
    for place, op in enumerate(ops):
        if isinstance(op, Remove) and made and place < made[0]:
            assert key_of(op)[0] in ("netns", "link", "nft-set")
        elif isinstance(op, Remove):
            assert not made or place > made[-1]


@given(hoststates())
def test_apply_then_remove_restores_the_start(desired: State) -> None:
    kernel = host()
    before = dict(kernel.objects)
    state = dict(desired)
    reconciler = start(kernel, state)
    reconciler.resync(None)
    state.clear()
    assert not reconciler.resync(None).failures
    assert {k: o for k, o in kernel.objects.items() if not (k[0] == "sysctl" and k not in before)} == before


@given(hoststates(), hoststates(), hoststates(), st.integers(0, 2**32))
def test_order_splitting_and_duplication_do_not_matter(one: State, two: State, final: State, seed: int) -> None:
    """Each source passes through other contributions before its last one; updates come in any order and any batches."""
    random = Random(seed)
    sources = [("source", str(n)) for n in range(4)]
    share = {key: random.sample(sources, random.choice((1, 2))) for key in final}
    last = [(source, Contribution(tuple(o for k, o in final.items() if source in share[k]))) for source in sources]
    early = [(source, Contribution(tuple(state.values()))) for state in (one, two) for source in sources[:2]]
    events = random.sample(early, 4) + random.sample(last * 2, 8)
    kernel, clock, union = host(), Clock(), Union()
    reconciler = start(kernel, union.desired, clock)
    pending: set[Key] = set()
    for source, contribution in events:
        pending |= union.set(source, contribution)
        if random.random() < 0.5:
            reconciler.update(pending)
            pending = set()
    reconciler.update(pending)
    settle(reconciler, clock)
    assert union.desired == final
    assert not differences(kernel, final)


@given(hoststates(), hoststates(), st.integers(0, 30))
def test_killed_anywhere_the_next_one_converges(actual: State, desired: State, number: int) -> None:
    kernel = host(*actual.values())
    kernel.kill_at = number
    try:
        start(kernel, desired).resync(None)
    except Killed:
        kernel.kill_at = None
    successor = start(kernel, desired)
    assert not successor.resync(None).failures
    assert not differences(kernel, desired)


@given(hoststates(), hoststates(), st.sets(st.integers(0, 40)))
def test_after_faults_retries_converge(actual: State, desired: State, faulty: set[int]) -> None:
    def fault(number: int, op: Op) -> int:
        return ENOBUFS if number in faulty else 0

    kernel, clock = host(*actual.values()), Clock()
    kernel.fault = fault
    reconciler = start(kernel, desired, clock)
    reconciler.resync(None)
    kernel.fault = None
    settle(reconciler, clock)
    assert not differences(kernel, desired)
    assert not reconciler.failures


@given(hoststates(), st.data())
def test_what_is_destroyed_comes_back_by_its_events(desired: State, data: st.DataObject) -> None:
    kernel, clock = host(), Clock()
    reconciler = start(kernel, desired, clock)
    reconciler.resync(None)
    watcher = kernel.watch()
    for key in data.draw(st.lists(st.sampled_from(sorted(desired)), max_size=4, unique=True)):
        if key[0] != "sysctl" and key in kernel.objects:
            kernel.destroy(key)
    for _ in range(5):
        events = watcher.drain()
        drift = reconciler.observe(events)
        reconciler.repair(drift.keys)
        if drift.namespaces:
            reconciler.resync(drift.namespaces)
    assert not watcher.drain()
    watcher.close()
    settle(reconciler, clock)
    assert not differences(kernel, desired)


@given(hoststates(), hoststates())
def test_permanent_refusals_do_not_spin(actual: State, desired: State) -> None:
    """A hundred disturbances within a second cost no more attempts than the delays allow."""
    kernel, clock = host(*actual.values()), Clock()
    attempts = 0

    def fault(number: int, op: Op) -> int:
        nonlocal attempts
        attempts += 1
        return EBUSY

    kernel.fault = fault
    reconciler = start(kernel, desired, clock)
    reconciler.resync(None)
    for _ in range(100):
        clock.now += 0.01
        reconciler.resync(None)
    assert attempts <= 6 * len(actual | desired)
