"""Namespaces that a bind mount keeps, as `ip netns` and Docker make them (proc_pid_mountinfo(5)). The line of such a mount
names the namespace's inode, so nothing has to be opened."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_OCTAL = re.compile(rb"\\([0-7]{3})")
_NETNS = re.compile(rb"net:\[(\d+)\]")

ENGINES = (
    (re.compile(r"/docker/netns/[^/]+$"), "docker"),
    (re.compile(r"/netns/netns-[0-9a-f]{8}-[0-9a-f-]{27}$"), "podman"),
    (re.compile(r"/netns/cni-[0-9a-f-]{36}$"), "cni"),
    (re.compile(r"/netns/weft-[^/]+$"), "weft"),
    (re.compile(r"/run/netns/[^/]+$"), "ip-netns"),
)
"""Who names namespaces in which way. The first that fits the end of a path."""


class Mount(msgspec.Struct, frozen=True):
    """`path`: as in the mount namespace that it was read in."""

    inode: int
    path: str


def parse(mountinfo: bytes) -> Iterator[Mount]:
    """Those of network namespaces. Pure."""
    if b" nsfs " not in mountinfo:
        return
    for line in mountinfo.splitlines():
        fields = line.split(b" ")  # id, parent, device, root, mount point, …
        if len(fields) > 4 and (root := _NETNS.fullmatch(fields[3])):
            path = _OCTAL.sub(lambda code: bytes([int(code[1], 8)]), fields[4])
            yield Mount(int(root[1]), path.decode(errors="surrogateescape"))


def engine(path: str) -> str:
    """Whose way it is to call a namespace so; "" where it is nobody's. Pure."""
    return next((name for pattern, name in ENGINES if pattern.search(path)), "")
