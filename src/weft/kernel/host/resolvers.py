"""The sockets by which containers ask for names: at 127.0.0.11 in each one's own network namespace, all of them this
process's. By the socket that was asked it is known which container asks, whatever source address its packets carry.

An open socket keeps its namespace alive, with the container's veth and addresses, after the container has ended. Whoever opens
them here has to look whether the namespace is still the one at its path (`identity`), and close them as soon as it is not.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from weft.base.errors import Failed, NotFound, WeftError
from weft.base.net import parse_address
from weft.kernel.host.resolv_conf import ADDRESS, write_files
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u

PORT = 61053
"""Tried first, so that an agent that is started again listens where the one before it did: rules stay as they are, and what
conntrack remembers of a question that was not answered yet leads to the new socket. It is above the ports that a container's
own connections come from (sysctl ip_local_port_range). Port 53 would keep a name server in the container from listening."""
WAITING = 64
"""Connections that wait to be taken."""


__all__ = ["ADDRESS", "Sockets", "identity", "open_all", "others", "write_files"]


class Sockets(NamedTuple):
    """Both at `port`, and not blocking."""

    udp: socket.socket
    tcp: socket.socket
    port: int

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def identity(path: str) -> int:
    """What tells a namespace from all others for as long as it is there, or a socket in it is open; 0 where nothing is at the
    path. The file is only looked at, so it may be any file at all."""
    try:
        return Path(path).stat().st_ino
    except (OSError, ValueError):
        return 0


def open_all(places: Mapping[str, int]) -> dict[str, Sockets | WeftError]:
    """By the path of each namespace; `places`: the cookie of the one that is meant, 0 where that is not known. NotFound
    where another one is there, or none. Blocks."""

    def checked(path: str, found: Sockets | WeftError) -> Sockets | WeftError:
        if isinstance(found, WeftError) or places[path] in (0, netns.cookie_of(found.udp)):
            return found
        found.close()
        return NotFound(f"the network namespace that was {path} is gone: another one is there now")

    return {path: checked(path, found) for path, found in netns.open_all(places, _open).items()}


def _open() -> Sockets:
    """In the calling thread's namespace. Raises Failed."""
    _loopback_up()
    for port in (PORT, 0, 0, 0):
        try:
            return _at(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Failed(f"cannot listen at {ADDRESS}: {error.strerror}") from None
    raise Failed(f"cannot listen at {ADDRESS}: every port that was tried is taken")


def _at(port: int) -> Sockets:
    """0: a port that the kernel chooses. Raises OSError."""
    kind = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | kind)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | kind)
    try:
        udp.bind((ADDRESS, port))
        chosen: int = udp.getsockname()[1]
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may be in TIME_WAIT
        tcp.bind((ADDRESS, chosen))
        tcp.listen(WAITING)
    except OSError:
        udp.close()
        tcp.close()
        raise
    return Sockets(udp, tcp, chosen)


def _loopback_up() -> None:
    """A namespace is made with its loopback device down, and then 127.0.0.11 is no address in it. Engines set it up. Raises
    OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        request = struct.pack("16sh22x", b"lo", 0)  # struct ifreq, netdevice(7)
        flags: int = struct.unpack("16xh22x", fcntl.ioctl(sock, u.SIOCGIFFLAGS, request))[0]
        if not flags & u.IFF_UP:
            fcntl.ioctl(sock, u.SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | u.IFF_UP))


def others(places: Mapping[str, int]) -> dict[str, int]:
    """The UDP port of another resolver at 127.0.0.11, such as Docker's, by the path of each namespace that has one. `places`:
    the port of ours there. Blocks."""
    found = netns.open_all(places, lambda: tuple(_listening()))
    listening = {path: ports for path, ports in found.items() if not isinstance(ports, WeftError)}
    several = {path: [port for port in ports if port != places[path]] for path, ports in listening.items()}
    return {path: ports[0] for path, ports in several.items() if ports}


def _listening() -> Iterator[int]:
    """UDP ports in the calling thread's namespace (proc_net(5): local address and port in hexadecimal)."""
    prefix = f"{int.from_bytes(parse_address(ADDRESS).packed, sys.byteorder):08X}:"
    for line in Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]:
        local = line.split()[1]
        if local.startswith(prefix):
            yield int(local.removeprefix(prefix), 16)
