"""A daemon in the agent's care, shown by a small one of the test's own that is no BIRD: it reads a file, again upon SIGHUP, and
says on what it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from support.agents import until
from weft.base.errors import Unsupported
from weft.daemons.plain import PlainDaemon, Setting
from weft.daemons.resident import Program
from weft.daemons.supervisor import DaemonSupervisor

SCRIPT = """
import pathlib, signal, sys
conf, said, *words = sys.argv[1:]

def read(*_):
    text = pathlib.Path(conf).read_text()
    if text == "bad":
        sys.exit("line 1: bad is no number")
    with open(said, "a") as file:
        file.write(f"{text} {' '.join(words)}".strip() + chr(10))

if "stubborn" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, read)
read()
while True:
    signal.pause()
"""
PROGRAM = Program(title="the counter", name="python3", package="python3", file="counter")


class Care:
    """An agent's, of one daemon in `run`. `wanted`: the number, and words of the command line; None: none is wanted."""

    made: ClassVar[list[PlainDaemon]] = []

    def __init__(self, run: Path) -> None:
        self.run = run
        self.script = run / "counter.py"
        self.script.write_text(SCRIPT)
        marks = (str(self.script), str(run / "counter.conf"))
        self.daemon = PlainDaemon(run, PROGRAM, marks, ("counter.conf",))
        self.made.append(self.daemon)
        self.wanted: tuple[str, tuple[str, ...]] | None = None
        self.supervisor = DaemonSupervisor(self.daemon, self.daemon, self.decide)

    async def decide(self) -> Setting | None:
        if self.wanted is None:
            return None
        number, words = self.wanted
        conf = str(self.run / "counter.conf")
        return Setting({"counter.conf": number}, (str(self.script), conf, str(self.run / "said"), *words))

    def want(self, number: str | None, *words: str) -> None:
        self.wanted = None if number is None else (number, words)
        self.supervisor.touch()

    def said(self) -> list[str]:
        try:
            return (self.run / "said").read_text().splitlines()
        except FileNotFoundError:
            return []


@contextlib.asynccontextmanager
async def caring(run: Path) -> AsyncIterator[Care]:
    care = Care(run)
    task = asyncio.create_task(care.supervisor.run())
    try:
        yield care
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    while Care.made:
        Care.made.pop().kill()


@pytest.fixture
async def care(tmp_path: Path) -> AsyncIterator[Care]:
    async with caring(tmp_path) as found:
        yield found


async def test_it_runs_while_it_is_wanted(care: Care) -> None:
    care.want("1")
    await until(lambda: care.said() == ["1"])
    pid = care.daemon.pid()
    assert pid
    care.want(None)
    await until(lambda: care.daemon.pid() is None)
    await until(lambda: sorted(path.name for path in care.run.iterdir()) == ["counter.log", "counter.py", "said"])
    assert not care.supervisor.trouble and care.supervisor.restarts == 0


async def test_other_files_are_told_and_another_command_line_starts_it_anew(care: Care) -> None:
    care.want("1")
    await until(lambda: care.said() == ["1"])
    pid = care.daemon.pid()
    care.want("2")
    await until(lambda: care.said() == ["1", "2"])
    assert care.daemon.pid() == pid
    care.want("2", "loud")
    await until(lambda: care.said() == ["1", "2", "2 loud"])
    assert care.daemon.pid() != pid and not care.supervisor.trouble and care.supervisor.restarts == 0
    assert (care.run / "counter.conf").stat().st_mode & 0o777 == 0o600


async def test_the_next_agent_adopts_it_and_changes_nothing(care: Care, tmp_path: Path) -> None:
    care.want("1")
    await until(lambda: care.said() == ["1"])
    pid = care.daemon.pid()
    (tmp_path / "counter.pid").unlink()
    async with caring(tmp_path) as after:
        after.want("1")
        await until(lambda: after.supervisor._fd)
        assert after.daemon.pid() == pid and after.said() == ["1"]
        after.want("2")
        await until(lambda: after.said() == ["1", "2"])
        assert after.daemon.pid() == pid and after.supervisor.restarts == 0


