"""Membership on a real network: UDP and TCP at one port, this host's clock, a file.

All that is decided is decided in `core`. Datagrams that wait are all read before the timer is looked at: a host that stalled
hears first who answered meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from weft.base.errors import Denied, Failed, Invalid
from weft.base.names import check_name
from weft.mesh import ports
from weft.mesh.membership import Member, Standing
from weft.mesh.secret import Secret
from weft.mesh.swim import kept, seal, seen
from weft.mesh.swim.core import Core, Exchange, Knock, Send
from weft.mesh.swim.exchange import Exchanges
from weft.mesh.swim.join import Joining
from weft.mesh.swim.seal import Seal
from weft.mesh.swim.wire import Alive, Place, check_facts

_BURST = 256
"""Datagrams that are read before something else has its turn."""
_OCTETS = 2048
_LEAVING = 1.5
"""Seconds for telling that this host goes."""
_SAVING = 5.0
"""Seconds between two writes of the file at least."""
_COUNTED = ("sent", "sent_octets", "received", "received_octets", "refused")


class Swim:
    """`named`: hosts to be asked first, names or addresses. `instance`: what tells this host from any other of its name,
    also after a restart or under another address; "": one is made, and kept in `state`. Of several secrets the first one
    seals, and all open."""

    def __init__(
        self,
        *,
        name: str,
        address: IPv4Address | IPv6Address,
        secret: Secret | Sequence[Secret],
        named: Sequence[str],
        state: Path,
        port: int = ports.MEMBERS,
        instance: str = "",
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Raises Invalid."""
        self._seal = Seal([secret] if isinstance(secret, Secret) else secret)
        self._state, self._lost = state, ""
        self._saved = self._remembered()
        self._kept = self._saved or kept.fresh()
        me = Alive(
            name=check_name("node", name),
            uid=_uid(),
            instance=instance or self._kept.instance,
            incarnation=0,
            address=address.packed,
            port=port,
            facts=_checked(facts or {}),
        )
        now = time.monotonic()
        self._core = Core(me, now, random.Random())
        self._table = self._core.table
        self._exchanges = Exchanges(self._core, self._seal, self._done, self._refused)
        self._joining = Joining(self._table, named, self._kept.places, self._exchanges.make)
        self._woken, self._seen = asyncio.Event(), -1
        self._silent = asyncio.Event()
        """This host has left, and told so."""
        self._socket: socket.socket | None = None
        self._failed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._counts = dict.fromkeys(_COUNTED, 0)

    def _remembered(self) -> kept.Kept | None:
        try:
            return kept.read(self._state)
        except Failed as error:
            self._lost = str(error)
            return None

    # What is known.

    @property
    def me(self) -> Member:
        return seen.me(self._table)

    @property
    def instance(self) -> str:
        """What tells this host from any other of its name, through all its starts."""
        return self._table.me.instance

    def members(self) -> Sequence[Member]:
        return seen.members(self._table)

    def strangers(self) -> Sequence[Member]:
        """Hosts with the same secret that are of another cluster."""
        return seen.strangers(self._table)

    def troubles(self) -> Sequence[str]:
        lines = [*seen.troubles(self._table, time.monotonic()), *self._joining.troubles()]
        return [*lines, self._lost] if self._lost else lines

    @property
    def counts(self) -> Mapping[str, int]:
        """Datagrams, their octets, and exchanges by TCP that this host began; since it was started."""
        return {**self._counts, "exchanges": self._exchanges.count}

    async def changed(self, seen: int = -1) -> int:
        while seen == self._table.version:
            await self._woken.wait()
        return self._table.version

    # What this host says.

    def say(self, facts: Mapping[str, str]) -> None:
        self._core.say(_checked(facts))
        self._done()

    async def leave(self) -> None:
        self._core.leave(time.monotonic())
        self._done()
        if self._socket is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING):
                await self._silent.wait()

    # Running.

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        with self._bound() as bound:
            server = await self._listening()
            self._socket, self._failed = bound, loop.create_future()
            loop.add_reader(bound, self._whole, self._readable)
            try:
                self._done()
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._joining.run())
                    group.create_task(self._save())
                    group.create_task(_awaited(self._failed))
            finally:
                server.close()
                self._ended(loop)

    def _whole(self, work: Callable[[], None]) -> None:
        """What fails in a callback ends `run`, so that it begins anew, instead of going on without a timer."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - handed on as it is
            if self._failed and not self._failed.done():
                self._failed.set_exception(error)

    async def _listening(self) -> asyncio.Server:
        try:
            return await asyncio.start_server(self._serve, *self._table.me.place)
        except OSError as error:
            raise _taken(self._table.me.place, error) from None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keep(task)
        await self._exchanges.serve(reader, writer)

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._socket is not None
        loop.remove_reader(self._socket)
        if self._timer:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._socket = self._timer = self._failed = None

    def _bound(self) -> socket.socket:
        place = self._table.me.place
        found = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_DGRAM)
        found.setblocking(False)
        try:
            found.bind(place)
        except OSError as error:
            found.close()
            raise _taken(place, error) from None
        return found

    def _readable(self) -> None:
        """All that waits, then what is due by now."""
        assert self._socket is not None
        try:
            for _ in range(_BURST):
                data, source = self._socket.recvfrom(_OCTETS)
                self._received(data, source[:2])
        except OSError:
            pass  # there is no more; or it could not be received, and is lost as any datagram may be
        finally:
            self._done()

    def _received(self, data: bytes, source: Place) -> None:
        self._counts["received"] += 1
        self._counts["received_octets"] += len(data)
        try:
            self._core.datagram(time.monotonic(), self._seal.open(data, seal.DATAGRAM), source)
            self._table.troubles.over(("refused", source[0]))
        except (Denied, Invalid) as error:
            self._refused(error, source[0])

    def _refused(self, error: Exception, source: str) -> None:
        self._counts["refused"] += 1
        line = f"what {source} sends to port {self._table.me.port} is not taken: {error}"
        self._table.troubles.note(time.monotonic(), ("refused", source), line)

    def _due(self) -> None:
        self._timer = None
        self._readable()

    def _done(self) -> None:
        """After anything has happened: send what is to be sent, tell who waits, look again in time."""
        if self._socket is not None:
            if self._core.deadline <= (now := time.monotonic()):
                self._core.due(now)
            self._carry_out()
            self._look_again()
        if self._seen != self._table.version:
            self._seen = self._table.version
            self._woken.set()
            self._woken = asyncio.Event()
        if self._core.gone and self._core.told:
            self._silent.set()

    def _carry_out(self) -> None:
        for effect in self._core.take():
            match effect:
                case Send(place, data):
                    self._send(place, self._seal.close(data, seal.DATAGRAM))
                case Knock():
                    self._start(self._exchanges.knock(effect))
                case Exchange(place):
                    self._start(self._exchanges.attempt(place))

    def _send(self, place: Place, sealed: bytes) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):  # lost, as any datagram may be
            self._socket.sendto(sealed, place)
            self._counts["sent"] += 1
            self._counts["sent_octets"] += len(sealed)

    def _look_again(self) -> None:
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(
            loop.time() + max(0.0, self._core.deadline - time.monotonic()), self._whole, self._due
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.get_running_loop().create_task(work))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """To be cancelled with `run`."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The file.

    async def _save(self) -> None:
        """Whenever it says something else than what is known."""
        while True:
            known = self._table.known.values()
            self._kept = self._kept.knowing([k.claim for k in known if k.standing is not Standing.LEFT])
            if self._kept != self._saved:
                try:
                    await asyncio.to_thread(kept.write, self._state, self._kept)
                    self._saved, self._lost = self._kept, ""
                except Failed as error:
                    self._lost = str(error)
            await asyncio.sleep(_SAVING)


async def _awaited(failed: asyncio.Future[None]) -> None:
    await failed


def _uid() -> str:
    return secrets.token_hex(8)


def _checked(facts: Mapping[str, str]) -> dict[str, str]:
    try:
        check_facts(facts)
    except ValueError as error:
        raise Invalid(str(error)) from None
    return dict(facts)


def _taken(place: Place, error: OSError) -> Failed:
    return Failed(f"port {place[1]} of {place[0]} cannot be opened: {error.strerror}: members are not found without it")
