"""The fast path's kinds: what stands on what, the order, and that nobody else is worse for their lack."""

from __future__ import annotations

import errno

from support.hoststates import Clock
from weft.converge.stepper import Stepper, Work
from weft.hoststate import (
    BpfLink,
    BpfMap,
    BpfProgram,
    Bridge,
    Contribution,
    FastHome,
    FastPairs,
    Key,
    Link,
    Object,
    Union,
)
from weft.hoststate.union import Source
from weft.kernel.fake import FakeKernel
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Remove
from weft.reconcile.reconciler import Reconciler, key_of
from weft.reconcile.render import script

DEVICE = Link(name="weft0", type=Bridge(), mtu=1500, mac="02:00:00:00:00:01")
MAP = BpfMap(name="homes", type="hash", key_size=16, value_size=12, entries=100)
CONTROL = BpfMap(name="control", type="array", key_size=4, value_size=8, entries=1)
PROGRAM = BpfProgram(name="fast", digest="1a2b", code=bytes(16), maps=((0, "homes"),))
LINK = BpfLink(dev="weft0", way="ingress", program="fast")
HOME = FastHome(address="10.0.0.2", dev="weft0", network="blue")
PAIRS = FastPairs()
ALL: tuple[Object, ...] = (HOME, PAIRS, LINK, PROGRAM, MAP, CONTROL, DEVICE)


def wanting(*objects: Object) -> dict[Key, Object]:
    return {obj.key: obj for obj in objects}


def converged(kernel: FakeKernel, desired: dict[Key, Object]) -> Reconciler:
    reconciler = Reconciler(kernel, desired, Clock())
    reconciler.complete = True
    report = reconciler.resync()
    assert not report.failures
    assert kernel.ours() == desired
    return reconciler


def test_maps_come_first_and_homes_last_and_they_go_backwards() -> None:
    kernel = FakeKernel()
    reconciler = converged(kernel, wanting(*ALL))
    made = [op.obj for op in kernel.log if isinstance(op, Create)]
    assert made == [DEVICE, CONTROL, MAP, PROGRAM, LINK, HOME, PAIRS]
    reconciler.desired = {}
    report = reconciler.update([obj.key for obj in ALL])
    assert [op.obj for op in report.ops if isinstance(op, Remove)] == [PROGRAM, MAP, CONTROL, DEVICE]
    assert not kernel.ours()


def test_what_knows_a_device_by_number_is_made_anew_with_it() -> None:
    kernel = FakeKernel()
    reconciler = converged(kernel, wanting(*ALL))
    kernel.destroy(DEVICE.key)
    report = reconciler.resync()
    assert {key_of(op) for op in report.ops} >= {DEVICE.key, LINK.key, HOME.key}
    assert not {key_of(op) for op in report.ops} & {PROGRAM.key, MAP.key}
    assert kernel.ours() == reconciler.desired


def test_another_version_of_a_program_takes_its_place_and_another_map_takes_program_and_homes_along() -> None:
    kernel = FakeKernel()
    converged(kernel, wanting(*ALL))
    newer = BpfProgram(name="fast", digest="3c4d", code=bytes(24), maps=PROGRAM.maps)
    kernel.log.clear()
    converged(kernel, wanting(*ALL, newer))
    assert kernel.log == [Change(PROGRAM, newer)]
    larger = BpfMap(name="homes", type="hash", key_size=16, value_size=16, entries=100)
    kernel.log.clear()
    converged(kernel, wanting(*ALL, newer, larger))
    assert kernel.log == [Remove(MAP), Create(larger), Create(newer), Create(HOME)]


def test_a_program_is_the_same_by_its_digest() -> None:
    kernel = FakeKernel()
    kernel.plant(MAP, BpfProgram(name="fast", digest="1a2b", code=b""))
    converged(kernel, {**wanting(MAP), PROGRAM.key: BpfProgram(name="fast", digest="1a2b", code=b"")})
    assert not kernel.log


def test_who_wants_it_stands_without_it_too() -> None:
    kernel = FakeKernel()
    kernel.fault = lambda _number, op: errno.EPERM if key_of(op)[0] == "bpf-program" else 0
    union = Union()
    stepper = Stepper(kernel, kernel.watch(), union)
    stepper.reconciler.complete = True
    source = Source("endpoints", "blue", "e1")
    outcome = stepper.step(Work(contributions=[(source, Contribution(ALL))], spare=True))
    assert outcome.failed == {} and outcome.failures > 0
    assert [describe(key) for key in stepper.reconciler.failures] == ["bpf-program fast", "bpf-link ingress weft0"]
    assert stepper.faults([source]) == []
    kernel.fault = None
    kernel.destroy(DEVICE.key)
    assert stepper.faults([source]) == ["link weft0: missing, or not as it should be"]


def test_a_plan_tells_it_in_words_that_can_be_pasted() -> None:
    ops = [Create(obj) for obj in (MAP, PROGRAM, LINK, HOME, PAIRS)]
    assert script([*ops, Remove(BpfLink(dev="eth0", way="egress", program="seen", ns="/run/netns/weft-blue"))]) == [
        "# fast path: map homes: hash, 16 to 12 octets, at most 100",
        "# fast path: program fast: 2 instructions, 1a2b",
        "# fast path: program fast for what comes in by weft0",
        "# fast path: 10.0.0.2 of blue behind weft0",
        "# fast path: entries by addresses alone",
        "# fast path in weft-blue: no more program seen for what goes out by eth0",
    ]


def test_what_can_be_done_without_is_made_when_nobody_waits_and_all_else_at_once() -> None:
    kernel, union = FakeKernel(), Union()
    stepper = Stepper(kernel, kernel.watch(), union)
    stepper.reconciler.complete = True
    stepper.step(Work())
    stepper.step(Work(contributions=[(Source("endpoints", "blue", "e1"), Contribution(ALL))]))
    assert kernel.ours() == wanting(DEVICE)
    assert stepper.reconciler.postponed == {obj.key for obj in ALL} - {DEVICE.key}
    assert not stepper.reconciler.failures
    stepper.reconciler.carry_on(3)
    assert kernel.ours() == wanting(DEVICE, CONTROL, MAP, PROGRAM), "in the order of making"
    stepper.step(Work(spare=True))
    assert kernel.ours() == wanting(*ALL) and not stepper.reconciler.postponed
    newer = BpfProgram(name="fast", digest="3c4d", code=bytes(24), maps=PROGRAM.maps)
    others = tuple(obj for obj in ALL if obj != PROGRAM)
    stepper.step(Work(contributions=[(Source("endpoints", "blue", "e1"), Contribution((*others, newer)))]))
    assert kernel.ours() == wanting(*others, newer), "what is exchanged is not left for later"
    stepper.step(Work(contributions=[(Source("endpoints", "blue", "e1"), None)]))
    assert not kernel.ours(), "nor is what is removed"
