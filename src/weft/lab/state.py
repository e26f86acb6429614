"""A lab's directory: what is in it, whose it is, and how it is found again after a crash.

    LABDIR/state.json                 LabState, replaced atomically
    LABDIR/hosts/HOST/run-weft        the host's /run/weft: the agent's socket is weft.sock in it
    LABDIR/hosts/HOST/var             the host's /var/lib/weft
    LABDIR/hosts/HOST/agent.json|log  the agent's Process, its output
    LABDIR/hosts/HOST/containers/     one file per container, by name: its network
    LABDIR/store/                     SQLite's file, etcd's data, or the secret of a mesh

A lab that lives holds a flock(2) on LABDIR itself: `weft lab up` takes it and hands it to the lab's init. Whoever has
the lock may clear the directory; so a crashed lab is known by its lock being free, and two `up` never meet.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from weft.base.errors import Conflict, Denied, Invalid
from weft.base.names import check_name
from weft.lab.process import Process
from weft.lab.topology import Topology
from weft.model import codec

BASE_VARIABLE = "WEFT_LAB_BASE"
"""Overrides where labs are kept."""
_LONGEST_SOCKET_PATH = 107  # sun_path without its closing NUL, unix(7)


T = TypeVar("T")


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """`store`: its URL as agents are given it. `init`, `holders`: as seen from outside of the lab.

    `complete`: `up` has done its work; until then init ends when `up` does.
    """

    topology: Topology
    store: str
    init: Process | None = None
    holders: dict[str, Process] = {}
    complete: bool = False

    @property
    def alive(self) -> bool:
        return self.complete and self.init is not None and self.init.alive


def base() -> Path:
    """/var/lib/weft-lab for root; $XDG_STATE_HOME/weft-lab for everybody else."""
    if BASE_VARIABLE in os.environ:
        return Path(os.environ[BASE_VARIABLE]).absolute()
    if os.geteuid() == 0 and os.access("/var/lib", os.W_OK):
        return Path("/var/lib/weft-lab")
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local/state") / "weft-lab"


def directory_of(name: str) -> Path:
    return base() / check_name("lab", name)


def names() -> list[str]:
    """Of the labs that have a directory, alive or not."""
    try:
        return sorted(p.name for p in base().iterdir())
    except FileNotFoundError:
        return []


def check_directory(directory: Path, hosts: tuple[str, ...]) -> None:
    """Raises Invalid for a directory that would not do inside the lab."""
    if directory.resolve().is_relative_to("/run"):
        raise Invalid(f"{directory} is below /run, which every host has for itself: set {BASE_VARIABLE} elsewhere")
    longest = max(len(bytes(socket(directory, host))) for host in hosts)
    if longest > _LONGEST_SOCKET_PATH:
        raise Invalid(
            f"{directory} is too long a path: sockets in it would have {longest} of at most {_LONGEST_SOCKET_PATH} "
            f"characters; choose a shorter --name or {BASE_VARIABLE}"
        )


def socket(directory: Path, host: str) -> Path:
    return directory / "hosts" / host / "run-weft/weft.sock"


def load(directory: Path) -> LabState | None:
    try:
        return read(directory / "state.json", LabState)
    except FileNotFoundError:
        return None


def prepare(directory: Path, state: LabState) -> None:
    """Writes what is known before anything is made, and the folders the hosts will mount."""
    save(directory / "state.json", state)
    (directory / "store").mkdir()
    for name in state.topology.names():
        for folder in ("run-weft", "var", "containers"):
            (directory / "hosts" / name / folder).mkdir(parents=True)


def read(path: Path, kind: type[T]) -> T:
    """Raises FileNotFoundError, Invalid."""
    return codec.decode(kind, path.read_bytes())


def save(path: Path, value: object) -> None:
    """Atomically: a reader sees the old value or the new one."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_bytes(codec.encode(value))
    new.replace(path)


def claim(directory: Path, seconds: float = 0) -> int:
    """The lock on an empty LABDIR as a file descriptor; leftovers of a crash are cleared away.

    Raises Conflict when it is not free within this time, Denied.
    """
    fd = _lock(directory, seconds)
    try:
        for entry in directory.iterdir():
            _remove(entry)
    except OSError as error:
        os.close(fd)
        raise Denied(f"cannot clear {directory}: {error.strerror}: use the account that made the lab") from None
    return fd


def _lock(directory: Path, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a `down` was quicker
        except OSError as error:
            raise Denied(f"cannot use {directory}: {error.strerror}: set {BASE_VARIABLE} to a place of yours") from None
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_ino == directory.stat().st_ino:
                return fd
        os.close(fd)
        if time.monotonic() >= deadline:
            raise Conflict(f"lab '{directory.name}' is up or being brought up: `weft lab down`, or another --name")
        select.select([], [], [], 0.02)


def clear(directory: Path, seconds: float) -> None:
    """Removes the directory of a lab whose processes have ended, and the base when it was the last."""
    fd = claim(directory, seconds)
    try:
        directory.rmdir()
        with suppress(OSError):
            directory.parent.rmdir()
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
