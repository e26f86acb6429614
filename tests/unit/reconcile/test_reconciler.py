"""Failures, retries, drift and fights, on a kernel in memory."""

from __future__ import annotations

from collections.abc import Iterator
from errno import EBUSY
from select import select
from typing import Any

import msgspec
import pytest

from support.hoststates import Clock, host, keyed
from weft.hoststate import (
    Address,
    Bridge,
    Key,
    Link,
    Neighbour,
    NftChain,
    NftElement,
    NftSet,
    Object,
    Veth,
    Vxlan,
    route,
)
from weft.hoststate.firewall import FILTER, Hook
from weft.kernel.fake import FakeKernel
from weft.reconcile.protocol import Change, Create, Disturbed, Gone, Op, Remove, Seen, Unread, UplinkChanged
from weft.reconcile.reconciler import Reconciler, key_of

C1 = "/run/netns/c1"
BRIDGE = Link(name="weft0", type=Bridge())
GATEWAY = Address(address="10.1.0.1/24", dev="weft0")
VXLAN = Link(name="weft.1", type=Vxlan(1, 8472, "192.168.1.68", "eth0"))
NEIGHBOUR = Neighbour(address="10.1.2.0", lladdr="02:00:00:00:00:02", dev="weft.1")
REMOTE = route("10.1.2.0/24", via="10.1.2.0", dev="weft.1", onlink=True)
NEARBY = route("10.1.3.0/24", via="192.168.1.3", dev="eth0")
PAIR = (
    Link(name="veth1", type=Veth("eth0", C1), master="weft0"),
    Link(name="eth0", type=Veth("veth1", "", False), ns=C1),
    Address(address="10.1.0.2/24", dev="eth0", ns=C1),
)


@pytest.fixture
def kernel() -> FakeKernel:
    return host()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def converged(kernel: FakeKernel, clock: Clock, *objects: Object) -> tuple[Reconciler, dict[Key, Object]]:
    desired = keyed(*objects)
    reconciler = Reconciler(kernel, desired, clock)
    reconciler.complete = True
    assert not reconciler.resync(None).failures
    kernel.log.clear()
    return reconciler, desired


def refuse(*keys: Key) -> object:
    return lambda number, op: EBUSY if key_of(op) in keys else 0


class Lookup(dict[Key, Object]):
    """Looked up key by key, never gone through: so what is done does not depend on how much is in it."""

    def __iter__(self) -> Iterator[Key]:
        raise AssertionError("gone through")

    def keys(self) -> Any:
        return iter(self)

    items = values = copy = keys


def test_one_element_costs_the_same_however_many_there_are(kernel: FakeKernel, clock: Clock) -> None:
    chosen, element = NftSet(name="s", type="ipv4_addr"), NftElement(set="s", value="10.0.0.1")
    reconciler, _ = converged(kernel, clock, chosen)
    desired = Lookup({chosen.key: chosen, element.key: element})
    reconciler.desired, reconciler.known = desired, Lookup(reconciler.known)
    assert reconciler.update([element.key]).ops == (Create(element),)
    del desired[element.key]
    assert reconciler.update([element.key]).ops == (Remove(element),)


def test_nothing_is_removed_before_the_model_is_complete(kernel: FakeKernel, clock: Clock) -> None:
    kernel.plant(VXLAN, REMOTE)
    reconciler = Reconciler(kernel, keyed(BRIDGE), clock)
    assert reconciler.resync(None).ops == (Create(BRIDGE),)
    assert not reconciler.update([VXLAN.key]).ops
    reconciler.complete = True
    (op,) = reconciler.resync(None).ops
    assert isinstance(op, Remove) and key_of(op) == VXLAN.key


def test_a_restart_adopts_what_it_finds_and_writes_nothing(kernel: FakeKernel, clock: Clock) -> None:
    converged(kernel, clock, BRIDGE, GATEWAY, *PAIR)
    successor = Reconciler(kernel, keyed(BRIDGE, GATEWAY, *PAIR), clock)
    successor.complete = True
    assert successor.resync(None).ops == ()
    assert kernel.log == []


