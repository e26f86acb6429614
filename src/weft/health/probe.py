"""How a member is asked: by a connection that begins inside its own network namespace.

So it works with every data path and with networks that the host itself has no way into, no policy decides on it, and it goes to
the container's address as other containers' connections do. Threads open the sockets, many at a time
(`weft.kernel.plumbing.netns`); after that they are used like any others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from functools import partial
from typing import NamedTuple

from weft.base.errors import NotFound, WeftError
from weft.base.net import IPAddress
from weft.health.checks import Check
from weft.kernel.plumbing import netns
from weft.services.model import Health

MOST = 500
"""Members that are asked at the same time: each costs a file descriptor, and one that does not answer holds it for a while."""
LONGEST_HEAD = 16384
"""Bytes of an HTTP answer in which its status has to come."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: [^\r\n]*)?")


class _Wanted(NamedTuple):
    check: Check
    address: IPAddress
    ready: asyncio.Future[socket.socket]


class Prober:
    def __init__(self) -> None:
        self._room = asyncio.Semaphore(MOST)
        self._wanted: list[_Wanted] = []
        self._opening: asyncio.Task[None] | None = None

    async def ask(self, check: Check) -> str:
        """ "" if the member takes connections, otherwise why not, in one line, of each of its addresses: what listens at one of
        them only says there what is wrong. Each has the whole time."""
        if not check.port:
            return "the member calls none of its ports as the service's target is called"
        answers = dict[str, None]()
        for address in check.addresses:
            async with self._room:
                answer = await self._at(check, address)
            if not answer:
                return ""
            answers[answer] = None
        return "; ".join(answers) or "it has no address"

    async def _at(self, check: Check, address: IPAddress) -> str:
        where = f"[{address}]:{check.port}" if address.version == 6 else f"{address}:{check.port}"
        try:
            async with asyncio.timeout(check.health.timeout):
                with await self._socket(check, address) as sock:
                    await asyncio.get_running_loop().sock_connect(sock, (str(address), check.port))
                    return await _status(sock, check.health, where) if check.health.kind == "http" else ""
        except TimeoutError:
            return f"no answer from {where} in {check.health.timeout:g} s"
        except ConnectionRefusedError:
            return f"connection refused at {where}"
        except OSError as error:
            return f"{where}: {os.strerror(error.errno).lower() if error.errno else error}"
        except WeftError as error:
            return str(error)

    # Sockets in other namespaces.

    async def _socket(self, check: Check, address: IPAddress) -> socket.socket:
        """Raises WeftError, OSError."""
        wanted = _Wanted(check, address, asyncio.get_running_loop().create_future())
        self._wanted.append(wanted)
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        try:
            return await wanted.ready
        except asyncio.CancelledError:
            if wanted.ready.done() and not wanted.ready.cancelled() and not wanted.ready.exception():
                wanted.ready.result().close()
            raise

    async def _open(self) -> None:
        """All that are wanted by now, by one thread, until none is."""
        try:
            while some := self._wanted:
                self._wanted = []
                work = [(w.check.path, partial(_opened, w.check, w.address)) for w in some]
                found = await asyncio.to_thread(netns.each, work)
                for wanted, sock in zip(some, found, strict=True):
                    _hand_over(wanted.ready, sock)
        finally:
            self._opening = None


def _opened(check: Check, address: IPAddress) -> socket.socket:
    """Inside the namespace. Raises NotFound, OSError."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if check.cookie and netns.cookie_of(sock) != check.cookie:
        sock.close()
        raise NotFound("the container's network namespace is gone")
    return sock


def _hand_over(ready: asyncio.Future[socket.socket], found: socket.socket | WeftError) -> None:
    if isinstance(found, WeftError):
        if not ready.done():
            ready.set_exception(found)
    elif ready.done():  # nobody waits for it any more
        found.close()
    else:
        ready.set_result(found)


# HTTP.


async def _status(sock: socket.socket, health: Health, where: str) -> str:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    head = f"GET {health.path} HTTP/1.1\r\nHost: {where}\r\nUser-Agent: weft-health\r\nConnection: close\r\n\r\n"
    await loop.sock_sendall(sock, head.encode())
    said = b""
    with contextlib.suppress(ValueError):
        while len(said) < LONGEST_HEAD and (more := await loop.sock_recv(sock, 4096)):
            said += more
            if found := status(said):
                return "" if 200 <= found < 400 else f"HTTP {found} for {health.path}"
    return f"no answer of HTTP/1.1 from {where}"


def status(said: bytes) -> int:
    """Of the final answer, once that has begun (RFC 9112, section 4; interim ones, 1xx, may come before it: RFC 9110, section
    15.2); 0 as long as it has not. Raises ValueError where this is no HTTP/1."""
    while True:
        line, end, rest = said.partition(b"\n")
        if not end:
            return 0
        found = _STATUS.fullmatch(line.rstrip(b"\r"))
        if found is None:
            raise ValueError
        if (number := int(found[1])) >= 200:
            return number
        _, end, said = (b"\r\n" + rest).partition(b"\r\n\r\n")
        if not end:
            return 0
