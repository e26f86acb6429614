"""A node's entry over the hours: what is written, and when. The registry is a store in a file; the clock is the test's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from support.agents import until
from weft.flannel import lease, remembered
from weft.flannel.lease import Entry
from weft.flannel.member import QUIET, TOLD, Member
from weft.flannel.registry import TTL, Registry
from weft.flannel.remembered import Memory
from weft.store.protocol import Put
from weft.store.sqlite import SqliteStore

MINE = Entry(subnets=(ip_network("40.15.43.0/24"),), public=(ip_address("192.168.1.68"),), type="host-gw")
KEY = "subnets/40.15.43.0-24"


class Counting(SqliteStore):
    """Of grants and puts."""

    granted = 0
    written = 0

    async def grant(self, lease: int, ttl: float) -> None:
        await super().grant(lease, ttl)
        self.granted += 1

    async def commit(self, guards, ops):  # type: ignore[no-untyped-def] # as it is in the class
        revision = await super().commit(guards, ops)
        self.written += revision is not None
        return revision


class Bench:
    def __init__(self, folder: Path) -> None:
        self.now, self.heard = 1000.0, 0
        self.folder = folder
        self.store = Counting(folder / "registry.db")
        self.other = SqliteStore(folder / "registry.db")
        self.member = self.make()

    def make(self) -> Member:
        registry = Registry(self.store, "etcd://a/x", 77)
        memory = remembered.load(self.folder, "blue") or Memory(url="etcd://a/x", number=77)
        return Member("blue", registry, memory, self.folder, self._heard, lambda: self.now)

    def _heard(self) -> None:
        self.heard += 1

    async def pass_(self, seconds: float) -> None:
        """Time, of which the member hears."""
        self.now += seconds
        self.member.wake.set()
        await until(lambda: not self.member.wake.is_set())
        await asyncio.sleep(0.05)

    async def says(self) -> Entry | None:
        item = await self.other.get(KEY)
        return lease.parse(item.key, item.value) if item else None

    async def put(self, entry: Entry) -> None:
        await self.other.commit([], [Put(lease.key(entry.subnets), lease.value(entry))])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path)
    task = asyncio.create_task(found.member.run())
    try:
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await found.store.close()
        await found.other.close()


async def test_more_time_at_half_of_it_and_nothing_is_written(bench: Bench) -> None:
    bench.member.want(MINE)
    await until(lambda: bench.store.written == 1)
    assert await bench.says() == MINE
    item = await bench.other.get(KEY)
    await bench.pass_(TTL / 2 - 1)
    assert bench.store.granted == 1
    await bench.pass_(1)
    assert bench.store.granted == 2
    for _ in range(5):
        await bench.pass_(TTL / 2)
    assert (bench.store.granted, bench.store.written) == (7, 1)
    assert await bench.other.get(KEY) == item  # nobody who watches hears of it


async def test_it_is_written_where_it_says_something_else(bench: Bench) -> None:
    bench.member.want(MINE)
    await until(lambda: bench.store.written == 1)
    moved = Entry(subnets=MINE.subnets, public=(ip_address("192.168.1.69"),), type="host-gw")
    bench.member.want(moved)
    await until(lambda: bench.store.written == 2)
    assert await bench.says() == moved
    assert list(bench.member.problems()) == []


async def test_an_address_that_changed_while_no_agent_ran(bench: Bench) -> None:
    """The entry of before is its own, by what was written down."""
    bench.member.want(MINE)
    await until(lambda: bench.store.written == 1 and KEY in bench.member.entries)
    moved = Entry(subnets=MINE.subnets, public=(ip_address("192.168.1.69"),), type="host-gw")
    await bench.pass_(1)
    second = bench.make()
    assert second.entries == {KEY: MINE}
    second.want(moved)
    task = asyncio.create_task(second.run())
    await until(lambda: second.entries.get(KEY) == moved)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_two_who_correct_each_other_do_so_at_leisure(bench: Bench) -> None:
    theirs = Entry(subnets=MINE.subnets, public=MINE.public, type="vxlan", data={"VtepMAC": "0e:08:23:57:14:9a"})
    bench.member.want(MINE)
    await until(lambda: bench.store.written == 1)
    await bench.put(theirs)
    await until(lambda: list(bench.member.problems()))
    [text] = bench.member.problems()
    assert "(vxlan, VtepMAC 0e:08:23:57:14:9a), and it was written back" in text
    await bench.put(theirs)
    await bench.pass_(QUIET / 2)
    assert (bench.store.written, await bench.says()) == (2, theirs)
    await bench.pass_(QUIET / 2)
    await until(lambda: bench.store.written == 3)
    assert await bench.says() == MINE
    await bench.pass_(TOLD)
    assert list(bench.member.problems()) == []


async def test_others_are_told_and_written_down(bench: Bench) -> None:
    other = Entry(subnets=(ip_network("40.15.26.0/24"),), public=(ip_address("192.168.1.254"),), type="host-gw")
    await bench.put(other)
    await until(lambda: bench.member.entries == {"subnets/40.15.26.0-24": other})
    heard = bench.heard
    await bench.put(other)  # a flanneld renews: nothing is different
    await bench.pass_(1)
    assert bench.heard == heard
    memory = remembered.load(bench.folder, "blue")
    assert memory is not None and list(memory.entries) == ["subnets/40.15.26.0-24"]
