"""Leads members that reach no voter to one: octets in, octets out.

    a host without a link to the voters ──TCP──► this host, port 6788 ──TCP──► a voter that this host reaches

TLS is between that host's store and the voter, so nothing is read or written here, and whoever has no certificate of the mesh
gets as far as he would get at the voter itself. What he can take is bounded: connections in all and of one address, the time of
one on which nothing goes to and fro (the store's own connection says something every ten seconds), and what is kept of octets
that one end has sent and the other has not taken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from weft.base.errors import Failed
from weft.base.net import IPAddress
from weft.mesh import ports

MOST, MOST_OF_ONE = 256, 16
"""Connections in all, and from one address."""
IDLE = 60.0
"""Seconds without an octet in either direction."""
DIAL = 1.5
"""Seconds for a voter to take the connection."""
CHUNK = 64 * 1024
"""Octets that are kept of each direction at most, twice."""

Place = tuple[str, int]


class Relay:
    """`listening`: whether others can ask it. `refused`: connections that were one too many, or had no voter to lead to."""

    def __init__(self, voters: Callable[[], Sequence[Place]], port: int = ports.RELAY) -> None:
        """`voters`: those that this host reaches itself, the best first."""
        self._voters, self._port = voters, port
        self._from: Counter[str] = Counter()
        self._serving: set[asyncio.Task[None]] = set()
        self.listening, self.refused = False, 0

    @property
    def connections(self) -> int:
        return self._from.total()

    async def run(self, address: IPAddress) -> None:
        """Listens at this address of the host, until it is cancelled. Raises Failed where it cannot."""
        try:
            server = await asyncio.start_server(self._accept, str(address), self._port, limit=CHUNK)
        except OSError as error:
            raise Failed(
                f"cannot listen at TCP port {self._port} of {address}, which leads other hosts to the store: {error.strerror}: "
                f"see who does (ss -ltnp sport = {self._port})"
            ) from None
        try:
            async with server:
                self.listening = True
                await server.serve_forever()
        finally:
            self.listening = False
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str((writer.get_extra_info("peername") or ("",))[0])
        if self.connections >= MOST or self._from[source] >= MOST_OF_ONE:
            self.refused += 1
            writer.transport.abort()
            return
        self._from[source] += 1
        try:
            async with self._voter() as onward:
                if onward is None:
                    self.refused += 1
                else:
                    await _carry((reader, writer), onward)
        finally:
            self._from[source] -= 1
            self._from += Counter()
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def _voter(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]:
        for host, port in self._voters():
            try:
                async with asyncio.timeout(DIAL):
                    reader, writer = await asyncio.open_connection(host, port, limit=CHUNK)
            except (OSError, TimeoutError):
                continue
            try:
                yield reader, writer
            finally:
                writer.transport.abort()
            return
        yield None


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _carry(one: Ends, other: Ends) -> None:
    """Until either end closes, breaks, or nothing goes to and fro."""
    clock = asyncio.get_running_loop().time

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                limit.reschedule(clock() + IDLE)
                writer.write(data)
                await writer.drain()

    tasks: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(IDLE) as limit:
            tasks += [asyncio.create_task(carry(*ends)) for ends in ((one[0], other[1]), (other[0], one[1]))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
