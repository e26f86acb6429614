"""Processes by pid and start time, so that one is never mistaken for another that got its pid later."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import msgspec

PROC = Path("/proc")


class Process(msgspec.Struct, frozen=True):
    """`started`: clock ticks after boot, field 22 of /proc/PID/stat (proc_pid_stat(5)); the same in every namespace."""

    pid: int
    started: int

    @staticmethod
    def of(pid: int) -> Process | None:
        """The process that has this pid now; None when there is none or it has ended and waits to be reaped."""
        try:
            stat = (PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()  # the command's name may hold spaces and parentheses
        return None if fields[0] in "ZX" else Process(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Whether it was there to get the signal. Raises PermissionError."""
        fd = self._open()
        if fd is None:
            return False
        try:
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within this time."""
        fd = self._open()
        if fd is None:
            return True
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)  # a pidfd is readable once the process has ended (pidfd_open(2))
            return bool(poll.poll(seconds * 1000))
        finally:
            os.close(fd)

    def _open(self) -> int | None:
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.alive:  # checked with the pidfd in hand: from here on the pid cannot become somebody else's
            return fd
        os.close(fd)
        return None


def children(pid: int) -> list[int]:
    try:
        return [int(p) for p in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def seen_from_outside(init: Process) -> dict[int, Process]:
    """The processes of `init`'s pid namespace, by their pid in there (NSpid in /proc/PID/status, proc(5))."""
    found: dict[int, Process] = {}
    namespace = (PROC / str(init.pid) / "ns/pid").readlink()
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if (entry / "ns/pid").readlink() != namespace:
                continue
            status = (entry / "status").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or somebody else's and therefore not of this lab
        process = Process.of(int(entry.name))
        line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
        if process:
            found[int(line.split()[-1])] = process
    return found
