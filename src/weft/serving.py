"""HTTP servers that nobody can use up: the agent's API, its metrics, the Docker plugin.

Whoever may open one connection may open many and leave them open. So a server has so many connections and no more. When it
is full, connections without a request under way make room, the longest idle one first; where each has a request under way,
new ones wait in the kernel's queue. Running out of file descriptors is a pause, not an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from aiohttp import web

from weft.base.errors import Failed, Invalid

log = logging.getLogger(__name__)

MOST = 256
"""Connections of one server. Fewer where the process may not have many files: an eighth of these."""
IDLE = 60.0
"""Seconds that a connection may be open without a request under way."""
YIELDING = 1.0
"""Seconds after its last answer when an idle connection makes room for a new one. Until then its client may still be reading.
One that has asked nothing yet makes room after a `PAUSE`."""
BODY = 30.0
"""Seconds for a request's body to arrive."""
LARGEST = 2**19
"""Octets of a request's body."""
PAUSE = 0.05
"""Seconds between two looks for room."""
GRACE = 5.0
"""Seconds for requests under way when the server is told to stop."""
QUEUE = 1024
"""Connections that the kernel keeps waiting; more of them it refuses at once (EAGAIN)."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def most() -> int:
    return max(4, min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


def application(*middlewares: Any) -> web.Application:
    return web.Application(middlewares=middlewares, client_max_size=LARGEST)


async def body(request: web.Request, largest: int = LARGEST) -> bytes:
    """`largest`: octets of it. Raises Invalid where it is too large or does not arrive."""
    try:
        async with asyncio.timeout(BODY):
            return await request.clone(client_max_size=largest).read()
    except web.HTTPRequestEntityTooLarge:
        raise Invalid(f"the request is larger than {largest} octets: ask for less at once") from None
    except TimeoutError:
        raise Invalid(f"the request did not arrive within {BODY:g} s") from None


@contextlib.asynccontextmanager
async def serving(app: web.Application, sockets: Iterable[socket.socket]) -> AsyncIterator[None]:
    """`sockets` listen; they are closed at the end."""
    door = _Door()
    app.middlewares.insert(0, door.watched)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE)
    await runner.setup()
    assert runner.server is not None
    sockets = list(sockets)
    tasks = [asyncio.create_task(door.accept(runner.server, sock), name="weft-accept") for sock in sockets]
    tasks.append(asyncio.create_task(door.sweep(runner.server), name="weft-idle"))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in sockets:
            sock.close()
        await runner.cleanup()


class _Door:
    """Lets connections in, and knows which of them have a request under way."""

    def __init__(self) -> None:
        self._busy: set[Any] = set()
        self._since: dict[Any, float] = {}
        """Connection → since when it is idle."""
        self._answered: set[Any] = set()
        """Those that have had an answer."""

    @web.middleware
    async def watched(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A middleware."""
        self._busy.add(request.protocol)
        try:
            return await handler(request)
        finally:
            self._busy.discard(request.protocol)
            self._since[request.protocol] = time.monotonic()
            self._answered.add(request.protocol)

    async def accept(self, server: web.Server, sock: socket.socket) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        while True:
            try:
                connection, _ = await loop.sock_accept(sock)
            except OSError as error:  # no file descriptor is left, or who asked is gone already
                log.warning("a connection could not be taken: %s", error.strerror)
                self._make_room(server)
                await asyncio.sleep(1)
                continue
            await self._room(server)
            with contextlib.suppress(OSError):
                _, protocol = await loop.connect_accepted_socket(server, connection)
                self._since[protocol] = time.monotonic()

    async def _room(self, server: web.Server) -> None:
        while len(server.connections) >= most():
            if not self._make_room(server):
                await asyncio.sleep(PAUSE)
            await asyncio.sleep(0)  # what was closed goes

    def _idle(self, server: web.Server) -> list[Any]:
        """The longest idle first."""
        self._since = {c: since for c, since in self._since.items() if c in server.connections}
        self._answered &= self._since.keys()
        return sorted((c for c in self._since if c not in self._busy), key=lambda c: self._since[c])

    def _make_room(self, server: web.Server) -> bool:
        """By the one that is idle for the longest time, of those that need not be waited for."""
        now = time.monotonic()
        for connection in self._idle(server):
            if now - self._since[connection] >= (YIELDING if connection in self._answered else PAUSE):
                connection.force_close()
                return True
        return False

    async def sweep(self, server: web.Server) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(IDLE / 4)
            for connection in self._idle(server):
                if time.monotonic() - self._since[connection] > IDLE:
                    connection.force_close()


def unix_socket(path: Path, mode: int = 0o600, group: int = -1) -> socket.socket:
    """Listens at `path`, which is nobody's before it has its mode. What an ended process left there goes, if it is a
    socket. Raises Failed, Invalid."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise Invalid(f"{path} is not a socket: choose another path, or remove that")
        path.unlink(missing_ok=True)
        os.fchmod(
            sock.fileno(), 0o600
        )  # the file gets what the socket has (unix_bind_bsd()); a umask is for all threads
        sock.bind(str(path))
        if group >= 0:
            os.chown(path, -1, group)
        path.chmod(mode)
        sock.listen(QUEUE)
    except OSError as error:
        sock.close()
        raise Failed(f"cannot listen at {path}: {error.strerror or error}") from None
    except BaseException:
        sock.close()
        raise
    return sock


def tcp_socket(host: str, port: int) -> socket.socket:
    """`host`: "" for all addresses of this host. Raises OSError."""
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=QUEUE)
    both = socket.has_dualstack_ipv6()
    return socket.create_server(
        ("", port), family=socket.AF_INET6 if both else socket.AF_INET, backlog=QUEUE, dualstack_ipv6=both
    )
