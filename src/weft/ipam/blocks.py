"""Addresses out of blocks: this node's own first, then a new block, then a single one outside (`weft.alloc.blocks`).

A node's lease says what is routed to it: its blocks, and lone addresses outside them. So a block is claimed and routed in
one transaction, and an address outside the blocks is routed from the moment its endpoint exists. Those transactions rewrite
the lease, one at a time on this node; all others only want it unchanged.

A freed address's claim stays for a while, bound to a store lease that ends by itself: nobody has to come back for it. A
wish for just that address takes it over, so a container that comes back elsewhere gets what it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from weakref import WeakValueDictionary

from weft.alloc import blocks as alloc
from weft.alloc import stock, subnets
from weft.alloc.blocks import Given, Rules, Situation
from weft.base.errors import Exhausted, Invalid, NotFound, Unavailable
from weft.base.net import Family, IPAddress, IPInterface, IPNetwork, contains, family, host_prefix, parse_interface
from weft.cluster import footprint, records
from weft.cluster.cluster import Cluster, Refused
from weft.cluster.footprint import key_of
from weft.datapaths import registry
from weft.datapaths.options import BlockOptions
from weft.ipam.addresses import CHUNK, Ask, Choice, Way
from weft.ipam.certain import Certain
from weft.ipam.passing import PassingClaims
from weft.ipam.promises import Promises
from weft.model import Endpoint, Lease, Network, claims, encode, keys
from weft.services.record import SERVICES
from weft.store.protocol import Absent, Delete, Guard, NothingNewer, Op, Put, Store, Unchanged

HEARSAY = 30.0
"""Seconds for which a listing of all claims is believed: what was freed since may be given after that."""
STEP = 4
"""A cool-down lasts as long as asked, up to one STEP-th longer: so many store leases at most are there for each length."""


class Cooldown:
    """Store leases that end by themselves, for claims of freed addresses."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._current: dict[int, tuple[int, float]] = {}
        """Seconds → lease, and until when addresses may still be bound to it."""

    async def lease(self, seconds: int) -> int:
        number, until = self._current.get(seconds, (0, 0.0))
        now = time.monotonic()
        if now >= until:
            number = secrets.randbits(62) | 1
            await self._store.grant(number, seconds + seconds / STEP + 1)
            self._current[seconds] = number, now + seconds / STEP
        return number


