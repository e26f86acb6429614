"""Virtual addresses of services: which are free, and what makes them a service's.

Each one is claimed, as containers' addresses are where all hosts share one subnet: there neither can take the other's.
Where nodes have subnets or blocks of their own, services have some, too: a whole one is claimed for them, from the end of
the network, before the first address in it is given, another one when it is full, and each is freed with the last address
in it. No node can have such a subnet, and no node gives addresses of it.

Whoever gives an address of such a subnet writes its claim again. So a claim that is as it was seen says that nobody has
been given an address meanwhile, and who frees the last one may free the subnet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from weft.alloc import addresses as alloc
from weft.alloc import blocks, subnets
from weft.alloc.subnets import Plan
from weft.base.errors import Conflict, Exhausted, Invalid, NotFound
from weft.base.names import digest
from weft.base.net import Family, IPAddress, IPNetwork, contains, covers, family, host_prefix, parse_network
from weft.cluster import records
from weft.cluster.cluster import RACE, Cluster
from weft.datapaths import registry
from weft.datapaths.options import subnet_rules
from weft.ipam.blocks import rules
from weft.model import Network, claims, keys
from weft.services.model import Service
from weft.services.record import CONDITION, SERVICE, At
from weft.store.protocol import Absent, Delete, DeletePrefix, Guard, Item, Op, Put, Unchanged


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a virtual address is chosen from. `network`: whose subnets they are. `held`: subnets and blocks, with who has
    them: a node, or `claims.SERVICES`. `taken`: addresses, with who has them."""

    network: Network
    held: Mapping[IPNetwork, str] = {}
    taken: Mapping[IPAddress, str] = {}

    @property
    def apart(self) -> bool:
        """Whether services have subnets of their own in it."""
        return registry.of(self.network).addresses.leased

    def plans(self, fam: Family) -> Iterator[Plan]:
        """How its subnets of one family are shared out."""
        if registry.of(self.network).addresses.blocks:
            cut = rules(self.network)
            open_ = (whole for whole in self.network.subnets if not self.network.pool(whole).disabled)
            yield from (blocks.plan(self.network.name, whole, cut) for whole in open_ if whole.version == fam)
        else:
            shared = subnets.plans(self.network, subnet_rules(registry.subnet_options(self.network)))
            yield from (plan for plan in shared if plan.whole.version == fam)

    @property
    def reserved(self) -> tuple[IPNetwork, ...]:
        if registry.of(self.network).addresses.blocks:
            return rules(self.network).reserved
        return registry.parse_options(self.network).reserved


def choose(room: Room, fam: Family, service: str) -> IPAddress:
    """A free one. A service of this name tends to get the same one again. Raises Exhausted."""
    if not room.apart:
        whole = next(s for s in room.network.subnets if s.version == fam)
        return alloc.choose(whole, room.taken, room.reserved, _beginning(whole, service))
    ours = (s for s, who in room.held.items() if who == claims.SERVICES and s.version == fam)
    for subnet in sorted(ours, key=lambda s: int(s.network_address), reverse=True):
        if (address := _first(room, subnet, service)) is not None:
            return address
    for plan in room.plans(fam):
        taken = list(room.held)
        while (fresh := subnets.last(plan, taken)) is not None:
            if (address := _first(room, fresh, service)) is not None:
                return address
            taken.append(fresh)  # all of it is reserved, or borrowed
    raise Exhausted(
        f"network {room.network.name}: no IPv{fam} subnet is left for {claims.SERVICES}: nodes have them all: "
        "make a larger network, or give the service no virtual address (--mode names)"
    )


def _first(room: Room, subnet: IPNetwork, service: str) -> IPAddress | None:
    reserved, start = room.reserved, _beginning(subnet, service)
    if registry.of(room.network).addresses.blocks:
        return alloc.search(subnet, room.taken, reserved, start, ())
    try:
        return alloc.choose(subnet, room.taken, reserved, start)
    except Exhausted:
        return None


