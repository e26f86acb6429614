"""This node's leases: a subnet in every network, or, where addresses come from blocks, the list of blocks it holds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from weft.alloc import blocks, subnets
from weft.alloc import leases as alloc
from weft.alloc.subnets import Plan
from weft.base import events
from weft.base.errors import Conflict, Exhausted, NotFound, Overtaken, Unavailable, WeftError
from weft.base.net import IPNetwork
from weft.cluster import records
from weft.cluster.cluster import RACE, Cluster, Refused
from weft.datapaths import registry
from weft.datapaths.driver import Host, without_lease
from weft.datapaths.options import subnet_rules
from weft.model import Lease, Network, claims, encode, keys
from weft.store.protocol import Absent, Delete, Guard, Item, Op, Put, Unchanged

log = logging.getLogger(__name__)


Given = Callable[[Network, Host, dict[str, str]], Awaitable[tuple[IPNetwork, ...]]]
"""This node's subnets in a network, as some registry outside gives them, where they are known with the lease's data then."""


async def _nobody(network: Network, _host: Host, _data: dict[str, str]) -> tuple[IPNetwork, ...]:
    raise Unavailable(f"network {network.name}: nothing here asks flannel's registry")


class Leases:
    def __init__(self, cluster: Cluster, given: Given = _nobody) -> None:
        """`given`: by flannel's registry, for networks that have one."""
        self._cluster, self._view, self._given = cluster, cluster.view, given
        self.refused: dict[str, str] = {}
        """Network → why this node has no subnet in it."""
        self._acquiring: dict[str, asyncio.Lock] = {}
        self.host: Host | None = None
        """This host, as soon as it is known."""
        self.wake = asyncio.Event()
        """One may be missing."""

    async def run(self, interval: Callable[[], float]) -> None:
        """For ever: a lease in every network, as soon as there is one. `interval`: the seconds between looks."""
        while True:
            self.wake.clear()
            for name in self.missing():
                await self._try(name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval()):
                    await self.wake.wait()

    async def _try(self, name: str) -> None:
        if self.host is None:
            return
        try:
            await self.acquire(name, self.host)
        except WeftError as error:
            log.warning("no subnet in network %s yet: %s", name, error, extra=events.SUBNET_MISSING)

    def missing(self) -> list[str]:
        """Networks in which this node has no subnet yet, or whose lease does not say what it should."""
        view = self._view
        leased = [n for n in view.networks if view.driver(n).addresses.leased and view.home(n) == n]
        held = {name: view.lease(name, view.me) for name in leased}
        return [name for name, lease in held.items() if lease is None or self._says_less(lease)]

    def _says_less(self, lease: Lease) -> bool:
        """Whether peers have to know something else of this host by now than what its lease says."""
        if keys.lease(lease.network, lease.node) in self._view.lost:
            return False  # the store has lost it: `weft.endpoints.evidence` writes it back first
        with contextlib.suppress(WeftError):
            network = self._view.networks[lease.network]
            options, driver = registry.parse_options(network), registry.driver(network.driver)
            if self.host is not None and not driver.refusal(self.host, network, options):
                return driver.lease_data(self.host, network, options) != lease.data
        return False

    async def ensure(self, name: str, host: Host) -> Lease:
        """This node's lease in a network, for a container to be attached to it. Raises Unavailable, Conflict, NotFound."""
        name = self._view.home(name)
        if not self._view.driver(name).addresses.leased:
            return self._share(name, host)
        lease = self._view.lease(name, self._view.me)
        if lease is None:
            lease = await self.acquire(name, host)
        if lease is None:
            raise Conflict(self.refused[name])
        return lease

    def _share(self, name: str, host: Host) -> Lease:
        network = self._view.networks[name]
        refusal = registry.driver(network.driver).refusal(host, network, registry.parse_options(network))
        if refusal and not self._view.endpoints_of(name):
            raise Conflict(refusal)
        return without_lease(network, host.node.name)

    async def acquire(self, name: str, host: Host) -> Lease | None:
        """This node's lease in a network: the one it has, or a new one. None where it cannot have one (`refused`).
        Raises NotFound where the network is removed meanwhile, Unavailable."""
        async with self._acquiring.setdefault(name, asyncio.Lock()):
            try:
                lease = await self._acquire(self._network(name), host)
            except (NotFound, Unavailable):
                raise
            except WeftError as error:
                self.refused[name] = str(error)
                log.warning("no subnet in network %s: %s", name, error, extra=events.SUBNET_MISSING)
                return None
            self.refused.pop(name, None)
            return lease

    def _network(self, name: str) -> Network:
        network = self._view.networks.get(name)
        if network is None:
            self.refused.pop(name, None)
            raise NotFound(f"no network {name}: it was just removed")
        return network

    async def _acquire(self, network: Network, host: Host) -> Lease:
        options, driver = registry.parse_options(network), registry.driver(network.driver)
        if refusal := driver.refusal(host, network, options):
            raise Conflict(refusal)
        data = driver.lease_data(host, network, options)
        held = self._view.lease(network.name, self._view.me)
        if held is not None and held.data == data:
            return held

        subnets_given = await self._given(network, host, data) if network.flannel else None

        async def attempt() -> Lease:
            try:
                if subnets_given is not None:
                    return await self._take(network.name, subnets_given, data)
                if driver.addresses.blocks:
                    return await self._blocks(network.name, data)
                plans = subnets.plans(network, subnet_rules(registry.subnet_options(network)))
                return await self._subnets(network.name, plans, data)
            except Refused:
                await self._check_still(network)
                raise

        taken = f"network {network.name}: other nodes took every subnet tried, {RACE} times: try again"
        return await self._cluster.change(
            attempt,
            f"network {network.name}",
            attempts=RACE,
            at_last=None if driver.addresses.blocks else Exhausted(taken),
        )

    async def _subnets(self, name: str, plans: Sequence[Plan], data: dict[str, str]) -> Lease:
        """One of each family, if network and lease are still as they were seen and no claim was made meanwhile."""
        me, key = self._view.me, keys.lease(name, self._view.me)
        items = await self._look(name)
        claimed = {subnet: records.holder(item) for subnet, item in records.claimed(claims.subnet, items)}
        wanted = alloc.acquire(plans, me, self._view.leases.get(name, {}), claimed, data)
        if not wanted.changed:
            return wanted.lease
        guards = [self._cluster.unchanged(keys.network(name)), self._cluster.as_seen(key)]
        guards += [Absent(claim) for claim in wanted.claims]
        ops: list[Op] = [Put(key, encode(wanted.lease), self._cluster.tenure_lease)]
        ops += [Put(claim, me.encode(), self._cluster.tenure_lease) for claim in wanted.claims]
        await self._cluster.commit(guards, ops)
        return wanted.lease

    async def _take(self, name: str, subnets: tuple[IPNetwork, ...], data: dict[str, str]) -> Lease:
        """What this node was given, in place of what it had. Raises Conflict."""
        me, key, tenure = self._view.me, keys.lease(name, self._view.me), self._cluster.tenure_lease
        items = await self._look(name)
        claimed = {subnet: records.holder(item) for subnet, item in records.claimed(claims.subnet, items)}
        wanted = alloc.given(name, me, subnets, claimed, data)
        guards = [self._cluster.unchanged(keys.network(name)), self._cluster.as_seen(key)]
        guards += [Absent(claim) for claim in wanted.claims]
        ops: list[Op] = [Put(key, encode(wanted.lease), tenure)]
        ops += [Put(claim, me.encode(), tenure) for claim in wanted.claims]
        ops += [Delete(keys.subnet_claim(name, s)) for s, node in claimed.items() if node == me and s not in subnets]
        await self._cluster.commit(guards, ops)
        return wanted.lease

    async def _blocks(self, name: str, data: dict[str, str]) -> Lease:
        """A lease that says what is here already: nothing, unless it was lost."""
        me, key, tenure = self._view.me, keys.lease(name, self._view.me), self._cluster.tenure_lease
        items = await self._look(name)
        old, guards, ops = self._view.lease(name, me), list[Guard](), list[Op]()
        lease = msgspec.structs.replace(old, data=data) if old else Lease(network=name, node=me, subnets=(), data=data)
        if old is None:
            revisions = {item.key: item.revision for item in items}
            used = [a.ip for e in self._view.endpoints_at(name) for a in e.addresses]
            claimed = {block: records.holder(item) for block, item in records.claimed(claims.subnet, items)}
            lone = not self._view.driver(name).addresses.strict
            lease, filled, idle = blocks.take_up(lease, claimed, used, lone=lone)
            kept, gone = ([keys.subnet_claim(name, block) for block in some] for some in (filled, idle))
            guards = [Unchanged(claim, revisions[claim]) for claim in (*kept, *gone)]
            ops = [Put(claim, me.encode(), tenure) for claim in kept]
            ops += [Delete(claim) for claim in gone]
        guards.append(self._cluster.unchanged(keys.network(name)))
        guards.append(self._cluster.unchanged(key) if old else Absent(key))
        await self._cluster.commit(guards, [*ops, Put(key, encode(lease), tenure)])
        return lease

    async def _look(self, name: str) -> tuple[Item, ...]:
        """Take the network's leases over as they are now; its claims of subnets."""
        leases = keys.leases(name)
        listing = await self._cluster.store.list(leases)
        self._view.listed((leases,), listing.items, listing.revision)
        return (await self._cluster.store.list(keys.subnet_claims(name))).items

    async def _check_still(self, network: Network) -> None:
        """Whether the network is still what it was. Raises NotFound, Overtaken, Unavailable."""
        key = keys.network(network.name)
        item = await self._cluster.store.get(key)
        if item is None:
            raise NotFound(f"no network {network.name}: it was just removed")
        self._view.present_now(item)
        if self._view.networks.get(network.name) != network:
            raise Overtaken(f"network {network.name} was just changed by someone else: try again")
