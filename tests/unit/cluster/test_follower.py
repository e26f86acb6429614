"""What is followed on demand: opened once, however many want it, and gone with the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.agents import Tap, until
from weft.base.errors import Unavailable
from weft.base.net import parse_address
from weft.cluster.changes import Changed
from weft.cluster.follower import Follower
from weft.cluster.view import View
from weft.model import Location, encode, keys
from weft.model.records import LOCATIONS
from weft.store.known import KnownStore
from weft.store.memory import Memory
from weft.store.protocol import Put
from weft.store.sqlite import SqliteStore
from weft.tasks import Supervisor

HERE = Location(node="node-2", mac="02:42:0a:01:01:02", addresses=(parse_address("10.1.1.2"),))


class Scene:
    def __init__(self, file: Path) -> None:
        self.store = Tap(SqliteStore(file))
        self.view = View("node-1")
        self.follower = Follower(self.store, self.view, KnownStore(self.store, Memory()))
        self.parts: list[tuple[str, bool]] = []
        """Networks, each when its following began (True) or ended."""
        self.view.subscribe("the test", self.changed, (LOCATIONS,))

    def changed(self, changed: Changed) -> None:
        self.parts += [(name, self.view.follows(LOCATIONS, name)) for name in changed.parts(LOCATIONS)]

    async def tell(self, network: str) -> None:
        await self.store.commit([], [Put(keys.location(network, "1"), encode(HERE))])


@pytest.fixture
async def scene(store_file: Path) -> AsyncIterator[Scene]:
    scene = Scene(store_file)
    async with asyncio.TaskGroup() as tasks:
        scene.follower.start(tasks, Supervisor())
        yield scene
        for user in ("one", "another"):
            scene.follower.need(user, ())
    await scene.store.close()


async def test_it_is_opened_once_and_closed_with_the_last(scene: Scene) -> None:
    await scene.tell("blue")
    async with scene.follower.held(LOCATIONS, "blue"):
        assert scene.view.locations == {"blue": {"1": HERE}}
        async with scene.follower.held(LOCATIONS, "blue"):
            scene.follower.need("one", [(LOCATIONS, "blue")])
            scene.follower.need("another", [(LOCATIONS, "blue")])
        scene.follower.need("one", ())
    assert scene.parts == [("blue", True)] and scene.view.locations
    scene.follower.need("another", [(LOCATIONS, "red")])
    assert scene.parts == [("blue", True), ("blue", False), ("red", True)]
    assert not scene.view.locations and not scene.view.located and not scene.view.revisions
    await scene.tell("red")
    await until(lambda: "red" in scene.view.locations)
    scene.follower.need("another", ())
    assert not scene.view.locations and scene.parts[-1] == ("red", False)


async def test_who_needs_what_the_store_does_not_tell_is_told_why(scene: Scene) -> None:
    scene.store.lose("store: connection refused")
    with pytest.raises(Unavailable, match="locations of blue are not known: store: connection refused"):
        async with scene.follower.held(LOCATIONS, "blue"):
            raise AssertionError("nothing is known")
    assert scene.parts == [("blue", True), ("blue", False)]


async def test_all_is_known_once_each_part_was_told(scene: Scene) -> None:
    scene.store.lose()
    await scene.follower.complete()
    scene.follower.need("one", [(LOCATIONS, "blue")])
    complete = asyncio.create_task(scene.follower.complete())
    await asyncio.sleep(0)
    assert not complete.done()
    scene.store.restore()
    await asyncio.wait_for(complete, 10)
    scene.store.lose()
    scene.follower.need("one", [(LOCATIONS, "blue"), (LOCATIONS, "red")])
    complete = asyncio.create_task(scene.follower.complete())
    scene.follower.need("one", [(LOCATIONS, "blue")])
    await asyncio.wait_for(complete, 10)  # nobody waits for what nobody follows
    scene.follower.need("one", ())
