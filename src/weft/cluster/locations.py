"""Who else is in the networks that containers of this host are in.

Of a network with one subnet for all hosts, each container's `Location` is in the store. A host follows a network's only
as long as it has a container in it (or is about to): so what a container's coming and going costs is borne by the hosts
that it concerns. While a network is followed its segment stands (`weft.datapaths.driver`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from weft.base.errors import NotFound, Unavailable
from weft.cluster.putback import Follower
from weft.cluster.view import View
from weft.datapaths.traits import KnownBy
from weft.model import keys, records
from weft.store.follow import Changes, Lost, Synced, follow
from weft.store.known import KnownStore
from weft.store.protocol import Store
from weft.tasks import Supervisor


class _Follower:
    """`told`: the store has said something. `synced`: all there was is known. `reason`: why it is not."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.synced = asyncio.Event()
        self.reason = ""
        self.task: asyncio.Task[None] | None = None


class Locations:
    def __init__(self, store: Store, view: View, known: KnownStore) -> None:
        self._store, self._view, self._known = store, view, known
        self._holds: Counter[str] = Counter()
        self._followers: dict[str, _Follower] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._supervisor = Supervisor()

    def start(self, tasks: asyncio.TaskGroup, supervisor: Supervisor) -> None:
        """Where the followers run. From here on `review` acts."""
        self._tasks, self._supervisor = tasks, supervisor
        self.review()

    async def complete(self) -> None:
        """Until all there is to know is known, however long the store is away."""
        while waiting := [f for f in self._followers.values() if not f.synced.is_set()]:
            await waiting[0].synced.wait()

    @contextlib.asynccontextmanager
    async def held(self, network: str) -> AsyncIterator[None]:
        """The network is followed meanwhile, and all others' containers in it are known. Raises NotFound, Unavailable."""
        self._holds[network] += 1
        try:
            self.review()
            follower = self._followers.get(network)
            if follower is None:
                raise NotFound(f"no network {network}: it was just removed")
            await follower.told.wait()
            if not follower.synced.is_set():
                raise Unavailable(f"network {network}: its other containers are not known: {follower.reason}")
            yield
        finally:
            self._holds[network] -= 1
            self.review()

    def review(self) -> None:
        """Follow what is to be followed, and no more: after containers or networks came or went."""
        if self._tasks is None:
            return
        wanted = {endpoint.network for endpoint in self._view.endpoints.values()}
        wanted.update(network for network, holds in self._holds.items() if holds)
        wanted = {network for network in wanted if self._view.driver(network).known_by is KnownBy.LOCATIONS}
        for network in self._followers.keys() - wanted:
            self._close(network)
        for network in wanted - self._followers.keys():
            self._open(network, self._tasks)

    def _open(self, network: str, tasks: asyncio.TaskGroup) -> None:
        follower = self._followers[network] = _Follower()
        self._view.open(records.LOCATIONS, network)
        name = f"locations of {network}"
        follower.task = tasks.create_task(
            self._supervisor.keep(name, lambda: self._follow(network, follower)), name=name
        )

    def _close(self, network: str) -> None:
        follower = self._followers.pop(network)
        if follower.task is not None:
            follower.task.cancel()
        follower.reason = "it is not followed any more"
        follower.told.set()
        self._view.close(records.LOCATIONS, network)
        # Whoever waits for `complete` is not to wait for this one.
        follower.synced.set()

    async def _follow(self, network: str, follower: _Follower) -> None:
        prefix, past = keys.locations(network), Follower(self._known, self._view)
        async with contextlib.aclosing(follow(self._store, prefix)) as events:
            async for event in events:
                match event:
                    case Synced(_, items, revision):
                        past.adopt((prefix,), items, revision)
                        follower.synced.set()
                    case Changes(_, batch):
                        past.told(batch.revision)
                        self._view.apply(batch.changes)
                    case Lost(reason):
                        follower.reason = reason
                follower.told.set()
