"""Transactions: decided again while others write, and not for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from support.agents import network
from weft.base.errors import Conflict, Exhausted, Unavailable
from weft.cluster.cluster import ATTEMPTS, Cluster
from weft.cluster.journal import Journal
from weft.cluster.view import View
from weft.model import Network, decode, encode, keys
from weft.store.protocol import Absent, Delete, Op, Put, Unchanged
from weft.store.sqlite import SqliteStore

KEY = keys.network("blue")


@pytest.fixture
async def cluster(store_file: Path) -> AsyncIterator[Cluster]:
    store = SqliteStore(store_file)
    yield Cluster(store, View("node-1"), "i-1", 60.0)
    await store.close()


def declared(mtu: int) -> Op:
    wanted = network("blue")
    return Put(KEY, encode(Network(name=wanted.name, driver=wanted.driver, subnets=wanted.subnets, mtu=mtu)))


async def test_a_decision_is_made_again_from_what_others_wrote(cluster: Cluster) -> None:
    await cluster.write([], [declared(1400)])
    seen = list[int | None]()

    async def attempt() -> int | None:
        mtu = cluster.view.networks["blue"].mtu
        seen.append(mtu)
        if len(seen) == 1:
            await cluster.store.commit([], [declared(1300)])  # somebody else, of whom no watch tells here
        await cluster.commit([cluster.unchanged(KEY)], [declared(1200)])
        return mtu

    assert await cluster.change(attempt, "network blue") == 1300
    assert seen == [1400, 1300]  # the second time from the view, too
    item = await cluster.store.get(KEY)
    assert item and decode(Network, item.value).mtu == cluster.view.networks["blue"].mtu == 1200


async def test_who_is_always_late_gives_up_and_names_what(cluster: Cluster) -> None:
    await cluster.write([], [declared(1400)])
    count = 0

    async def attempt() -> None:
        nonlocal count
        count += 1
        await cluster.commit([Absent(KEY)], [declared(1300)])

    with pytest.raises(Unavailable, match=r"^network blue: others change that too fast just now: try again$"):
        await cluster.change(attempt, "network blue")
    assert count == ATTEMPTS
    with pytest.raises(Exhausted, match="no more"):
        await cluster.change(attempt, "network blue", attempts=2, at_last=Exhausted("no more"))
    assert count == ATTEMPTS + 2


async def test_what_an_attempt_raises_ends_it(cluster: Cluster) -> None:
    calls = list[int]()

    async def attempt() -> None:
        calls.append(1)
        raise Conflict("taken")

    with pytest.raises(Conflict, match="taken"):
        await cluster.change(attempt, "network blue")
    assert calls == [1]


async def test_a_step_that_is_refused_has_all_of_it_decided_again(cluster: Cluster) -> None:
    steps = list[str]()

    async def attempt() -> None:
        steps.append("first")
        await cluster.commit([] if len(steps) > 1 else [Unchanged(KEY, 99)], [declared(1300)])
        steps.append("second")

    await cluster.change(attempt, "network blue")
    assert steps == ["first", "first", "second"]


async def test_what_was_to_go_and_is_gone_is_gone_for_the_view_too(cluster: Cluster) -> None:
    """Its deletion by somebody else is not taken for a loss, which would be written back."""
    key = keys.lease("blue", "node-1")
    value = encode({"network": "blue", "node": "node-1", "subnets": ["10.1.1.0/24"]})
    await cluster.write([], [declared(1400), Put(key, value)])
    await cluster.store.commit([], [Delete(key)])

    async def attempt() -> None:
        if cluster.view.lease("blue", "node-1") is not None:
            await cluster.commit([cluster.unchanged(key)], [Delete(key)])

    await cluster.change(attempt, "network blue")
    assert cluster.view.lease("blue", "node-1") is None and not cluster.view.lost


async def test_a_write_that_fails_is_told_and_not_tried_again(cluster: Cluster) -> None:
    assert not await cluster.write([Unchanged(KEY, 7)], [declared(1400)])
    assert cluster.view.networks == {}


def newer_network(mtu: int) -> bytes:
    """As a version wrote it that knows a field more."""
    value: dict[str, object] = msgspec.json.decode(_value(mtu))
    return msgspec.json.encode({**value, "offload": "off"})


def _value(mtu: int) -> bytes:
    op = declared(mtu)
    assert isinstance(op, Put)
    return op.value


async def offload(cluster: Cluster) -> object:
    item = await cluster.store.get(KEY)
    assert item
    return msgspec.json.decode(item.value).get("offload")


async def test_a_field_of_a_newer_version_stays_when_an_older_one_changes_the_record(cluster: Cluster) -> None:
    await cluster.store.commit([], [Put(KEY, newer_network(1400))])
    await cluster.look(KEY)
    assert cluster.view.networks["blue"].mtu == 1400
    assert cluster.view.not_understood() == {("networks", "offload"): 1}
    await cluster.commit([cluster.unchanged(KEY)], [declared(1300)])
    await cluster.commit([cluster.unchanged(KEY)], [declared(1200)])
    assert (cluster.view.networks["blue"].mtu, await offload(cluster)) == (1200, "off")


async def test_a_record_that_is_made_anew_has_nothing_of_the_former_one(cluster: Cluster) -> None:
    await cluster.store.commit([], [Put(KEY, newer_network(1400))])
    await cluster.look(KEY)
    await cluster.write([], [Delete(KEY)])
    await cluster.write([Absent(KEY)], [declared(1300)])
    assert (await offload(cluster), cluster.view.not_understood()) == (None, {})


async def test_what_is_written_down_on_this_host_has_it_too(cluster: Cluster, tmp_path: Path) -> None:
    journal = Journal(tmp_path, cluster.view)
    journal.load()
    cluster.view.subscribe("journal", journal.note)
    await cluster.store.commit([], [Put(KEY, newer_network(1400))])
    await cluster.look(KEY)
    again = Journal(tmp_path, View("node-1"))
    [item] = again.load()
    assert msgspec.json.decode(item.value)["offload"] == "off"
