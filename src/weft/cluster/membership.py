"""This node in the store: its record, its presence, and the subnets it holds.

Everything a node writes is bound to one of two store leases. *Presence* lasts seconds and is renewed while the agent lives:
peers withdraw their routes when it ends. *Tenure* lasts a day: a node that is down keeps its subnets and its containers'
addresses, and what a node that never returns left behind frees itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec

from weft.alloc import blocks, subnets
from weft.alloc import leases as alloc
from weft.base.errors import Conflict, Exhausted, NotFound, Unavailable, WeftError
from weft.base.names import stable_id
from weft.base.net import IPNetwork
from weft.cluster import records
from weft.cluster.liveness import Attention
from weft.cluster.view import View
from weft.datapaths import registry
from weft.datapaths.driver import Host
from weft.datapaths.options import subnet_rules
from weft.model import BgpSecret, Lease, Network, Node, claims, encode, keys
from weft.store.protocol import Absent, Change, Delete, DeletePrefix, Guard, Item, Op, Put, Store, Unchanged

log = logging.getLogger(__name__)

ATTEMPTS = 50
"""How often to try for a subnet while other nodes are quicker: each failure means that one of them got one."""
SOON = 1.0
"""Seconds until a renewal that failed is tried again."""


def presence_lease(instance: str, node: str) -> int:
    """The store lease that a node's presence is bound to."""
    return stable_id("presence", instance, node)


