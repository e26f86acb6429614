"""The pools of a network with blocks: prefixes that are added, closed, given to some nodes only, removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources import infos
from weft.agent.resources.networks import Networks
from weft.alloc.leases import check_host, check_new
from weft.api import limits
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound
from weft.base.nearby import unknown
from weft.base.net import IPAddress, IPNetwork, check_for_containers, contains, covers, parse_network
from weft.cluster import records
from weft.datapaths import registry
from weft.datapaths.options import PoolOptions
from weft.ipam import floating, sharing
from weft.model import Network, Pool, claims, encode, keys
from weft.store.protocol import Guard, NothingNewer, Put, Unchanged


class Pools:
    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts, self._cluster, self._networks = parts, parts.cluster, networks

    async def pools(self, name: str) -> tuple[t.PoolInfo, ...]:
        return await self.listed(await self._networks.known(name))

    async def add_pool(self, name: str, request: t.AddPool) -> tuple[t.PoolInfo, ...]:
        self._parts.ready()
        return await self.listed(await self.add(name, request))

    async def set_pool(self, name: str, request: t.SetPool) -> tuple[t.PoolInfo, ...]:
        self._parts.ready()
        return await self.listed(await self.set(name, request))

    async def remove_pool(self, name: str, subnet: str = "") -> tuple[t.PoolInfo, ...]:
        self._parts.ready()
        return await self.listed(await self.remove(name, parse_network(subnet)))

    async def listed(self, network: Network) -> tuple[t.PoolInfo, ...]:
        """Raises Invalid where the network has none."""
        options = _options(network)
        masqueraded = network.masqueraded(options.masquerade)
        blocks, used = await self._parts.as_of.read(
            lambda: self._claimed(network.home),
            lambda: self._held(network.home),
            lambda: infos.unfollowed(self._parts.view, network.name),
        )
        found = []
        for pool in map(network.pool, network.subnets):
            size = options.block_prefix(pool.subnet)
            found.append(
                t.PoolInfo(
                    subnet=pool.subnet,
                    nodes=pool.nodes,
                    disabled=pool.disabled,
                    masquerade=pool.subnet in masqueraded,
                    block_size=size,
                    total=1 << size - pool.subnet.prefixlen,
                    blocks=sum(covers(pool.subnet, block) for block in blocks),
                    addresses=sum(contains(pool.subnet, address) for address in used),
                )
            )
        return tuple(found)

    async def _claimed(self, home: str) -> tuple[list[IPNetwork], list[IPAddress]]:
        """Blocks that are held, and addresses in use."""
        store = self._parts.store
        blocks = records.claimed(claims.subnet, (await store.list(keys.subnet_claims(home))).items)
        addresses = records.claimed(claims.address, (await store.list(keys.address_claims(home))).items)
        return [block for block, _ in blocks], [a for a, item in addresses if not claims.is_cooling(item.value)]

    def _held(self, home: str) -> tuple[list[IPNetwork], list[IPAddress]]:
        """The same, as far as it is known here."""
        view = self._parts.view
        blocks = [subnet for lease in view.leases.get(home, {}).values() for subnet in lease.subnets]
        own = [a.ip for e in view.endpoints_at(home) for a in e.addresses]
        others = [a.ip for e in infos.located(self._parts) if view.home(e.network) == home for a in e.addresses]
        return blocks, [*own, *others]

    async def add(self, name: str, request: t.AddPool) -> Network:
        check_for_containers(f"pool of network {name}", [request.subnet])

        def added(network: Network) -> Network:
            pool = Pool(
                subnet=request.subnet, nodes=request.nodes, disabled=request.disabled, masquerade=request.masquerade
            )
            if request.subnet in network.subnets:
                raise Conflict(f"network {name} has a pool {request.subnet} already: `weft pool set` changes it")
            return _with_pool(msgspec.structs.replace(network, subnets=(*network.subnets, request.subnet)), pool)

        return await self._change(name, added)

    async def set(self, name: str, request: t.SetPool) -> Network:
        def changed(network: Network) -> Network:
            asked = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
            return _with_pool(network, msgspec.structs.replace(_pool(network, request.subnet), **asked))

        return await self._change(name, changed)

    async def replace(self, name: str, old: Pool | None, new: Pool) -> Network:
        """`old`: what is there of it; None: nothing. Raises Conflict where something else is there by now."""

        def replaced(network: Network) -> Network:
            found = network.pool(new.subnet) if new.subnet in network.subnets else None
            if found not in (old, new):
                raise Conflict(
                    f"pool {new.subnet} of network {name} was just changed by someone else: look, and try again"
                )
            subnets = network.subnets if found else (*network.subnets, new.subnet)
            return _with_pool(msgspec.structs.replace(network, subnets=subnets), new)

        return await self._change(name, replaced)

    def check_pool(self, network: Network, pool: Pool, others: Iterable[Network]) -> None:
        """Whether the network, which need not be there yet, can have it beside all `others`. Raises Invalid, Conflict."""
        _options(network)
        check_for_containers(f"pool of network {network.name}", [pool.subnet])
        more = () if pool.subnet in network.subnets else (pool.subnet,)
        new = _with_pool(msgspec.structs.replace(network, subnets=(*network.subnets, *more)), pool)
        self._check(network, new, [other for other in others if other.home != network.name], less=False)

    async def remove(self, name: str, subnet: IPNetwork) -> Network:
        def less(network: Network) -> Network:
            _pool(network, subnet)
            if len(network.subnets) == 1:
                raise Invalid(f"{subnet} is the only pool of network {name}: remove the network, or add a pool first")
            pools = tuple(p for p in network.pools if p.subnet != subnet)
            subnets = tuple(s for s in network.subnets if s != subnet)
            return msgspec.structs.replace(network, subnets=subnets, pools=pools)

        return await self._change(name, less, leaving=subnet)

    async def _change(
        self, name: str, change: Callable[[Network], Network], leaving: IPNetwork | None = None
    ) -> Network:
        """In the network and all that share it."""

        async def attempt() -> Network:
            listing = await self._cluster.store.list(keys.NETWORKS)
            found = {item.key: (network, item.revision) for network, item in records.pairs(Network, listing.items)}
            old, revision = found.get(keys.network(name), (None, 0))
            if old is None:
                known = [network.name for network, _ in found.values()]
                raise NotFound(unknown("network", name, known, "weft network ls"))
            _options(old)
            networks = [network for network, _ in found.values()]
            new = change(old)
            self._check(old, new, [n for n in networks if n.home != name], leaving is not None)
            if new == old:
                return new
            guards: list[Guard] = [
                Unchanged(keys.network(name), revision),
                NothingNewer(keys.NETWORKS, listing.revision),
                await floating.apart(self._cluster.store, new),
            ]
            if leaving is not None:
                guards += await self._unused(name, leaving)
            copies = [msgspec.structs.replace(n, subnets=new.subnets) for n in sharing.sharers(name, networks)]
            await self._cluster.commit(guards, [Put(keys.network(n.name), encode(n)) for n in (new, *copies)])
            return new

        return await self._cluster.change(attempt, f"network {name}")

    def _check(self, old: Network, new: Network, others: list[Network], less: bool) -> None:
        """`less`: a pool goes. Raises Invalid, Conflict."""
        limits.check_network(new)
        registry.parse_options(new)
        if not less and set(new.subnets) != set(old.subnets):
            check_new(new, others, [node for _, node in sorted(self._cluster.view.nodes.items())])
            check_host(new, self._parts.ready().attached)

    async def _unused(self, name: str, subnet: IPNetwork) -> list[Guard]:
        """What keeps it so. Raises Conflict."""
        blocks = await self._parts.store.list(keys.subnet_claims(name))
        claimed = records.claimed(claims.subnet, blocks.items)
        held = {block: records.holder(item) for block, item in claimed if covers(subnet, block)}
        addresses = await self._parts.store.list(keys.address_claims(name))
        found = records.claimed(claims.address, addresses.items)
        used = [(a, i) for a, i in found if contains(subnet, a) and not claims.is_cooling(i.value)]
        if used:
            raise Conflict(
                f"pool {subnet} of network {name} has {len(used)} addresses in use ({used[0][0]} by "
                f"{records.holder(used[0][1])}): `weft pool set {name} {subnet} --disable`, and detach what is left"
            )
        if kept := [str(block) for block, who in held.items() if who == claims.SERVICES]:
            raise Conflict(f"pool {subnet} of network {name} has {', '.join(kept)}, which is for {claims.SERVICES}")
        if held:
            block, node = next(iter(held.items()))
            raise Conflict(
                f"pool {subnet} of network {name} has {len(held)} blocks that nodes hold ({block}: {node}): "
                f"`weft pool set {name} {subnet} --disable`, and they go back in a while"
            )
        return [
            NothingNewer(keys.subnet_claims(name), blocks.revision),
            NothingNewer(keys.address_claims(name), addresses.revision),
        ]


def _options(network: Network) -> PoolOptions:
    """Raises Invalid."""
    options = registry.pool_options(network)
    if network.home != network.name:
        raise Invalid(f"network {network.name} shares the pools of {network.home}: name that")
    return options


def _pool(network: Network, subnet: IPNetwork) -> Pool:
    if subnet not in network.subnets:
        listed = ", ".join(map(str, network.subnets))
        raise NotFound(f"network {network.name} has no pool {subnet}: it has {listed}")
    return network.pool(subnet)


def _with_pool(network: Network, pool: Pool) -> Network:
    """Only pools with conditions are written down."""
    others = tuple(p for p in network.pools if p.subnet != pool.subnet)
    pools = others if pool == Pool(subnet=pool.subnet) else (*others, pool)
    return msgspec.structs.replace(network, pools=pools)
