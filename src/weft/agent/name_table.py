"""What containers and services are called, as the view has it: a table that follows each change. Of the networks whose
locations this node follows."""

from __future__ import annotations

from collections.abc import Container

from weft.cluster.changes import Changed
from weft.cluster.services import services
from weft.cluster.view import View
from weft.dns.names import Names
from weft.model import Location, keys, records
from weft.services.record import CONDITIONS, SERVICES, At

Place = tuple[str, str]
"""(Network, endpoint's id)."""
CONCERNS = (records.LOCATIONS, SERVICES, CONDITIONS)


class NameTable:
    """A change costs the names that it concerns, and the services that it concerns."""

    def __init__(self, view: View, dead: Container[str] = ()) -> None:
        """`dead`: nodes whose members of services are left out. Live."""
        self._view, self.names, self._index = view, Names(dead), services(view)
        self._members: dict[At, set[Place]] = {}
        self._member_of: dict[Place, set[At]] = {}
        for network, found in view.locations.items():
            for id, location in found.items():
                self._put(network, id, location)
        for at, service in self._index.services.items():
            self.names.put_service(at, service)
            self._put_members(at)
        view.subscribe("names", self._update, CONCERNS)

    def _update(self, changed: Changed) -> None:
        view = self._view
        stale = {At(of.network, of.service) for of in changed.of(CONDITIONS)}
        for at in changed.of(SERVICES):
            self.names.put_service(at, view.table(SERVICES).get(at))
            stale.add(at)
        for place in changed.of(records.LOCATIONS):
            found = view.table(records.LOCATIONS).get(keys.Located(place.network, place.id))
            self._put(place.network, place.id, found)
            stale |= self._member_of.get((place.network, place.id), set()) | self._index.of(place.network, place.id)
        for at in stale:
            self._put_members(at)

    def _put(self, network: str, id: str, location: Location | None) -> None:
        self.names.put_location(network, id, location, location.aliases if location else ())

    def _put_members(self, at: At) -> None:
        members = tuple(self._index.members(at))
        self.names.put_members(at, members)
        before, now = self._members.pop(at, set()), {(at.network, member.id) for member in members}
        for place in before - now:
            self._member_of[place].discard(at)
            if not self._member_of[place]:
                del self._member_of[place]
        for place in now:
            self._member_of.setdefault(place, set()).add(at)
        if now:
            self._members[at] = now
