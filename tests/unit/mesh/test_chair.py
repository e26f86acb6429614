"""What the leader's host makes of what etcd and the hosts say. The voters are played; real ones are in test_keeper.py."""

from __future__ import annotations

import time
from ipaddress import ip_address

import msgspec
import pytest

from weft.base.errors import Unavailable
from weft.mesh.chair import Chair, Floor
from weft.mesh.council import Being, Council, Listed
from weft.mesh.founding import Address
from weft.mesh.membership import Member, Standing
from weft.mesh.timing import Timing
from weft.mesh.voters import FACT, Cluster, Said, said
from weft.store.etcd_link import Tls

OURS = Cluster("aa")
HERE = "10.0.0.1:6786"


class Played(Council):
    """`dead`: endpoints that do not answer. `refuses`: what etcd says to the next change. `done`: what it was told."""

    def __init__(self, *listed: Listed) -> None:
        super().__init__(Tls())
        self.listed, self.dead, self.refuses = list(listed), set[str](), ""
        self.done: list[tuple[str, object]] = []

    async def members(self, endpoint: str) -> tuple[Listed, ...]:
        return tuple(self.listed)

    async def being(self, endpoint: str) -> Being:
        if endpoint in self.dead:
            raise Unavailable("it is dead")
        one = next(one for one in self.listed if one.endpoint == endpoint)
        return Being(cluster="aa", member=one.number, leader=1, learner=one.learner, term=1, index=1)

    async def add(self, endpoint: str, peer: str) -> None:
        self._do("add", peer)

    async def promote(self, endpoint: str, number: int) -> None:
        self._do("promote", number)

    async def remove(self, endpoint: str, number: int) -> None:
        self._do("remove", number)

    def _do(self, what: str, about: object) -> None:
        if self.refuses:
            raise Unavailable(self.refuses)
        self.done.append((what, about))


def peer(address: Address) -> str:
    return f"https://{address}:6787"


def listed(number: int, *, learner: bool = False, started: bool = True) -> Listed:
    """Of host `number`."""
    client = f"https://10.0.0.{number}:6786" if started else ""
    url = f"https://10.0.0.{number}:6787"
    return Listed(number=number, peer=url, client=client, learner=learner, started=started)


def member(number: int, words: Said | None = None, standing: Standing = Standing.ALIVE) -> Member:
    """It tells of its voter, or what it is given."""
    words = words or Said(cluster=OURS, able=True, role="voter", member=f"{number:x}")
    return Member(
        name=f"node-{number}",
        address=ip_address(f"10.0.0.{number}"),
        port=6785,
        uid="",
        standing=standing,
        facts={FACT: words.text()},
    )


CLIENT = Said(cluster=OURS, able=True)


def floor(*members: Member) -> Floor:
    return Floor(cluster=OURS, members=members, said={one.name: said(one) for one in members}, named=frozenset())


def chair(council: Council) -> Chair:
    return Chair(council, peer, Timing(settling=0.0, patience=100.0))


async def test_a_host_that_says_it_has_no_voter_has_lost_it() -> None:
    played = Played(listed(1), listed(2), listed(3))
    played.dead.add("10.0.0.3:6786")
    one = chair(played)
    assert not await one.sit(HERE, floor(member(1), member(2), member(3)))
    assert await one.sit(HERE, floor(member(1), member(2), member(3, CLIENT)))
    assert played.done == [("remove", 3)]


async def test_a_voter_whose_host_moved_is_still_that_hosts() -> None:
    leaves = Said(cluster=OURS, able=True, role="voter", member="3", leaving=True)
    moved = msgspec.structs.replace(member(3, leaves), address=ip_address("10.0.0.33"))
    played = Played(listed(1), listed(2), listed(3))
    assert await chair(played).sit(HERE, floor(member(1), member(2), moved))
    assert played.done == [("remove", 3)]


async def test_a_learner_is_invited_until_it_comes_and_goes_with_its_host() -> None:
    played = Played(listed(1), listed(2), listed(4, learner=True, started=False))
    one = chair(played)
    around = [member(1), member(2), member(4, CLIENT)]
    await one.sit(HERE, floor(*around))
    assert one.invites == "node-4"
    played.listed[2] = listed(4, learner=True)
    await one.sit(HERE, floor(*around))
    assert one.invites == ""
    assert played.done == [("promote", 4)]
    dead = msgspec.structs.replace(around[2], standing=Standing.DEAD, since=time.monotonic() - 1)
    await one.sit(HERE, floor(*around[:2], dead))
    assert played.done[1:] == [("remove", 4)]


async def test_a_host_that_did_not_come_along_has_another_try_once_it_came_back() -> None:
    played = Played(listed(1), listed(2), listed(4, learner=True, started=False))
    one = chair(played)
    dead = msgspec.structs.replace(member(4, CLIENT, Standing.DEAD), since=time.monotonic() - 1)
    await one.sit(HERE, floor(member(1), member(2), dead))
    played.listed.pop()
    await one.sit(HERE, floor(member(1), member(2), msgspec.structs.replace(dead, standing=Standing.ALIVE)))
    assert played.done == [("remove", 4)]
    back = msgspec.structs.replace(dead, standing=Standing.ALIVE, since=time.monotonic())
    await one.sit(HERE, floor(member(1), member(2), back))
    assert played.done[1:] == [("add", "https://10.0.0.4:6787")]


async def test_a_host_that_began_the_cluster_anew_by_itself_is_left_alone() -> None:
    twin = Said(cluster=Cluster("aa", 1, "x"), able=True)
    around = msgspec.structs.replace(floor(member(1), member(2, twin), member(3, twin)), cluster=Cluster("aa", 1, "y"))
    played = Played(listed(1))
    assert not await chair(played).sit(HERE, around)
    assert await chair(played).sit(HERE, msgspec.structs.replace(around, cluster=Cluster("aa", 2, "z")))
    assert played.done == [("add", "https://10.0.0.2:6787")]


async def test_what_etcd_refuses_for_some_seconds_is_only_waited_for() -> None:
    played = Played(listed(1), listed(2))
    played.refuses = "etcdserver: unhealthy cluster"
    one = chair(played)
    around = floor(member(1), member(2), member(4, CLIENT))
    assert not await one.sit(HERE, around)
    assert "etcd does that once" in one.why
    played.refuses = "etcdserver: something else"
    with pytest.raises(Unavailable, match="something else"):
        await one.sit(HERE, around)


async def test_a_host_of_another_cluster_is_not_taken_in() -> None:
    played = Played(listed(1), listed(2))
    stranger = member(4, Said(cluster=Cluster("bb"), able=True))
    assert not await chair(played).sit(HERE, floor(member(1), member(2), stranger))
