"""A disturbance of a namespace makes what failed there due: it may be what was waited for."""

from __future__ import annotations

from errno import EBUSY

from support.hoststates import Clock, host, keyed
from weft.hoststate import Address, Bridge, Key, Link, Object, Veth, route
from weft.kernel.fake import FakeKernel
from weft.reconcile.protocol import Create, Disturbed, Op
from weft.reconcile.reconciler import Reconciler, key_of
from weft.reconcile.trouble import FIGHT, FIRST_DELAY

C1 = "/run/netns/c1"
NEARBY = route("10.1.3.0/24", via="192.168.1.3", dev="eth0")
PAIR = (
    Link(name="veth1", type=Veth("eth0", C1)),
    Link(name="eth0", type=Veth("veth1", "", False), ns=C1),
    Address(address="10.1.0.2/24", dev="eth0", ns=C1),
)


def failing(kernel: FakeKernel, clock: Clock, *objects: Object, failures: int) -> Reconciler:
    """All of them were refused so many times in a row."""
    reconciler = Reconciler(kernel, keyed(*objects), clock)
    reconciler.complete = True
    kernel.fault = lambda number, op: EBUSY
    reconciler.resync(None)
    for _ in range(failures - 1):
        clock.now = reconciler.next_try() or 0.0
        reconciler.retry()
    kernel.fault = None
    return reconciler


def test_what_failed_while_the_uplink_was_down_comes_back_with_it() -> None:
    kernel, clock = host(), Clock()
    reconciler = Reconciler(kernel, keyed(NEARBY), clock)
    reconciler.complete = True
    watcher = kernel.watch()
    kernel.set_up(("link", "", "eth0"), False)
    reconciler.observe(watcher.drain())
    reconciler.resync(None)
    for _ in range(6):
        clock.now = reconciler.next_try() or 0.0
        reconciler.retry()
    kernel.set_up(("link", "", "eth0"), True)
    clock.now += 1.0
    assert (reconciler.next_try() or 0.0) > clock.now + 10
    drift = reconciler.observe(watcher.drain())
    assert reconciler.resync(drift.namespaces).ops == (Create(NEARBY),)
    assert not reconciler.failures
    watcher.close()


def test_only_where_the_disturbance_was() -> None:
    kernel, clock = host(), Clock()
    reconciler = failing(kernel, clock, NEARBY, *PAIR, failures=5)
    clock.now += 1.0
    reconciler.observe([Disturbed(C1, "a link changed")])
    assert reconciler.due(clock.now) == {C1}


def test_no_sooner_than_after_a_moment_and_then_by_itself() -> None:
    kernel, clock = host(), Clock()
    reconciler = failing(kernel, clock, NEARBY, failures=5)
    tried = clock.now
    clock.now += FIRST_DELAY / 5
    drift = reconciler.observe([Disturbed("", "a link changed")])
    assert not reconciler.resync(drift.namespaces).ops
    assert reconciler.next_try() == tried + FIRST_DELAY
    clock.now = tried + FIRST_DELAY
    assert reconciler.retry().ops == (Create(NEARBY),)


def test_a_stream_of_disturbances_does_not_spin() -> None:
    kernel, clock = host(), Clock()
    reconciler = failing(kernel, clock, NEARBY, failures=1)
    attempts = 0

    def refuse(number: int, op: Op) -> int:
        nonlocal attempts
        attempts += 1
        return EBUSY

    kernel.fault = refuse
    for _ in range(500):
        clock.now += 0.02
        reconciler.resync(reconciler.observe([Disturbed("", "a link flaps")]).namespaces)
    assert 15 <= attempts <= 10 / FIRST_DELAY


def test_what_someone_keeps_changing_back_stays_held() -> None:
    kernel, clock = host(), Clock()
    bridge = Link(name="weft0", type=Bridge())
    reconciler = Reconciler(kernel, keyed(bridge, NEARBY), clock)
    reconciler.complete = True
    reconciler.resync(None)
    watcher = kernel.watch()

    def destroy(key: Key) -> None:
        kernel.destroy(key)
        reconciler.repair(reconciler.observe(watcher.drain()).keys)

    for _ in range(FIGHT):
        clock.now += 0.1
        destroy(bridge.key)
    assert list(reconciler.failures) == [bridge.key]
    due = reconciler.next_try()
    clock.now += FIRST_DELAY / 2
    drift = reconciler.observe([Disturbed("", "rules were changed")])
    assert reconciler.next_try() == due
    assert [key_of(op) for op in reconciler.resync(drift.namespaces).ops] == []
    watcher.close()
