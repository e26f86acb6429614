"""Sending one marked packet from inside a namespace, as a program there would: it goes by that namespace's routes and rules,
through its hooks, with a source address and a port that the kernel chose. And what comes back.

What it carries begins and ends with the token (`tracepoints`, `nft_trace`); a sequence number of TCP is its first half. A SYN
of TCP comes from a raw socket, since it is to carry data; its port is held meanwhile by a socket that does not listen, so the
kernel itself ends a connection that the other side would open, with RST. Everything is closed at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address

import msgspec

from weft.base.errors import Denied, Invalid
from weft.base.net import IPAddress
from weft.kernel.host.probe import checksum
from weft.kernel.live import refusals
from weft.kernel.plumbing import netns

PROTOCOLS = ("tcp", "udp", "icmp")
SMALLEST = 64
"""Octets of the packet: no device has to fill it up, which would put something behind the token."""
LARGEST = 9000

_IP = {4: 20, 6: 40}
_HEADER = {"tcp": 20, "udp": 8, "icmp": 8}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR, IPV6_RECVERR: errors that routers and the other side sent wait at the socket, with their senders."""
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_DO = 2
"""IP_PMTUDISC_DO: don't fragment, and say so if it is too large."""
_CHECKSUM = 7
"""IPV6_CHECKSUM: where in the packet the kernel puts it."""
_SYN, _ACK, _RST = 0x02, 0x10, 0x04
_ECHO = {4: (8, 0), 6: (128, 129)}
_EXTENDED = struct.Struct("=IBBBBII")
"""struct sock_extended_err (linux/errqueue.h): errno, origin, type, code."""
_BY_ICMP = (2, 3)
"""SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6; others are this kernel's own."""


class Sent(msgspec.Struct, frozen=True):
    """`answer`: "reply" (the other side answers), "refused" (it says that nothing listens), "error" (somebody sent an ICMP
    error), "unsent" (this kernel did not send it), "nothing" within the time. `text` says it in plain words. `sender`: who sent
    the answer. `seconds` until then. `mtu`: what an ICMP error about the size says is the most, 0 else."""

    source: str
    sport: int
    answer: str
    text: str
    sender: str = ""
    seconds: float = 0.0
    mtu: int = 0


