"""What people are told of a voter."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from weft.daemons.voter import DATA, KEYS, Beginning, VoterDaemon


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


@pytest.mark.skipif(os.geteuid() != 0, reason="a voter of an agent that is not root has no user of its own")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_it_starts_again_where_only_the_owner_of_a_folder_may_change_its_mode(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the agent's unit, which has no CAP_FOWNER."""
    change = Path.chmod

    def chmod(path: Path, to: int) -> None:
        assert path.stat().st_uid == os.geteuid(), f"EPERM: {path}"
        change(path, to)

    other = (65534, 65534)
    monkeypatch.setattr("weft.daemons.voter._user", lambda: other)
    monkeypatch.setattr(Path, "chmod", chmod)
    daemon = VoterDaemon(tmp_path, tmp_path / "home")
    daemon.before_start()
    folders = [daemon.home, daemon.home / DATA, daemon.home / KEYS]
    for folder in folders:
        change(folder, mode)
    daemon.before_start()
    for folder in folders:
        assert (stat.S_IMODE(folder.stat().st_mode), folder.stat().st_uid, folder.stat().st_gid) == (0o700, *other)
