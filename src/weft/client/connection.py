"""HTTP over a unix socket: one request, one connection."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Mapping

import msgspec

from weft.api.operations import AS_OF
from weft.base.errors import Denied, Failed, Invalid, Unavailable

LONGEST = 107
"""Octets of a socket's path: sun_path is 108 with the closing NUL (unix(7))."""


class Answer(msgspec.Struct, frozen=True):
    """`status`: of HTTP (RFC 9110 §15). `as_of`: what the header of that name says."""

    status: int
    body: bytes
    as_of: str = ""


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection whose peer is named by a socket's path (unix(7))."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)  # the name only goes into the Host header
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(
    path: str, timeout: float, method: str, target: str, body: bytes | None, more: Mapping[str, str] | None = None
) -> Answer:
    """`timeout`: seconds for each step. `more`: headers. Raises Invalid, Unavailable, Denied, Failed."""
    headers = {"Accept": "application/json", **(more or {})}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if len(os.fsencode(path)) > LONGEST:
        raise Invalid(f"{path} is too long for a socket's path ({LONGEST} octets): give another --socket")
    connection = UnixConnection(path, timeout)
    try:
        connection.request(method, target, body, headers)
        reply = connection.getresponse()
        return Answer(reply.status, reply.read(), reply.getheader(AS_OF, ""))
    except TimeoutError:
        raise Unavailable(
            f"the agent at {path} has not answered for {timeout:g} s: it may still be at it; its log tells more"
        ) from None
    except PermissionError:
        raise Denied(f"no access to the agent's socket {path}: use sudo, or join the group that owns it") from None
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise Unavailable(f"no agent answers at {path}: start it with `weft agent run`, or give --socket") from None
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise Failed(f"the agent at {path} broke off: {reason}: see its log, then try again") from None
    finally:
        connection.close()
