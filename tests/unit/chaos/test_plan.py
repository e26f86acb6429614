"""What a run does follows from its seed alone, and makes sense."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from chaos.faults import FAULTS
from chaos.model import HOSTS, STEADY
from chaos.plan import Step, steps

SEEDS = range(20)


def first(seed: int, count: int = 60, *, short: bool = False, without: tuple[str, ...] = ()) -> list[Step]:
    return list(islice(steps(seed, short=short, without=without), count))


def test_the_same_seed_gives_the_same_steps() -> None:
    assert first(5) == first(5)
    assert [str(step) for step in first(5)] != [str(step) for step in first(6)]


def test_each_fault_comes_once_before_any_comes_again() -> None:
    found = Counter(step.fault.name for step in first(1, 200) if step.fault)
    assert set(found) == {fault.name for fault in FAULTS}
    assert max(found.values()) - min(found.values()) <= 1


def test_faults_can_be_left_out() -> None:
    found = {step.fault.name for step in first(1, 200, short=True, without=("etcd killed",)) if step.fault}
    assert "agent killed" in found
    assert "etcd killed" not in found
    assert not found & {fault.name for fault in FAULTS if fault.long}


def test_without_any_fault_there_are_operations_all_the_same() -> None:
    found = first(1, 10, without=tuple(fault.name for fault in FAULTS))
    assert not any(step.fault for step in found)
    assert all(step.operations for step in found)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_makes_sense_after_every_step(seed: int) -> None:
    for step in first(seed):
        boxes = step.after.boxes.values()
        assert STEADY.boxes.items() <= step.after.boxes.items(), "nobody touches these"
        assert STEADY.nets.items() <= step.after.nets.items()
        assert {box.net for box in boxes} <= step.after.nets.keys()
        assert max(Counter(box.port for box in boxes if box.port).values()) == 1
        assert max(Counter(box.floating for box in boxes if box.floating).values(), default=1) == 1
        assert len({net.number for net in step.after.nets.values()}) == len(step.after.nets)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_happens_at_the_same_time_has_nothing_in_common(seed: int) -> None:
    for step in first(seed):
        touched = Counter(name for operation in step.operations for name in operation.touches)
        assert not touched or max(touched.values()) == 1, step
        assert not (step.fault and step.fault.alone and step.operations)


def test_no_name_is_ever_given_twice() -> None:
    seen: dict[str, str] = {}
    for step in first(3, 200):
        for box in step.after.boxes.values():
            assert seen.setdefault(box.name, box.net) == box.net
        assert all(host in (*HOSTS, "router") for host in step.hosts)
