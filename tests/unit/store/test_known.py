"""Whether it is still the store that this host knows; each with each store."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from support.agents import until
from weft.base.errors import Conflict, Failed, Unavailable
from weft.model import keys
from weft.store.follow import Changes, Lost, Synced, follow
from weft.store.known import KnownStore
from weft.store.memory import Memory, Witness, remembered
from weft.store.protocol import Delete, DeletePrefix, Put, Store


def again(known: KnownStore, store: Store) -> KnownStore:
    """As after a restart of the agent, or with a new connection."""
    return KnownStore(store, known._memory)


@pytest.fixture
async def known(store: Store) -> KnownStore:
    made = KnownStore(store, Memory())
    assert await made.commit([], [Put("networks/blue", b"1")])
    return made


async def test_the_first_gives_it_an_identity_which_others_take_over(store: Store, other: Store) -> None:
    members = [KnownStore(one, Memory()) for one in (store, other, store, other)]
    await asyncio.gather(*(member.list("networks/") for member in members))
    assert len({member.cluster for member in members}) == 1 and members[0].cluster
    item = await store.get(keys.CLUSTER)
    assert item and item.value.decode() == members[0].cluster


async def test_one_that_was_there_before_gets_one(store: Store) -> None:
    """Of an older version of Weft."""
    await store.commit([], [Put("networks/blue", b"1")])
    made = KnownStore(store, Memory())
    assert len((await made.list("networks/")).items) == 1 and made.cluster and not made.put_back


async def test_an_emptied_store_is_refused_by_every_call(known: KnownStore, store: Store) -> None:
    await store.commit([], [DeletePrefix("networks/"), Delete(keys.CLUSTER)])
    later = again(known, store)
    for call in (
        later.get("networks/blue"),
        later.list("networks/"),
        later.commit([], [Put("a", b"")]),
        later.grant(7, 5),
        later.revoke(7),
        later.wrote("a", 1),
        anext(later.watch("networks/", 1)),
    ):
        with pytest.raises(
            Unavailable, match=r"it has lost its data, or never was: .*`weft store restore`.*`weft store accept`"
        ):
            await call
    assert await store.get("a") is None and later.doubt


async def test_another_clusters_is_refused_and_not_restored(known: KnownStore, store: Store) -> None:
    await store.commit([], [Put(keys.CLUSTER, b"another")])
    later = again(known, store)
    with pytest.raises(Unavailable, match="it belongs to cluster another"):
        await later.get("networks/blue")
    with pytest.raises(Conflict, match="nothing is written back into another cluster's store"):
        await later.restore()
    item = await store.get(keys.CLUSTER)
    assert item and item.value == b"another"
    assert await later.accept() == "another" and later.accepted == 1
    assert await later.get("networks/blue") and not later.doubt


async def test_what_is_emptied_while_it_is_watched_is_not_passed_on(known: KnownStore, store: Store) -> None:
    async with asyncio.timeout(20), aclosing(follow(known, "networks/", "leases/")) as events:
        assert isinstance(await anext(events), Synced)
        await store.commit([], [Delete("networks/blue"), Delete(keys.CLUSTER)])
        event = await anext(events)
        assert isinstance(event, Lost) and "it has lost its data" in event.reason
        await known.restore()
        event = await anext(events)
        assert isinstance(event, Synced) and known.put_back == 1, "what it lacks is no word of what was removed"


async def test_an_ordinary_removal_is_passed_on(known: KnownStore, store: Store) -> None:
    async with asyncio.timeout(20), aclosing(follow(known, "networks/")) as events:
        assert isinstance(await anext(events), Synced)
        await store.commit([], [Delete("networks/blue")])
        event = await anext(events)
        assert isinstance(event, Changes) and event.batch.changes[0].value is None
        assert not known.doubt and not known.put_back


async def test_a_store_that_was_put_back_is_noticed_however_far_it_has_come_since(
    known: KnownStore, store: Store
) -> None:
    """The backup is of before our last write; what others wrote since has higher revisions."""
    revision = known._memory.witness
    assert revision == Witness("networks/blue", (await store.list("networks/")).items[0].revision)
    for _ in range(5):
        await store.commit([], [Put("others/a", b"")])
    at = (await store.list("others/")).revision
    known._memory.witness = Witness("endpoints/node-1/blue/a", at - 2)  # what that revision wrote before
    later = again(known, store)
    assert (await later.list("networks/")).items and later.put_back == 1
    await later.list("leases/")
    assert later.put_back == 1, "told once"
    known._memory.witness = Witness("endpoints/node-1/blue/a", at + 1000)
    later = again(known, store)
    await later.list("networks/")
    assert later.put_back == 1


async def test_a_store_that_went_on_is_followed_as_ever(known: KnownStore, store: Store) -> None:
    await store.commit([], [Put("networks/blue", b"2")])
    await store.commit([], [Delete("networks/blue")])
    later = again(known, store)
    await later.list("networks/")
    assert not later.put_back and not later.doubt


async def test_what_is_seen_is_remembered(known: KnownStore, store: Store) -> None:
    async with asyncio.timeout(20), aclosing(known.watch("networks/", 0)) as batches:
        await anext(batches)
        revision = await store.commit([], [Put("networks/red", b"1")])
        await anext(batches)
    assert known._memory.witness == Witness("networks/red", revision or 0)


async def test_the_memory_outlives_the_process(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    first = KnownStore(store, remembered(file))
    await first.commit([], [Put("networks/blue", b"1")])
    await first.grant(7, 30)
    memory = remembered(file)
    assert memory.cluster == first.cluster and memory.witness and memory.witness.key == "networks/blue"
    file.write_text("{")
    with pytest.raises(Failed, match="is damaged"):
        remembered(file)


async def test_a_memory_that_cannot_be_written_is_told(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = KnownStore(store, remembered(tmp_path / "missing" / "cluster.json"))
    await one.list("networks/")
    assert one.cluster and "not written down" in caplog.text
    await until(lambda: not one.doubt)