def test_a_dry_run_applies_nothing(kernel: FakeKernel, clock: Clock) -> None:
    reconciler = Reconciler(kernel, keyed(BRIDGE, GATEWAY), clock)
    assert reconciler.dry_run(None).ops == (Create(BRIDGE), Create(GATEWAY))
    assert kernel.log == [] and not reconciler.known
    kernel.plant(NEARBY)
    assert len(reconciler.dry_run(None).ops) == 2
    reconciler.complete = True
    assert reconciler.dry_run(None).ops[2:] == (Remove(NEARBY),)


def test_update_carries_over_single_changes_without_reading(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, desired = converged(kernel, clock, BRIDGE)
    kernel.read = None  # type: ignore[method-assign, assignment]  # any use of it fails
    desired[GATEWAY.key] = GATEWAY
    assert reconciler.update([GATEWAY.key]).ops == (Create(GATEWAY),)
    del desired[GATEWAY.key]
    assert reconciler.update([GATEWAY.key]).ops == (Remove(GATEWAY),)
    assert not reconciler.update([GATEWAY.key]).ops


def test_a_failure_is_tried_again_with_growing_delays(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, desired = converged(kernel, clock, BRIDGE)
    kernel.fault = refuse(GATEWAY.key)  # type: ignore[assignment]
    desired[GATEWAY.key] = GATEWAY
    assert reconciler.update([GATEWAY.key]).failures[0].errno == EBUSY
    delays = []
    for _ in range(10):
        assert not reconciler.due(clock.now) and not reconciler.retry().ops
        when = reconciler.next_try()
        assert when is not None
        delays.append(when - clock.now)
        clock.now = when
        assert reconciler.due(clock.now) == {""}
        assert [failure.key for failure in reconciler.retry().failures] == [GATEWAY.key]
    assert delays == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    trouble = reconciler.failures[GATEWAY.key]
    assert (trouble.attempts, trouble.since, trouble.reason) == (11, 1000.0, "Device or resource busy")
    assert reconciler.counts()["address"] == type(reconciler.counts()["address"])(desired=1, actual=0, failed=1)
    kernel.fault = None
    clock.now += 60
    assert reconciler.retry().ops == (Create(GATEWAY),)
    assert not reconciler.failures and reconciler.next_try() is None


RULE = NftChain(name="input", hook=Hook(type="filter", hook="input", priority=FILTER))
GUARDED = Link(name="weft0", type=Bridge(), guards=(RULE.key,))


def test_a_device_is_not_made_before_the_rules_that_guard_it(kernel: FakeKernel, clock: Clock) -> None:
    """Whether the rule fails in the same run or has failed in an earlier one."""
    reconciler, desired = converged(kernel, clock)
    kernel.fault = refuse(RULE.key)  # type: ignore[assignment]
    desired.update(keyed(GUARDED, GATEWAY, RULE))
    failed = {failure.key: failure.reason for failure in reconciler.resync(None).failures}
    assert failed[GUARDED.key] == "waits for nft-chain input, which guards it"
    assert GUARDED.key not in kernel.objects and GATEWAY.key in failed
    late = Link(name="weft2", type=Bridge(), guards=(RULE.key,))
    desired[late.key] = late
    for report in (reconciler.update([late.key]), reconciler.resync(None)):
        assert [f.reason for f in report.failures if f.key == late.key] == [
            "waits for nft-chain input, which guards it"
        ]
        assert late.key not in kernel.objects
    kernel.fault = None
    clock.now += 60
    reconciler.retry()
    assert not reconciler.retry().failures and not reconciler.failures
    assert {RULE.key, GUARDED.key, late.key, GATEWAY.key} <= kernel.objects.keys()


def test_a_device_that_is_there_stays_when_a_rule_that_guards_it_cannot_be_put_back(
    kernel: FakeKernel, clock: Clock
) -> None:
    reconciler, _ = converged(kernel, clock, RULE, GUARDED, GATEWAY)
    kernel.fault = refuse(RULE.key)  # type: ignore[assignment]
    kernel.destroy(RULE.key)
    assert [failure.key for failure in reconciler.resync(None).failures] == [RULE.key]
    assert {GUARDED.key, GATEWAY.key} <= kernel.objects.keys()


def test_what_waits_for_a_device_is_made_as_soon_as_it_is_there(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, desired = converged(kernel, clock)
    kernel.fault = refuse(BRIDGE.key)  # type: ignore[assignment]
    desired.update(keyed(BRIDGE, GATEWAY))
    for _ in range(6):
        clock.now += 30
        reconciler.resync(None)
    kernel.fault = None
    assert not reconciler.due(clock.now)
    desired[BRIDGE.key] = msgspec.structs.replace(BRIDGE, mtu=1400)
    reconciler.update([BRIDGE.key])
    assert reconciler.due(clock.now) == {""}
    assert reconciler.retry().ops == (Create(GATEWAY),)


def test_a_foreign_device_under_our_name_stays_a_failure_until_it_is_gone(kernel: FakeKernel, clock: Clock) -> None:
    theirs = Link(name="weft0", type=Bridge(), alias="theirs")
    kernel.plant(theirs)
    reconciler = Reconciler(kernel, keyed(BRIDGE, GATEWAY), clock)
    reconciler.complete = True
    for _ in range(3):
        assert not reconciler.resync(None).ops
        assert "is not Weft's" in reconciler.failures[BRIDGE.key].reason
    assert kernel.log == [] and kernel.objects[theirs.key] == theirs
    kernel.destroy(theirs.key)
    assert reconciler.resync(None).ops == (Create(BRIDGE), Create(GATEWAY))
    assert not reconciler.failures


def test_a_foreign_route_in_the_way_is_left(kernel: FakeKernel, clock: Clock) -> None:
    theirs = msgspec.structs.replace(NEARBY, proto=4, via="192.168.1.9")
    kernel.plant(theirs)
    reconciler = Reconciler(kernel, keyed(NEARBY), clock)
    assert [failure.key for failure in reconciler.resync(None).failures] == [NEARBY.key]
    assert kernel.objects[NEARBY.key] == theirs
    kernel.destroy(NEARBY.key)
    clock.now += 1
    assert reconciler.retry().ops == (Create(NEARBY),)


def test_the_echo_of_our_own_work_asks_for_nothing(kernel: FakeKernel, clock: Clock) -> None:
    watcher = kernel.watch()
    reconciler, desired = converged(kernel, clock, BRIDGE, GATEWAY, VXLAN, NEIGHBOUR, REMOTE, *PAIR)
    desired[VXLAN.key] = Link(name="weft.1", type=Vxlan(2, 8472, "192.168.1.68", "eth0"))
    assert len(reconciler.update([VXLAN.key]).ops) == 4
    assert select([watcher], [], [], 0)[0]
    drift = reconciler.observe(watcher.drain())
    assert (drift.keys, drift.namespaces, drift.uplink) == (set(), set(), False)
    assert not select([watcher], [], [], 0)[0]
    watcher.close()


@pytest.mark.parametrize(
    "victim", [BRIDGE, GATEWAY, VXLAN, NEIGHBOUR, REMOTE, *PAIR, NEARBY], ids=lambda o: " ".join(o.key)
)
def test_what_is_deleted_by_hand_comes_back_from_events_alone(kernel: FakeKernel, clock: Clock, victim: Object) -> None:
    reconciler, _ = converged(kernel, clock, BRIDGE, GATEWAY, VXLAN, NEIGHBOUR, REMOTE, NEARBY, *PAIR)
    before = kernel.ours()
    watcher = kernel.watch()
    kernel.destroy(victim.key)
    assert kernel.ours() != before
    kernel.read = None  # type: ignore[method-assign, assignment]  # any use of it fails
    drift = reconciler.observe(watcher.drain())
    assert not reconciler.repair(drift.keys).failures
    assert kernel.ours() == before
    watcher.close()


def test_what_was_changed_or_added_by_hand_is_put_right(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, _ = converged(kernel, clock, NEARBY)
    watcher = kernel.watch()
    turned = msgspec.structs.replace(NEARBY, via="192.168.1.9")
    added = route("10.1.4.0/24", via="192.168.1.4", dev="eth0")
    kernel.plant(turned, added)
    drift = reconciler.observe(watcher.drain())
    assert set(reconciler.repair(drift.keys).ops) == {Change(turned, NEARBY), Remove(added)}
    watcher.close()


def test_a_bounce_of_the_uplink_is_told_as_a_disturbance(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, _ = converged(kernel, clock, NEARBY)
    watcher = kernel.watch()
    kernel.set_up(("link", "", "eth0"), False)
    kernel.set_up(("link", "", "eth0"), True)
    assert NEARBY.key not in kernel.objects
    drift = reconciler.observe(watcher.drain())
    assert (drift.keys, drift.namespaces) == (set(), {""})
    assert reconciler.resync(drift.namespaces).ops == (Create(NEARBY),)
    watcher.close()


def test_lost_events_lead_to_a_reading(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, _ = converged(kernel, clock, NEARBY)
    watcher = kernel.watch()
    kernel.destroy(NEARBY.key)
    kernel.lose_events()
    drift = reconciler.observe(watcher.drain())
    assert not drift.keys and drift.namespaces == kernel.namespaces
    assert reconciler.resync(drift.namespaces).ops == (Create(NEARBY),)
    watcher.close()


def test_the_last_event_counts(clock: Clock, kernel: FakeKernel) -> None:
    reconciler, _ = converged(kernel, clock, NEARBY)
    drift = reconciler.observe([Gone(NEARBY.key), Seen(NEARBY), UplinkChanged("eth0"), Disturbed(C1, "x")])
    assert (drift.keys, drift.namespaces, drift.uplink) == (set(), {C1}, True)


def test_a_device_that_is_back_at_once_has_lost_its_routes(clock: Clock, kernel: FakeKernel) -> None:
    """IPv4 routes go without a word."""
    reconciler, _ = converged(kernel, clock, VXLAN, REMOTE)
    kernel.destroy(VXLAN.key)
    kernel.plant(VXLAN)
    drift = reconciler.observe([Gone(VXLAN.key), Seen(VXLAN)])
    assert drift.keys == {REMOTE.key}
    assert reconciler.repair(drift.keys).ops == (Create(REMOTE),)


@pytest.mark.parametrize("by_events", [True, False])
def test_who_keeps_changing_it_back_wins_for_a_while(kernel: FakeKernel, clock: Clock, by_events: bool) -> None:
    reconciler, _ = converged(kernel, clock, NEARBY, BRIDGE)
    watcher = kernel.watch()
    for _ in range(100):
        if NEARBY.key in kernel.objects:
            kernel.destroy(NEARBY.key)
        if by_events:
            reconciler.repair(reconciler.observe(watcher.drain()).keys)
        else:
            reconciler.resync(None)
        clock.now += 0.01
    trouble = reconciler.failures[NEARBY.key]
    assert trouble.reason == f"changed back by someone else {trouble.attempts + 4} times"
    assert 3 <= len(kernel.log) <= 7
    clock.now += 61
    reconciler.retry()
    assert NEARBY.key in kernel.objects and not reconciler.failures
    watcher.close()


def test_a_new_wish_is_not_held_back_by_the_old_ones_failure(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, desired = converged(kernel, clock)
    desired[NEARBY.key] = NEARBY
    kernel.fault = refuse(NEARBY.key)  # type: ignore[assignment]
    reconciler.update([NEARBY.key])
    kernel.fault = None
    desired[NEARBY.key] = other = msgspec.structs.replace(NEARBY, via="192.168.1.4")
    assert reconciler.update([NEARBY.key]).ops == (Create(other),)


def test_a_namespace_that_vanished(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, desired = converged(kernel, clock, BRIDGE, *PAIR)
    kernel.vanish(C1)
    report = reconciler.resync(None)
    assert not report.ops
    assert {failure.reason for failure in report.failures} == {f"network namespace {C1} is gone"}
    for obj in PAIR:
        del desired[obj.key]
    reconciler.update([obj.key for obj in PAIR])
    assert not reconciler.retry().failures
    assert not reconciler.failures and reconciler.next_try() is None


def test_what_failed_and_then_is_not_wanted_is_looked_for(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, desired = converged(kernel, clock)
    kernel.fault = refuse(NEARBY.key)  # type: ignore[assignment]
    desired[NEARBY.key] = NEARBY
    reconciler.update([NEARBY.key])
    kernel.plant(NEARBY)
    kernel.fault = None
    del desired[NEARBY.key]
    assert not reconciler.update([NEARBY.key]).ops
    assert reconciler.next_try() == clock.now
    assert reconciler.retry().ops == (Remove(NEARBY),)
    assert reconciler.next_try() is None


def test_a_removal_that_fails_is_tried_again(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, desired = converged(kernel, clock, NEARBY)
    kernel.fault = refuse(NEARBY.key)  # type: ignore[assignment]
    del desired[NEARBY.key]
    reconciler.update([NEARBY.key])
    kernel.fault = None
    clock.now += 1
    assert reconciler.retry().ops == (Remove(NEARBY),)
    assert not reconciler.failures


def test_a_report_counts(kernel: FakeKernel, clock: Clock) -> None:
    reconciler = Reconciler(kernel, keyed(BRIDGE, GATEWAY, *PAIR), clock)
    report = reconciler.resync(None)
    assert report.counts() == {("create", "link"): 3, ("create", "address"): 2}
    assert reconciler.counts()["link"].actual == 3


def _never(number: int, op: Op) -> int:
    raise AssertionError(f"written: {op}")


def test_without_a_difference_the_kernel_is_not_written_to(kernel: FakeKernel, clock: Clock) -> None:
    reconciler, desired = converged(kernel, clock, BRIDGE, GATEWAY, NEARBY, *PAIR)
    kernel.fault = _never
    reconciler.resync(None)
    reconciler.update(desired)
    reconciler.repair(desired)


UNREAD = Unread("", "routes", frozenset({"route"}), "nft has not finished in 30 s")


def test_what_cannot_be_read_is_neither_there_nor_missing_and_all_else_goes_on(
    kernel: FakeKernel, clock: Clock
) -> None:
    reconciler, _ = converged(kernel, clock, VXLAN, BRIDGE, GATEWAY, NEARBY)
    stray = route("10.1.9.0/24", via="192.168.1.3", dev="eth0")
    kernel.plant(stray)
    kernel.unreadable = [UNREAD]
    kernel.destroy(GATEWAY.key)
    kernel.destroy(NEARBY.key)
    assert reconciler.resync().ops == (Create(GATEWAY),)
    assert reconciler.known[NEARBY.key] == NEARBY
    assert {part: t.reason for part, t in reconciler.unread.items()} == {("routes", ""): UNREAD.reason}
    assert [f.reason for f in reconciler.dry_run().failures] == [f"routes cannot be read: {UNREAD.reason}"]
    assert reconciler.due(clock.now) == set()
    at = reconciler.next_try()
    assert at is not None and at > clock.now
    kernel.unreadable = []
    clock.now = at
    assert reconciler.due(clock.now) == {""}
    ops = reconciler.retry().ops
    assert set(map(key_of, ops)) == {NEARBY.key, stray.key} and not reconciler.unread


def test_what_could_not_be_read_at_the_start_is_adopted_later(kernel: FakeKernel, clock: Clock) -> None:
    _, desired = converged(kernel, clock, BRIDGE, NEARBY)
    stray = route("10.1.9.0/24", via="192.168.1.3", dev="eth0")
    kernel.plant(stray)
    kernel.unreadable = [UNREAD]
    successor = Reconciler(kernel, desired, clock)
    successor.complete = True
    assert successor.resync().ops == () and not successor.failures
    kernel.unreadable = []
    assert successor.resync().ops == (Remove(stray),) and successor.known == desired