def payload(token: bytes, size: int, header: int) -> bytes:
    """What the packet of `size` octets carries behind `header` octets of headers."""
    return token + secrets.token_bytes(max(0, size - header - 2 * len(token))) + token


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent: `size` octets with its IP header. `sport` 0, `source` None: as the kernel chooses. `mark`: the socket's.
    Raises Invalid."""

    target: IPAddress
    protocol: str
    token: bytes
    port: int = 0
    sport: int = 0
    source: IPAddress | None = None
    size: int = SMALLEST
    mark: int = 0

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise Invalid(f"protocol {self.protocol!r} cannot be sent: one of {', '.join(PROTOCOLS)} is needed")
        if not SMALLEST <= self.size <= LARGEST:
            raise Invalid(f"a probe of {self.size} octets cannot be sent: {SMALLEST} to {LARGEST} are possible")
        if self.source is not None and self.source.version != self.target.version:
            raise Invalid(f"{self.source} and {self.target} are of two families: a packet has one")
        for port in (self.port, self.sport):
            if not 0 <= port <= 0xFFFF:
                raise Invalid(f"port {port} does not exist: 0 to 65535 do")
        if not 0 <= self.mark <= 0xFFFFFFFF:
            raise Invalid(f"{self.mark} marks no packet: a mark has 32 bits")


def send(ns: str, packet: Packet, seconds: float = 1.0) -> Sent:
    """One packet out of this namespace; waits for its answer at most `seconds`. Raises Conflict, Denied, Failed, NotFound."""
    kinds: dict[str, type[_Probe]] = {"tcp": _Tcp, "udp": _Udp, "icmp": _Icmp}
    return netns.call(ns, lambda: kinds[packet.protocol](packet).exchange(seconds))


class _Probe:
    """Of one protocol. Raises Denied, Failed."""

    protocol: str
    kind: int
    number: int

    def __init__(self, packet: Packet) -> None:
        self.target, self.port, self.sport = packet.target, packet.port, packet.sport
        self.source, self.mark = packet.source, packet.mark
        self.version = packet.target.version
        self.carried = payload(packet.token, packet.size, _IP[self.version] + _HEADER[self.protocol])

    def exchange(self, seconds: float) -> Sent:
        with contextlib.ExitStack() as stack:
            try:
                sock = self._open(stack)
                sock.connect((str(self.target), self.port if self.protocol == "udp" else 0))
                name = sock.getsockname()
                self.source, self.sport = ip_address(name[0].partition("%")[0]), self.sport or name[1]
                begun = time.monotonic()
                sock.send(self.octets())
            except OSError as error:
                return self._told("unsent", refusals.unsent(error))
            return self._wait(sock, begun, seconds)

    def _open(self, stack: contextlib.ExitStack) -> socket.socket:
        try:
            sock = stack.enter_context(
                socket.socket(_FAMILY[self.version], self.kind | socket.SOCK_CLOEXEC, self.number)
            )
        except PermissionError:
            raise Denied("no packet can be sent to trace it: CAP_NET_RAW is needed") from None
        sock.setblocking(False)
        sock.setsockopt(*_RECVERR[self.version], 1)
        sock.setsockopt(*_MTU_DISCOVER[self.version], _DO)
        if self.mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
        if self.source is not None or self.protocol == "udp":
            sock.bind(
                (str(self.source or ("" if self.version == 4 else "::")), self.sport if self.protocol == "udp" else 0)
            )
        return sock

    def octets(self) -> bytes:
        raise NotImplementedError

    def reply(self, data: bytes) -> tuple[str, str] | None:
        """What an answer from the target says; None for one that is not about this packet."""
        raise NotImplementedError

    def _wait(self, sock: socket.socket, begun: float, seconds: float) -> Sent:
        poll, deadline = select.poll(), begun + seconds
        poll.register(sock, select.POLLIN | select.POLLERR)
        while (left := deadline - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                break
            for answer, text, sender, mtu in self._answers(sock):
                return self._told(answer, text, sender, time.monotonic() - begun, mtu)
        return self._told("nothing", f"no answer within {seconds:g} s")

    def _answers(self, sock: socket.socket) -> Iterator[tuple[str, str, str, int]]:
        with contextlib.suppress(BlockingIOError):
            _, control, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
            for level, kind, data in control:
                if (level, kind) == _RECVERR[self.version]:
                    yield self._error(data)
        try:
            found = self.reply(self._body(sock.recv(2048)))
        except BlockingIOError:
            return
        except OSError:  # the error's other report
            return
        if found is not None:
            yield *found, str(self.target), 0

    def _error(self, data: bytes) -> tuple[str, str, str, int]:
        number, origin, kind, code, _, info, _ = _EXTENDED.unpack_from(data)
        if origin not in _BY_ICMP:
            return "unsent", refusals.unsent(OSError(number, os.strerror(number))), "", info
        sender = refusals.sender(data[_EXTENDED.size :])
        closed = (kind, code) == ((3, 3) if self.version == 4 else (1, 4))
        mine = closed and sender == str(self.target)
        text = f"{refusals.icmp(self.version, kind, code)} from {sender}"
        return "refused" if mine else "error", text, sender, info if number == errno.EMSGSIZE else 0

    def _body(self, data: bytes) -> bytes:
        """Raw sockets of IPv4 get the header, too."""
        raw = self.kind == socket.SOCK_RAW and self.version == 4
        return data[(data[0] & 15) * 4 :] if raw and data else data

    def _told(self, answer: str, text: str, sender: str = "", seconds: float = 0.0, mtu: int = 0) -> Sent:
        source = "" if self.source is None else str(self.source)
        return Sent(source=source, sport=self.sport, answer=answer, text=text, sender=sender, seconds=seconds, mtu=mtu)


class _Tcp(_Probe):
    protocol, kind, number = "tcp", socket.SOCK_RAW, socket.IPPROTO_TCP

    def _open(self, stack: contextlib.ExitStack) -> socket.socket:
        holder = stack.enter_context(socket.socket(_FAMILY[self.version], socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
        holder.bind(("" if self.version == 4 else "::", self.sport))
        self.sport = holder.getsockname()[1]
        sock = super()._open(stack)
        if self.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, _CHECKSUM, 16)
        return sock

    def octets(self) -> bytes:
        head = struct.pack("!HH4sIBBHHH", self.sport, self.port, self.carried[:4], 0, 5 << 4, _SYN, 64240, 0, 0)
        segment = head + self.carried
        if self.version == 6:
            return segment
        assert self.source is not None
        pseudo = self.source.packed + self.target.packed + struct.pack("!BBH", 0, self.number, len(segment))
        whole = pseudo + segment
        return segment[:16] + struct.pack("!H", checksum(whole + b"\0" * (len(whole) & 1))) + segment[18:]

    def reply(self, data: bytes) -> tuple[str, str] | None:
        if len(data) < 20:
            return None
        sport, dport, _, acknowledged, _, flags = struct.unpack_from("!HHIIBB", data)
        if (sport, dport) != (self.port, self.sport) or acknowledged == 0:
            return None
        if flags & _RST:
            return "refused", f"RST from {self.target}: nothing listens at TCP port {self.port}"
        return ("reply", f"SYN-ACK from {self.target}") if flags & _SYN and flags & _ACK else None


class _Udp(_Probe):
    protocol, kind, number = "udp", socket.SOCK_DGRAM, socket.IPPROTO_UDP

    def octets(self) -> bytes:
        return self.carried

    def reply(self, data: bytes) -> tuple[str, str] | None:
        return "reply", f"{len(data)} octets from {self.target}"


class _Icmp(_Probe):
    protocol, kind = "icmp", socket.SOCK_RAW

    def __init__(self, packet: Packet) -> None:
        self.number = socket.IPPROTO_ICMP if packet.target.version == 4 else socket.IPPROTO_ICMPV6
        super().__init__(packet)
        self.sport = self.sport or secrets.randbelow(0xFFFF) + 1

    def octets(self) -> bytes:
        """The kernel computes the checksum of IPv6's (RFC 3542, 3.1)."""
        bare = struct.pack("!BBHHH", _ECHO[self.version][0], 0, 0, self.sport, 1) + self.carried
        if self.version == 6:
            return bare
        return bare[:2] + struct.pack("!H", checksum(bare + b"\0" * (len(bare) & 1))) + bare[4:]

    def reply(self, data: bytes) -> tuple[str, str] | None:
        if len(data) < 8 or data[0] != _ECHO[self.version][1] or data[8:] != self.carried:
            return None
        return "reply", f"echo reply from {self.target}"
