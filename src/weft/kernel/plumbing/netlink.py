"""A netlink socket: dumps, single requests, and batches that are acknowledged once per chunk (netlink(7)).

A batch goes out in chunks of up to 64 KB, each one system call. The kernel works through a chunk before that call
returns: one acknowledgement is asked, with the last message; a message that failed is reported on its own, with its
sequence number, which tells the object.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

from weft.base.errors import Failed
from weft.kernel.plumbing import uapi as u

T = TypeVar("T")

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""

_ATTR = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_ERROR_HEAD = HEADER.size + 4 + HEADER.size  # the report's header, the errno, the header of the message that failed

CHUNK = 64 * 1024
_RECEIVE = 1 << 18
_RCVBUF = 4 << 20
_ATTEMPTS = 20
_OVERHEAD = 1 << 16
"""Octets that the kernel counts beside a datagram's own, amply."""
_REPORT = 2048
"""Octets of receive buffer that the report of one failed message takes, amply."""


class Refused(Failed):
    """The kernel's answer to one message. `text`: its explanation (extended ack), or that of the errno."""

    def __init__(self, errno: int, text: str) -> None:
        super().__init__(text)
        self.errno = errno
        self.text = text


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message without its header."""

    type: int
    flags: int
    body: bytes


def attr(kind: int, payload: bytes) -> bytes:
    """struct rtattr with its payload, padded to four octets."""
    size = 4 + len(payload)
    return _ATTR.pack(size, kind) + payload + b"\0" * (-size & 3)


def attributes(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """The payloads by type, without the NLA_F_NESTED and NLA_F_NET_BYTEORDER bits."""
    found = {}
    while start + 4 <= end:
        size, kind = _ATTR.unpack_from(data, start)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[start + 4 : start + size]
        start += (size + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(type, flags, offset of the header, end) of each message in a datagram."""
    start, total = 0, len(data)
    while start + 16 <= total:
        size, kind, flags, _seq, _port = HEADER.unpack_from(data, start)
        if size < 16:
            return
        yield kind, flags, start, start + size
        start += (size + 3) & ~3


