"""Probes as frames of a device: a packet socket that takes nothing else (packet(7))."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

from weft.paths.probe import ETHERNET, ETHERTYPE

_AT_ONCE = 64
"""Frames that are taken in before others have their turn."""
_RECEIVE = 1 << 16
_RCVBUF = 1 << 20
"""Octets: what several hundred hosts may send while this one is busy."""
_TYPE = ETHERTYPE.to_bytes(2, "big")


class Frames:
    """Of the device `dev`, which may not be there yet, and may be made anew: `look` finds out. `mac`: this host's in it."""

    def __init__(self, dev: str, mac: str) -> None:
        self.dev = dev
        self._source = bytes.fromhex(mac.replace(":", "")) + _TYPE
        self._socket: socket.socket | None = None
        self._index = 0

    def look(self, opened: Callable[[socket.socket], None], closing: Callable[[socket.socket], object]) -> None:
        """`opened` is told of a new socket, and `closing` of one before it is closed. Raises OSError."""
        index = 0
        with contextlib.suppress(OSError):
            index = socket.if_nametoindex(self.dev)
        if index == self._index:
            return
        self.end(closing)
        if index:
            self._socket, self._index = _open(self.dev), index
            opened(self._socket)

    def end(self, closing: Callable[[socket.socket], object]) -> None:
        if self._socket is not None:
            closing(self._socket)
            self._socket.close()
        self._socket, self._index = None, 0

    def send(self, mac: bytes, payload: bytes) -> None:
        """What cannot be sent is lost, as on any wire: the device is down or full, or carries no frame of this size."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(mac + self._source + payload)

    def received(self) -> Iterator[bytes]:
        """What follows Ethernet's header, of the frames that are there."""
        with contextlib.suppress(OSError):  # none is left; or the device is gone
            for _ in range(_AT_ONCE):
                if self._socket is None:
                    return
                yield self._socket.recv(_RECEIVE)[ETHERNET:]


def _open(dev: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RCVBUF)
        sock.bind((dev, ETHERTYPE))
    except OSError:
        sock.close()
        raise
    return sock
