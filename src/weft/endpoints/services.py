"""Services are written: what one needs to hold against all others is checked and written in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from weft.api import services as s
from weft.base.errors import Conflict, Invalid, NotFound
from weft.base.net import IPAddress
from weft.cluster import records
from weft.cluster.cluster import RACE, Cluster
from weft.datapaths import registry
from weft.endpoints.ports import Ports
from weft.ipam.virtual import Virtual
from weft.model import Network, PublishedPort, encode, keys
from weft.services import publish
from weft.services.model import Draining, Service
from weft.services.record import SERVICE, SERVICES, At
from weft.store.protocol import Absent, Item, Listing, NothingNewer, Put, Unchanged


class _Exists(Conflict):
    """There is a service of that name."""


class ServiceWriter:
    def __init__(self, cluster: Cluster, virtual: Virtual, ports: Ports) -> None:
        self._cluster, self._store, self._view = cluster, cluster.store, cluster.view
        self._virtual, self._ports = virtual, ports

    async def create(
        self, network: Network, new: Service, addresses: tuple[IPAddress, ...], ports: tuple[str, ...]
    ) -> Service:
        """`new`: without addresses and published ports. Raises Invalid, Conflict, Exhausted, Unavailable."""

        async def attempt() -> Service:
            listing = await self._store.list(SERVICE.root)
            key = SERVICE.key(new.network, new.name)
            if any(item.key == key for item in listing.items):
                raise _Exists(
                    f"network {new.network} has a service {new.name} already: choose another name, or change that with "
                    f"`weft service set {new.network}/{new.name}`"
                )
            return await self._put(network, listing, None, new, addresses, ports)

        return await self._cluster.change(attempt, f"service {new.name}", attempts=RACE)

    async def ensure(self, network: Network, new: Service, ports: tuple[str, ...]) -> None:
        """As `create`, unless there is one of that name already."""
        with contextlib.suppress(_Exists):
            await self.create(network, new, (), ports)

    async def change(self, network: Network, at: At, request: s.SetService, expected: Service | None = None) -> Service:
        """`expected`: what it is changed from; None: from whatever it is. Raises NotFound, Invalid, Conflict, Exhausted,
        Unavailable."""

        async def attempt() -> Service:
            listing = await self._store.list(SERVICE.root)
            old = next((found for found in self._read(listing.items) if _at(found) == at), None)
            if old is None:
                raise NotFound(f"no service {at.network}/{at.name}: it was just removed")
            if expected is not None and old != msgspec.structs.replace(expected, draining=old.draining):
                raise Conflict(f"service {at.network}/{at.name} was just changed by someone else: look, and try again")
            return await self._put(network, listing, old, changed(old, request), request.addresses, request.publish)

        return await self._cluster.change(attempt, f"service {at.name}", attempts=RACE)

    async def _put(
        self,
        network: Network,
        listing: Listing,
        old: Service | None,
        new: Service,
        wishes: tuple[IPAddress, ...],
        ports: tuple[str, ...] | None,
    ) -> Service:
        """As the last step of an attempt. `ports`: None: those that it has. Raises Refused and others."""
        others = [other for other in self._read(listing.items) if _at(other) != _at(new)]
        check_names(new, others)
        check_network(new, network, wishes, ports or ())
        had = old.published if old else ()
        published = had if ports is None else await self._published(network, new, ports, had, others)
        addresses, guards, ops = await self._virtual.changes(
            network, new.name, old.addresses if old else (), wishes, none=new.mode == "names"
        )
        made = msgspec.structs.replace(new, addresses=addresses, published=published)
        key = SERVICE.key(new.network, new.name)
        found = next((item for item in listing.items if item.key == key), None)
        await self._cluster.commit(
            [
                self._cluster.unchanged(keys.network(network.name)),
                Unchanged(key, found.revision) if found else Absent(key),
                NothingNewer(SERVICE.root, listing.revision),
                *guards,
            ],
            [Put(key, encode(made)), *ops],
        )
        return made

    def _read(self, items: Iterable[Item]) -> Iterator[Service]:
        """What is as the view has it needs no reading: there may be thousands."""
        table = self._view.table(SERVICES)
        for item in items:
            at = SERVICE.parse(item.key)
            known = table.get(at) if at and self._view.revision(item.key) == item.revision else None
            yield from (known,) if known else records.readable(Service, [item])

    async def _published(
        self,
        network: Network,
        new: Service,
        texts: Iterable[str],
        had: tuple[PublishedPort, ...],
        others: list[Service],
    ) -> tuple[PublishedPort, ...]:
        """Raises Invalid, Conflict, Exhausted."""
        wishes = tuple(publish.read(text, new.ports) for text in texts)
        kept, fresh = publish.settled(wishes, had)
        msgspec.structs.replace(new, published=tuple(kept))  # checks them before ports are looked for
        with_kept = [*others, msgspec.structs.replace(new, published=tuple(kept))]
        chosen = await asyncio.to_thread(self._ports.for_service, fresh, network.families, with_kept)
        publish.apart(chosen, others)
        return (*kept, *chosen)

    async def drain(self, at: At, member: str, *, back: bool) -> Service:
        async def attempt() -> Service:
            key = SERVICE.key(*at)
            old = self._view.table(SERVICES).get(at)
            if old is None:
                raise NotFound(f"no service {at.network}/{at.name}: it was just removed")
            rest = tuple(draining for draining in old.draining if draining.member != member)
            if not back and len(rest) == len(old.draining):
                rest = (*rest, Draining(member=member, until=time.time() + old.drain))
            elif not back:
                return old
            new = msgspec.structs.replace(old, draining=rest)
            if new != old:
                await self._cluster.commit([self._cluster.unchanged(key)], [Put(key, encode(new))])
            return new

        return await self._cluster.change(attempt, f"service {at.name}")


def wanted(request: s.CreateService) -> Service:
    """Without addresses and published ports. Raises Invalid."""
    service = Service(
        name=request.name,
        network=request.network,
        namespace=request.namespace,
        ports=request.ports,
        select=request.select,
        members=request.members,
        affinity=request.affinity,
        mode=request.mode,
        traffic=request.traffic,
        drain=request.drain,
        health=request.health,
        aliases=request.aliases,
        labels=request.labels,
    )
    return _complete(service)


def changed(old: Service, request: s.SetService) -> Service:
    """Without published ports where these change, too. Raises Invalid."""
    plain: dict[str, object] = {
        name: value
        for name in (
            "namespace",
            "ports",
            "select",
            "members",
            "affinity",
            "mode",
            "traffic",
            "drain",
            "health",
            "aliases",
            "labels",
        )
        if (value := getattr(request, name)) is not None
    }
    if request.select:
        plain["members"] = ()
    if request.members:
        plain["select"] = ""
    if request.no_health:
        plain["health"] = None
    if request.publish is not None:
        plain["published"] = ()
    if plain.get("mode") == "names":
        plain["addresses"] = ()
    return _complete(msgspec.structs.replace(old, **plain))


def _complete(service: Service) -> Service:
    """Raises Invalid."""
    if not service.select and not service.members:
        raise Invalid(f"service {service.name}: say which containers it leads to: --select KEY=VALUE, or --member NAME")
    if service.mode == "vip" and not service.ports:
        raise Invalid(
            f"service {service.name}: say which ports its virtual address has: --port 80:8080, or --mode names"
        )
    return service


def check_network(new: Service, network: Network, wishes: Sequence[IPAddress], ports: Sequence[str]) -> None:
    """Whether there can be such a service in such a network. `wishes`: for its addresses; `ports`: to be published. Raises
    Invalid."""
    if wishes and new.mode == "names":
        raise Invalid(f"service {new.name}: with mode names it has no virtual address: leave out --ip")
    if not registry.of(network).passed and (new.mode != "names" or ports):
        raise Invalid(
            f"service {new.name}: packets of network {network.name} do not pass their hosts (driver {network.driver}), so "
            "it has neither a virtual address nor ports of hosts: give it --mode names, and leave --publish out"
        )
    if ports and network.internal:
        raise Invalid(
            f"network {network.name} is internal: nothing outside of it reaches its containers, so no port can be published"
        )


def check_names(new: Service, others: Iterable[Service]) -> None:
    """Raises Conflict, Invalid."""
    names = (new.name, *new.aliases)
    if len(set(names)) < len(names):
        raise Invalid(f"service {new.name}: one of its names is given twice: {', '.join(names)}")
    for other in others:
        if other.network == new.network and (both := set(names) & {other.name, *other.aliases}):
            raise Conflict(
                f"service {new.name}: {sorted(both)[0]} is a name of service {other.name} in network {new.network}: choose "
                "another"
            )


def _at(service: Service) -> At:
    return At(service.network, service.name)
