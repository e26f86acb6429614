"""The names of all followed networks. Pure.

A table per network, from a name to what has it. It is fed change by change, and a change costs what it concerns. Names and
addresses are the `Location`'s own objects, and records are made when somebody asks, so a name costs some 200 octets.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from weft.base.net import IPAddress
from weft.model import Location
from weft.services.index import Member
from weft.services.model import Service
from weft.services.record import At

K = TypeVar("K")
T = TypeVar("T")

TASKS = "tasks."
"""Before a service's name: its members, though it has a virtual address."""


class Found(msgspec.Struct, frozen=True):
    """What a name stands for. `name`: without an alias. `locations`: the containers of that name, or the members of `service`
    that take connections. `virtual`: the name says the service's own addresses."""

    network: str
    name: str
    locations: tuple[Location, ...]
    service: Service | None = None
    virtual: bool = False

    @property
    def addresses(self) -> Iterator[IPAddress]:
        if self.virtual and self.service:
            yield from self.service.addresses
        else:
            for location in self.locations:
                yield from location.addresses


class _Network:
    def __init__(self) -> None:
        self.ids: dict[str, Location] = {}
        self.aliases: dict[str, tuple[str, ...]] = {}
        """Endpoint → its further names, where it has any."""
        self.containers: dict[str, tuple[Location, ...]] = {}
        """Name or alias → who is called so."""
        self.services: dict[str, Service] = {}
        self.called: dict[str, tuple[str, ...]] = {}
        """Alias → the services that have it, in the order of their names."""
        self.members: dict[str, tuple[Location, ...]] = {}
        """Service → members that take connections."""
        self.pointers: dict[IPAddress, tuple[Location | Service, ...]] = {}
        """Who has an address, the latest last: one that moves has two places for a moment."""

    def __bool__(self) -> bool:
        return bool(self.ids or self.services or self.members)


class Names:
    """Nothing here raises: what records say that is no name (none of an earlier version, say) is left out."""

    def __init__(self, dead: Container[str] = ()) -> None:
        """`dead`: nodes whose members of services are left out. Live."""
        self._networks: dict[str, _Network] = {}
        self._dead = dead

    def put_location(self, network: str, id: str, location: Location | None, aliases: tuple[str, ...] = ()) -> None:
        """A container, or None where it is gone. `aliases`: its further names in this network, in lower case."""
        known = self._networks.setdefault(network, _Network())
        old = known.ids.pop(id, None)
        if old is not None:
            for name in _names(old, known.aliases.pop(id, ())):
                _take(known.containers, name, old)
            for address in _addresses(old):
                _take(known.pointers, address, old)
        if location is not None:
            known.ids[id] = location
            if aliases:
                known.aliases[id] = aliases
            for name in _names(location, aliases):
                known.containers[name] = (*known.containers.get(name, ()), location)
            for address in _addresses(location):
                known.pointers[address] = (*known.pointers.get(address, ()), location)
        self._tidy(network)

    def put_service(self, at: At, service: Service | None) -> None:
        known = self._networks.setdefault(at.network, _Network())
        old = known.services.pop(at.name, None)
        if old is not None:
            for alias in dict.fromkeys(old.aliases):
                _take(known.called, alias, old.name)
            for address in _addresses(old):
                _take(known.pointers, address, old)
        if service is not None:
            known.services[at.name] = service
            for alias in dict.fromkeys(service.aliases):
                known.called[alias] = tuple(sorted((*known.called.get(alias, ()), at.name)))
            for address in _addresses(service):
                known.pointers[address] = (*known.pointers.get(address, ()), service)
        else:
            known.members.pop(at.name, None)
        self._tidy(at.network)

    def put_members(self, at: At, members: Iterable[Member]) -> None:
        """All of a service's. Those that take no connections are left out of its names."""
        known = self._networks.setdefault(at.network, _Network())
        known.members.pop(at.name, None)
        if taking := tuple(member.location for member in members if member.takes):
            known.members[at.name] = taking
        self._tidy(at.network)

    def find(self, networks: Sequence[str], name: str) -> Found | None:
        """What `name`, in lower case and without a dot at its end, stands for in `networks`: NAME in each of them, in their
        order, then NAME.NETWORK. Both may have dots in them, so "a.b.c" is tried whole, then as "a.b" in "c", then as "a" in
        "b.c"."""
        for network in networks:
            if found := self._in(network, name):
                return found
        dot = name.rfind(".")
        while dot > 0:
            if name[dot + 1 :] in networks and (found := self._in(name[dot + 1 :], name[:dot])):
                return found
            dot = name.rfind(".", 0, dot)
        return None

    def has(self, networks: Sequence[str], address: IPAddress) -> tuple[str, str] | None:
        """The (name, network) of a container or service with this address."""
        for network in networks:
            known = self._networks.get(network)
            if known and (there := known.pointers.get(address)):
                return there[-1].name, network
        return None

    def _in(self, network: str, name: str) -> Found | None:
        """Services come before containers of the same name, and both before `tasks.`."""
        known = self._networks.get(network)
        if known is None:
            return None
        if service := _service(known, name):
            members = self._members(known, service)
            return Found(network, service.name, members, service, virtual=bool(service.addresses))
        if locations := known.containers.get(name):
            return Found(network, name, locations)
        if name.startswith(TASKS) and (service := _service(known, name[len(TASKS) :])):
            return Found(network, service.name, self._members(known, service), service)
        return None

    def _members(self, known: _Network, service: Service) -> tuple[Location, ...]:
        return tuple(there for there in known.members.get(service.name, ()) if there.node not in self._dead)

    def _tidy(self, network: str) -> None:
        if not self._networks[network]:
            del self._networks[network]


def _service(known: _Network, name: str) -> Service | None:
    if service := known.services.get(name):
        return service
    called = known.called.get(name)
    return known.services[called[0]] if called else None


def _names(location: Location, aliases: tuple[str, ...]) -> list[str]:
    return [name for name in dict.fromkeys((location.name, *aliases)) if name]


def _addresses(one: Location | Service) -> list[IPAddress]:
    return list(dict.fromkeys(one.addresses)) if one.name else []


def _take(table: dict[K, tuple[T, ...]], called: K, one: T) -> None:
    """One of those that are called so is gone."""
    found = table[called]
    place = found.index(one)
    if rest := found[:place] + found[place + 1 :]:
        table[called] = rest
    else:
        del table[called]
