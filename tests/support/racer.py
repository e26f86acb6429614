"""A process that takes a node's subnet in a race, for tests: `python -m support.racer URL NODE NETWORK`.

It says "ready" on its standard output, waits for a line on its standard input, so that all start at once, and prints the
subnets it got, or why it got none.
"""

from __future__ import annotations

import asyncio
import sys

from weft.agent.config import Config
from weft.base.net import parse_interface
from weft.cluster.cluster import Cluster
from weft.cluster.membership import Membership
from weft.cluster.view import View
from weft.datapaths.driver import Host
from weft.ipam.leases import Leases
from weft.model import Node
from weft.store.url import StoreOptions, open_store


async def race(url: str, name: str, network: str) -> None:
    store = open_store(url, StoreOptions())
    view = View(name)
    node = Node(name=name, addresses=(parse_interface("192.168.1.7/24"),), uplink="eth0", instance=name)
    cluster = Cluster(store, view, name, Config().tenure)
    membership, leases = Membership(cluster, Config().presence_ttl), Leases(cluster)
    for prefix in view.prefixes():
        listing = await store.list(prefix)
        view.listed((prefix,), listing.items, listing.revision)
    await membership.register(node)
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    lease = await leases.acquire(network, Host(node=node))
    say(*(lease.subnets if lease else [leases.refused[network]]))
    await store.close()


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(race(*sys.argv[1:4]))
