"""What the agent's process is to its host: the only one in its network namespace, ready when its API answers, and allowed
as many open files as the host permits."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from weft.base.errors import Conflict

log = logging.getLogger(__name__)

NAME = "\0weft-agent"
"""Of an abstract unix socket. The kernel keeps these names per network namespace (unix(7)), whatever directories an agent
uses, and frees them when the process ends, however it ends."""
_CAP_NET_ADMIN = 1 << 12
"""capability.h"""


@contextlib.contextmanager
def alone_here() -> Iterator[None]:
    """Two agents in one network namespace would remove each other's devices for ever. Raises Conflict, with the pid of the
    one that runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mine:
        try:
            mine.bind(NAME)
            mine.listen(1)
        except OSError:
            _check_holder()
        yield


def _check_holder() -> None:
    """Anybody may take the name, so it says something only where its holder could be an agent. Raises Conflict."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.settimeout(1.0)
        try:
            other.connect(NAME)
        except OSError:  # it has just ended, or answers nobody
            pid, uid = 0, 0
        else:
            pid, uid, _ = struct.unpack("3i", other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid == 0 and _rules_the_network(pid):
        who = f"pid {pid}" if pid else "in another pid namespace"
        raise Conflict(f"another Weft agent ({who}) runs in this network namespace: stop it first")
    log.warning("process %d of user %d holds the agent's name and is no agent: going on without it", pid, uid)


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
    """To systemd, where it has started us (sd_notify(3)): units that are ordered after ours may start."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd is not told that the agent is ready: %s: %s", address, error.strerror)
