"""One registry, read and written: an etcd, in which the keys of flannel lie under a prefix."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from weft.alloc.subnets import Plan
from weft.base.errors import Conflict, Invalid, NotFound, Unavailable
from weft.base.names import stable_id
from weft.base.net import IPNetwork
from weft.flannel import config, lease
from weft.flannel.choice import Wish, choice
from weft.flannel.config import Config
from weft.flannel.lease import Entry
from weft.store.protocol import Absent, Guard, Item, NothingNewer, Put, Store, Unchanged
from weft.store.url import StoreOptions, open_store, without_secret

log = logging.getLogger(__name__)

PREFIX = "coreos.com/network"
"""Where flannel's keys lie if nobody says otherwise."""
TTL = 86_400.0
"""Seconds for which an entry stays without its host (pkg/subnet/etcd: subnetTTL)."""
ATTEMPTS = 30
"""How often a choice is made again when others write meanwhile: as many hosts may come at once."""


def connect(url: str, secrets: StoreOptions) -> Store:
    """`secrets`: of the agent's own store; what TLS needs is used where the URL says etcds. Raises Invalid."""
    scheme, login = url.partition("://")[0], url.rpartition("@")[0]
    if scheme not in ("etcd", "etcds"):
        raise Invalid(
            f"flannel={without_secret(url)} is no registry of flannel's, which is an etcd: write "
            "etcd://HOST:2379,HOST:2379/PREFIX (etcds:// with TLS)"
        )
    mine = StoreOptions(password_file=secrets.password_file if login else "")
    if scheme == "etcds":
        mine = msgspec.structs.replace(mine, ca=secrets.ca, cert=secrets.cert, key=secrets.key)
    return open_store(with_prefix(url), mine)


def with_prefix(url: str) -> str:
    path = url.partition("://")[2].partition("/")[2]
    return url if path.strip("/") else f"{url.rstrip('/')}/{PREFIX}"


def place(url: str) -> tuple[frozenset[str], str]:
    """Hosts and prefix: two URLs that share both mean one registry."""
    rest = with_prefix(url).partition("://")[2]
    hosts, _, path = rest.rpartition("@")[2].partition("/")
    ported = (host if ":" in host.rpartition("]")[2] else f"{host}:2379" for host in hosts.split(","))
    return frozenset(ported), path.strip("/")


def lease_number(instance: str, node: str, network: str) -> int:
    """The etcd lease to which the entry of a node is bound."""
    return stable_id("flannel", instance, node, network)


def read(items: Iterable[Item]) -> dict[str, Entry]:
    """By key. What cannot be read is left out, as flannel does."""
    found = {}
    for item in items:
        if (entry := read_one(item.key, item.value)) is not None:
            found[item.key] = entry
    return found


def read_one(key: str, value: bytes) -> Entry | None:
    try:
        return lease.parse(key, value)
    except Invalid as error:
        log.warning("%s: passed over", error)
        return None


class Registry:
    def __init__(self, store: Store, url: str, number: int, ttl: float = TTL) -> None:
        """`number`: of the etcd lease to which this node's entry is bound."""
        self.store, self.url, self._number, self.ttl = store, without_secret(url), number, ttl

    async def config(self) -> Config:
        """Raises NotFound, Invalid, Unavailable, Denied."""
        found = await self.store.get(config.KEY)
        if found is None:
            raise NotFound(
                f"flannel's registry {self.url} has no config: see that the prefix is right, or write one "
                f'(etcdctl put /{place(self.url)[1]}/config \'{{"Network":"10.5.0.0/16","Backend":{{"Type":"vxlan"}}}}\')'
            )
        try:
            return config.parse(found.value)
        except Invalid as error:
            raise Invalid(f"the config in flannel's registry {self.url}: {error}") from None

    async def begin(self) -> None:
        """The etcd lease, or more time for it. Nobody is told of that."""
        await self.store.grant(self._number, self.ttl)

    async def leave(self) -> None:
        """This node's entry goes, if it is still its own."""
        await self.store.revoke(self._number)

    async def acquire(self, plans: Sequence[Plan], wish: Wish, entry: Entry) -> tuple[IPNetwork, ...]:
        """This node's subnets, with its entry written. `entry`: but for the subnets. Raises Exhausted, Unavailable."""
        await self.begin()
        for _ in range(ATTEMPTS):
            listing = await self.store.list(lease.SUBNETS)
            found = choice(plans, wish, read(listing.items))
            revisions = {item.key: item.revision for item in listing.items}
            wanted = msgspec.structs.replace(entry, subnets=found.subnets)
            key = found.key or lease.key(found.subnets)
            if await self.put(key, wanted, revisions.get(found.key, 0), listing.revision):
                log.info("flannel's registry %s: %s is %s", self.url, key, "taken over" if found.key else "taken")
                return found.subnets
        raise Unavailable(f"flannel's registry {self.url}: others were quicker, {ATTEMPTS} times: try again")

    async def put(self, key: str, entry: Entry, revision: int, listed: int) -> bool:
        """Write this node's entry. False: it was not as it was when all were `listed`; `revision`: the entry's own by then, 0:
        there was none, and nobody may have taken anything since."""
        guards: list[Guard] = [Unchanged(key, revision)]
        if not revision:
            guards = [Absent(key), NothingNewer(lease.SUBNETS, listed)]
        ops = [Put(key, lease.value(entry), self._number)]
        try:
            return await self.store.commit(guards, ops) is not None
        except NotFound:  # the etcd lease has ended
            await self.begin()
            return await self.store.commit(guards, ops) is not None


def check_unshared(name: str, url: str, others: Mapping[str, str]) -> None:
    """One registry is one network. `others`: the URLs of other networks', by name. Raises Conflict."""
    hosts, prefix = place(url)
    for other, taken in sorted(others.items()):
        theirs, there = place(taken)
        if other != name and prefix == there and hosts & theirs:
            raise Conflict(
                f"network {name}: flannel's registry {without_secret(url)} is network {other}'s: one prefix is one network"
            )
