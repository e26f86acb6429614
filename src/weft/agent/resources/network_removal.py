"""Networks go, with all that is in them, or they stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weft.agent.parts import Parts
from weft.base.errors import Conflict
from weft.cluster import records
from weft.datapaths import registry
from weft.ipam import sharing
from weft.model import Endpoint, Network, keys
from weft.services.model import Service
from weft.services.record import CONDITION, SERVICE, At
from weft.store.protocol import Delete, DeletePrefix, Guard, Item, NothingNewer, Op


class Removal:
    def __init__(self, parts: Parts) -> None:
        self._parts, self._cluster = parts, parts.cluster

    async def attempt(self, network: Network, *, force: bool) -> list[Endpoint]:
        """Raises Refused."""
        name, store = network.name, self._cluster.store
        networks = await store.list(keys.NETWORKS)
        sharing.check_unshared(name, records.readable(Network, networks.items))
        listing = await store.list(keys.ENDPOINTS)
        there = _inside(name, listing.items)
        inside = records.readable(Endpoint, there)
        if there and not force:
            names = ", ".join(f"{e.name} on {e.node}" for e in inside[:3]) or "with records that cannot be read"
            raise Conflict(f"network {name} has {len(there)} endpoints ({names}): detach them first, or use --force")
        services = await store.list(SERVICE.under(name))
        if (kept := _kept(services.items)) and not force:
            names = ", ".join(kept[:3])
            raise Conflict(f"network {name} has {len(kept)} services ({names}): remove them first, or use --force")
        gone = [at for item in services.items if (at := SERVICE.parse(item.key))]
        await self._drop(network, inside, there, gone, NothingNewer(keys.ENDPOINTS, listing.revision))
        guards: list[Guard] = [
            self._cluster.unchanged(keys.network(name)),
            NothingNewer(keys.ENDPOINTS, listing.revision),
            NothingNewer(keys.NETWORKS, networks.revision),
            NothingNewer(SERVICE.under(name), services.revision),
        ]
        ops: list[Op] = [
            Delete(keys.network(name)),
            *(DeletePrefix(prefix) for prefix in _all_of(name)),
            *(Delete(keys.claim(key)) for key, _ in registry.claims(network)),
        ]
        await self._cluster.commit(guards, ops)
        return inside

    async def remove_broken(self, name: str) -> list[Endpoint]:
        """Of a network whose record cannot be read nothing is known but its name: what lies under that goes, and what is
        claimed in it."""
        store = self._parts.store
        there = _inside(name, (await store.list(keys.ENDPOINTS)).items)
        numbers = {d.numbered.claim for d in registry.DRIVERS.values() if d.numbered}
        found = [i for prefix in sorted(numbers) for i in (await store.list(keys.claim(prefix))).items]
        ops: list[Op] = [Delete(keys.network(name)), *(DeletePrefix(prefix) for prefix in _all_of(name))]
        ops += [DeletePrefix(f"{keys.endpoints(node)}{name}/") for node in _nodes(there)]
        ops += [Delete(item.key) for item in found if records.holder(item) == name]
        await self._cluster.write_all([], ops)
        return records.readable(Endpoint, there)

    async def _drop(
        self,
        network: Network,
        inside: Sequence[Endpoint],
        there: Sequence[Item],
        services: Sequence[At],
        none_came: Guard,
    ) -> None:
        """What is `inside` it; `there`: the records of that. The claims of addresses go with their network; where they are
        another's, or nobody's network's, with each endpoint."""
        for at in services if network.home != network.name else ():
            await self._parts.virtual.remove(at)
        for endpoint in inside:
            if endpoint.floating or network.home != network.name:
                await self._parts.attachments.blocks.forget_elsewhere(endpoint)
        if network.home != network.name:
            return
        ops = [DeletePrefix(f"{keys.endpoints(node)}{network.name}/") for node in _nodes(there)]
        await self._cluster.write_all([none_came], ops)


def _inside(name: str, items: Iterable[Item]) -> list[Item]:
    """The records of endpoints that are in the network called so, also those that cannot be read."""
    return [item for item in items if (at := keys.ENDPOINT.parse(item.key)) and at.network == name]


def _all_of(name: str) -> tuple[str, ...]:
    """Under which all lies that has to do with the network called so, but its endpoints."""
    return *keys.of_network(name), SERVICE.under(name), CONDITION.under(name)


def _kept(services: Sequence[Item]) -> list[str]:
    """The names of those that somebody made: what labels made goes with the containers, if a moment later."""
    automatic = {item.key for service, item in records.pairs(Service, services) if service.automatic}
    return [item.key.rpartition("/")[2] for item in services if item.key not in automatic]


def _nodes(endpoints: Iterable[Item]) -> list[str]:
    """Whose endpoints they are."""
    return sorted({at.node for item in endpoints if (at := keys.ENDPOINT.parse(item.key))})
