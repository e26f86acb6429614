"""How an endpoint gets its addresses: by what its network's driver says (`Driver.addresses`).

OwnSubnet   out of the node's subnet: the agent alone gives them, while the node's lease is as it was seen
Shared      out of one subnet for all hosts: had by creating their claims with the endpoint (docs/adr/0002)
Physical    the same, beside the hosts themselves and whatever else is in the network
Bare        none; HostsOwn: those that the host has, where containers are in its namespace
Blocks      out of blocks (`weft.ipam.blocks`): claims, too, and the lease where a block or a lone address comes with them
NeutronPorts  with a port that OpenStack's Neutron makes for it (`weft.ipam.neutron_ports`)

Each chooses, says what is to be written with the endpoint so that the choice holds, learns why the store did not take
that, and says what is to be written when the endpoint goes. Choices are promised until the view has them, so two requests
on one node never get the same.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import ChainMap
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from weft.alloc import addresses as alloc
from weft.base.errors import Exhausted, Invalid, NotFound, Overtaken, Unavailable
from weft.base.net import IPAddress, IPInterface, IPNetwork, parse_interface
from weft.cluster import footprint
from weft.cluster.cluster import RACE, Cluster, Refused
from weft.cluster.follower import Follower
from weft.cluster.footprint import key_of
from weft.datapaths import registry
from weft.datapaths.driver import without_lease
from weft.ipam.cursors import Cursors
from weft.ipam.elsewhere import Elsewhere
from weft.ipam.passing import PassingClaims
from weft.ipam.promises import Promises
from weft.model import AddressRange, Endpoint, ExposedPort, Network, encode, keys, records
from weft.store.protocol import Guard, Op, Put

T = TypeVar("T")

CHUNK = 25
"""Of what is written in one transaction, each with its guard."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """`families`: of which it is to have one address each. `ranges`: those of their families come from them
    only. `owner`: whose promised addresses it may have. `lost`: addresses
    that others turned out to have, with their holders; more are added. `id`, `name`, `mac`: of the endpoint that they are
    for; "" where there is none yet, or nothing is asked. `exposed`: its ports that others are to reach."""

    network: Network
    wishes: tuple[IPAddress, ...] = ()
    families: tuple[int, ...]
    ranges: tuple[AddressRange, ...] = ()
    owner: str = ""
    lost: dict[IPAddress, str] = {}
    id: str = ""
    name: str = ""
    mac: str = ""
    exposed: tuple[ExposedPort, ...] = ()


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """`guards`, `ops`: what makes the choice hold, beside what each address needs. `cooling`: addresses whose claim is there
    and may be taken over, with its revision. `mac`, `data`: what else comes with the addresses (`Endpoint.data`)."""

    addresses: tuple[IPInterface, ...]
    guards: tuple[Guard, ...] = ()
    ops: tuple[Op, ...] = ()
    cooling: Mapping[IPAddress, int] = {}
    mac: str = ""
    data: Mapping[str, str] = {}


class Way(Elsewhere, ABC):
    def __init__(
        self, cluster: Cluster, promised: dict[str, set[IPAddress]], promises: Promises, passing: PassingClaims
    ) -> None:
        """`promised`: by network, addresses chosen for endpoints that are not in the store yet."""
        self._cluster, self._store, self._view = cluster, cluster.store, cluster.view
        self.promised, self.promises, self._passing = promised, promises, passing
        self.cursors = Cursors(cluster.view)

    # What each way does in its own manner.

    @abstractmethod
    def choosing(self, ask: Ask) -> contextlib.AbstractAsyncContextManager[Choice]:
        """Within, the choice is promised. Raises Invalid, Conflict, Exhausted, Unavailable."""

    def held(self, network: str) -> contextlib.AbstractAsyncContextManager[None]:
        """What has to stand while addresses are chosen."""
        return contextlib.nullcontext()

    def writes(self, choice: Choice, endpoint: Endpoint) -> tuple[list[Guard], list[Op]]:
        """The endpoint with all its records, if it is to have the addresses."""
        at, tenure = footprint.place(self._view, endpoint.network), self._cluster.tenure_lease
        guards, ops = footprint.step(None, endpoint, at, tenure, self._taken_over(choice, endpoint, at.home))
        cursor = keys.cursor(endpoint.node, endpoint.network)
        after = encode(self.cursors.of(endpoint.network))
        return [*choice.guards, *guards], [*choice.ops, *ops, Put(cursor, after, tenure)]

    def _taken_over(self, choice: Choice, endpoint: Endpoint, home: str) -> dict[str, int]:
        """Claims that are there: of addresses that were freed or kept for this endpoint."""
        found = {keys.address_claim(home, address): revision for address, revision in choice.cooling.items()}
        for address in choice.addresses:
            promise = self.promises.to(home, address.ip, endpoint.owner)
            if promise is not None and promise.revision:
                found[keys.address_claim(home, address.ip)] = promise.revision
        return found

    async def refused(self, ask: Ask, choice: Choice) -> None:
        """The store did not take it: learn why, for the next try. Raises Overtaken where the network has changed."""
        await self._cluster.look(keys.network(ask.network.name))
        raise Overtaken(f"network {ask.network.name} was just changed by someone else: try again")

    async def keep(self, ask: Ask, owner: str, seconds: float) -> IPInterface:
        """One address for an endpoint to come, of that owner."""
        async with self.held(ask.network.name), self.choosing(ask) as choice:
            [chosen] = choice.addresses
            self.promises.keep(self._view.home(ask.network.name), chosen.ip, owner, seconds)
            return chosen

    async def forget(self, endpoints: Sequence[Endpoint]) -> None:
        """Take endpoints of this node out of the store."""
        for some in footprint.together(endpoints):
            await self._cluster.write([], [op for e in some for op in self._removal(e)])

    # Without the store.

    def alone(self, endpoint: Endpoint, choice: Choice, error: Unavailable) -> None:
        """Raises Unavailable where the endpoint may not have its addresses before the store, which is away (`error`), has been
        told."""
        raise error

    def forget_alone(self, endpoints: Sequence[Endpoint], error: Unavailable) -> None:
        """They are gone, and the store is told later. Raises Unavailable where that cannot be."""
        raise error

    # What they have in common.

    @contextlib.contextmanager
    def promising(self, network: Network, choice: Choice) -> Iterator[None]:
        promised = self.promised.setdefault(self._view.home(network.name), set())
        chosen = {a.ip for a in choice.addresses}
        promised.update(chosen)
        try:
            with self.cursors.under_way(network.name):
                yield
        finally:
            promised.difference_update(chosen)

    def holders(self, ask: Ask, *more: Mapping[IPAddress, object]) -> Mapping[IPAddress, object]:
        """Who has which address, as far as it is known here."""
        home = self._view.home(ask.network.name)
        return ChainMap(
            {a.ip: e.name for e in self._view.endpoints_at(home) for a in e.addresses},
            dict.fromkeys(self.promised.get(home, ()), "another container just now"),
            dict.fromkeys(self.promises.of_others(home, ask.owner), "a container to come"),
            ask.lost,
            *(dict(m) if not isinstance(m, dict) else m for m in more),
        )

    def wishes(self, ask: Ask, offered: Iterable[int]) -> Mapping[int, IPAddress]:
        """By family. Raises Invalid where there are two of one, or of one that is not offered."""
        found: dict[int, IPAddress] = {a.version: a for a in ask.wishes}
        families = set(offered)
        for address in ask.wishes:
            has = ", ".join(map(str, ask.network.subnets))
            if address.version == 6 and address.ipv4_mapped is not None:
                raise Invalid(f"{address} is an IPv4 address in IPv6's form: write {address.ipv4_mapped}")
            if address.version not in families:
                raise Invalid(
                    f"{address}: network {ask.network.name} has no IPv{address.version} addresses, it has {has}"
                )
            if found[address.version] != address:
                raise Invalid(f"{address}: network {ask.network.name} takes one address of each of {has}")
        return found

    def _in_subnets(
        self, ask: Ask, subnets: Iterable[IPNetwork], taken: Mapping[IPAddress, object], node: str
    ) -> Choice:
        """`node`: whose subnets they are; "" for all nodes'."""
        reserved = registry.parse_options(ask.network).reserved
        some = [s for s in subnets if s.version in ask.families]
        wishes = self.wishes(ask, (s.version for s in some))
        self.check_ranges(ask, {s.version for s in some})
        cursors = self.cursors.of(ask.network.name)
        chosen = []
        for subnet in some:
            family, wish, within = str(subnet.version), wishes.get(subnet.version), _within(ask, subnet)
            if wish is not None:
                address = alloc.wish(subnet, wish, taken, reserved, within=within, node=node)
            else:
                after = cursors.get(family) or (None if node else alloc.beginning(subnet, self._view.me))
                address = alloc.choose(subnet, taken, reserved, after, within=within, node=node)
                cursors[family] = address
            chosen.append(parse_interface(f"{address}/{subnet.prefixlen}"))
        return Choice(addresses=tuple(chosen))

    def check_ranges(self, ask: Ask, families: Collection[int]) -> None:
        """Raises Invalid."""
        if strange := [r for r in ask.ranges if r.subnet.version not in families]:
            has = ", ".join(map(str, ask.network.subnets))
            raise Invalid(f"range {strange[0]}: network {ask.network.name} has only {has}")

    async def keep_claimed(self, ask: Ask, owner: str, seconds: float) -> IPInterface:
        """In a race with other nodes, as for an endpoint."""
        home = self._view.home(ask.network.name)

        async def attempt() -> IPInterface:
            async with self.choosing(ask) as choice:
                [chosen] = choice.addresses
                key, over = keys.address_claim(home, chosen.ip), choice.cooling.get(chosen.ip, 0)
                made = await self._passing.take(key, seconds, over) if await self.prepared(choice) else None
                if made:
                    self.promises.keep(home, chosen.ip, owner, seconds, made)
                    return chosen
            await self.refused(ask, choice)
            raise Refused

        return await self.race(attempt, home)

    async def race(self, attempt: Callable[[], Awaitable[T]], network: str) -> T:
        """For addresses of a network. Raises Exhausted."""
        taken = Exhausted(f"network {network}: other nodes took every address tried, {RACE} times: try again")
        return await self._cluster.change(attempt, f"network {network}", attempts=RACE, at_last=taken)

    async def prepared(self, choice: Choice) -> bool:
        """What has to be there before an address is kept for an endpoint to come."""
        return True

    async def forget_claimed(self, endpoints: Sequence[Endpoint]) -> None:
        """With their claims, as long as they are as they were seen: else the addresses may be somebody else's by now."""
        for some in footprint.together(endpoints):
            guards = [self._cluster.unchanged(key_of(e)) for e in some]
            if not await self._cluster.write(guards, [op for e in some for op in self._removal(e)]):
                for endpoint in some:
                    await self._forget_one(endpoint)

    async def _forget_one(self, endpoint: Endpoint) -> None:
        """As it is in the end: what was changed meanwhile may claim more than it did. Raises Unavailable."""

        async def attempt() -> None:
            found = self._view.endpoints.get(endpoint.id)
            if found is not None:
                await self._cluster.commit([self._cluster.unchanged(key_of(found))], self._removal(found))

        await self._cluster.change(attempt, f"endpoint {endpoint.name}")

    def _removal(self, endpoint: Endpoint) -> list[Op]:
        return footprint.removal(endpoint, footprint.place(self._view, endpoint.network))