def _beginning(subnet: IPNetwork, service: str) -> IPAddress:
    """Where the search begins: so that those who make services at once rarely want the same one, and with few digits."""
    offset = int.from_bytes(digest("virtual", service)[:8]) % min(subnet.num_addresses, 1 << 16)
    return subnet.network_address + offset


def wish(room: Room, address: IPAddress) -> IPAddress:
    """This one. Raises Invalid (never in this network), Conflict (not now)."""
    whole = next((s for s in room.network.subnets if contains(s, address)), None)
    if whole is None:
        listed = ", ".join(map(str, room.network.subnets))
        raise Invalid(f"{address} is outside network {room.network.name}: choose one of {listed}")
    if not room.apart:
        return alloc.wish(whole, address, room.taken, room.reserved)
    subnet = place(room, address)
    held = next(((s, who) for s, who in room.held.items() if covers(s, subnet) or covers(subnet, s)), None)
    if held is not None and held[1] != claims.SERVICES:
        raise Conflict(
            f"{address} is in {held[1]}'s subnet {held[0]}: choose one that no node has, or leave the choice to Weft"
        )
    if registry.of(room.network).addresses.blocks:
        alloc.check_free(address, room.taken, room.reserved, ())
        return address
    return alloc.wish(subnet, address, room.taken, room.reserved)


def place(room: Room, address: IPAddress) -> IPNetwork:
    """The subnet that services have, or would have, for it."""
    held = next((s for s, who in room.held.items() if who == claims.SERVICES and contains(s, address)), None)
    if held is not None:
        return held
    size = next((p.node_prefix for p in room.plans(family(address)) if contains(p.whole, address)), None)
    if size is None:  # a pool that is disabled, which is wished for
        size = rules(room.network).size[family(address)]
    return parse_network(host_prefix(address)).supernet(new_prefix=size)


