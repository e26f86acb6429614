"""Pieces of commands, for those who write a kind's.

Written for Debian 12: iproute2 6.1, nftables 1.0.6, iptables 1.8.9.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from weft.hoststate import HOST
from weft.hoststate.links import NAMED

_NAMED = PurePosixPath(NAMED)


def name_of(ns: str) -> str:
    """The name ip(8) knows a namespace by, or ""."""
    path = PurePosixPath(ns)
    return path.name if path.parent == _NAMED else ""


def run_in(ns: str, command: str) -> str:
    """A command in a namespace: `ip -n NAME …` for those that have a name and tools that know it, else nsenter(1)."""
    if ns == HOST:
        return command
    tool, _, rest = command.partition(" ")
    if not (name := name_of(ns)):
        return f"nsenter --net={shlex.quote(ns)} {command}"
    return f"{tool} -n {name} {rest}" if tool in ("ip", "bridge", "tc") else f"ip netns exec {name} {command}"


def join(*words: str) -> str:
    return " ".join(word for word in words if word)
