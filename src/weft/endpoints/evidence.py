"""Containers that run are evidence: what the store has forgotten of them is written back.

A node's endpoints and leases are bound to its tenure, so they end while its agent is stopped, frozen or cut off for too long;
and a store that was put back to an earlier state never heard of some. Nobody took anything then, and the containers run. The
view keeps what is `lost` in force until it is settled here:

    who removed it?           somebody on purpose, while our tenure lasted: that is obeyed
    does the container run?   if not there is nothing to keep
    who has its addresses?    nobody else: the record is written back, as it was
                              somebody else: this one is cut, and it is said aloud in log and status

`Evidence.write_back` is all of that, and is safe to call at any time. Whoever has put networks back into a store that had
lost even those needs to do nothing more: what they hold here follows by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

import msgspec

from weft.alloc import blocks as alloc
from weft.alloc.blocks import Given
from weft.base import events
from weft.base.errors import Unavailable
from weft.base.net import IPAddress, IPNetwork, contains, covers, parse_interface
from weft.cluster import footprint, records
from weft.cluster.cluster import Cluster
from weft.cluster.footprint import holder, key_of
from weft.cluster.journal import boot_id
from weft.endpoints.removal import remove_node
from weft.ipam.addresses import CHUNK
from weft.ipam.blocks import rules
from weft.model import Endpoint, Lease, claims, encode, keys
from weft.store.protocol import Absent, Guard, Item, Op, Put, Unchanged
from weft.tasks import whenever

log = logging.getLogger(__name__)


class Taken(Exception):
    """Somebody else has it by now."""


class Evidence:
    def __init__(self, cluster: Cluster, inside: Callable[[Endpoint], tuple[str, ...] | None]) -> None:
        """`inside`: the devices in an endpoint's namespace, None where that is gone; blocks."""
        self._cluster, self._store, self._view, self._inside = cluster, cluster.store, cluster.view, inside
        self._wake = asyncio.Event()
        self._wake.set()
        self._lock = asyncio.Lock()
        self._cut: dict[str, tuple[Endpoint, str]] = {}
        self._view.on_loss, self._view.on_orphans = self._wake.set, self._orphaned

    async def run(self) -> None:
        """For ever; begin when the view is complete."""
        await whenever(self._wake, self.write_back, "what runs here is not written back yet")

    def problems(self) -> Iterator[tuple[str, str]]:
        """(Network, why a container there was cut), until it is attached again."""
        here = {(e.network, e.namespace) for e in self._view.endpoints.values()}
        for endpoint, text in tuple(self._cut.values()):
            if (endpoint.network, endpoint.namespace) not in here:
                yield endpoint.network, text

    def review(self) -> None:
        """Forget those that were cut and have ended since. Blocks."""
        for id, (endpoint, _) in tuple(self._cut.items()):
            if self._inside(endpoint) is None:
                self._cut.pop(id, None)

    async def write_back(self) -> None:
        """Settle all that is lost. Raises WeftError where the store does not answer: it stays in force, and lost."""
        async with self._lock:
            self._cluster.check_reached()
            await self._forget_former_names()
            await self._cluster.owed.settle()
            if not self._view.lost:
                return
            self._view.obey(await self._removed_on_purpose())
            running = await self._running()  # before a lease goes, which would take interfaces along
            for key in [key for key in self._view.lost if key.startswith(keys.LEASES)]:
                await self._lease(key)
            for endpoint in running:
                await self._endpoint(endpoint)

    async def _forget_former_names(self) -> None:
        """What this host held under another name frees itself only after a day, and its addresses are needed now. It is this
        host if the installation is the same, and either the boot is, or an address whose agent is gone."""
        view, here = self._view, boot_id()
        me = view.nodes.get(view.me)
        mine = {a.ip for a in me.addresses} if me else set()
        for node in [n for n in view.nodes.values() if n.name != view.me and n.instance == self._cluster.instance]:
            returned = node.name not in view.present and not mine.isdisjoint(a.ip for a in node.addresses)
            if node.boot == here or returned:
                log.warning("this host was node %s and is %s now: what it held moves along", node.name, view.me)
                await remove_node(self._cluster, node.name)

    async def _removed_on_purpose(self) -> list[str]:
        """Of what was deleted while we watched. A tenure that ends takes the node's own record along, in the same revision:
        where that went in another one, or is still there, somebody chose to remove this. Raises Unavailable where that is
        not known yet."""
        view = self._view
        told = {key: revision for key, revision in view.lost.items() if revision}
        item = await self._store.get(keys.node(view.me)) if told else None
        known = view.me not in view.nodes if item is None else item.revision <= view.revision(item.key)
        if told and not known:
            raise Unavailable("who removed what runs here is not known yet")
        return [key for key, revision in told.items() if revision != view.unregistered]

    async def _running(self) -> list[Endpoint]:
        lost = [e for e in self._view.endpoints.values() if key_of(e) in self._view.lost]
        running = await asyncio.to_thread(lambda: [e for e in lost if self._runs(e)])
        self._view.obey([key_of(e) for e in lost if e not in running])
        return running

    def _runs(self, endpoint: Endpoint) -> bool:
        """An interface that its engine has taken over is the engine's to give back, wherever it is now."""
        if endpoint.handover:
            return True
        inside = self._inside(endpoint)
        return inside is not None and (endpoint.interface in inside or self._cluster.owed.came(endpoint))

    # Leases.

    async def _lease(self, key: str) -> None:
        """With those of its subnets that nobody else has."""

        at = keys.LEASE.parse(key)
        if at is None:
            return

        async def attempt() -> None:
            lease = self._view.lease(at.network, self._view.me)
            if key in self._view.lost and lease is not None:
                await self._put_lease(key, lease)

        await self._cluster.change(attempt, f"network {at.network}")

    async def _put_lease(self, key: str, lost: Lease) -> None:
        """Its claims, and then the lease itself. Raises Refused."""
        view, me, name, tenure = self._view, self._view.me.encode(), lost.network, self._cluster.tenure_lease
        items = (await self._store.list(keys.subnet_claims(name))).items
        claimed = dict(records.claimed(claims.subnet, items))
        theirs = {block for block, item in claimed.items() if item.value != me}
        wholes = view.networks[name].subnets
        taken = [s for s in lost.subnets if s in theirs or not any(covers(whole, s) for whole in wholes)]
        lease = await self._without(lost, taken)
        if lease is None:
            log.error("network %s: others have %s by now: this node gets another subnet", name, _join(taken))
            view.obey([key])
            return
        network = self._cluster.unchanged(keys.network(name))
        mine = [s for s in lease.subnets if s not in claimed]
        for start in range(0, len(mine), CHUNK):
            some = [keys.subnet_claim(name, s) for s in mine[start : start + CHUNK]]
            await self._cluster.commit([network, *map(Absent, some)], [Put(claim, me, tenure) for claim in some])
        await self._cluster.commit([network, self._cluster.as_seen(key)], [Put(key, encode(lease), tenure)])
        log.warning(
            "wrote back that this node has %s in network %s", _join(lease.subnets), name, extra=events.WRITTEN_BACK
        )

    async def _without(self, lease: Lease, taken: list[IPNetwork]) -> Lease | None:
        """What is left of it; None where it is a whole or nothing."""
        if not self._view.driver(lease.network).addresses.blocks:
            return None if taken else lease
        claimed = await self._claims(lease.network)
        lone = [parse_interface(str(host)).ip for host in lease.hosts]
        return alloc.without(lease, taken, [a for a in lone if a in claimed and not self._ours(claimed[a])])

    # Endpoints.

    async def _endpoint(self, endpoint: Endpoint) -> None:

        async def attempt() -> None:
            if key_of(endpoint) in self._view.lost:
                await self._cluster.commit(*await self._record(endpoint))
                log.warning(
                    "wrote back endpoint %s in network %s: it runs here",
                    endpoint.name,
                    endpoint.network,
                    extra=events.WRITTEN_BACK,
                )

        try:
            await self._cluster.change(attempt, f"endpoint {endpoint.name}")
        except Taken as taken:
            self._cut_off(endpoint, str(taken))

    def _cut_off(self, endpoint: Endpoint, why: str) -> None:
        self._say(endpoint, why)
        self._view.obey([key_of(endpoint)])

    def _orphaned(self, records: Iterable[object]) -> None:
        """Attached without the store, in networks that were removed meanwhile."""
        for endpoint in records:
            if isinstance(endpoint, Endpoint):
                self._say(endpoint, f"network {endpoint.network} was removed while this host could not reach the store")

    def _say(self, endpoint: Endpoint, why: str) -> None:
        text = f"container {endpoint.container} lost its interface {endpoint.interface}: {why}: detach it and attach it again"
        log.error("network %s: %s", endpoint.network, text)
        self._cut[endpoint.id] = endpoint, text

    async def _record(self, endpoint: Endpoint) -> tuple[list[Guard], list[Op]]:
        """What writes it back as it was, but for what others have by now of that which it can do without. Raises Taken."""
        at = footprint.place(self._view, endpoint.network)
        guards: list[Guard] = [self._cluster.unchanged(keys.network(n)) for n in {endpoint.network, at.home}]
        guards.append(self._cluster.as_seen(key_of(endpoint)))
        endpoint = msgspec.structs.replace(
            endpoint,
            floating=await self._floating(endpoint, guards),
            name_claimed=endpoint.name_claimed and await self._name(endpoint, guards),
        )
        wanted, ops = footprint.of(endpoint, at), list[Op]()
        if self._view.driver(endpoint.network).addresses.leased:
            await self._route(endpoint, at.home, guards, ops)
        if at.claimed:
            claimed = await self._claims(at.home)
            for address in endpoint.addresses:
                guards.append(self._free(keys.address_claim(at.home, address.ip), claimed.get(address.ip), endpoint))
        if mac := footprint.mac_claim(endpoint, at):
            if await self._store.get(mac) is None:
                guards.append(Absent(mac))
            else:  # it keeps its MAC address, whoever has claimed that meanwhile
                del wanted[mac]
        tenure = self._cluster.tenure_lease
        return guards, [*ops, *(Put(key, value, tenure) for key, value in wanted.items())]

    async def _route(self, endpoint: Endpoint, home: str, guards: list[Guard], ops: list[Op]) -> None:
        """Add what makes its addresses this node's. Raises Taken."""
        key = keys.lease(home, self._view.me)
        guards.append(self._cluster.unchanged(key))
        lease = self._view.lease(home, self._view.me)
        held = (*lease.subnets, *lease.hosts) if lease else ()
        missing = [a.ip for a in endpoint.addresses if not any(contains(subnet, a.ip) for subnet in held)]
        wholes = self._view.networks[home].subnets
        if astray := [a for a in missing if not any(contains(whole, a) for whole in wholes)]:
            raise Taken(f"{astray[0]} is not in the network, as it is by now ({_join(wholes)})")
        if lease is None or (missing and not self._view.driver(home).addresses.blocks):
            raise Taken(f"{endpoint.addresses[0].ip} is in a subnet that another node has by now")
        if missing:
            given = [await self._block(home, address, guards, ops) for address in missing]
            ops.append(Put(key, encode(alloc.with_given(lease, given)), self._cluster.tenure_lease))

    async def _block(self, home: str, address: IPAddress, guards: list[Guard], ops: list[Op]) -> Given:
        """An address outside the blocks of the lease comes with its block where that is free, else alone."""
        cut, me = rules(self._view.networks[home]), self._view.me.encode()
        block = alloc.block_of(address, cut)
        claim = keys.subnet_claim(home, block)
        item = await self._store.get(claim)
        if item is not None and item.value != me:
            if not cut.pools:
                raise Taken(f"{address} is in block {block}, which {records.holder(item)} has by now")
            return Given(address, host=True)
        guards.append(Absent(claim) if item is None else Unchanged(claim, item.revision))
        ops.append(Put(claim, me, self._cluster.tenure_lease))
        return Given(address, block=block)

    def _free(self, key: str, item: Item | None, endpoint: Endpoint) -> Guard:
        """Raises Taken."""
        if item is None:
            return Absent(key)
        if claims.is_passing(item.value) or item.value == holder(endpoint):
            return Unchanged(key, item.revision)
        raise Taken(f"{key.rpartition('/')[2]} belongs to {item.value.decode(errors='replace')} by now")

    async def _name(self, endpoint: Endpoint, guards: list[Guard]) -> bool:
        """Whether its name is still its own. It keeps it, whoever is called so meanwhile."""
        key = keys.name_claim(endpoint.network, endpoint.name)
        try:
            guards.append(self._free(key, await self._store.get(key), endpoint))
        except Taken as taken:
            log.error("endpoint %s in network %s: %s", endpoint.name, endpoint.network, taken)
            return False
        return True

    async def _floating(self, endpoint: Endpoint, guards: list[Guard]) -> tuple[IPAddress, ...]:
        """Those that nobody else has."""
        kept: list[IPAddress] = []
        for address in endpoint.floating:
            key = keys.floating_claim(address)
            try:
                guards.append(self._free(key, await self._store.get(key), endpoint))
                kept.append(address)
            except Taken as taken:
                log.error("endpoint %s lost its floating address: %s", endpoint.name, taken)
        return tuple(kept)

    async def _claims(self, home: str) -> dict[IPAddress, Item]:
        items = (await self._store.list(keys.address_claims(home))).items
        return dict(records.claimed(claims.address, items))

    def _ours(self, item: Item) -> bool:
        return claims.is_passing(item.value) or item.value.endswith(f" on {self._view.me}".encode())


def _join(values: Iterable[object]) -> str:
    return ", ".join(map(str, values)) or "no subnet yet"
