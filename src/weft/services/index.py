"""Which containers are members of which services, kept up to date change by change. Pure.

A change costs the services and the containers that it concerns: both are looked up by the first label that a selector asks
for, or by containers' names. Neither are all selectors tried on a container, nor a selector on all containers.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Literal, TypeVar

import msgspec

from weft.model import Location
from weft.services.model import Condition, Service
from weft.services.record import At

T = TypeVar("T")

State = Literal["ready", "unready", "draining", "out"]
STATES: tuple[State, ...] = ("ready", "unready", "draining", "out")
"""Of a member. "ready": takes connections. "unready": its health check says no. "draining": keeps those that it has. "out":
drained, and has none any more."""


class Member(msgspec.Struct, frozen=True):
    """A container of a service, and where it is. `id`: the endpoint's. `reason`: why it takes no new connections; ""."""

    id: str
    location: Location
    state: State
    reason: str = ""

    @property
    def takes(self) -> bool:
        """New connections."""
        return self.state == "ready"


class Index:
    def __init__(self) -> None:
        self._services: dict[At, Service] = {}
        self._locations: dict[str, dict[str, Location]] = {}
        self._conditions: dict[At, dict[str, Condition]] = {}
        self._asking: dict[tuple[str, str], set[At]] = {}
        """(network, what is asked for first: a label "k=v" or "k", a name "@n", "" for anything) → who asks."""
        self._having: dict[tuple[str, str], set[str]] = {}
        """The same, but for "" → the containers that have it."""
        self._members: dict[At, set[str]] = {}
        self._taken: dict[str, set[At]] = {}
        """What readers have not asked for yet."""
        self._moved: set[tuple[str, str]] = set()

    def put_service(self, at: At, service: Service | None) -> None:
        old = self._services.pop(at, None)
        for term in _terms(old) if old else ():
            _discard(self._asking, (at.network, term), at)
        before, after = self._members.pop(at, set()), set[str]()
        if service is not None:
            self._services[at] = service
            for term in _terms(service):
                self._asking.setdefault((at.network, term), set()).add(at)
            found, perhaps = self._locations.get(at.network, {}), self._perhaps(at.network, service)
            after = self._members[at] = {id for id in perhaps if _chooses(service, found[id])}
        opened = bool(old and old.published) != bool(service and service.published)
        self._moved |= {(at.network, id) for id in (before | after if opened else before ^ after)}
        self._change(at)

    def _perhaps(self, network: str, service: Service) -> set[str]:
        """The containers among which all members are."""
        terms = _terms(service)
        if "" in terms:
            return set(self._locations.get(network, ()))
        return set[str]().union(*(self._having.get((network, term), ()) for term in terms))

    def put_location(self, network: str, id: str, location: Location | None) -> None:
        """None where it is gone."""
        found = self._locations.setdefault(network, {})
        old = found.pop(id, None)
        for term in _offers(old) if old else ():
            _discard(self._having, (network, term), id)
        if location is not None:
            found[id] = location
            for term in _offers(location):
                self._having.setdefault((network, term), set()).add(id)
        for at in {at for one in (old, location) if one for at in self._asked(network, one)}:
            inside, is_one = self._members[at], location is not None and _chooses(self._services[at], location)
            if id in inside or is_one:
                if is_one != (id in inside):
                    self._moved.add((network, id))
                (inside.add if is_one else inside.discard)(id)
                self._change(at)

    def put_condition(self, at: At, id: str, condition: Condition | None) -> None:
        found = self._conditions.setdefault(at, {})
        found.pop(id, None)
        if condition is not None:
            found[id] = condition
        self._change(at)

    def _change(self, at: At) -> None:
        for taken in self._taken.values():
            taken.add(at)

    def again(self, at: At) -> None:
        """Time has made something else of a service's members."""
        self._change(at)

    def taken(self, reader: str = "") -> set[At]:
        """The services of which something is different since this `reader` asked last; all of them the first time."""
        found = self._taken.get(reader, set(self._services))
        self._taken[reader] = set()
        return found

    def moved(self) -> set[tuple[str, str]]:
        """The containers (network, id) that became members of a service or ceased to be, or whose service began or ceased to
        publish ports, since this was asked last."""
        found, self._moved = self._moved, set()
        return found

    @property
    def services(self) -> Mapping[At, Service]:
        return self._services

    def members(self, at: At, now: float = 0.0, dead: Container[str] = ()) -> Iterator[Member]:
        """In the order of their ids. `now`: Unix seconds, by which one that is drained has had its time. `dead`: nodes whose
        members take no connections."""
        if service := self._services.get(at):
            for id in sorted(self._members[at]):
                member = self._member(at, service, id, now)
                node = member.location.node
                if member.takes and node in dead:
                    member = Member(id, member.location, "unready", f"the agent of {node} is dead")
                yield member

    def of(self, network: str, id: str) -> set[At]:
        """The services that a container is a member of."""
        location = self._locations.get(network, {}).get(id)
        return {at for at in self._asked(network, location) if id in self._members[at]} if location else set()

    def _member(self, at: At, service: Service, id: str, now: float) -> Member:
        location = self._locations[at.network][id]
        for draining in service.draining:
            if draining.member == id:
                return Member(id, location, "draining" if now < draining.until else "out", "drained")
        if service.health is None:
            return Member(id, location, "ready")
        condition = self._conditions.get(at, {}).get(id)
        if condition is None or condition.node != location.node:
            untold = "nobody has reported it yet" if service.health.kind == "api" else "not checked yet"
            return Member(id, location, "unready", untold)
        return Member(id, location, "ready" if condition.ready else "unready", condition.reason)

    def _asked(self, network: str, location: Location) -> Iterator[At]:
        for term in ("", *_offers(location)):
            yield from self._asking.get((network, term), ())


def _chooses(service: Service, there: Location) -> bool:
    return service.chooses(there.name, there.namespace, there.labels)


def _discard(sets: dict[tuple[str, str], set[T]], key: tuple[str, str], one: T) -> None:
    """And the set with its last element: containers come and go, and most have a name of their own."""
    sets.get(key, set()).discard(one)
    if not sets.get(key, True):
        del sets[key]


def _offers(location: Location) -> Iterator[str]:
    """What services may ask for that it has."""
    yield f"@{location.name}"
    for name, value in location.labels.items():
        yield name
        yield f"{name}={value}"


def _terms(service: Service) -> list[str]:
    """What a container has at least one of, if it is a member."""
    if not service.select:
        return [f"@{name}" for name in service.members]
    terms = [term.strip() for term in service.select.split(",")]
    return [next((term for term in terms if "!" not in term), "")]
