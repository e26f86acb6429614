"""Which processes are ours, and when they have ended.

One is ours by its command line, which names files in our run directory, and by its network namespace: never by its name alone,
nor by a pid file alone. What else has a pid that is written there is left alone.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator, Set
from pathlib import Path


def processes() -> Iterator[int]:
    """All there are."""
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def command_line(pid: int) -> list[bytes]:
    """Its words; none where there is no such process any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def is_ours(pid: int, program: str, marks: Set[bytes]) -> bool:
    """Whether it runs this program, with all these words in its command line, in our network namespace: hosts of a lab have
    files of the same names. A namespace that may not be looked at (proc(5): ptrace access) is taken for ours."""
    words = command_line(pid)
    if not words or words[0].rpartition(b"/")[2] != program.encode() or not marks <= set(words):
        return False
    try:
        return Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net")
    except PermissionError:
        return True
    except OSError:
        return False


def takes(pid: int, number: signal.Signals) -> bool:
    """Whether it would live through this signal: it catches or ignores it (proc(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    masks = (int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt:", "SigIgn:")))
    return any(mask >> (number - 1) & 1 for mask in masks)


def ended(pidfd: int, seconds: float) -> bool:
    """Whether it ends in that time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def ended_and_closed(pidfd: int, seconds: float) -> bool:
    """The same; the descriptor is closed in any case."""
    try:
        return ended(pidfd, seconds)
    finally:
        os.close(pidfd)