async def test_what_it_was_not_told_before_the_agent_ended_it_is_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with caring(tmp_path) as care:
        care.want("1")
        await until(lambda: care.said() == ["1"] and care.supervisor._fd is not None)
        with monkeypatch.context() as killed:
            killed.setattr(
                care.daemon, "signal", lambda _: os.kill(0, 99)
            )  # the agent ends between writing and telling
            care.want("2")
            await until(lambda: care.supervisor.trouble)
            assert (tmp_path / "counter.conf").read_text() == "2"
    async with caring(tmp_path) as after:
        after.want("2")
        await until(lambda: after.said() == ["1", "2"])


async def test_one_that_dies_is_started_again_at_once_and_then_after_a_pause(care: Care) -> None:
    care.want("1")
    await until(lambda: care.said() == ["1"])
    await until(lambda: care.supervisor._fd is not None)
    care.supervisor._started = 0.0  # long ago
    first = care.daemon.pid()
    assert first
    os.kill(first, signal.SIGKILL)
    await until(lambda: care.said() == ["1", "1"] and care.supervisor._fd is not None)
    assert care.supervisor.restarts == 1 and not care.supervisor.trouble
    again = care.daemon.pid()
    assert again
    os.kill(again, signal.SIGKILL)
    await until(lambda: care.supervisor.trouble.startswith("the counter ended soon after its start:"))
    await until(lambda: care.said() == ["1", "1", "1"])
    await until(lambda: not care.supervisor.trouble)


async def test_its_last_words_are_in_the_trouble(care: Care) -> None:
    care.want("bad")
    await until(lambda: care.supervisor.trouble)
    assert "line 1: bad is no number" in care.supervisor.trouble
    care.want("3")
    await until(lambda: care.said() == ["3"])
    await until(lambda: not care.supervisor.trouble)


async def test_one_that_will_not_go_is_killed(care: Care, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.daemons.resident.END_SECONDS", 0.2)
    care.want("1", "stubborn")
    await until(lambda: care.said() == ["1 stubborn"])
    care.want(None)
    await until(lambda: care.daemon.pid() is None)
    await until(lambda: not (care.run / "counter.conf").exists())
    assert not care.supervisor.trouble


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[int]:
    """The same program, with somebody else's files."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "counter.conf").write_text("9")
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    assert python
    with subprocess.Popen([python, str(Care(tmp_path).script), other / "counter.conf", other / "said"]) as found:
        yield found.pid
        assert found.poll() is None and (other / "said").read_text() == "9\n", "it is never touched"
        found.kill()


@pytest.mark.parametrize("noted", [False, True])
async def test_what_is_not_ours_is_left_alone(care: Care, stranger: int, noted: bool) -> None:
    await until((care.run / "other/said").exists)
    if noted:
        (care.run / "counter.pid").write_text(f"{stranger}\n")
    care.want("1")
    await until(lambda: care.said() == ["1"])
    assert care.daemon.pid() not in (None, stranger)
    care.want(None)
    await until(lambda: care.daemon.pid() is None)


async def test_a_full_disk_is_told_and_what_runs_goes_on(care: Care, monkeypatch: pytest.MonkeyPatch) -> None:
    care.want("1")
    await until(lambda: care.said() == ["1"])
    pid = care.daemon.pid()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_text", full)
        care.want("2")
        await until(lambda: "No space left on device" in care.supervisor.trouble)
        assert care.supervisor.trouble.startswith("cannot write the counter's files in ")
        assert care.daemon.pid() == pid and care.said() == ["1"]
    await until(lambda: care.said() == ["1", "2"])
    await until(lambda: not care.supervisor.trouble)
    assert care.daemon.pid() == pid


async def test_two_of_them_are_both_ended_and_one_is_started(tmp_path: Path) -> None:
    care = Care(tmp_path)
    care.want("1")
    setting = await care.decide()
    assert setting
    for daemon in (care.daemon, Care(tmp_path).daemon):
        daemon.configure(setting)
        daemon.start()
    assert len(care.daemon.pids()) == 2
    task = asyncio.create_task(care.supervisor.run())
    await until(lambda: care.supervisor._fd is not None)
    assert len(care.daemon.pids()) == 1
    task.cancel()
    await asyncio.wait({task})


def test_one_that_is_not_installed_is_named(tmp_path: Path) -> None:
    program = Program(title="nothing", name="weft-no-such-program", package="nothing-pkg", file="nothing")
    with pytest.raises(Unsupported, match="nothing is not installed: apt install nothing-pkg"):
        PlainDaemon(tmp_path, program, ("x",)).start()
