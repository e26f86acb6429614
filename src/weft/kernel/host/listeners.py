"""Ports of this host that a program holds: they cannot be published, or the program would no longer be reached."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from pathlib import Path

from weft.base.errors import Conflict, Failed, Invalid
from weft.base.net import Family
from weft.kernel.host.diagnose import Holder, port_holders
from weft.model import PublishedPort

_AF: dict[Family, socket.AddressFamily] = {4: socket.AF_INET, 6: socket.AF_INET6}
_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
"""The kernel lacks the family or the protocol: then no program has such a port."""


def given_to_any() -> tuple[int, int]:
    """The first and the last port of those that the kernel gives to who wants any (kernel ip-sysctl.rst)."""
    first, last = _RANGE.read_text().split()
    return int(first), int(last)


def check_free(port: PublishedPort, families: Iterable[Family], container: str = "") -> None:
    """In the calling thread's namespace. `container`: its id in an engine that may keep the port for it. Raises Conflict (a
    program holds it), Invalid (no such address here)."""
    for family in families:
        for number, _ in port.pairs:
            _try(port, family, number, container)


def _kept(holders: Iterable[Holder], container: str) -> bool:
    """Whether nobody but conmon holds it, which Podman starts for each container and gives the container's published ports to
    listen on, so that no program takes them. It never answers there, and what is for the port does not reach it: that is
    translated before the kernel looks for a listener."""
    return container != "" and all(h.name == "conmon" and container in h.arguments for h in holders)


def _try(port: PublishedPort, family: Family, number: int, container: str) -> None:
    kind, protocol = _KINDS[port.protocol]
    address = "" if port.only_at is None else str(port.only_at)
    try:
        with socket.socket(_AF[family], kind, protocol) as sock:
            if kind == socket.SOCK_STREAM:  # connections that have ended do not count, only who listens
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, number))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            holders = port_holders(port.protocol, number)
            if holders and _kept(holders, container):
                return
            who = "; ".join(map(str, holders)) or "a program"
            raise Conflict(
                f"port {number}/{port.protocol} of this host is held by {who}: publish another, or stop that"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL and address:
            raise Invalid(f"{address} is not an address of this host: publish at one that is, or at all") from None
        if error.errno not in (*_NOT_HERE, errno.EADDRNOTAVAIL):
            raise Failed(f"port {number}/{port.protocol} cannot be looked at: {error.strerror}") from None
