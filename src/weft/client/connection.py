"""HTTP/1.0 over a unix socket: one request, one connection.

The library's own client brings TLS and e-mail with it, which is a fifth of the time that a short command takes (ADR 65).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from weft.api.operations import AS_OF
from weft.base.errors import Denied, Failed, Invalid, Unavailable

LONGEST = 107
"""Octets of a socket's path: sun_path is 108 with the closing NUL (unix(7))."""
MOST_HEAD = 65_536
"""Octets of a reply's head."""


class Answer(msgspec.Struct, frozen=True):
    """`status`: of HTTP (RFC 9110 §15). `headers`: by their names in lower case."""

    status: int
    body: bytes
    headers: dict[str, str] = {}

    @property
    def as_of(self) -> str:
        return self.headers.get(AS_OF.lower(), "")


def ask(
    path: str, timeout: float, method: str, target: str, body: bytes | None, more: Mapping[str, str] | None = None
) -> Answer:
    """`timeout`: seconds for each step. `more`: headers. Raises Invalid, Unavailable, Denied, Failed."""
    headers = {"Accept": "application/json", **(more or {})}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if len(os.fsencode(path)) > LONGEST:
        raise Invalid(f"{path} is too long for a socket's path ({LONGEST} octets): give another --socket")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(timeout)
            peer.connect(path)
            peer.sendall(_request(method, target, headers, body or b""))
            return _answer(peer)
    except TimeoutError:
        raise Unavailable(
            f"the agent at {path} has not answered for {timeout:g} s: it may still be at it; its log tells more"
        ) from None
    except PermissionError:
        raise Denied(f"no access to the agent's socket {path}: use sudo, or join the group that owns it") from None
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise Unavailable(f"no agent answers at {path}: start it with `weft agent run`, or give --socket") from None
    except (OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise Failed(f"the agent at {path} broke off: {reason}: see its log, then try again") from None


def _request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.0", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}"] if body or method in ("POST", "PUT") else []
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _answer(peer: socket.socket) -> Answer:
    """A reply to HTTP/1.0: its body is as long as it says, else all that comes (RFC 1945 §7.2.2). Raises ValueError,
    OSError."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        _more(peer, data, "before it had answered" if not data else "in the head of its answer")
        if len(data) > MOST_HEAD and b"\r\n\r\n" not in data:
            raise ValueError("the head of its answer is too long")
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal() or "transfer-encoding" in headers:
        raise ValueError(f"it speaks no HTTP/1.0: {first[:80]!r}")
    del data[: end + 4]
    length = headers.get("content-length")
    if length is None:
        with suppress(_Ended):
            while True:
                _more(peer, data, "")
    else:
        while len(data) < int(length):
            _more(peer, data, f"after {len(data)} of {length} octets")
    return Answer(int(rest[:3]), bytes(data), headers)


class _Ended(OSError):
    pass


def _more(peer: socket.socket, data: bytearray, where: str) -> None:
    """Raises _Ended, OSError."""
    chunk = peer.recv(65_536)
    if not chunk:
        raise _Ended(f"it closed the connection {where}")
    data += chunk