class _AtOnce(Way):
    """What there is to choose from is known here, so the store need not be asked."""

    @abstractmethod
    def pick(self, ask: Ask) -> Choice:
        """Raises Invalid, Conflict, Exhausted, Unavailable."""

    @contextlib.asynccontextmanager
    async def choosing(self, ask: Ask) -> AsyncIterator[Choice]:
        choice = self.pick(ask)
        with self.promising(ask.network, choice):
            yield choice


class OwnSubnet(_AtOnce):
    def pick(self, ask: Ask) -> Choice:
        lease = self._view.lease(ask.network.name, self._view.me)
        if lease is None:
            raise Unavailable(f"network {ask.network.name}: this node's subnet was just taken from it: try again")
        chosen = self._in_subnets(ask, lease.subnets, self.holders(ask), self._view.me)
        return msgspec.structs.replace(
            chosen, guards=(self._cluster.unchanged(keys.lease(ask.network.name, self._view.me)),)
        )


class Bare(_AtOnce):
    """No addresses at all."""

    def pick(self, ask: Ask) -> Choice:
        return Choice(addresses=())


class HostsOwn(_AtOnce):
    """What the host has itself: nobody gives it."""

    def pick(self, ask: Ask) -> Choice:
        me = self._view.nodes.get(self._view.me)
        return Choice(addresses=me.addresses if me else ())


