"""Which processes are in which namespaces (proc_pid_ns(5)). Two stat(2) and a small file for each process: some 20 µs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_MOST = 1 << 20
"""Octets that are read of any file: what is larger is none of those looked for."""


class View(msgspec.Struct, frozen=True):
    """A mount namespace, by a process in it. `own`: it is the caller's. `trusted`: only root of this host decides what files
    are in it: its root directory and its user namespace are the caller's. What a container says of itself is not believed."""

    pid: int
    own: bool = False
    trusted: bool = False

    def path(self, path: str) -> str:
        """A path in there as one that the caller can use."""
        return path if self.own else f"/proc/{self.pid}/root{path}"


@dataclass
class Processes:
    """`inside`: pids, the oldest first, by the inode of their network namespace. `first`: the first process with the caller's
    files. `hidden`: how many processes may not be looked at."""

    inside: dict[int, list[int]] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    first: int = 0
    hidden: int = 0


def scan() -> Processes:
    found = Processes()
    own = _inode("/proc/thread-self/ns/mnt")
    mounts: dict[int, int] = {}
    for pid in all_pids():
        try:
            found.inside.setdefault(_inode(f"/proc/{pid}/ns/net"), []).append(pid)
            mounts.setdefault(_inode(f"/proc/{pid}/ns/mnt"), pid)
        except PermissionError:
            found.hidden += 1
        except OSError:  # it has ended
            continue
    found.first = mounts.get(own, os.getpid())
    found.views = [View(os.getpid(), own=True, trusted=True)]
    found.views += [View(pid, trusted=_trusted(pid)) for mount, pid in mounts.items() if mount != own]
    return found


def all_pids() -> list[int]:
    """The oldest first. Numbers do not say that: they begin anew at pid_max."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return sorted(pids, key=lambda pid: (_started(pid), pid))


def _started(pid: int) -> int:
    """Clock ticks after the boot (proc_pid_stat(5), field 22); 0 where it has ended. The second field may have spaces and
    parentheses of its own."""
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def _inode(path: str) -> int:
    return Path(path).stat().st_ino


def _trusted(pid: int) -> bool:
    try:
        root, ours = Path(f"/proc/{pid}/root").stat(), Path("/proc/thread-self/root").stat()
        users = _inode(f"/proc/{pid}/ns/user") == _inode("/proc/thread-self/ns/user")
    except OSError:
        return False
    return users and (root.st_dev, root.st_ino) == (ours.st_dev, ours.st_ino)


def read(path: str) -> bytes:
    """What is in a file; b"" where it cannot be read or is no plain one: to open a FIFO would wait for its writer."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return b""
    try:
        return b"".join(iter(lambda: os.read(fd, _MOST), b""))
    except OSError:
        return b""
    finally:
        os.close(fd)


def command(pid: int) -> str:
    return read(f"/proc/{pid}/comm").decode(errors="replace").rstrip("\n")


def held_open(known: set[int]) -> Iterator[tuple[int, str]]:
    """Network namespaces that are none of the `known`, by inode, with a path that opens it: those that a process holds by a
    file descriptor alone."""
    for pid in all_pids():
        try:
            files = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for path in files:
            try:
                target = str(path.readlink())
            except OSError:
                continue
            if target.startswith("net:[") and (inode := int(target[5:-1])) not in known:
                known.add(inode)
                yield inode, str(path)
