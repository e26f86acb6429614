"""Hosts of a mesh on loopback, for tests of the voters: real etcds, each in the care of a keeper; who is there is told by a
membership in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

import msgspec

from support.waiting import note
from weft.base.errors import WeftError
from weft.mesh import ports, tls
from weft.mesh.keeper import Keeper
from weft.mesh.membership import Member, Standing
from weft.mesh.own import forget
from weft.mesh.secret import Secret
from weft.mesh.timing import Timing
from weft.mesh.voters import FACT
from weft.store import etcd_link
from weft.store.etcd import connect
from weft.store.protocol import Put

SECRET = Secret(b"a secret of many octets")
QUICK = Timing(patience=3.0, learning=20.0, grace=0.3, look=0.3, gather=0.05, lonely=1.0, settling=1.0, handing=30.0)


class Town:
    """Who is there, and what each says: all see the same."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self._version = 0
        self._changed = asyncio.Condition()

    def set(self, member: Member) -> None:
        self.members[member.name] = member
        self._version += 1
        task = asyncio.get_running_loop().create_task(self._tell())
        task.add_done_callback(lambda done: done.exception())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def changed(self, seen: int) -> int:
        async with self._changed:
            await self._changed.wait_for(lambda: self._version != seen)
        return self._version


class FakeMembership:
    """A `Membership`, of one host."""

    def __init__(self, town: Town, name: str) -> None:
        self._town, self._name = town, name

    @property
    def me(self) -> Member:
        return self._town.members[self._name]

    def members(self) -> Sequence[Member]:
        return sorted(self._town.members.values(), key=lambda member: member.name)

    def say(self, facts: Mapping[str, str]) -> None:
        self._town.set(msgspec.structs.replace(self.me, facts=facts))

    async def changed(self, seen: int = -1) -> int:
        return await self._town.changed(seen)

    def troubles(self) -> Sequence[str]:
        return ()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def leave(self) -> None:
        self.stand(Standing.LEFT)

    def stand(self, standing: Standing) -> None:
        self._town.set(msgspec.structs.replace(self.me, standing=standing, since=time.monotonic()))


class House:
    """A host: `come`, and its agent runs; `go`, and it has ended, which leaves its etcd; `die`: the whole host is dead."""

    def __init__(
        self, town: Town, folder: Path, number: int, named: Sequence[str], secret: Secret = SECRET, zone: str = ""
    ) -> None:
        self.name, self.address = f"node-{number}", f"{_net()}.{number}"
        self.run, self.state = folder / self.name / "run", folder / self.name / "state"
        for path, mode in ((self.run, 0o755), (self.state, 0o700)):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
        self._town, self._named, self._secret, self._zone = town, named, secret, zone
        self.membership = FakeMembership(town, self.name)
        self._task: asyncio.Task[None] | None = None
        self._former: list[Keeper] = []
        self.keeper: Keeper

    async def come(self) -> None:
        address = ip_address(self.address)
        self._town.set(
            Member(name=self.name, address=address, port=ports.MEMBERS, uid=self.name, standing=Standing.ALIVE)
        )
        self.keeper = Keeper(
            self.membership,
            self._secret,
            self._named,
            run=self.run,
            state=self.state,
            say=lambda text: self.membership.say({FACT: text}),
            zone=self._zone,
            timing=QUICK,
        )
        self._former.append(self.keeper)
        self._task = asyncio.create_task(self.keeper.run())

    async def go(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def die(self) -> None:
        await self.go()
        self.kill()
        self.membership.stand(Standing.DEAD)

    def pid(self) -> int | None:
        return self.keeper.own.daemon.pid()

    def kill(self) -> None:
        """Its etcd only, at once."""
        self.keeper.own.daemon.kill()

    async def end(self) -> None:
        await self.go()
        await asyncio.to_thread(forget, self.run, self.state)
        for keeper in self._former:
            keeper.own.daemon.pid()  # it looks after what was its child

    async def power_cycle(self, town: Town) -> None:
        """Agent and voter end at once, and begin again where nobody is known yet."""
        await self.go()
        self.kill()
        self.move(town)
        await self.come()

    def move(self, town: Town) -> None:
        self._town, self.membership = town, FakeMembership(town, self.name)

    def aside(self) -> list[Path]:
        """What became of data that count no more."""
        return sorted(self.state.glob("voter.old-*"))


def _net() -> str:
    """A /24 of loopback for each process of the tests: their ports are fixed."""
    return f"127.{os.getpid() >> 8 & 127 | 64}.{os.getpid() & 255}"


@contextlib.asynccontextmanager
async def houses(folder: Path, count: int, named: int = 3, zones: str = "") -> AsyncIterator[list[House]]:
    """`zones`: a letter for each."""
    town = Town()
    names = [f"{_net()}.{n}" for n in range(1, named + 1)]
    made = [House(town, folder, n, names, zone=zones[n - 1 : n]) for n in range(1, count + 1)]
    try:
        yield made
    finally:
        await asyncio.gather(*(house.end() for house in made))


async def until(condition: Callable[[], object], seconds: float, what: str, hosts: Sequence[House] = ()) -> None:
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            said = [f"{h.name} {h.keeper.status()} {[*h.keeper.problems()]}" for h in hosts]
            raise AssertionError("\n".join([f"waited {seconds:g} s for {what}", *said]))
        await asyncio.sleep(0.02)
    note(f"{what}: {time.monotonic() - began:.1f} s")


async def write(house: House, value: str, seconds: float = 20.0) -> None:
    """As that host's agent would, until it is done."""
    began = time.monotonic()
    while True:
        store = connect(house.keeper.endpoints(), secrets=lambda: etcd_link.Secrets(tls.client(SECRET)))
        try:
            await store.commit((), (Put("said", value.encode()),))
            note(f"written after {time.monotonic() - began:.1f} s")
            return
        except WeftError as error:
            if time.monotonic() - began > seconds:
                raise AssertionError(f"cannot write: {error}") from error
        finally:
            await store.close()


async def read(house: House) -> str:
    store = connect(house.keeper.endpoints(), secrets=lambda: etcd_link.Secrets(tls.client(SECRET)))
    try:
        found = await store.get("said")
        return found.value.decode() if found else ""
    finally:
        await store.close()


def voting(house: House) -> set[str]:
    """Who votes, as that host hears."""
    return {one.name for one in house.keeper.voters() if one.role != "learner" and one.healthy}
