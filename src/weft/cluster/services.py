"""Services and their members, as the view has them: what the data path, names and the API ask."""

from __future__ import annotations

from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.model import keys, records
from weft.services.index import Index
from weft.services.record import CONDITIONS, SERVICES, At


class Services:
    """Of a view: `services(view)`."""

    def __init__(self, view: View) -> None:
        self._view, self.index = view, Index()
        for network, found in view.table(SERVICES).by("network", "name").items():
            for name, service in found.items():
                self.index.put_service(At(network, name), service)
        for network, located in view.locations.items():
            for id, location in located.items():
                self.index.put_location(network, id, location)
        for network, of in view.table(CONDITIONS).by("network", "service", "id").items():
            for name, conditions in of.items():
                for id, condition in conditions.items():
                    self.index.put_condition(At(network, name), id, condition)

    def update(self, changed: Changed) -> None:
        view = self._view
        for at in changed.of(SERVICES):
            self.index.put_service(at, view.table(SERVICES).get(at))
        for place in changed.of(records.LOCATIONS):
            found = view.table(records.LOCATIONS).get(keys.Located(place.network, place.id))
            self.index.put_location(place.network, place.id, found)
        for of in changed.of(CONDITIONS):
            self.index.put_condition(At(of.network, of.service), of.id, view.table(CONDITIONS).get(of))


def services(view: View) -> Index:
    """Of followed networks."""
    return view.derived(Services).index
