from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from weft.lab.process import Process, children


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process
        process.kill()


def test_it_is_known_by_pid_and_start_time(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.of(sleeper.pid)
    assert process and process.alive
    assert sleeper.pid in children(os.getpid())


def test_another_process_with_its_pid_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.of(sleeper.pid)
    assert process
    earlier = msgspec.structs.replace(process, started=process.started - 1)
    assert not earlier.alive
    assert not earlier.signal(signal.SIGKILL)
    assert earlier.wait(0)
    assert process.alive


def test_signal_and_wait(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.of(sleeper.pid)
    assert process and not process.wait(0.01)
    assert process.signal(signal.SIGTERM)
    assert process.wait(5)
    assert not process.alive, "a process that has ended and is not reaped yet does not live"
    assert sleeper.wait() == -signal.SIGTERM
    assert Process.of(sleeper.pid) is None