class Blocks(Way):
    def __init__(
        self, cluster: Cluster, promised: dict[str, set[IPAddress]], promises: Promises, passing: PassingClaims
    ) -> None:
        super().__init__(cluster, promised, promises, passing)
        self._cooldown = Cooldown(cluster.store)
        self._heard: dict[str, tuple[float, dict[IPAddress, str]]] = {}
        """Network → when its claims were listed, and what was found."""
        self._cooling: dict[str, dict[IPAddress, float]] = {}
        """Network → address freed here → until when it is not given."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.certain = Certain(cluster)

    def lock(self, home: str) -> asyncio.Lock:
        """Whoever rewrites this node's lease holds it."""
        return self._locks.setdefault(home, asyncio.Lock())

    def lease(self, home: str) -> Lease:
        """This node's. Raises Unavailable."""
        lease = self._view.lease(home, self._view.me)
        if lease is None:
            raise Unavailable(f"network {home}: this node's lease was just taken from it: try again")
        return lease

    def options(self, home: str) -> tuple[Network, BlockOptions]:
        """Raises NotFound."""
        network = self._view.networks.get(home)
        if network is None:
            raise NotFound(f"no network {home}: it was just removed")
        return network, registry.block_options(network)

    # Choosing.

    @contextlib.asynccontextmanager
    async def choosing(self, ask: Ask) -> AsyncIterator[Choice]:
        home = self._view.home(ask.network.name)
        async with contextlib.AsyncExitStack() as stack:
            try:
                if self._strict(ask.network.name):
                    self._cluster.check_reached()
                choice = await self._chosen(ask, home, stack)
            except Unavailable as error:
                choice = self._without_store(ask, home, error)
            stack.enter_context(self.promising(ask.network, choice))
            yield choice

    async def _chosen(self, ask: Ask, home: str, stack: contextlib.AsyncExitStack) -> Choice:
        cooling = await self._wished(ask, home)
        choice = self._alone(ask, home, cooling)
        if choice is None:
            await stack.enter_async_context(self.lock(home))
            choice = self._alone(ask, home, cooling) or await self._with_lease(ask, home, cooling)
        return choice

    def _without_store(self, ask: Ask, home: str, error: Unavailable) -> Choice:
        """Out of this node's own blocks. Raises Unavailable where it may not, `error` where that is no matter of the store."""
        if not self._strict(ask.network.name) or self._view.lease(home, self._view.me) is None:
            raise error
        if why := self.certain.doubts(home):
            raise _not_now(home, why, "wait until it is back", error)
        choice = self._alone(ask, home, {})
        if choice is None and ask.wishes:
            wish, held = ", ".join(map(str, ask.wishes)), ", ".join(map(str, self.lease(home).subnets)) or "none"
            why = f"{wish} is in no block of this host ({held})"
            raise _not_now(home, why, "leave the address to Weft, or wait until it is back", error)
        if choice is None:
            held = ", ".join(map(str, self.lease(home).subnets)) or "none"
            why = f"no address is left in this host's blocks ({held}), and only the store gives another one"
            raise _not_now(home, why, "detach some, attach on another host, or wait until it is back", error)
        return choice

    def alone(self, endpoint: Endpoint, choice: Choice, error: Unavailable) -> None:
        home, at = self._view.home(endpoint.network), footprint.place(self._view, endpoint.network)
        if not self._strict(endpoint.network):
            raise error
        wait = "or wait until it is back"
        if why := self.certain.doubts(home):
            raise _not_now(home, why, "wait until it is back", error)
        if choice.ops or any(alloc.outside(self.lease(home), a.ip) for a in endpoint.addresses):
            why = "no address is left in this host's blocks, and only the store gives another one"
            raise _not_now(home, why, f"detach some, attach on another host, {wait}", error)
        if footprint.mac_claim(endpoint, at):
            why = f"only the store knows whether {endpoint.mac} is anybody else's"
            raise _not_now(home, why, f"leave the MAC address to Weft, {wait}", error)
        if endpoint.floating:
            raise _not_now(home, "only the store gives floating addresses", f"leave them out, {wait}", error)

    def forget_alone(self, endpoints: Sequence[Endpoint], error: Unavailable) -> None:
        strict = [e for e in endpoints if self._strict(e.network)]
        for endpoint in strict:
            self._cool(self._view.home(endpoint.network), [endpoint])
        self._cluster.owed.detach(strict)
        if len(strict) < len(endpoints):
            raise error

    def _strict(self, network: str) -> bool:
        return self._view.driver(network).addresses.strict

    async def _wished(self, ask: Ask, home: str) -> dict[IPAddress, int]:
        """What is wished for and cools down, with its claim's revision; what others have is taken to be lost."""
        found = {}
        for address in ask.wishes:
            item = await self._store.get(keys.address_claim(home, address))
            if item is not None and claims.is_cooling(item.value):
                found[address] = item.revision
            elif item is not None and self._promised_claim(home, address, ask.owner) != item.revision:
                ask.lost[address] = item.value.decode(errors="replace")
        return found

    def _promised_claim(self, home: str, address: IPAddress, owner: str) -> int:
        promise = self.promises.to(home, address, owner)
        return promise.revision if promise else 0

    def _alone(self, ask: Ask, home: str, cooling: Mapping[IPAddress, int]) -> Choice | None:
        """Without a change of the lease, if there is such a choice."""
        s = self._situation(ask, home, cooling)
        given = self._given(ask, s, alone=True)
        if any(g is None or g.needs_lease for g in given):
            return None
        return self._choice(ask, home, [g for g in given if g], cooling)

    async def _with_lease(self, ask: Ask, home: str, cooling: Mapping[IPAddress, int]) -> Choice:
        """With the lock held. Before an address is borrowed, the claims have to be known; before none is said to be left,
        they are looked at again."""
        prefix, me = keys.subnet_claims(home), self._view.me
        items = (await self._store.list(prefix)).items
        mine = set(self.lease(home).subnets)
        claimed = records.claimed(claims.subnet, items)
        others = {block: records.holder(item) for block, item in claimed if block not in mine}
        others |= {b: n for n, held in self._view.leases.get(home, {}).items() if n != me for b in held.subnets}
        try:
            given = self._given(ask, self._situation(ask, home, cooling, others))
        except Exhausted:
            given = []
        borrows = any(g is not None and g.host and g.address not in ask.wishes for g in given)
        if not given or (borrows and not self._knows(home)):
            await self._listen(home)
            given = self._given(ask, self._situation(ask, home, cooling, others))
        return self._choice(ask, home, [g for g in given if g], cooling)

    def _situation(
        self, ask: Ask, home: str, cooling: Mapping[IPAddress, int], others: Mapping[IPNetwork, str] = {}
    ) -> Situation:
        network, _ = self.options(home)
        node = self._view.nodes.get(self._view.me)
        heard = self._heard[home][1] if self._knows(home) else {}
        taken = self.holders(ask, heard, self._cold(home))
        if cooling:
            taken = {address: name for address, name in taken.items() if address not in cooling}
        return Situation(
            network=network,
            node=self._view.me,
            labels=node.labels if node else {},
            rules=rules(network),
            own=self.lease(home).subnets,
            others=others,
            taken=taken,
            within=ask.ranges,
            after=self.cursors.of(ask.network.name),
        )

    def _given(self, ask: Ask, s: Situation, *, alone: bool = False) -> list[Given | None]:
        """One of each family, or none at all."""
        wishes = self.wishes(ask, s.network.families)
        self.check_ranges(ask, s.network.families)
        for wrong in (r.gateway for r in ask.ranges if r.gateway):
            raise Invalid(f"{wrong} is no gateway: network {s.network.name} has none of its own, leave it to Weft")
        families = [fam for fam in s.network.families if fam in ask.families]
        return [alloc.wish(s, wishes[fam]) if fam in wishes else alloc.choose(s, fam, alone=alone) for fam in families]

    def _choice(self, ask: Ask, home: str, given: Sequence[Given], cooling: Mapping[IPAddress, int]) -> Choice:
        lease, me = self.lease(home), self._view.me
        last = {str(g.address.version): g.address for g in given if g.address not in ask.wishes}
        self.cursors.of(ask.network.name).update(last)
        guards: list[Guard] = [self.lease_guard(lease)]
        if home != ask.network.name:
            guards.append(self._cluster.unchanged(keys.network(home)))
        ops: list[Op] = []
        if any(g.needs_lease for g in given):
            tenure, new = self._cluster.tenure_lease, [keys.subnet_claim(home, g.block) for g in given if g.block]
            guards += [Absent(claim) for claim in new]
            ops = [Put(claim, me.encode(), tenure) for claim in new]
            ops.append(Put(keys.lease(home, me), encode(alloc.with_given(lease, given)), tenure))
        taken_over = {g.address: cooling[g.address] for g in given if g.address in cooling}
        chosen = tuple(_interface(g.address, ask.network) for g in given)
        return Choice(addresses=chosen, guards=tuple(guards), ops=tuple(ops), cooling=taken_over)

    async def refused(self, ask: Ask, choice: Choice) -> None:
        """Someone had an address or a block first, or network or lease are not what they were: look at all of it."""
        home = self._view.home(ask.network.name)
        await self.refresh(home)
        if home != ask.network.name:
            await self._cluster.look(keys.network(ask.network.name))
        if ask.network.name not in self._view.networks:
            raise NotFound(f"no network {ask.network.name}: it was just removed")
        await self._listen(home)

    async def keep(self, ask: Ask, owner: str, seconds: float) -> IPInterface:
        """Of a strict block nobody else gives it, so no claim is needed."""
        home = self._view.home(ask.network.name)
        if not self._strict(ask.network.name):
            return await self.keep_claimed(ask, owner, seconds)

        async def attempt() -> IPInterface:
            async with self.choosing(ask) as choice:
                [chosen] = choice.addresses
                if await self.prepared(choice):
                    self.promises.keep(home, chosen.ip, owner, seconds)
                    return chosen
            await self.refused(ask, choice)
            raise Refused

        return await self.race(attempt, home)

    async def prepared(self, choice: Choice) -> bool:
        """A block that is needed is taken now; whoever never comes leaves it empty, and it is given back. A lone address is
        routed once its endpoint is there."""
        new = any(isinstance(guard, Absent) for guard in choice.guards)
        return not new or await self._cluster.write(choice.guards, choice.ops)

    # What is known.

    async def refresh(self, home: str) -> None:
        """The network and this node's lease as they are now."""
        await self._cluster.look(keys.network(home), keys.lease(home, self._view.me))

    def _knows(self, home: str) -> bool:
        """Whether its claims were listed lately."""
        return self._heard.get(home, (0.0, {}))[0] > time.monotonic()

    async def _listen(self, home: str) -> None:
        """Who has which of the network's addresses."""
        prefix = keys.address_claims(home)
        items = (await self._store.list(prefix)).items
        found = {address: records.holder(item) for address, item in records.claimed(claims.address, items)}
        self._heard[home] = time.monotonic() + HEARSAY, found

    def _cold(self, home: str) -> dict[IPAddress, str]:
        kept, now = self._cooling.get(home, {}), time.monotonic()
        for address in [a for a, until in kept.items() if until <= now]:
            del kept[address]
        return dict.fromkeys(kept, "nobody, but was freed just now")

    # Going.

    async def forget(self, endpoints: Sequence[Endpoint]) -> None:
        by_home: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            by_home.setdefault(self._view.home(endpoint.network), []).append(endpoint)
        for home, inside in by_home.items():
            for some in footprint.together(inside):
                await self._forget(home, some)

    async def _forget(self, home: str, endpoints: Sequence[Endpoint]) -> None:
        """What somebody else has removed already is left alone: its addresses may be somebody else's by now."""

        async def attempt() -> None:
            left = [self._view.endpoints[e.id] for e in endpoints if e.id in self._view.endpoints]
            if left:
                await self._try_forget(home, left)

        await self._cluster.change(attempt, f"network {home}: its containers")

    async def _try_forget(self, home: str, endpoints: Sequence[Endpoint]) -> None:
        addresses = [a.ip for e in endpoints for a in e.addresses]
        async with contextlib.AsyncExitStack() as stack:
            lone = {parse_interface(str(host)).ip for host in self._hosts(home)}
            if not lone.isdisjoint(addresses):
                await stack.enter_async_context(self.lock(home))
            guards = [self._cluster.unchanged(key_of(e)) for e in endpoints]
            freed = await self._freed(home, endpoints)
            ops = [
                op for e in endpoints for op in self._removal(e) if not isinstance(op, Delete) or op.key not in freed
            ]
            ops += freed.values()
            lease = self._view.lease(home, self._view.me)
            if lease is not None and (left := alloc.without(lease, gone=addresses)) != lease:
                guards.append(self.lease_guard(lease))
                ops.append(Put(keys.lease(home, lease.node), encode(left), self._cluster.tenure_lease))
            await self._cluster.commit(guards, ops)

    def lease_guard(self, lease: Lease) -> Guard:
        """It is as it was seen."""
        return self._cluster.unchanged(keys.lease(lease.network, lease.node))

    def _hosts(self, home: str) -> Iterable[object]:
        lease = self._view.lease(home, self._view.me)
        return lease.hosts if lease else ()

    async def _freed(self, home: str, endpoints: Sequence[Endpoint]) -> dict[str, Op]:
        """Their claims go, at once or later by themselves: by key, what becomes of those that stay for a while."""
        seconds = self._seconds(home)
        if not seconds:
            _, heard = self._heard.get(home, (0.0, {}))
            for endpoint in endpoints:
                for address in endpoint.addresses:
                    heard.pop(address.ip, None)
            return {}
        lease = await self._cooldown.lease(seconds)
        self._cool(home, endpoints)
        claimed = [(keys.address_claim(home, a.ip), e) for e in endpoints for a in e.addresses]
        return {claim: Put(claim, claims.cooling(e.name, e.node), lease) for claim, e in claimed}

    def _seconds(self, home: str) -> int:
        """Until a freed address is given again."""
        with contextlib.suppress(NotFound):
            return self.options(home)[1].cooldown
        return 0

    def _cool(self, home: str, endpoints: Sequence[Endpoint]) -> None:
        if seconds := self._seconds(home):
            until = time.monotonic() + seconds * (1 + 1 / STEP) + 1
            self._cooling.setdefault(home, {}).update({a.ip: until for e in endpoints for a in e.addresses})

    async def forget_elsewhere(self, endpoint: Endpoint) -> None:
        """Take an endpoint of any node out of the store, with its claims and routes."""
        key, home = key_of(endpoint), self._view.home(endpoint.network)

        async def attempt() -> None:
            item = await self._store.get(key)
            if item is None:
                return
            await self._cluster.look(keys.lease(home, endpoint.node))
            guards: list[Guard] = [Unchanged(key, item.revision)]
            ops = self._removal(endpoint)
            self.unroute(endpoint, home, guards, ops)
            await self._cluster.commit(guards, ops)

        await self._cluster.change(attempt, f"network {home}: its containers")

    def unroute(self, endpoint: Endpoint, home: str, guards: list[Guard], ops: list[Op]) -> None:
        """Add what takes an endpoint's lone addresses out of its node's lease, if there are any."""
        lease = self._view.lease(home, endpoint.node)
        if lease is not None and (left := alloc.without(lease, gone=[a.ip for a in endpoint.addresses])) != lease:
            guards.append(self.lease_guard(lease))
            ops.append(Put(keys.lease(home, lease.node), encode(left), self._cluster.tenure_of(endpoint.node)))

    # Giving back.

    def idle(self, home: str) -> list[IPNetwork]:
        """This node's blocks without anything in them, as far as is known here; less what it is to have in hand."""
        lease = self._view.lease(home, self._view.me)
        if lease is None:
            return []
        if not self._strict(home):
            return alloc.empty(lease, self._in_use(home))
        left = self._left(home)
        return [b for fam, blocks in self.filled(home).items() for b in stock.spare(blocks, scarce=not left[fam])]

    def _in_use(self, home: str) -> list[IPAddress]:
        used = [a.ip for e in self._view.endpoints_at(home) for a in e.addresses]
        return [*used, *self.promised.get(home, ()), *self.promises.of_others(home, "")]

    def filled(self, home: str) -> dict[Family, stock.Filled]:
        """How full this node's blocks are, by family."""
        network, lease = self._view.networks[home], self.lease(home)
        used, reserved = self._in_use(home), rules(network).reserved
        return {
            fam: stock.filled([b for b in lease.subnets if b.version == fam], used, reserved)
            for fam in network.families
        }

    def _left(self, home: str) -> dict[Family, int]:
        """How many blocks nobody has, by family, of a network with one subnet of each."""
        network = self._view.networks[home]
        cut, services = rules(network), self._view.table(SERVICES).by("network", "name").get(home, {}).values()
        held = [block for lease in self._view.leases.get(home, {}).values() for block in lease.subnets]
        held += [alloc.block_of(address, cut) for service in services for address in service.addresses]
        return {family(w): subnets.free(alloc.plan(home, w, cut), held) for w in network.subnets}

    async def give_back(self, home: str, blocks: Sequence[IPNetwork]) -> bool:
        """If the store agrees that they are empty: an endpoint that came since it was asked forbids it."""
        me = self._view.me
        async with self.lock(home):
            listing = await self._store.list(keys.endpoints(me))
            held = records.readable(Endpoint, listing.items)
            if len(held) < len(listing.items):
                return False  # one that cannot be read may have an address in any of them
            used = [a.ip for e in held if self._view.home(e.network) == home for a in e.addresses]
            lease, idle = self.lease(home), set(self.idle(home))
            leaving = [b for b in alloc.empty(self.lease(home), used) if b in idle and b in blocks][:CHUNK]
            if not leaving:
                return False
            guards: list[Guard] = [self.lease_guard(lease), NothingNewer(keys.endpoints(me), listing.revision)]
            ops: list[Op] = [Delete(keys.subnet_claim(home, block)) for block in leaving]
            left, lapses = encode(alloc.without(lease, leaving)), self._cluster.lapses
            self.certain.doubt(home)
            written = await self._cluster.write(
                guards, [*ops, Put(keys.lease(home, me), left, self._cluster.tenure_lease)]
            )
            if written:
                self.certain.confirm(home, lapses)
            return written


def rules(network: Network) -> Rules:
    """How a network is cut into blocks, and what nobody gets."""
    options, one_link = registry.block_options(network), registry.of(network).addresses.one_link
    return alloc.rules_of(network, options.block_prefix, options.reserved, strict=options.strict, one_link=one_link)


def _interface(address: IPAddress, network: Network) -> IPInterface:
    """With the prefix that the container has of it: alone, or the subnet's, where it is on one link with all others."""
    if registry.of(network).addresses.one_link:
        whole = next(s for s in network.subnets if contains(s, address))
        return parse_interface(f"{address}/{whole.prefixlen}")
    return parse_interface(host_prefix(address))


def _not_now(network: str, why: str, way_out: str, error: Unavailable) -> Unavailable:
    """While the store is away."""
    return Unavailable(f"network {network}: {why} while the store is away ({error}): {way_out}")
