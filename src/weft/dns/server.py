"""The server: one for all containers of a host, in the agent's event loop.

Own names are answered where the question is read, some tens of them each time that a socket can be read, so that nobody who
asks much keeps others waiting. Only questions for other servers are tasks.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from weft.dns import message, stream
from weft.dns.answer import Answers
from weft.dns.asker import DOMAIN, Asker
from weft.dns.cache import Cache
from weft.dns.forward import Forwarder, Line, Opener, host_socket
from weft.dns.message import LARGEST, Malformed, Query
from weft.dns.names import Names

log = logging.getLogger(__name__)

BATCH = 64
"""Questions of one socket that are answered before others have their turn."""
LONGEST = 4096
"""Octets of a question: far more than one needs."""
IDLE = 10.0
"""Seconds for which a TCP connection may say nothing, or take nothing."""
CONNECTIONS, CONNECTIONS_IN_ALL = 32, 1024
"""By TCP: of one asker, and of all of them. More are closed at once."""
PAUSE = 1.0
"""Seconds after which connections are taken again, where the process had no file descriptor left."""


class Counts(msgspec.Struct):
    """Since the server began. `malformed`: were no questions. `forwarded`: other servers were asked. `known`: by heart, from
    another server. `refused`: nobody may be asked, or too many questions were under way."""

    questions: int = 0
    malformed: int = 0
    forwarded: int = 0
    known: int = 0
    refused: int = 0


class _Client:
    """An asker's sockets and what is under way on them."""

    def __init__(self, asker: Asker, udp: socket.socket, tcp: socket.socket) -> None:
        self.line, self.udp, self.tcp = Line(asker), udp, tcp
        self.connections: set[asyncio.Task[None]] = set()
        self.pause: asyncio.TimerHandle | None = None


class Server:
    """`names` may change at any time between two questions. `domain`: in which all own names are, too; `also`: and in
    this one. `cache`: how many answers of other servers are kept; 0 for none."""

    def __init__(
        self,
        names: Names,
        opener: Opener = host_socket,
        domain: str = DOMAIN,
        cache: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        also: str = "",
    ) -> None:
        self.counts = Counts()
        self._answers = Answers(names, domain, also)
        self._forwarder = Forwarder(opener, Cache(cache, clock), clock)
        self._clients: dict[str, _Client] = {}
        self._connections = 0

    def add(self, asker: Asker, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer what `asker` asks at these sockets: `udp` is bound, `tcp` listens. The server closes them when the asker is
        removed. Wants to be called in the event loop. One that is known already gets these sockets instead of its old ones."""
        self.remove(asker.id)
        client = self._clients[asker.id] = _Client(asker, udp, tcp)
        udp.setblocking(False)
        tcp.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(udp, self._datagrams, client)
        loop.add_reader(tcp, self._connection, client)

    def change(self, asker: Asker) -> None:
        """It has other networks or upstreams from now on; its sockets stay. One that is not known is left alone."""
        if client := self._clients.get(asker.id):
            client.line.put(asker)

    def remove(self, id: str) -> None:
        """An asker is gone: its sockets are closed, and what was asked for it is answered to nobody. One that is not known is
        fine."""
        client = self._clients.pop(id, None)
        if client is None:
            return
        loop = asyncio.get_running_loop()
        if client.pause:
            client.pause.cancel()
        for sock in (client.udp, client.tcp):
            loop.remove_reader(sock)
            sock.close()
        self._forwarder.forget(client.line)
        for task in client.connections:
            task.cancel()

    def close(self) -> None:
        """Remove all of them."""
        for id in list(self._clients):
            self.remove(id)

    # ------------------------------------------------------------------------------------------------------ by UDP

    def _datagrams(self, client: _Client) -> None:
        for _ in range(BATCH):
            try:
                packet, source = client.udp.recvfrom(LONGEST)
            except OSError:  # nothing more; or an error that was waiting, which this has taken away
                return
            reply = self._heard(client, packet, None)
            if isinstance(reply, Query):
                self._forwarder.ask(client.line, reply, partial(_answered, client.udp, source, reply))
            elif reply:
                _send(client.udp, reply, source)

    # ------------------------------------------------------------------------------------------------------ by TCP

    def _connection(self, client: _Client) -> None:
        loop = asyncio.get_running_loop()
        try:
            sock, _ = client.tcp.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            log.warning("no connections to the DNS server are taken for %g s: %s", PAUSE, error)
            loop.remove_reader(client.tcp)
            client.pause = loop.call_later(PAUSE, loop.add_reader, client.tcp, self._connection, client)
            return
        if len(client.connections) >= CONNECTIONS or self._connections >= CONNECTIONS_IN_ALL:
            sock.close()
            return
        sock.setblocking(False)
        task = loop.create_task(self._converse(client, sock), name="weft-dns-tcp")
        client.connections.add(task)
        self._connections += 1
        task.add_done_callback(partial(self._hung_up, client, sock))

    def _hung_up(self, client: _Client, sock: socket.socket, task: asyncio.Task[None]) -> None:
        sock.close()
        client.connections.discard(task)
        self._connections -= 1

    async def _converse(self, client: _Client, sock: socket.socket) -> None:
        """One question after the other."""
        try:
            while True:
                async with asyncio.timeout(IDLE):
                    packet = await stream.receive(sock, LONGEST)
                reply = self._heard(client, packet, LARGEST)
                if isinstance(reply, Query):
                    reply = await self._forwarded(client.line, reply)
                if not reply:
                    return
                async with asyncio.timeout(IDLE):
                    await stream.send(sock, reply)
                await asyncio.sleep(0)  # others have their turn, even where the next question is here already
        except (OSError, EOFError):
            return

    async def _forwarded(self, line: Line, query: Query) -> bytes:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def then(packet: bytes) -> None:
            if not answer.done():  # the client has hung up otherwise
                answer.set_result(packet)

        self._forwarder.ask(line, query, then)
        return await answer

    # ------------------------------------------------------------------------------------------------- what is said

    def _heard(self, client: _Client, packet: bytes, limit: int | None) -> bytes | Query:
        """The answer; b"" for none; the question, if others have to be asked. `limit`: octets; None: as the question says."""
        self.counts.questions += 1
        try:
            query = message.parse(packet)
        except Malformed as error:
            self.counts.malformed += 1
            return b"" if error.rcode is None else message.refusal(packet, error.rcode)
        limit = limit or query.limit
        if answer := self._answers.answer(query, client.line.asker, limit):
            return answer
        if answer := self._forwarder.at_once(client.line, query):
            if answer[3] & message.RCODE in (message.REFUSED, message.SERVFAIL):
                self.counts.refused += 1
            else:
                self.counts.known += 1
            return message.fitted(answer, query, limit)
        self.counts.forwarded += 1
        return query


def _answered(sock: socket.socket, to: Any, query: Query, packet: bytes) -> None:
    _send(sock, message.fitted(packet, query, query.limit), to)


def _send(sock: socket.socket, packet: bytes, to: Any) -> None:
    try:
        sock.sendto(packet, to)
    except OSError:
        return  # it asks again