def open_socket(protocol: int = u.NETLINK_ROUTE, rcvbuf: int = _RCVBUF) -> socket.socket:
    """In the calling thread's network namespace, to which it belongs from then on."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    sock.bind((0, 0))
    sock.setsockopt(u.SOL_NETLINK, u.NETLINK_EXT_ACK, 1)
    sock.setsockopt(u.SOL_NETLINK, u.NETLINK_CAP_ACK, 1)
    if protocol == u.NETLINK_ROUTE:
        sock.setsockopt(u.SOL_NETLINK, u.NETLINK_GET_STRICT_CHK, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, u.SO_RCVBUFFORCE, rcvbuf)
    except PermissionError:  # root of a user namespace on an older kernel
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    return sock


def _widen(sock: socket.socket, size: int) -> None:
    """So that a datagram of so many octets can be sent; as far as that is allowed to us."""
    wanted = size + _OVERHEAD
    if wanted > sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, u.SO_SNDBUFFORCE, wanted)
        except PermissionError:  # root of a user namespace
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wanted)


class Netlink:
    """Blocking; one caller at a time. The kernel answers within the system call, so there is no waiting for it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seq = 0
        # So many failures at once must fit into the receive buffer.
        self._most = max(1, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _REPORT)

    def close(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def cookie(self) -> int:
        """Tells its namespace from all others."""
        return int.from_bytes(self._sock.getsockopt(socket.SOL_SOCKET, u.SO_NETNS_COOKIE, 8), sys.byteorder)

    @property
    def port(self) -> int:
        """The socket's number in its namespace: whatever comes of its requests carries it."""
        return int(self._sock.getsockname()[0])

    def dump(self, kind: int, body: bytes, decode: Callable[[bytes, int, int], T | None]) -> list[T]:
        """What `decode(data, offset of the body, end)` makes of each answer. Repeated while the kernel's tables changed
        under the dump (NLM_F_DUMP_INTR), since it may then have missed something. Raises Refused, and Failed where they
        change all the time: a part is never taken for the whole."""
        for _ in range(_ATTEMPTS):
            found: list[T] = []
            if not self._dump(kind, body, decode, found):
                return found
        raise Failed(f"netlink: what was read changed meanwhile, {_ATTEMPTS} times in a row: it is tried again")

    def _dump(self, kind: int, body: bytes, decode: Callable[[bytes, int, int], T | None], found: list[T]) -> bool:
        """Whether it was interrupted."""
        seq = self._send(kind, u.NLM_F_REQUEST | u.NLM_F_DUMP, body)
        interrupted, append = False, found.append
        while True:
            data = self._receive()
            if HEADER.unpack_from(data)[3] != seq:
                continue  # of an earlier dump that was given up halfway
            for answer, flags, start, end in messages(data):
                if flags & u.NLM_F_DUMP_INTR:
                    interrupted = True
                if answer == u.NLMSG_DONE:
                    _check_end(data, start, end)
                    return interrupted
                if answer == u.NLMSG_ERROR:
                    raise _refusal(data, start, end)
                if (obj := decode(data, start + 16, end)) is not None:
                    append(obj)

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(_RECEIVE)
        except OSError as error:
            raise Failed(f"netlink: {error.strerror}") from None

    def request(self, kind: int, flags: int, body: bytes) -> bytes:
        """One message. The body of its answer, b"" for those that only acknowledge; raises `Refused`."""
        seq = self._send(kind, flags | u.NLM_F_REQUEST | u.NLM_F_ACK, body)
        answer = b""
        while True:
            data = self._receive()
            for got, _flags, start, end in messages(data):
                if HEADER.unpack_from(data, start)[3] != seq:
                    continue
                if got != u.NLMSG_ERROR:
                    answer = data[start + 16 : end]
                elif _ERROR.unpack_from(data, start + 16)[0]:
                    raise _refusal(data, start, end)
                else:
                    return answer

    def batch_or_raise(self, batch: Sequence[Message]) -> None:
        """Send all. Raises the first `Refused`."""
        for _, refused in self.batch(batch):
            raise refused

    def batch(self, batch: Sequence[Message]) -> list[tuple[int, Refused]]:
        """Send all; the refusals by position in `batch`. The kernel goes on past a message that it refuses."""
        refused: list[tuple[int, Refused]] = []
        pack, chunk, size, first = HEADER.pack, list[bytes](), 0, 0
        last, seq = len(batch) - 1, self._seq
        for i, message in enumerate(batch):
            body = message.body
            seq += 1
            size += 16 + len(body)
            flags = message.flags
            full = i == last or size > CHUNK - 512 or i - first + 1 >= self._most
            chunk.append(pack(16 + len(body), message.type, flags | 4 if full else flags, seq, 0))
            chunk.append(body)
            if full:
                self._seq = seq
                refused += self._exchange(b"".join(chunk), seq, i)
                chunk, size, first = [], 0, i + 1
        return refused

    def at_once(self, batch: Sequence[Message]) -> list[tuple[int, Refused]]:
        """Send all in one datagram, as a transaction of nf_tables has to be; the refusals by position in `batch`. Whoever
        wants to know of success puts NLM_F_ACK to a message. Raises Failed."""
        first = self._seq + 1
        parts = list[bytes]()
        for message in batch:
            self._seq += 1
            parts += HEADER.pack(16 + len(message.body), message.type, message.flags, self._seq, 0), message.body
        data = b"".join(parts)
        try:
            _widen(self._sock, len(data))
            self._sock.send(data)
        except OSError as error:
            raise Failed(f"netlink: {error.strerror}") from None
        return [(seq - first, refused) for seq, refused in self._answers() if refused is not None and seq >= first]

    def _answers(self) -> Iterator[tuple[int, Refused | None]]:
        """All that there is to read now: the kernel has answered before send(2) returned."""
        while True:
            try:
                data = self._sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                raise Failed(f"netlink: {error.strerror}") from None
            for kind, _flags, start, end in messages(data):
                if kind == u.NLMSG_ERROR:
                    failed = _ERROR.unpack_from(data, start + 16)[0]
                    yield HEADER.unpack_from(data, start + 20)[3], _refusal(data, start, end) if failed else None

    def _exchange(self, chunk: bytes, last_seq: int, last: int) -> list[tuple[int, Refused]]:
        self._sock.send(chunk)
        refused = []
        while True:
            try:
                data = self._sock.recv(_RECEIVE)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                raise Failed("netlink: more failures at once than the receive buffer holds") from None
            for kind, _flags, start, end in messages(data):
                if kind != u.NLMSG_ERROR:
                    continue
                seq = HEADER.unpack_from(data, start + 20)[3]
                if _ERROR.unpack_from(data, start + 16)[0]:
                    refused.append((last - (last_seq - seq), _refusal(data, start, end)))
                if seq == last_seq:
                    return refused

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        self._seq += 1
        self._sock.send(HEADER.pack(16 + len(body), kind, flags, self._seq, 0) + body)
        return self._seq


def _check_end(data: bytes, start: int, end: int) -> None:
    """A dump that failed on its way says so in its last message (netlink_dump_done() in net/netlink/af_netlink.c). ENOENT:
    the table that was asked for does not exist, so there is nothing in it. Raises Refused."""
    number = _ERROR.unpack_from(data, start + HEADER.size)[0] if end - start >= HEADER.size + _ERROR.size else 0
    if number < 0 and -number != errno.ENOENT:
        raise Refused(-number, os.strerror(-number))


def _refusal(data: bytes, start: int, end: int) -> Refused:
    number = -_ERROR.unpack_from(data, start + 16)[0]
    text = ""
    if HEADER.unpack_from(data, start)[2] & u.NLM_F_ACK_TLVS:
        # NETLINK_CAP_ACK: of the message that failed, only its header is there
        text = attributes(data, start + _ERROR_HEAD, end).get(u.NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode()
    return Refused(number, text or os.strerror(number))


def gone(number: int) -> bool:
    """Whether this errno says that there is nothing to remove (any more)."""
    return number in (errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO)


def quietly(request: Callable[[], object]) -> None:
    """Clean up as far as it goes."""
    with suppress(Refused):
        request()
