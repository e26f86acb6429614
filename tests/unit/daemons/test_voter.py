"""What people are told of a voter."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.daemons.voter import Beginning, VoterDaemon


def test_who_founds_is_told_without_what_only_etcd_reads() -> None:
    beginning = Beginning(name="fd00::1", members="fd00::1=https://[fd00::1]:6787,fd00::2=https://[fd00::2]:6787")
    assert beginning.hosts == "fd00::1, fd00::2"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            '{"msg":"cannot write","error":"no space left"}\npanic: out of bounds\n\ngoroutine 1 [running]:\n\tdb.go:1\n',
            "panic: out of bounds",
        ),
        ('panic: before\n{"msg":"cannot write","error":"no space left"}\n', "cannot write: no space left"),
        ("what is this\n", "what is this"),
    ],
)
def test_its_last_words_are_those_that_say_why(log: str, told: str, tmp_path: Path) -> None:
    daemon = VoterDaemon(tmp_path, tmp_path / "home")
    daemon.log.write_text(log)
    assert daemon.last_words() == told
