"""Work that is asked for often is done for all of it at once, and once more after the last."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Set
from contextlib import closing
from pathlib import Path

import pytest

from support.waiting import until
from weft.base.errors import Failed, NotFound
from weft.kernel.host.outdating import Gathering, Outdating


class Work:
    """Ends only where it may."""

    def __init__(self) -> None:
        self.done: list[set[str]] = []
        self.may_end = threading.Event()

    def __call__(self, some: Set[str]) -> None:
        self.done.append(set(some))
        self.may_end.wait(30)


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.may_end.set()


def test_what_comes_meanwhile_is_done_together_and_after_it(work: Work) -> None:
    with closing(Gathering(work, "test")) as gathering:
        gathering.ask(["a"])
        until(lambda: work.done == [{"a"}], 5, "it has begun")
        for each in ("b", "a", "b"):
            gathering.ask([each])
        assert work.done == [{"a"}]
        work.may_end.set()
        until(lambda: work.done == [{"a"}, {"a", "b"}], 5, "the rest, once")
        gathering.ask(["c"])
    assert work.done == [{"a"}, {"a", "b"}, {"c"}]


def test_it_rests_and_its_end_waits_for_no_rest(work: Work) -> None:
    work.may_end.set()
    gathering = Gathering(work, "test", rest=1000)
    gathering.ask(["a"])
    until(lambda: work.done == [{"a"}], 5, "the first is done at once")
    gathering.ask(["b"])
    gathering.ask(["c"])
    assert work.done == [{"a"}]
    gathering.close()
    assert work.done == [{"a"}, {"b", "c"}]


def test_nothing_is_done_for_nothing(work: Work) -> None:
    with closing(Gathering(work, "test")) as gathering:
        gathering.ask([])
    assert work.done == []


def test_flowtables_that_cannot_be_emptied_are_told_of_and_the_others_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    emptied: list[str] = []

    def forget(ns: str, _started: object) -> None:
        match ns:
            case "gone":
                raise NotFound("no such namespace")
            case "refused":
                raise Failed("flowtables cannot be emptied: no")
        emptied.append(ns)

    monkeypatch.setattr("weft.kernel.host.flowtables.forget", forget)
    outdating = Outdating(tmp_path, lambda _port: None)
    outdating.flowtables(["gone", "refused", "there"])
    outdating.close()
    assert emptied == ["there"]
    assert [record.getMessage() for record in caplog.records] == [
        "open connections are not asked about again after others changed rules: flowtables cannot be emptied: no"
    ]
