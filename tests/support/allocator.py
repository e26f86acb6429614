"""A process that attaches and detaches without a kernel, for tests: `python -m support.allocator URL NODE NETWORK COUNT`.

It says "ready" on its standard output, waits for a line on its standard input, so that all start at once, makes COUNT
endpoints, takes some away again, and prints how many it has and how often it was refused.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence

from weft.agent.config import Config
from weft.api import types as t
from weft.base.errors import Exhausted
from weft.base.net import parse_interface
from weft.cluster.cluster import Cluster
from weft.cluster.follower import Follower
from weft.cluster.liveness import now
from weft.cluster.membership import Membership
from weft.cluster.view import View
from weft.containers.find import Target
from weft.datapaths.driver import Host
from weft.endpoints.attach import Attachments
from weft.endpoints.move import Moves
from weft.hoststate.union import Source
from weft.ipam.leases import Leases
from weft.model import Endpoint, Namespace, Node
from weft.store.known import KnownStore
from weft.store.memory import Memory
from weft.store.protocol import Store
from weft.store.url import StoreOptions, open_store

AT_ONCE = 4
"""Requests of one node that are under way together."""


class Allocator:
    """One node's agent, less the kernel and the watch: it knows of others what the store tells when asked."""

    def __init__(
        self, store: Store, name: str, tenure: float = Config().tenure, clock: Callable[[], float] = now
    ) -> None:
        self.store, self.view = store, View(name)
        self.node = Node(name=name, addresses=(parse_interface("192.168.1.7/24"),), uplink="eth0", instance=name)
        self.cluster = Cluster(store, self.view, name, tenure, clock)
        self.membership, self.leases = Membership(self.cluster, Config().presence_ttl), Leases(self.cluster)
        self.attachments = Attachments(
            self.cluster,
            Follower(store, self.view, KnownStore(store, Memory())),
            _stands,
            _finder(name),
            (),
        )

    async def join(self, network: str) -> None:
        await self.look()
        await self.membership.register(self.node)
        await self.leases.acquire(network, Host(node=self.node))

    async def look(self) -> None:
        for prefix in self.view.prefixes():
            listing = await self.store.list(prefix)
            self.view.listed((prefix,), listing.items, listing.revision)

    async def attach(self, target: str, network: str, **more: object) -> None:
        request = t.Attach(target=target, network=network, **more)  # type: ignore[arg-type] # the test says what
        await self.attachments.attach(request, self.view.networks[network])

    async def move(self, endpoint: Endpoint, target: str) -> None:
        """Of any node, to here."""
        found = t.EndpointInfo(
            **{f: getattr(endpoint, f) for f in ("id", "name", "network", "node", "container", "interface", "mac")},
            namespace=endpoint.namespace.path,
            host_interface=endpoint.host_interface,
            addresses=endpoint.addresses,
        )
        await Moves(self.cluster, self.attachments).move(found, t.Move(target=target))


async def _stands(_: Iterable[Source]) -> Sequence[str]:
    return ()


def _finder(node: str) -> Callable[[str], Target]:
    """Containers c1, c2 …, each a namespace."""

    def find(reference: str) -> Target:
        place = Namespace(path=f"/run/netns/{reference}", cookie=int(reference[1:]))
        return Target(name=f"{reference}-{node}", namespace=place, links=())

    return find


async def allocate(url: str, name: str, network: str, count: int) -> None:
    store = open_store(url, StoreOptions())
    me = Allocator(store, name)
    await me.join(network)
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    refused = 0

    async def work(first: int) -> None:
        nonlocal refused
        for number in range(first, count, AT_ONCE):
            try:
                await me.attach(f"c{number + 1}", network)
            except Exhausted:
                refused += 1
            if number % 3 == 0:
                await me.attachments.detach(f"c{number + 1}", network)

    await asyncio.gather(*(work(n) for n in range(AT_ONCE)))
    lease = me.view.lease(network, name)
    say(len(me.view.endpoints), refused, len(lease.hosts) if lease else -1)
    await store.close()


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(allocate(*sys.argv[1:4], count=int(sys.argv[4])))
