"""What the agent's process is to its host: the only one in its network namespace, ready when its API answers, and allowed
as many open files as the host permits."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from weft.base.errors import Conflict

log = logging.getLogger(__name__)

NAME = "\0weft-agent"
"""Of an abstract unix socket. The kernel keeps these names per network namespace (unix(7)), whatever directories an agent
uses, and frees them when the process ends, however it ends."""
PATIENCE = 1.0
"""Seconds in which an agent that holds the name answers, or is gone."""
_PAUSE = 0.1
_CAP_NET_ADMIN = 1 << 12
"""capability.h"""


@contextlib.contextmanager
def alone_here() -> Iterator[None]:
    """Two agents in one network namespace would remove each other's devices for ever. Raises Conflict, with the pid of the
    one that runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mine:
        end = time.monotonic() + PATIENCE
        while not (_take_name(mine) or _is_answered()):
            if time.monotonic() > end:
                log.warning("somebody holds the agent's name and answers nobody, as no agent does: going on without it")
                break
            select.select([], [], [], _PAUSE)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it may have no name
                mine.shutdown(socket.SHUT_RDWR)  # ends the thread that answers


def _take_name(mine: socket.socket) -> bool:
    try:
        mine.bind(NAME)
    except OSError:
        return False
    mine.listen()
    threading.Thread(target=_answer, args=(mine,), name="weft-alone", daemon=True).start()
    return True


def _answer(mine: socket.socket) -> None:
    """Whoever connects learns from the kernel who we are. Nothing is said, and nobody is kept waiting."""
    with contextlib.suppress(OSError):
        while True:
            mine.accept()[0].close()


def _is_answered() -> bool:
    """Whether the holder of the name answers, and is no agent: anybody may take the name. Raises Conflict where it could be
    one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.settimeout(_PAUSE)
        try:
            other.connect(NAME)
        except OSError:  # it has just ended, or is no agent
            return False
        pid, uid, _ = struct.unpack("3i", other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid == 0 and _rules_the_network(pid):
        who = f"pid {pid}" if pid else "in another pid namespace"
        raise Conflict(f"another Weft agent ({who}) runs in this network namespace: stop it first")
    log.warning("process %d of user %d holds the agent's name and is no agent: going on without it", pid, uid)
    return True


def _rules_the_network(pid: int) -> bool:
    """Whether a process has CAP_NET_ADMIN. One that cannot be looked at is taken to have it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return True
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) & _CAP_NET_ADMIN)


def allow_files() -> None:
    """Sockets of containers' namespaces and of API clients are many; the usual soft limit of 1024 is for select(2) only."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # then it stays as it was
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tell_ready() -> None:
    """To systemd, where it has started us: units that are ordered after ours may start."""
    _tell(b"READY=1")


def tell_reloading(begins: bool) -> None:
    """That the settings are read again, or that this is done: `systemctl reload` of something after us waits meanwhile."""
    _tell(b"RELOADING=1\nMONOTONIC_USEC=%d" % (time.monotonic_ns() // 1000) if begins else b"READY=1")


def _tell(state: bytes) -> None:
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state, f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd is not told how the agent is: %s: %s", address, error.strerror)
