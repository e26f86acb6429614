"""A host's part in a mesh, whose members and voters are what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import msgspec

from weft.agent.mesh import Facts, Mesh, Part
from weft.base.net import IPAddress
from weft.mesh.membership import Member, Standing
from weft.mesh.voters import Voter, VotersStatus
from weft.store.etcd_link import Secrets
from weft.tasks import Supervisor

NAMED = ("10.0.0.1", "10.0.0.2", "fd00::3")


def member(number: int, standing: Standing = Standing.ALIVE, *, reached: bool = True) -> Member:
    return Member(
        name=f"node-{number}",
        address=ip_address(f"10.0.0.{number}"),
        port=6785,
        uid="u",
        standing=standing,
        reached=reached,
    )


class Members:
    """A `Membership` that says what it is told."""

    def __init__(self) -> None:
        self.all = [member(1), member(2), member(3), member(4)]
        self.version, self.left = 0, False
        self.news = asyncio.Event()
        self.fails: Exception | None = None

    @property
    def me(self) -> Member:
        return self.all[0]

    def members(self) -> Sequence[Member]:
        return self.all

    def say(self, facts: Mapping[str, str]) -> None: ...

    async def changed(self, seen: int = -1) -> int:
        while self.version == seen:
            self.news.clear()
            await self.news.wait()
        return self.version

    def change(self) -> None:
        self.version += 1
        self.news.set()

    def troubles(self) -> Sequence[str]:
        return ["node-9 has another secret"]

    async def run(self) -> None:
        if self.fails:
            raise self.fails
        await asyncio.Event().wait()

    async def leave(self) -> None:
        self.left = True


class Keeper:
    """Of voters that are on the hosts of these numbers."""

    def __init__(self, *hosts: int) -> None:
        self.hosts = list(hosts)
        self.silent = set[int]()

    def endpoints(self) -> Sequence[str]:
        return [f"10.0.0.{number}:6786" for number in self.hosts]

    def voters(self) -> Sequence[Voter]:
        return [
            Voter(
                name=f"node-{number}",
                address=ip_address(f"10.0.0.{number}"),
                port=6786,
                role="voter",
                healthy=number not in self.silent,
                since=0,
            )
            for number in self.hosts
        ]

    def status(self) -> VotersStatus:
        return VotersStatus(why="" if self.hosts else "waiting for 1 more of the hosts that are named")

    def problems(self) -> Sequence[str]:
        return []

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def recover(self) -> None: ...

    async def leave(self) -> None:
        self.hosts.remove(1)


class Scene:
    def __init__(self, *voters: int) -> None:
        self.members, self.keeper = Members(), Keeper(*voters)
        self.made: list[str] = []
        self.mesh = Mesh("node-1", NAMED, Secrets(), self.make)
        self.supervisor = Supervisor()

    def make(self, address: IPAddress) -> Part:
        self.made.append(str(address))
        return Part(address, self.members, self.keeper, Facts(self.members.say))

    def begin(self) -> None:
        """As `run` does, without its tasks."""
        self.mesh.part = self.make(ip_address("10.0.0.1"))
        self.mesh._begun.set()

    def stand(self, number: int, **changed: object) -> None:
        self.members.all[number - 1] = msgspec.structs.replace(self.members.all[number - 1], **changed)
