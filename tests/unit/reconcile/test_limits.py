"""Limits among the other objects: when they are made, with what they go, what comes back with what."""

from __future__ import annotations

from support.hoststates import Clock, keyed, limited
from weft.hoststate import Bridge, Link, Object, Qdisc, Redirect, Veth
from weft.kernel.fake import FakeKernel
from weft.reconcile.kinds.table import describe
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Op, Reading
from weft.reconcile.reconciler import Reconciler

C1 = "/run/netns/c1"
BRIDGE = Link(name="weft0", type=Bridge())
HOST_END = Link(name="veth1", type=Veth("eth0", C1), master="weft0")
PEER_END = Link(name="eth0", type=Veth("veth1", "", False), ns=C1)
LIMITS = limited("veth1", "ifb1", 8_000_000)
QUEUE = LIMITS[1]
EVERYTHING: list[Object] = [*LIMITS, PEER_END, HOST_END, BRIDGE]


def diff(desired: list[Object], actual: list[Object]) -> list[str]:
    return text(plan(keyed(*desired), Reading(keyed(*actual)), {"", C1}).ops)


def text(ops: tuple[Op, ...]) -> list[str]:
    whole = [(op, op.new if isinstance(op, Change) else op.obj) for op in ops]
    return [f"{type(op).__name__} {describe(obj.key)}" for op, obj in whole]


def test_queues_after_devices_and_redirections_last() -> None:
    assert diff(EVERYTHING, []) == [
        "Create link ifb1",
        "Create link weft0",
        "Create link veth1",
        "Create link eth0 in /run/netns/c1",
        "Create qdisc of ifb1",
        "Create qdisc of veth1",
        "Create redirect of veth1",
    ]


def test_they_go_with_their_device() -> None:
    assert diff([BRIDGE], EVERYTHING) == ["Remove link veth1", "Remove link ifb1"]


def test_a_limit_alone_is_taken_off_before_the_queue_it_leads_to() -> None:
    """The other way round the filter would stay, and drop all."""
    gone = [o for o in LIMITS if o.key[2] == "ifb1" or isinstance(o, Redirect)]
    left = [o for o in EVERYTHING if o not in gone]
    assert diff(left, EVERYTHING) == ["Remove redirect of veth1", "Remove link ifb1"]


def test_with_the_device_made_anew_they_are_too() -> None:
    other = Link(name="veth1", type=Veth("eth1", C1), master="weft0")
    ops = diff([BRIDGE, other, *LIMITS], [BRIDGE, HOST_END, *LIMITS])
    assert ops == ["Remove link veth1", "Create link veth1", "Create qdisc of veth1", "Create redirect of veth1"]


def test_another_rate_is_a_change() -> None:
    faster = [Qdisc(dev="veth1", rate=16_000_000, burst=32768, limit=65536)]
    assert diff([*EVERYTHING[1:], *faster], EVERYTHING) == ["Change qdisc of veth1"]


def test_a_queue_deleted_by_hand_takes_the_redirection_along() -> None:
    kernel = FakeKernel({C1})
    desired = keyed(*EVERYTHING)
    reconciler = Reconciler(kernel, desired, Clock())
    reconciler.complete = True
    watcher = kernel.watch()
    reconciler.resync()
    reconciler.observe(watcher.drain())
    kernel.destroy(QUEUE.key)
    drift = reconciler.observe(watcher.drain())
    report = reconciler.repair(drift.keys)
    assert text(report.ops) == ["Create link ifb1", "Create qdisc of ifb1", "Create redirect of veth1"]
    watcher.close()
