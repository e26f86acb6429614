"""Members on real sockets, at addresses of the loopback device."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from weft.base.errors import Failed, Invalid
from weft.mesh.membership import Standing
from weft.mesh.secret import Secret
from weft.mesh.swim import Swim, kept, seal, timing
from weft.mesh.swim.seal import Seal

_SECRET = Secret(b"0123456789abcdef")
_nets = itertools.count(os.getpid() % 200 * 100)
Hosts = Callable[[int], str]


@pytest.fixture
def hosts() -> Hosts:
    """Addresses that no other test has."""
    number = next(_nets)
    return lambda last: f"127.{64 + number // 250 % 128}.{number % 250}.{last}"


@pytest.fixture
def port(hosts: Hosts) -> int:
    with socket.create_server((hosts(250), 0)) as free:
        return int(free.getsockname()[1])


class Place:
    """Makes members of one test."""

    def __init__(self, hosts: Hosts, port: int, folder: Path) -> None:
        self.hosts, self.port, self.folder = hosts, port, folder

    def swim(
        self,
        last: int,
        named: Sequence[int] = (1,),
        *,
        name: str = "",
        secret: Secret | Sequence[Secret] = _SECRET,
        facts: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Swim:
        return Swim(
            name=name or f"node-{last}",
            address=ip_address(self.hosts(last)),
            port=self.port,
            secret=secret,
            named=[self.hosts(each) for each in named],
            state=self.folder / (folder or f"state-{last}"),
            facts=facts,
        )


@pytest.fixture
def place(hosts: Hosts, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr("weft.mesh.swim.runner._SAVING", 0.1)
    return Place(hosts, port, tmp_path)


@asynccontextmanager
async def running(*swims: Swim) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for swim in swims:
            task = asyncio.create_task(swim.run())
            stack.push_async_callback(_ended, task)
        yield


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(swim: Swim, condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        seen = await swim.changed()
        while not condition():
            seen = await swim.changed(seen)


def standing(swim: Swim) -> dict[str, Standing]:
    return {member.name: member.standing for member in swim.members()}


def alive(swim: Swim) -> list[str]:
    return [name for name, how in standing(swim).items() if how is Standing.ALIVE]


async def test_hosts_find_each_other_hear_what_they_say_and_that_one_goes(place: Place) -> None:
    one, two, three = (place.swim(last, named=(1, 2)) for last in (1, 2, 3))
    async with running(one, two, three):
        for swim in (one, two, three):
            await until(swim, lambda swim=swim: len(alive(swim)) == 3)
        three.say({"voter": "here"})
        await until(one, lambda: one.members()[2].facts == {"voter": "here"})
        assert one.members()[2].address == ip_address(place.hosts(3)) and one.members()[2].uid == three.me.uid
        assert not [*one.troubles(), *two.troubles(), *three.troubles()]
        await three.leave()
        await until(one, lambda: standing(one)["node-3"] is Standing.LEFT)
        await until(two, lambda: standing(two)["node-3"] is Standing.LEFT)


async def test_one_that_is_killed_is_dead_and_alive_again_when_it_returns(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "PROBE", 0.2)
    monkeypatch.setattr(timing, "TIMEOUT", 0.1)
    one, two, three = (place.swim(last) for last in (1, 2, 3))
    async with running(one, two):
        async with running(three):
            await until(one, lambda: len(alive(one)) == 3)
        await until(one, lambda: standing(one)["node-3"] is Standing.DEAD)
        again = place.swim(3)
        async with running(again):
            await until(one, lambda: len(alive(one)) == 3)
            assert one.members()[2].uid == again.me.uid != three.me.uid
            assert not [*one.troubles(), *again.troubles()]


async def test_another_secret_is_told_at_both_and_joins_nothing(place: Place) -> None:
    one, two = place.swim(1), place.swim(2, secret=Secret(b"another secret, as long"))
    async with running(one, two):
        await told(one, f"what {place.hosts(2)} sends to port {place.port} is not taken: somebody with another secret")
        await told(two, f"{place.hosts(1)} (it took nothing of what this host said: has it another secret?)")
        two_asks = Seal([_SECRET]).close(b"anything", seal.DATAGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((place.hosts(9), 0))
            for sealed in (two_asks, two_asks[:-1] + bytes((two_asks[-1] ^ 1,)), b"x"):
                sender.sendto(sealed, (place.hosts(2), place.port))
                sender.sendto(sealed, (place.hosts(1), place.port))
        await told(two, f"what {place.hosts(9)} sends")
        await until_true(lambda: one.counts["refused"] >= 3)
        assert alive(one) == ["node-1"] and alive(two) == ["node-2"]


async def test_while_a_secret_is_changed_both_open(place: Place) -> None:
    new = Secret(b"the secret that is to come")
    one, two, three = place.swim(1), place.swim(2, secret=[_SECRET, new]), place.swim(3, [2], secret=[new, _SECRET])
    async with running(one, two, three):
        await until(one, lambda: alive(one) == ["node-1", "node-2"])
        await until(two, lambda: len(alive(two)) == 3)


async def test_hosts_of_another_cluster_do_not_count(place: Place) -> None:
    one = place.swim(1, facts={"cluster": "blue"})
    two, three = place.swim(2, facts={"cluster": "red"}), place.swim(3)
    async with running(one, two, three):
        for swim, mine in ((one, ["node-1", "node-3"]), (two, ["node-2", "node-3"])):
            await until(swim, lambda swim=swim, mine=mine: alive(swim) == mine and bool(swim.strangers()))
        await until(three, lambda: len(alive(three)) == 3)
        assert one.troubles() == [
            f"node-2 at {place.hosts(2)} is of another cluster (red; this host's is blue): it does not count as a member"
        ]
        assert three.troubles() == ["hosts of several clusters are there: blue, red"]
        two.say({"cluster": "blue"})
        await until(one, lambda: len(alive(one)) == 3)
        assert not one.troubles()


async def test_a_host_that_is_started_again_finds_those_it_knew_though_others_are_named(place: Place) -> None:
    one, two = place.swim(1), place.swim(2)
    async with running(one, two):
        await until(two, lambda: len(alive(two)) == 2)
        await until_true(lambda: bool((found := kept.read(place.folder / "state-2")) and found.members))
    again = place.swim(2, named=[77])
    async with running(one, again):
        await until(again, lambda: len(alive(again)) == 2)
        await until(one, lambda: one.members()[1].uid == again.me.uid)
    assert again.instance == two.instance != one.instance
    assert (place.folder / "state-2" / kept.FILE).stat().st_mode & 0o777 == 0o600


async def test_a_file_that_cannot_be_written_or_read_costs_nothing_else(place: Place) -> None:
    (place.folder / "full").write_text("not a folder")
    one = place.swim(1, folder="full")
    (place.folder / "odd").mkdir()
    (place.folder / "odd" / kept.FILE).write_text("{")
    two = place.swim(2, folder="odd")
    assert "is made anew" in two.troubles()[0]
    async with running(one, two):
        await until(one, lambda: len(alive(one)) == 2)
        await until_true(lambda: "cannot be written: File exists" in "".join(one.troubles()))
        await until_true(lambda: not two.troubles())


async def test_two_hosts_of_one_name_are_told_at_both(place: Place) -> None:
    one, two, other = place.swim(1), place.swim(2), place.swim(3, name="node-2")
    async with running(one, two):
        await until(one, lambda: len(alive(one)) == 2)
        async with running(other):
            for swim in (one, two, other):
                await told(swim, f"two hosts are called 'node-2', at {place.hosts(2)} and at {place.hosts(3)}", other)
            assert one.members()[1].address == ip_address(place.hosts(2))


async def test_a_named_host_that_is_not_there_is_told_while_there_is_no_other(place: Place) -> None:
    one = place.swim(1, named=[2])
    one_more = Swim(
        name="node-3",
        address=ip_address(place.hosts(3)),
        port=place.port,
        secret=_SECRET,
        named=["no.such.host.invalid"],
        state=place.folder / "state-3",
    )
    async with running(one, one_more):
        await told(one, f"no other host is reached: {place.hosts(2)} (Connection refused)")
        await told(one_more, "no other host is reached: no.such.host.invalid (")


async def told(swim: Swim, line: str, *either: Swim) -> None:
    """By one in `swim`'s lines. Of two hosts the line may name either one first."""
    words = line.split(" and at ")
    parts = [words[0].split(", at ")[0], *(words[0].split(", at ")[1:]), *words[1:]]
    await until_true(lambda: any(all(part in each for part in parts) for each in swim.troubles()))


async def until_true(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is in files and lines, which tell nobody
            await asyncio.sleep(0.02)


async def test_a_port_that_is_taken_is_told(place: Place) -> None:
    one, same = place.swim(1), place.swim(1, name="other", folder="other")
    async with running(one):
        await until(one, lambda: True)
        await asyncio.sleep(0)
        with pytest.raises(Failed, match=f"port {place.port} of {place.hosts(1)} cannot be opened"):
            await same.run()


async def test_a_defect_ends_it_and_it_runs_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = place.swim(1), place.swim(2)
    async with running(two):
        with monkeypatch.context() as patched, pytest.raises(ExceptionGroup):
            patched.setattr(one._core, "datagram", lambda *each: 1 / 0)
            await one.run()
        async with running(one):
            await until(one, lambda: len(alive(one)) == 2)


def test_facts_are_few(place: Place) -> None:
    with pytest.raises(Invalid, match="at most 512"):
        place.swim(1).say({"x": "y" * 600})
