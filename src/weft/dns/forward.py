"""What is no own name is asked of other servers, in the asker's name and within limits.

Nobody can make us ask without end: each asker may have so many questions under way, and all of them together so many. The same
question to the same servers is asked once, however many wait for it. So a server that asks us again, in circles, waits for
itself and is told after a while that nothing was found.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Hashable
from functools import partial
from typing import NamedTuple

from weft.base.net import family
from weft.dns import message, stream
from weft.dns.asker import ADDRESS, PORT, Asker, Upstream
from weft.dns.cache import Cache
from weft.dns.message import FORMERR, NOTIMP, REFUSED, SERVFAIL, Answer, Malformed, Query

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds for a server's answer, before the next one is asked."""
DEAD = 5.0
"""Seconds for which one that did not answer comes after the others."""
PER_ASKER, IN_ALL = 256, 4096
"""Questions under way. What is beyond is answered at once: SERVFAIL."""
WRONG = 64
"""Answers to something else that a question puts up with: somebody guesses."""
_MOST_DEAD = 4096

Opener = Callable[[Asker, Upstream, socket.SocketKind], socket.socket]
"""Opens a socket of the upstream's family in the host's namespace, or, for one `inside`, in the asker's: not connected, not
blocking. Raises OSError."""


def host_socket(asker: Asker, upstream: Upstream, kind: socket.SocketKind) -> socket.socket:
    """An `Opener` that knows the host's namespace only. Raises OSError for an upstream inside."""
    if upstream.inside:
        raise OSError(f"no way into {asker.id}")
    where = socket.AF_INET if family(upstream.address) == 4 else socket.AF_INET6
    return socket.socket(where, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


class Line:
    """From an asker to its upstreams. Our own address in the asker's namespace is left out: it would ask itself."""

    def __init__(self, asker: Asker) -> None:
        self.waiting = 0
        """Questions under way."""
        self.put(asker)

    def put(self, asker: Asker) -> None:
        self.asker = asker
        usable = tuple(u for u in asker.upstreams if u.inside or asker.outside)
        self.upstreams = tuple(u for u in usable if (u.inside, u.address, u.port) != (True, ADDRESS, PORT))
        inside = any(u.inside for u in self.upstreams)
        self.route = " ".join([asker.id if inside else "", *map(str, self.upstreams)])
        """Askers with the same one get the same answers."""


class _Waiting(NamedTuple):
    line: Line
    query: Query
    then: Callable[[bytes], None]


class _Shared:
    """A question under way, and who waits for its answer."""

    def __init__(self, task: asyncio.Task[tuple[bytes, Answer]]) -> None:
        self.task = task
        self.waiting: list[_Waiting] = []


class Forwarder:
    def __init__(self, opener: Opener, cache: Cache, clock: Callable[[], float]) -> None:
        self._open, self._cache, self._clock = opener, cache, clock
        self._shared: dict[Hashable, _Shared] = {}
        self._dead: dict[tuple[str, Upstream], float] = {}
        """Asker ("" for the host) and server → until when it counts as dead."""
        self._under_way = 0

    def at_once(self, line: Line, query: Query) -> bytes | None:
        """What can be said without asking anybody; None: `ask`."""
        if not line.upstreams:
            return message.failure(query, REFUSED)
        if found := self._cache.get(_key(line, query), query):
            return found
        if line.waiting >= PER_ASKER or self._under_way >= IN_ALL:
            return message.failure(query, SERVFAIL)
        return None

    def ask(self, line: Line, query: Query, then: Callable[[bytes], None]) -> None:
        """`then` is called with the answer, in time; never, if the asker is forgotten before."""
        key = _key(line, query)
        shared = self._shared.get(key)
        if shared is None:
            task = asyncio.get_running_loop().create_task(self._resolve(line, query), name="weft-dns-ask")
            shared = self._shared[key] = _Shared(task)
            task.add_done_callback(partial(self._resolved, key, shared))
        shared.waiting.append(_Waiting(line, query, then))
        line.waiting += 1
        self._under_way += 1

    def forget(self, line: Line) -> None:
        """Nobody wants its answers any more. What nobody else asked for is not asked on."""
        for key, shared in list(self._shared.items()):
            others = [one for one in shared.waiting if one.line is not line]
            self._under_way -= len(shared.waiting) - len(others)
            shared.waiting = others
            if not others:
                del self._shared[key]
                shared.task.cancel()
        line.waiting = 0

    def _resolved(self, key: Hashable, shared: _Shared, task: asyncio.Task[tuple[bytes, Answer]]) -> None:
        if self._shared.get(key) is shared:
            del self._shared[key]
        for line, _, _ in shared.waiting:
            line.waiting -= 1
        self._under_way -= len(shared.waiting)
        if not task.cancelled():
            error = task.exception()
            if error:
                log.error("a question was not forwarded: %s", error, exc_info=error)
            for _, query, then in shared.waiting:
                packet, said = _nothing(query) if error else task.result()
                then(message.aged(packet, query, said.ttls, 0))

    async def _resolve(self, line: Line, query: Query) -> tuple[bytes, Answer]:
        """From the first server that knows. One that is the only one is asked twice: a packet may be lost."""
        last = _nothing(query)
        for upstream in self._ordered(line):
            try:
                found = await self._exchange(line.asker, upstream, query)
            except (OSError, EOFError, Malformed):
                self._is_dead(line.asker, upstream)
                continue
            if found[1].rcode not in (SERVFAIL, REFUSED):
                if not upstream.inside:  # an engine's own names change with its containers, and it is near
                    self._cache.put(_key(line, query), *found)
                return found
            last = found
            if len(line.upstreams) == 1:
                break
        return last

    async def _exchange(self, asker: Asker, upstream: Upstream, query: Query) -> tuple[bytes, Answer]:
        """Raises OSError (TimeoutError, too), EOFError and Malformed. An answer that was cut comes by TCP, if that can be had;
        a server that does not understand EDNS is asked without."""
        async with asyncio.timeout(PATIENCE):
            packet = await self._by_udp(asker, upstream, query)
        said = message.read(packet)
        if said.rcode in (FORMERR, NOTIMP) and query.size is not None:
            return await self._exchange(asker, upstream, query._replace(size=None))
        if said.cut:
            try:
                async with asyncio.timeout(PATIENCE):
                    whole = await self._by_tcp(asker, upstream, query)
                return whole, message.read(whole)
            except (OSError, EOFError, Malformed):
                pass
        return packet, said

    async def _by_udp(self, asker: Asker, upstream: Upstream, query: Query) -> bytes:
        """By a socket of its own, so from a port that nobody can guess; connected, so that only that server is heard."""
        id = _random_id()
        with self._open(asker, upstream, socket.SOCK_DGRAM) as sock:
            sock.connect(_place(upstream))
            sock.send(message.forwarded(query, id))
            for _ in range(WRONG):
                packet = await asyncio.get_running_loop().sock_recv(sock, 4096)
                if message.answers(packet, id, query.question):
                    return packet
        raise OSError(f"{upstream} answers something else")

    async def _by_tcp(self, asker: Asker, upstream: Upstream, query: Query) -> bytes:
        id = _random_id()
        with self._open(asker, upstream, socket.SOCK_STREAM) as sock:
            await asyncio.get_running_loop().sock_connect(sock, _place(upstream))
            await stream.send(sock, message.forwarded(query, id))
            packet = await stream.receive(sock)
        if not message.answers(packet, id, query.question):
            raise OSError(f"{upstream} answers something else")
        return packet

    def _ordered(self, line: Line) -> list[Upstream]:
        now = self._clock()
        alive = sorted(line.upstreams, key=lambda one: self._dead.get(_who(line.asker, one), 0.0) > now)
        return alive if len(alive) > 1 else alive * 2

    def _is_dead(self, asker: Asker, upstream: Upstream) -> None:
        now = self._clock()
        if len(self._dead) >= _MOST_DEAD:
            self._dead = {who: until for who, until in self._dead.items() if until > now}
        self._dead[_who(asker, upstream)] = now + DEAD


def _key(line: Line, query: Query) -> Hashable:
    flags = query.flags & message.PASSED_ON
    return line.route, query.name, query.type, query.cls, flags, query.size is None, query.signed


def _nothing(query: Query) -> tuple[bytes, Answer]:
    """Said where nobody says anything."""
    return message.failure(query, SERVFAIL), Answer(SERVFAIL, False, (), 0)


def _who(asker: Asker, upstream: Upstream) -> tuple[str, Upstream]:
    return asker.id if upstream.inside else "", upstream


def _place(upstream: Upstream) -> tuple[str, int] | tuple[str, int, int, int]:
    """As sockets take it. Raises OSError where there is no interface of that name."""
    address, _, interface = str(upstream.address).partition("%")
    return (address, upstream.port, 0, socket.if_nametoindex(interface)) if interface else (address, upstream.port)


def _random_id() -> int:
    return int.from_bytes(os.urandom(2))