class Virtual:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store, self._view = cluster, cluster.store, cluster.view

    async def changes(
        self, network: Network, service: str, old: tuple[IPAddress, ...], wishes: tuple[IPAddress, ...], *, none: bool
    ) -> tuple[tuple[IPAddress, ...], list[Guard], list[Op]]:
        """A service's addresses, one of each of the network's families, and what makes them its own instead of the `old`
        ones: `wishes`, what it has, or free ones; `none`: it is to have none. Raises Invalid, Conflict, Exhausted."""
        home = self._view.networks.get(network.home, network)
        held = await self._claimed(home)
        room = await self._room(home, held)
        chosen = () if none else _chosen(room, f"{network.name}/{service}", old, wishes)
        fresh, gone = set(chosen) - set(old), set(old) - set(chosen)
        take = self._taking(room, held, claims.of_service(network.name, service), fresh)
        free = await self._freeing(room, held, gone, chosen)
        taken = {op.key for op in take[1]}
        return chosen, [*take[0], *free[0]], [*take[1], *(op for op in free[1] if op.key not in taken)]

    async def remove(self, at: At) -> None:
        """A service with all that is its own; harmless where it is gone. Raises Unavailable."""
        await self._cluster.change(lambda: self.take_out(at), f"service {at.name}", attempts=RACE)

    async def take_out(self, at: At, *more: Guard, automatic: bool = False) -> None:
        """The same as the last step of an attempt, if `more` holds. `automatic`: if it is one that labels made. Raises
        Refused."""
        key, network = SERVICE.key(*at), self._view.networks.get(at.network)
        item = await self._store.get(key)
        found = records.readable(Service, [item]) if item else []
        if item is None or (automatic and not any(service.automatic for service in found)):
            return
        guards: list[Guard] = [Unchanged(key, item.revision), *more]
        ops: list[Op] = [Delete(key), DeletePrefix(CONDITION.under(*at))]
        for service in found if network else ():
            assert network is not None
            _, claimed, freeing = await self.changes(network, at.name, service.addresses, (), none=True)
            guards, ops = [*guards, *claimed], [*ops, *freeing]
        await self._cluster.commit(guards, ops)

    async def back(self, service: Service) -> tuple[list[Guard], list[Op]]:
        """What claims its addresses again in a store that may have lost that. Raises Conflict where one is somebody else's
        by now, NotFound."""
        network = self._view.networks.get(service.network)
        if network is None:
            raise NotFound(f"no network {service.network}")
        home = self._view.networks.get(network.home, network)
        held = await self._claimed(home)
        room = await self._room(home, held)
        said = claims.of_service(service.network, service.name)
        for address in service.addresses:
            if (holder := room.taken.get(address, said.decode())) != said.decode():
                raise Conflict(f"{address} is taken by {holder}")
            subnet = place(room, address) if room.apart else None
            if subnet is not None and (holder := room.held.get(subnet, claims.SERVICES)) != claims.SERVICES:
                raise Conflict(f"{address} is in {holder}'s subnet {subnet}")
        guards, ops = self._taking(room, held, said, [a for a in service.addresses if a not in room.taken])
        return guards, [*ops]

    async def _claimed(self, home: Network) -> dict[IPNetwork, Item]:
        if not registry.of(home).addresses.leased:
            return {}
        return dict(records.claimed(claims.subnet, (await self._store.list(keys.subnet_claims(home.name))).items))

    async def _room(self, home: Network, held: Mapping[IPNetwork, Item]) -> Room:
        items = (await self._store.list(keys.address_claims(home.name))).items
        leased = {s: node for node, lease in self._view.leases.get(home.name, {}).items() for s in lease.subnets}
        return Room(
            network=home,
            held=leased | {subnet: records.holder(item) for subnet, item in held.items()},
            taken={address: records.holder(item) for address, item in records.claimed(claims.address, items)},
        )

    def _taking(
        self, room: Room, held: Mapping[IPNetwork, Item], value: bytes, fresh: Iterable[IPAddress]
    ) -> tuple[list[Guard], list[Put]]:
        wanted = [keys.address_claim(room.network.name, address) for address in fresh]
        guards: list[Guard] = [Absent(key) for key in wanted]
        ops = [Put(key, value) for key in wanted]
        for subnet in {place(room, address) for address in fresh} if room.apart else ():
            key, item = keys.subnet_claim(room.network.name, subnet), held.get(subnet)
            guards.append(Absent(key) if item is None else Unchanged(key, item.revision))
            ops.append(Put(key, claims.SERVICES.encode()))
        return guards, ops

    async def _freeing(
        self, room: Room, held: Mapping[IPNetwork, Item], gone: Iterable[IPAddress], chosen: Iterable[IPAddress]
    ) -> tuple[list[Guard], list[Put | Delete]]:
        """The claims go, and of the subnets those in which no service has an address any more. The claim of one that stays is
        written anew: of two that leave it at once, each would else see the other one in it, and nobody would free it."""
        gone = set(gone)
        if not gone:
            return [], []
        ops: list[Put | Delete] = [Delete(keys.address_claim(room.network.name, address)) for address in gone]
        left = {a for a in await self._of_services(room.network.name) if a not in gone} | set(chosen)
        guards: list[Guard] = []
        for subnet in {place(room, address) for address in gone} if room.apart else ():
            item = held.get(subnet)
            if item is not None:
                guards.append(Unchanged(item.key, item.revision))
                stays = any(contains(subnet, address) for address in left)
                ops.append(Put(item.key, item.value) if stays else Delete(item.key))
        return guards, ops

    async def _of_services(self, home: str) -> set[IPAddress]:
        """Of a network and all that share it."""
        found = set[IPAddress]()
        for network in self._view.sharing(home):
            listing = await self._store.list(SERVICE.under(network))
            found.update(a for service in records.readable(Service, listing.items) for a in service.addresses)
        return found


def _chosen(
    room: Room, service: str, old: tuple[IPAddress, ...], wishes: tuple[IPAddress, ...]
) -> tuple[IPAddress, ...]:
    free = msgspec.structs.replace(room, taken={a: who for a, who in room.taken.items() if a not in old})
    asked = {family(address): wish(free, address) for address in wishes}
    kept = {family(address): address for address in old} | asked
    return tuple(kept[fam] if fam in kept else choose(room, fam, service) for fam in room.network.families)
