"""Whatever is killed, and whenever: `weft lab down` leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.labs import eventually, fake_agent, processes_of, weft
from weft.base.errors import Conflict, Failed, NotFound
from weft.lab import Lab, take_down

KILLED_AT = """
import os, signal, sys
from support.labs import fake_agent
from weft.lab import Lab

def progress(step):
    if step == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

Lab.up(command=fake_agent, progress=progress)
"""
STEPS = ["namespaces", "hosts", "links", "agents", "agent of node-2", "complete"]


def crash(step: str) -> None:
    path = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, "-c", KILLED_AT, step], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert result.returncode == -signal.SIGKILL


@pytest.mark.parametrize("step", STEPS)
def test_up_is_killed(base: Path, step: str) -> None:
    crash(step)
    assert eventually(lambda: processes_of(base / "default") == []), "a half-made lab ends with its maker"
    assert (base / "default/state.json").exists() or step == "namespaces"
    assert take_down()
    assert not base.exists()
    assert not take_down()


def test_down_right_after_the_crash_waits_for_what_is_still_ending(base: Path) -> None:
    crash("complete")
    assert weft("lab", "down").returncode == 0
    assert eventually(lambda: processes_of(base / "default") == [], 2)
    assert not base.exists()


def test_up_after_a_crash_needs_no_down(base: Path) -> None:
    crash("agents")
    with Lab.up(agents=False) as lab:
        assert lab.host("node-1").run(["true"]).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_is_interrupted(base: Path, number: signal.Signals) -> None:
    """It clears up by itself. The agent never answers, so that there is time to interrupt it."""
    script = """
import sys
from weft.cli import main
from weft.lab import Lab, lab
inner = Lab.up.__func__
silent = lambda host, url: ["bash", "-c", "echo up; sleep 100"]
Lab.up = classmethod(lambda cls, *a, **k: inner(cls, *a, **{**k, "command": silent}))
sys.exit(main(["lab", "up"]))
"""
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as up:
        assert eventually(lambda: (base / "default/hosts/node-4/agent.json").exists())
        up.send_signal(number)
        up.communicate(timeout=20)
    assert up.returncode in (128 + number, 1)
    assert processes_of(base / "default") == []
    assert not base.exists()


def test_init_is_killed(base: Path) -> None:
    lab = Lab.up(command=fake_agent)
    os.kill(lab.init.pid, signal.SIGKILL)
    assert eventually(lambda: not lab.init.alive)
    assert processes_of(lab.directory) == [], "the kernel ends what is in the pid namespace before init itself"
    with pytest.raises(NotFound, match="no lab 'default' is up"):
        Lab.open()
    assert take_down()
    assert not base.exists()


def test_a_holder_is_killed(base: Path) -> None:
    lab = Lab.up(agents=False)
    os.kill(lab.host("node-2").holder.pid, signal.SIGKILL)
    assert eventually(lambda: not lab.host("node-2").holder.alive)
    with pytest.raises(Failed, match="node-2 has lost the process that held its namespaces: `weft lab down`"):
        lab.host("node-2").run(["true"])
    assert lab.host("node-1").run(["true"]).returncode == 0
    lab.down()
    assert processes_of(lab.directory) == []
    assert not base.exists()


def test_an_agent_that_fails_takes_the_lab_down_and_is_quoted(base: Path) -> None:
    with pytest.raises(Failed, match=r"node-1: agent ended: .*no such store"):
        Lab.up(command=lambda host, url: ["bash", "-c", "echo no such store; exit 1"])
    assert processes_of(base / "default") == []
    assert not base.exists()


def test_a_lab_is_up_only_once(base: Path) -> None:
    with Lab.up(agents=False) as lab:
        with pytest.raises(Conflict, match="lab 'default' is up"):
            Lab.up(agents=False)
        assert lab.host("node-1").run(["true"]).returncode == 0
