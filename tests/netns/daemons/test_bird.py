"""BIRD itself, in a network namespace of the test's: how it is found, spoken to, told and replaced."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.namespaces import Home
from support.waiting import until
from weft.base.errors import Failed, Unavailable
from weft.daemons import bird as module
from weft.daemons.bird import Bird
from weft.daemons.bird_routes import LostRoutes
from weft.daemons.resident import ConfigRefused, Unheard

pytestmark = pytest.mark.skipif(shutil.which("bird", path="/usr/sbin") is None, reason="needs bird2")

BLOCKS = ("197.19.1.0/26", "fd80::100/122")


def text(run: Path, *blocks: str) -> str:
    """BIRD's configuration as far as a host without neighbours needs it."""
    lines = [f'log "{run / "bird.log"}" all;', "router id 192.0.2.1;", "protocol device {}"]
    for fam, version in ((4, "."), (6, ":")):
        routes = " ".join(f"route {b} blackhole;" for b in blocks if version in b)
        lines.append(f"protocol static own{fam} {{ ipv{fam}; {routes} }}")
        lines.append(f"protocol kernel kernel{fam} {{ metric 2048; persist; ipv{fam} {{ export all; }}; }}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def bird(netns: Home, tmp_path: Path) -> Iterator[Bird]:
    """Running, with its blocks in the kernel."""
    found = Bird(tmp_path)
    found.configure(text(tmp_path, *BLOCKS))
    found.start()
    try:
        routes(netns, *BLOCKS)
        yield found
    finally:
        found.kill()


def routes(netns: Home, *wanted: str) -> None:
    """Waits until these are BIRD's routes in the kernel."""

    def there() -> set[str]:
        shown = [netns.json("ip", f"-{family}", "-j", "route", "show", "proto", "bird") for family in (4, 6)]
        return {route["dst"] for part in shown for route in part}

    until(lambda: there() == set(wanted), 10, lambda: f"{wanted}: {there()}")


@pytest.mark.parametrize("lost", ["nothing", "pid file", "pid file of another", "all files"])
def test_it_is_known_by_itself_and_not_by_its_files(bird: Bird, tmp_path: Path, lost: str) -> None:
    pid = bird.pid()
    assert pid
    if lost == "pid file of another":
        (tmp_path / "bird.pid").write_text(f"{os.getpid()}\n")
    elif lost == "all files":
        for path in tmp_path.glob("bird.*"):
            path.unlink()
    elif lost != "nothing":
        (tmp_path / "bird.pid").unlink()
    assert Bird(tmp_path).pid() == pid, "also by an agent that has just started"
    assert int((tmp_path / "bird.pid").read_text()) == pid, "which puts the file back for others"
    assert Bird(tmp_path / "other").pid() is None


def test_two_of_them_are_both_found_and_both_ended(bird: Bird, netns: Home, tmp_path: Path) -> None:
    """As an older version of Weft started another one where the pid file was lost."""
    for path in (tmp_path / "bird.ctl", tmp_path / "bird.pid"):
        path.unlink()
    words = ["bird", "-f", "-c", tmp_path / "bird.conf", "-s", tmp_path / "bird.ctl", "-P", tmp_path / "bird.pid"]
    with subprocess.Popen([shutil.which("bird", path="/usr/sbin"), *words[1:]]) as other:
        until(lambda: len(bird.pids()) == 2, 10, "another one")
        bird.kill()
        assert other.wait(10) and bird.pids() == []
    routes(netns, *BLOCKS)


def test_another_hosts_bird_with_files_of_the_same_names_is_not_ours(bird: Bird, netns: Home, tmp_path: Path) -> None:
    with netns.new().entered():
        assert Bird(tmp_path).pid() is None
    assert bird.pid()


def test_one_whose_control_socket_is_gone_is_replaced_and_its_routes_stay(
    bird: Bird, netns: Home, tmp_path: Path
) -> None:
    pid = bird.pid()
    (tmp_path / "bird.ctl").unlink()
    with pytest.raises(Unheard):
        bird.ask("show status")
    bird.kill()
    assert bird.pid() is None
    routes(netns, *BLOCKS)
    bird.start()
    assert bird.pid() not in (None, pid) and bird.ask("show status")


def test_what_it_has_not_confirmed_is_not_what_it_runs_on(
    bird: Bird, netns: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, more = bird.pid(), text(tmp_path, *BLOCKS, "197.19.2.0/26")
    assert pid
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="timed out"):
            bird.configure(more)
        assert bird.configured() != more
    finally:
        os.kill(pid, signal.SIGCONT)
    bird.configure(more)
    assert bird.configured() == more == Bird(tmp_path).configured()
    routes(netns, *BLOCKS, "197.19.2.0/26")


def test_what_it_refuses_changes_nothing(bird: Bird, tmp_path: Path) -> None:
    before = bird.configured()
    with pytest.raises(ConfigRefused, match="BIRD refuses its configuration"):
        bird.configure(f"{before}nonsense\n")
    assert bird.configured() == before


def test_its_configuration_is_readable_by_root_only(bird: Bird, tmp_path: Path) -> None:
    bird.configure(text(tmp_path))
    modes = {path.name: stat.filemode(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert (
        modes["bird.conf"] == "-rw-------" and modes["bird.ctl"] == "srw-rw----" and modes["bird.log"] == "-rw-------"
    )


def test_files_that_cannot_be_written_are_said_in_a_line(bird: Bird, tmp_path: Path) -> None:
    """As with a full /run: the error is another one, what is done about it the same."""
    before = bird.configured()
    (tmp_path / "bird.conf.new").mkdir()
    with pytest.raises(Failed, match=r"cannot write BIRD's configuration in .*: Is a directory: it stays") as said:
        bird.configure(text(tmp_path))
    assert "\n" not in str(said.value) and bird.configured() == before and bird.pid()
    (tmp_path / "bird.conf.new").rmdir()
    bird.configure(text(tmp_path))


def test_one_that_lost_all_its_files_is_ended_with_its_routes(bird: Bird, netns: Home, tmp_path: Path) -> None:
    for path in tmp_path.glob("bird.*"):
        path.unlink()
    again = Bird(tmp_path)
    assert again.end() and bird.pid() is None
    routes(netns)
    assert not again.end() and not list(tmp_path.glob("bird.[cp]*"))


# Its routes.


@pytest.fixture
def lost(bird: Bird) -> Iterator[LostRoutes]:
    found = bird.lost_routes()
    yield found
    found.close()


def heard(lost: LostRoutes, seconds: float = 5.0) -> frozenset[int]:
    select.select([lost], [], [], seconds)
    return lost.drain()


@pytest.mark.parametrize(("family", "block"), [(4, BLOCKS[0]), (6, BLOCKS[1])])
def test_routes_flushed_by_someone_are_heard_of_and_written_again(
    bird: Bird, netns: Home, lost: LostRoutes, family: int, block: str
) -> None:
    netns.run("ip", f"-{family}", "route", "flush", "proto", "bird")
    assert heard(lost) == {family}
    bird.ask(f"reload out kernel{family}")
    routes(netns, *BLOCKS)
    assert not heard(lost, 0), "writing them again is not taken for another removal"


def test_what_bird_removes_itself_is_not_heard_of_nor_are_others_routes(
    bird: Bird, netns: Home, lost: LostRoutes, tmp_path: Path
) -> None:
    told: set[int] = set()
    bird.configure(text(tmp_path, *BLOCKS, "197.19.2.0/26"))
    bird.configure(text(tmp_path, BLOCKS[1], "197.19.2.0/26"))
    routes(netns, BLOCKS[1], "197.19.2.0/26")
    netns.run("ip", "route", "add", "blackhole", "10.9.0.0/16", "proto", "bird", "metric", "32")
    netns.run("ip", "route", "add", "blackhole", "10.8.0.0/16", "metric", "2048")
    netns.run("ip", "route", "del", "10.9.0.0/16")
    netns.run("ip", "route", "del", "10.8.0.0/16")
    netns.run("ip", "-6", "route", "add", "blackhole", "fd80::200/122", "proto", "bird", "metric", "2048")
    netns.run("ip", "-6", "route", "del", "fd80::200/122", "proto", "bird")
    until(lambda: told.update(lost.drain()) or told, 5, "the last removal")
    assert told == {6}, "of all these only the last ones are someone else's removals of BIRD's"
    netns.run("ip", "route", "del", "197.19.2.0/26", "proto", "bird")
    assert heard(lost) == {4}