class Membership:
    def __init__(self, store: Store, view: View, instance: str, *, presence_ttl: float, tenure: float) -> None:
        self._store, self._view = store, view
        self._presence_ttl, self._tenure = presence_ttl, tenure
        self.instance = instance
        self.presence_lease = presence_lease(instance, view.me)
        self.tenure_lease = stable_id("tenure", instance, view.me)
        self.refused: dict[str, str] = {}
        """Network → why this node has no subnet in it."""
        self._sent: dict[int, float] = {}
        """Revision → when it was committed, of our writes that the watch has not told yet."""
        self._brief = (0, 0.0, 0.0)
        """The store lease of passing claims: its number, of how many seconds, until when it is given to more of them."""
        self._acquiring: dict[str, asyncio.Lock] = {}
        self.attention = Attention(presence_ttl)
        self.hurry = asyncio.Event()
        """What this node wrote may be lost: look now, not with the next renewal."""

    async def register(self, node: Node) -> None:
        """Write this node and its presence. Raises Conflict where another installation has the name, Unavailable."""
        presence, ops = keys.presence(node.name), list[Op]()
        holder = await self._store.get(presence)
        self._check_name(node, holder)
        await self._renew()
        await self._store.grant(self.tenure_lease, self._tenure)
        if self._view.nodes.get(node.name) != node:
            ops.append(Put(keys.node(node.name), encode(node), self.tenure_lease))
        if holder is None:
            ops.append(Put(presence, self.instance.encode(), self.presence_lease))
        if not ops:
            return
        if await self.write([Unchanged(presence, holder.revision) if holder else Absent(presence)], ops):
            log.info("registered node %s with %s", node.name, ", ".join(map(str, node.addresses)))
        else:
            await self.register(node)

    def _check_name(self, node: Node, holder: Item | None) -> None:
        if holder is not None and holder.value.decode(errors="replace") != self.instance:
            other = self._view.nodes.get(node.name)
            where = f" at {other.addresses[0].ip}" if other else ""
            raise Conflict(
                f"the node name {node.name} is in use by a running agent{where}: choose another with --node, "
                f"or wait {self._presence_ttl:g} s if that agent was just stopped"
            )

    async def keep_alive(self, node: Callable[[], Node | None], register: Callable[[], Awaitable[None]]) -> None:
        """Renew both leases for ever; `register` again what was lost meanwhile. After a failure it is tried again soon:
        presences that end with an outage are not to be missed for long after it."""
        interval = self._presence_ttl / 3
        pause, renewed, failed = interval, 0.0, False
        clock = asyncio.get_running_loop().time
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.hurry.wait()
            self.hurry.clear()
            try:
                await self._renew()
                if clock() - renewed > self._tenure / 24:
                    await self._store.grant(self.tenure_lease, self._tenure)
                    renewed = clock()
                me = node()
                if me is not None and not self.registered(me):
                    await register()
                pause, failed = interval, False
            except WeftError as error:
                log.log(logging.DEBUG if failed else logging.WARNING, "presence not renewed: %s", error)
                pause, failed = min(interval, SOON), True

    async def _renew(self) -> None:
        await self._store.grant(self.presence_lease, self._presence_ttl)
        self.attention.renewed()

    def registered(self, node: Node) -> bool:
        return self._view.nodes.get(node.name) == node and self._view.present.get(node.name) == self.instance

    def missing(self) -> list[str]:
        """Networks in which this node has no subnet yet."""
        view = self._view
        leased = [n for n in view.networks if view.driver(n).addresses.leased and view.home(n) == n]
        return [name for name in leased if view.lease(name, view.me) is None]

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
                log.warning("no subnet in network %s: %s", name, error)
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
        if driver.addresses.blocks:
            return await self._begin(network, data)
        plans = subnets.plans(network, subnet_rules(registry.subnet_options(network)))
        for _ in range(ATTEMPTS):
            claimed = await self._look_again(network.name)
            held_by = self._view.leases.get(network.name, {})
            wanted = alloc.acquire(plans, host.node.name, held_by, claimed, data)
            if not wanted.changed or await self._take(network, wanted):
                return wanted.lease
            await self._look_for(network)
        raise Exhausted(f"network {network.name}: other nodes took every subnet tried, {ATTEMPTS} times: try again")

    async def _begin(self, network: Network, data: dict[str, str]) -> Lease:
        """A lease that says what is here already: nothing, unless it was lost."""
        me, name = self._view.me, network.name
        key = keys.lease(name, me)
        for _ in range(ATTEMPTS):
            await self._look_again(name)
            old = self._view.lease(name, me)
            items = (await self._store.list(keys.subnet_claims(name))).items
            revisions, guards, ops = {i.key: i.revision for i in items}, list[Guard](), list[Op]()
            lease = (
                msgspec.structs.replace(old, data=data) if old else Lease(network=name, node=me, subnets=(), data=data)
            )
            if old is None:
                used = [a.ip for e in self._view.endpoints_at(name) for a in e.addresses]
                claimed = {block: records.holder(item) for block, item in records.claimed(claims.subnet, items)}
                lease, filled, idle = blocks.take_up(lease, claimed, used)
                kept, gone = ([keys.subnet_claim(name, block) for block in some] for some in (filled, idle))
                guards = [Unchanged(claim, revisions[claim]) for claim in (*kept, *gone)]
                ops = [Put(claim, me.encode(), self.tenure_lease) for claim in kept]
                ops += [Delete(claim) for claim in gone]
            guards.append(Unchanged(keys.network(name), self._view.revision(keys.network(name))))
            guards.append(Unchanged(key, self._view.revision(key)) if old else Absent(key))
            if await self.write(guards, [*ops, Put(key, encode(lease), self.tenure_lease)]):
                return lease
            await self._look_for(network)
        raise Exhausted(f"network {name}: this node's blocks change too fast just now: try again")

    def tenure_of(self, node: str) -> int:
        """The store lease to which all is bound that a node writes. Raises NotFound."""
        found = self._view.nodes.get(node)
        if found is None:
            raise NotFound(f"no node {node}: it was just removed")
        return stable_id("tenure", found.instance, node)

    async def _look_for(self, network: Network) -> None:
        """Whether the network is still what it was. Raises NotFound, Unavailable."""
        key = keys.network(network.name)
        item = await self._store.get(key)
        if item is None:
            raise NotFound(f"no network {network.name}: it was just removed")
        self._view.present_now(item)
        if self._view.networks.get(network.name) != network:
            raise Unavailable(f"network {network.name} was just changed by someone else: try again")

    async def _look_again(self, network: str) -> dict[IPNetwork, str]:
        """Take the network's leases over as they are now; its claims."""
        leases = keys.leases(network)
        listing = await self._store.list(leases)
        self._view.listed((leases,), listing.items, listing.revision)
        items = (await self._store.list(keys.subnet_claims(network))).items
        return {subnet: records.holder(item) for subnet, item in records.claimed(claims.subnet, items)}

    async def _take(self, network: Network, wanted: alloc.Acquired) -> bool:
        """Write lease and claims, if network and lease are still as they were seen and no claim was made meanwhile."""
        me, name = self._view.me, network.name
        key, revision = keys.lease(name, me), self._view.revision(keys.lease(name, me))
        guards: list[Guard] = [
            Unchanged(keys.network(name), self._view.revision(keys.network(name))),
            Unchanged(key, revision) if revision else Absent(key),
            *(Absent(claim) for claim in wanted.claims),
        ]
        ops: list[Op] = [Put(key, encode(wanted.lease), self.tenure_lease)]
        ops += [Put(claim, me.encode(), self.tenure_lease) for claim in wanted.claims]
        return await self.write(guards, ops)

    async def write(self, guards: list[Guard], ops: list[Op]) -> bool:
        """Commit, and take the result over into the view at once. False: a guard did not hold."""
        removed = [op.key for op in ops if isinstance(op, Delete)]
        with self._view.removing(removed):
            try:
                revision = await self._store.commit(guards, ops)
            except NotFound:  # the tenure has not begun, or has ended while the store was away
                await self._store.grant(self.tenure_lease, self._tenure)
                revision = await self._store.commit(guards, ops)
            if revision is None:
                return False
            self._sent[revision] = time.monotonic()
            self._view.apply(
                Change(op.key, op.value if isinstance(op, Put) else None, revision)
                for op in ops
                if not isinstance(op, DeletePrefix)
            )
        self._view.obey(removed)  # what the store had lost before, too
        return True

    async def claim(self, key: str) -> Item | None:
        """What its holder wrote there."""
        return await self._store.get(key)

    async def claim_for(self, key: str, seconds: float, over: int = 0) -> int | None:
        """Claim an address for a time: for so many seconds at least, twice that at most. Its revision; None if it is
        somebody's. `over`: the revision of a claim that may be taken over."""
        guard = Unchanged(key, over) if over else Absent(key)
        return await self._store.commit([guard], [Put(key, claims.coming(self._view.me), await self._passing(seconds))])

    async def _passing(self, seconds: float) -> int:
        """A store lease that lasts that long from now on. One serves many, so that hardly any claim waits for a grant."""
        lease, of, until = self._brief
        now = time.monotonic()
        if of != seconds or now > until:
            lease = secrets.randbits(62) + 1
            await self._store.grant(lease, 2 * seconds)
            self._brief = lease, seconds, now + seconds
        return lease

    async def give_back(self, key: str, revision: int) -> None:
        """A claim, unless somebody else has it by now."""
        await self._store.commit([Unchanged(key, revision)], [Delete(key)])

    async def ensure_bgp_secret(self) -> None:
        """In the store and in the view: the one that is there, else the one that is known, else a new one. What is there and
        cannot be read helps nobody, and is replaced. Raises Unavailable."""
        key = keys.BGP_SECRET
        item = await self._store.get(key)
        if item is not None:
            self._view.present_now(item)
            if key not in self._view.broken:
                return
        secret = BgpSecret(value=self._view.bgp_secret or secrets.token_hex(32))
        guard: Guard = Unchanged(key, item.revision) if item else Absent(key)
        if not await self.write([guard], [Put(key, encode(secret))]):
            await self.ensure_bgp_secret()  # another node was quicker

    def echoed(self, revision: int) -> float | None:
        """The watch has come to `revision`: how long our commit took to come back, if it was ours."""
        for past in [r for r in self._sent if r < revision]:
            del self._sent[past]
        sent = self._sent.pop(revision, None)
        return None if sent is None else time.monotonic() - sent
