"""Throw-away network namespaces for tests, held by open file descriptors: nothing of them is left in /run/netns."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """The calling thread is in the network namespace that is open as `fd`."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(fd, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(back, CLONE_NEWNET))
    finally:
        os.close(back)


class Namespace:
    """A network namespace with `lo` up. `path` opens it as long as it is not closed, in any process."""

    def __init__(self) -> None:
        self._fd = -1
        thread = threading.Thread(target=self._make)
        thread.start()
        thread.join()
        if self._fd < 0:
            raise PermissionError("cannot make a network namespace")
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self.run("ip", "link", "set", "lo", "up")

    def _make(self) -> None:
        if _libc.unshare(CLONE_NEWNET) == 0:
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def run(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """The output of a command that runs inside."""
        return _run("nsenter", f"--net={self.path}", *command, stdin=stdin, check=check)

    def sh(self, line: str) -> str:
        """The same for a command written as one line of words; there is no shell."""
        return self.run(*line.split())

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command) or "[]")

    def close(self) -> None:
        """From here on `path` does not exist; the namespace ends unless somebody else keeps it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and the threads and processes it starts meanwhile, are inside."""
        with entered(self._fd):
            yield


class Home(Namespace):
    """The namespace that a test is in: commands need no entering. `new()` makes others, as containers have them."""

    def __init__(self) -> None:
        self._others: list[Namespace] = []
        super().__init__()

    def new(self) -> Namespace:
        self._others.append(Namespace())
        return self._others[-1]

    @property
    def others(self) -> tuple[Namespace, ...]:
        """In the order in which they were made."""
        return tuple(self._others)

    def close(self) -> None:
        for other in self._others:
            other.close()
        super().close()


@contextmanager
def home() -> Iterator[Home]:
    """A fresh namespace that the caller is in. Skips where that is not permitted."""
    if os.geteuid() != 0:
        pytest.skip("needs root, also that of a user namespace: unshare -Urnm")
    found = Home()
    try:
        with found.entered():
            yield found
    finally:
        found.close()


def _run(*command: str, stdin: str = "", check: bool = True) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def unmount_programs(folder: Path) -> None:
    """What agents that ended without a purge left mounted below a test's folder: it keeps programs and their maps."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "bpf" and Path(where).is_relative_to(folder):
            subprocess.run(["umount", "-l", where], check=False, capture_output=True)
