"""Members on real sockets, at addresses of the loopback device."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from weft.base.errors import Failed, Invalid
from weft.mesh.membership import Standing
from weft.mesh.secret import Secret
from weft.mesh.swim import Swim

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
def place(hosts: Hosts, port: int, tmp_path: Path) -> Iterator[Place]:
    yield Place(hosts, port, tmp_path)


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


async def test_a_port_that_is_taken_is_told(place: Place) -> None:
    one, same = place.swim(1), place.swim(1, name="other", folder="other")
    async with running(one):
        await until(one, lambda: True)
        await asyncio.sleep(0)
        with pytest.raises(Failed, match=f"port {place.port} of {place.hosts(1)} cannot be opened"):
            await same.run()


def test_facts_are_few(place: Place) -> None:
    with pytest.raises(Invalid, match="at most 512"):
        place.swim(1).say({"x": "y" * 600})
