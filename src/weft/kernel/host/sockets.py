"""Who listens in a namespace: sockets of TCP and SCTP that take connections, and those of UDP that take datagrams from anybody
(sock_diag(7)). Connections, of which there may be a hundred thousand, the kernel does not even go through."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing

from weft.api.dump import SocketDump
from weft.kernel.plumbing.netlink import Netlink, Refused, attributes, open_socket

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
"""SOCK_DIAG_BY_FAMILY (linux/sock_diag.h)."""
_REQUEST = struct.Struct("=BBBxI48x")
"""struct inet_diag_req_v2 (linux/inet_diag.h): family, protocol, which extensions, states; of no socket in particular."""
_ANSWER = struct.Struct("=BBBB2s2s16s16sI8xIIIII")
"""struct inet_diag_msg: family, state, timer, retransmissions, the socket's ports, addresses, device and cookie, when it
expires, what waits to be read and to be sent, user, inode. Of who listens the two queues are those who wait to be accepted,
and how many may."""
_LISTEN, _CLOSE = 1 << 10, 1 << 7
"""TCP_LISTEN; and TCP_CLOSE, which is what a socket of UDP is in that is not connected (net/tcp_states.h)."""
_MEMORY = 7
"""INET_DIAG_SKMEMINFO: nine numbers, of which the first two are octets received and the most there may be, the last those that
were dropped for want of room (SK_MEMINFO_…, linux/sock_diag.h)."""
_ONLY_V6 = 11
_WANTED = (
    (socket.IPPROTO_TCP, _LISTEN),
    (socket.IPPROTO_SCTP, _LISTEN),
    (socket.IPPROTO_UDP, _CLOSE),
)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def listening(names: dict[int, str]) -> tuple[SocketDump, ...] | None:
    """Of the calling thread's namespace. `names`: of its devices by ifindex. None where the kernel does not tell of TCP."""
    try:
        with closing(Netlink(open_socket(_NETLINK_SOCK_DIAG))) as netlink:
            return tuple(_all(netlink, names))
    except (Refused, OSError):
        return None


def _all(netlink: Netlink, names: dict[int, str]) -> Iterator[SocketDump]:
    def decode(data: bytes, start: int, end: int) -> SocketDump:
        return _decode(data, start, end, protocol, names)

    for protocol, states in _WANTED:
        for family in _FAMILIES:
            body = _REQUEST.pack(family, protocol, 1 << (_MEMORY - 1), states)
            try:
                yield from netlink.dump(_BY_FAMILY, body, decode)
            except Refused:
                if protocol == socket.IPPROTO_TCP:
                    raise
                continue  # a module that is not there: nobody has asked for SCTP, or for UDP's table


def _decode(data: bytes, start: int, end: int, protocol: int, names: dict[int, str]) -> SocketDump:
    family, _state, _timer, _again, port, _dport, src, _dst, dev, _expires, received, room, *_ = _ANSWER.unpack_from(
        data, start
    )
    found = attributes(data, start + _ANSWER.size, end)
    memory = struct.unpack("=9I", found[_MEMORY][:36]) if len(found.get(_MEMORY, b"")) >= 36 else (0,) * 9
    if protocol == socket.IPPROTO_UDP:
        received, room = memory[0], memory[1]
    return SocketDump(
        protocol=protocol,
        port=int.from_bytes(port, "big"),
        address=_address(family, src, only=found.get(_ONLY_V6, b"\0") != b"\0"),
        dev=names.get(dev, "") if dev else "",
        waiting=received,
        room=room,
        dropped=memory[8],
    )


def _address(family: int, packed: bytes, *, only: bool) -> str:
    """ "" for any address of both families: what a socket of IPv6 takes that is not for IPv6 only."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, packed[:4])
    if not any(packed):
        return "::" if only else ""
    return socket.inet_ntop(socket.AF_INET6, packed)
