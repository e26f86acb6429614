"""Where programs cannot be attached to the kernel's tracepoints: what packet sockets see of the marked packet (packet(7)).

That is each device of one namespace, in and out; not where a packet ends, and why. The kernel itself compares the last octets
of each packet with the token (classic BPF, which needs no description of the kernel's types), so nothing else is copied.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import time

from weft.base.errors import Denied, Failed
from weft.kernel.live.tracepoints import HEAD, Sighting
from weft.kernel.plumbing import netns

_ALL = 0x0003
"""ETH_P_ALL."""
_OUTGOING = 4
"""PACKET_OUTGOING."""
_ATTACH_FILTER, _TIMESTAMP = 26, 35
"""SO_ATTACH_FILTER, SO_TIMESTAMPNS."""
_LENGTH, _SUBTRACT, _TO_INDEX, _WORD, _EQUAL, _RETURN = 0x80, 0x14, 0x07, 0x40, 0x15, 0x06
"""Opcodes of classic BPF: ld len, sub, tax, ld [x + k], jeq, ret (kernel Documentation/networking/filter.rst)."""
_TIME = struct.Struct("=qq")


class Capture:
    """In one namespace, from when it is made until it is closed. Raises Denied, Failed, NotFound."""

    def __init__(self, token: bytes, ns: str = "") -> None:
        self._sock = netns.call(ns, _open)
        try:
            code = _ends_with(token)
            octets = ctypes.create_string_buffer(code, len(code))
            program = struct.pack("@HP", len(code) // 8, ctypes.addressof(octets))
            self._sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
            self._sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
            while self.read():
                pass  # what came before there was a filter
        except OSError as error:
            self._sock.close()
            raise Failed(f"packets cannot be captured: {error.strerror}") from None

    def close(self) -> None:
        self._sock.close()

    def read(self) -> list[Sighting]:
        """What was seen since the last call, in order of time."""
        found = list[Sighting]()
        while True:
            try:
                data, control, _flags, address = self._sock.recvmsg(HEAD, 128, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno not in (errno.ENETDOWN, errno.ENOBUFS):  # of a device that went down meanwhile
                    raise Failed(f"packets cannot be captured: {error.strerror}") from None
                continue
            found.append(
                Sighting(
                    at=_time(control),
                    point="net_dev_start_xmit" if address[2] == _OUTGOING else "netif_receive_skb",
                    netns=0,
                    device=address[0],
                    ifindex=0,
                    length=len(data),
                    head=data,
                )
            )


def _open() -> socket.socket:
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.htons(_ALL))
    except PermissionError:
        raise Denied("packets cannot be captured: CAP_NET_RAW is needed") from None
    except OSError as error:
        raise Failed(f"packets cannot be captured: {error.strerror}") from None


def _ends_with(token: bytes) -> bytes:
    """A filter for packets whose last 8 octets these are."""
    first, second = struct.unpack("!II", token)
    code = (
        (_LENGTH, 0, 0, 0),
        (_SUBTRACT, 0, 0, len(token)),
        (_TO_INDEX, 0, 0, 0),
        (_WORD, 0, 0, 0),
        (_EQUAL, 0, 3, first),
        (_WORD, 0, 0, 4),
        (_EQUAL, 0, 1, second),
        (_RETURN, 0, 0, 0xFFFF),
        (_RETURN, 0, 0, 0),
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _time(control: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP):
            seconds, nanoseconds = _TIME.unpack(data[: _TIME.size])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()