class Shared(_AtOnce):
    def __init__(
        self,
        cluster: Cluster,
        promised: dict[str, set[IPAddress]],
        promises: Promises,
        passing: PassingClaims,
        follower: Follower,
    ) -> None:
        super().__init__(cluster, promised, promises, passing)
        self._follower = follower

    @contextlib.asynccontextmanager
    async def held(self, network: str) -> AsyncIterator[None]:
        """All others' containers in it are known meanwhile. Raises NotFound, Unavailable."""
        if network not in self._view.networks:
            raise NotFound(f"no network {network}: it was just removed")
        async with self._follower.held(records.LOCATIONS, network):
            yield

    def pick(self, ask: Ask) -> Choice:
        located = self._view.located.get(ask.network.name, {})
        held = self.holders(ask, located, self.outside(ask.network))
        return self._in_subnets(ask, without_lease(ask.network, "").subnets, held, "")

    def outside(self, _network: Network) -> dict[IPAddress, str]:
        """Who else has addresses of it, besides containers."""
        return {}

    async def refused(self, ask: Ask, choice: Choice) -> None:
        name, found = ask.network.name, dict[IPAddress, str]()
        for address in choice.addresses:
            item = await self._store.get(keys.address_claim(name, address.ip))
            promise = self.promises.to(name, address.ip, ask.owner)
            if item is not None and (promise is None or item.revision != promise.revision):
                found[address.ip] = item.value.decode(errors="replace")
        if not found:
            await super().refused(ask, choice)
        ask.lost.update(found)

    async def keep(self, ask: Ask, owner: str, seconds: float) -> IPInterface:
        async with self.held(ask.network.name):
            return await self.keep_claimed(ask, owner, seconds)

    async def forget(self, endpoints: Sequence[Endpoint]) -> None:
        await self.forget_claimed(endpoints)


class Physical(Shared):
    """Out of a network that is there already, in which the hosts may be themselves."""

    def outside(self, network: Network) -> dict[IPAddress, str]:
        hosts = {a.ip: f"node {node.name}" for node in self._view.nodes.values() for a in node.addresses}
        return hosts | dict.fromkeys(registry.gateways(network), "the network's gateway")


def _within(ask: Ask, subnet: IPNetwork) -> list[AddressRange]:
    """Those of the subnet's family. Raises Invalid where the caller takes another address for the gateway."""
    found = [r for r in ask.ranges if r.subnet.version == subnet.version]
    gateway = alloc.gateway(subnet)
    for wrong in (r.gateway for r in found if r.gateway not in (None, gateway)):
        raise Invalid(f"{wrong} is not the gateway of {subnet}: it is {gateway}, leave it to Weft")
    return found
