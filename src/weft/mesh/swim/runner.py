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
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from weft.base.errors import Denied, Failed, Invalid
from weft.base.names import check_name
from weft.mesh import ports
from weft.mesh.membership import Member, Standing
from weft.mesh.secret import Secret
from weft.mesh.swim import kept, seal, streams, timing
from weft.mesh.swim.core import Core, Exchange, Knock, Send
from weft.mesh.swim.join import Joining
from weft.mesh.swim.seal import Seal
from weft.mesh.swim.table import member, namesakes_by_address
from weft.mesh.swim.wire import Ack, Alive, Everything, Ping, Place, check_facts

_BURST = 256
"""Datagrams that are read before something else has its turn."""
_OCTETS = 2048
_CONNECTIONS = 64
"""That others have open here at once."""
_LEAVING = 1.5
"""Seconds for telling that this host goes."""
_SAVING = 5.0
"""Seconds between two writes of the file at least."""
_COUNTED = ("sent", "sent_octets", "received", "received_octets", "refused", "exchanges")
CLUSTER = "cluster"
"""The fact that says of which cluster a host is; "" or none: of none yet."""


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
        self._joining = Joining(self._table, named, self._kept.places, self._exchange)
        self._woken, self._seen = asyncio.Event(), -1
        self._silent = asyncio.Event()
        """This host has left, and told so."""
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0
        self.counts = dict.fromkeys(_COUNTED, 0)
        """Of datagrams, their octets, and exchanges by TCP that this host began; since it was started."""

    def _remembered(self) -> kept.Kept | None:
        try:
            return kept.read(self._state)
        except Failed as error:
            self._lost = str(error)
            return None

    # What is known.

    @property
    def me(self) -> Member:
        return member(self._table.me, self._table.standing, self._table.since)

    @property
    def instance(self) -> str:
        """What tells this host from any other of its name, through all its starts."""
        return self._table.me.instance

    @property
    def cluster(self) -> str:
        return self._table.me.facts.get(CLUSTER, "")

    def members(self) -> Sequence[Member]:
        others = [known.member() for known in self._table.known.values()]
        return sorted((self.me, *filter(self._ours, others)), key=lambda each: each.name)

    def strangers(self) -> Sequence[Member]:
        """Hosts with the same secret that are of another cluster."""
        others = [known.member() for known in self._table.known.values()]
        return sorted((each for each in others if not self._ours(each)), key=lambda each: each.name)

    def _ours(self, other: Member) -> bool:
        theirs = other.facts.get(CLUSTER, "")
        return not (theirs and self.cluster) or theirs == self.cluster

    def troubles(self) -> Sequence[str]:
        now = time.monotonic()
        table, lasting = self._table, 3 * timing.EXCHANGE * timing.scale(self._table.size)
        here = table.here()
        lines = [*table.troubles.lines(now, lasting), *namesakes_by_address([table.me, *(k.claim for k in here)])]
        lines += [
            f"{k.claim.name} at {k.claim.place[0]} is reached by TCP only: let UDP port {k.claim.port} through"
            for k in here
            if k.tcp_only
        ]
        lines += self._of_clusters([k.member() for k in here])
        lines += [*self._joining.troubles(), *([self._lost] if self._lost else [])]
        return lines

    def _of_clusters(self, others: Sequence[Member]) -> list[str]:
        said = {each.name: each.facts.get(CLUSTER, "") for each in others}
        if self.cluster:
            return [
                f"{each.name} at {each.address} is of another cluster ({said[each.name]}; this host's is {self.cluster}): "
                "it does not count as a member"
                for each in others
                if not self._ours(each)
            ]
        clusters = sorted(set(said.values()) - {""})
        return [f"hosts of several clusters are there: {', '.join(clusters)}"] if len(clusters) > 1 else []

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
        with self._bound() as self._socket:
            loop = asyncio.get_running_loop()
            try:
                server = await asyncio.start_server(self._served, *self._table.me.place)
            except OSError as error:
                raise _taken(self._table.me.place, error) from None
            loop.add_reader(self._socket, self._readable)
            try:
                async with server, asyncio.TaskGroup() as group:
                    self._done()
                    group.create_task(self._joining.run())
                    group.create_task(self._save())
            finally:
                self._ended(loop)

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._socket is not None
        loop.remove_reader(self._socket)
        if self._timer:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._socket = self._timer = None

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
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            pass  # what could not be received is lost, as any datagram may be
        finally:
            self._done()

    def _received(self, data: bytes, source: Place) -> None:
        now = time.monotonic()
        self.counts["received"] += 1
        self.counts["received_octets"] += len(data)
        try:
            self._core.datagram(now, self._seal.open(data, seal.DATAGRAM), source)
        except (Denied, Invalid) as error:
            self._refused(now, error, source)

    def _refused(self, now: float, error: Exception, source: Place) -> None:
        self.counts["refused"] += 1
        line = f"what {source[0]} sends to port {self._table.me.port} is not taken: {error}"
        self._table.troubles.note(now, ("refused", source[0]), line)

    def _due(self) -> None:
        self._timer = None
        self._readable()

    def _done(self) -> None:
        """After anything has happened: send what is to be sent, tell who waits, look again in time."""
        now = time.monotonic()
        if self._socket is None:
            return
        if self._core.deadline <= now:
            self._core.due(now)
        for effect in self._core.take():
            match effect:
                case Send(place, data):
                    self._send(place, self._seal.close(data, seal.DATAGRAM))
                case Knock(place, ping):
                    self._start(self._knock(place, ping))
                case Exchange(place):
                    self._start(self._exchanged(place))
        if self._seen != self._table.version:
            self._seen = self._table.version
            self._woken.set()
            self._woken = asyncio.Event()
        if self._core.gone and self._core.told:
            self._silent.set()
        self._look_again()

    def _send(self, place: Place, sealed: bytes) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):  # lost, as any datagram may be
            self._socket.sendto(sealed, place)
            self.counts["sent"] += 1
            self.counts["sent_octets"] += len(sealed)

    def _look_again(self) -> None:
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(loop.time() + max(0.0, self._core.deadline - time.monotonic()), self._due)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # By TCP.

    async def _knock(self, place: Place, ping: Ping) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError, Denied, Invalid):
            answer = await streams.ask(self._seal, self._table.me.place[0], place, ping)
            if isinstance(answer, Ack):
                self._core.knocked(answer.number)
                self._done()

    async def _exchanged(self, place: Place) -> None:
        with contextlib.suppress(Failed):
            await self._exchange(place)

    async def _exchange(self, place: Place) -> None:
        """Raises Failed: why not."""
        own = self._table.me.place[0]
        self.counts["exchanges"] += 1
        try:
            answer = await streams.ask(self._seal, own, place, self._core.everything())
        except TimeoutError:
            raise Failed("no answer") from None
        except (Denied, Invalid) as error:
            raise Failed(str(error)) from None
        except EOFError:
            raise Failed("it took nothing of what this host said: has it another secret?") from None
        except OSError as error:
            raise Failed(error.strerror or str(error)) from None
        if isinstance(answer, Everything):
            self._core.pulled(time.monotonic(), answer)
            self._done()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CONNECTIONS:
                async with asyncio.timeout(streams.PATIENCE):
                    await self._answer(reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass
        except (Denied, Invalid) as error:
            self._refused(time.monotonic(), error, writer.get_extra_info("peername")[:2])
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await streams.read(self._seal, reader)
        if isinstance(asked, Everything):
            self._core.pulled(time.monotonic(), asked)
            answer: Everything | Ack = self._core.everything()
        elif isinstance(asked, Ping) and asked.target == self._table.me.name:
            answer = Ack(asked.number)
        else:
            return
        writer.write(streams.frame(self._seal, answer))
        await writer.drain()
        self._done()

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
