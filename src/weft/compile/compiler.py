"""From the view to contributions, by all contributors together: which sources a change in the model touches, and what each
source wants of this host. All pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Set
from typing import Any

from weft.cluster.changes import Changed
from weft.cluster.follower import Part
from weft.cluster.view import View
from weft.compile import network, segment
from weft.compile.contributor import Contributor
from weft.compile.contributors import CONTRIBUTORS
from weft.compile.endpoint import whole
from weft.compile.known import Known
from weft.datapaths.driver import Host
from weft.datapaths.traits import KnownBy
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import Endpoint, keys, records
from weft.model.record import Record


def sources_of(view: View, endpoint: Endpoint, contributors: Iterable[Contributor] = CONTRIBUTORS) -> frozenset[Source]:
    """All that have something to contribute for a container on this host, or had."""
    changed = Changed()
    changed.note(records.ENDPOINTS, keys.Attached(endpoint.node, endpoint.network, endpoint.id), endpoint)
    return frozenset(source for c in contributors for source in c.touched(view, changed))


def beneath(name: str) -> tuple[Source, ...]:
    """What a network's containers stand on here."""
    return Source(network.NAME, name), Source(segment.NAME, name)


class Compiler:
    """`dead`: nodes to which no routes are wanted."""

    def __init__(
        self, view: View, dead: Container[str] = (), contributors: Iterable[Contributor] = CONTRIBUTORS
    ) -> None:
        self.view = view
        self.known = Known(view, dead)
        self.contributors = {c.name: c for c in contributors}

    @property
    def host(self) -> Host | None:
        return self.known.host

    @host.setter
    def host(self, host: Host | None) -> None:
        self.known.host = host

    def touched(self, changed: Changed) -> set[Source]:
        """The sources whose contribution may differ after these changes of the model."""
        me = self.view.me
        names = {at.network for at in changed.of(records.NETWORKS)}
        names.update(at.network for at in changed.of(records.LEASES) if at.node == me)
        names.update(self._joined_or_left(changed))
        found = {source for name in names for source in self.of_network(name)}
        if nodes := {at.node for at in changed.of(records.NODES)} - {me}:
            found |= self.of_nodes(nodes)
        for contributor in self.contributors.values():
            found.update(contributor.touched(self.view, changed))
            found.update(contributor.pending(self.view))
        return found

    def _joined_or_left(self, changed: Changed) -> Iterator[str]:
        """Networks that reach from host to host by locations, in which a container here may be the first, or was the last."""
        ids: dict[str, set[str]] = {}
        for at in changed.of(records.ENDPOINTS):
            ids.setdefault(at.network, set()).add(at.id)
        for name, some in ids.items():
            joining = all(e.id in some for e in self.view.endpoints_of(name))
            if joining and self.view.driver(name).known_by is KnownBy.LOCATIONS:
                yield name

    def everything(self) -> set[Source]:
        found = {source for name in self.view.networks for source in self.of_network(name)}
        return found.union(*(c.everything(self.view) for c in self.contributors.values()))

    def needs(self) -> set[Part]:
        """What has to be followed on demand, as the view is now."""
        return {part for c in self.contributors.values() if c.needs for part in c.needs.parts(self.view)}

    @property
    def needs_from(self) -> tuple[Record[Any, Any], ...]:
        """The kinds of record by whose changes that changes."""
        return tuple({kind: None for c in self.contributors.values() if c.needs for kind in c.needs.kinds})

    def of_network(self, name: str) -> set[Source]:
        """All that depends on a network on this host."""
        return {source for c in self.contributors.values() for source in c.of_network(self.view, name)}

    def of_contributor(self, name: str) -> set[Source]:
        """All that one contributor has."""
        return set(self.contributors[name].everything(self.view))

    def of_nodes(self, nodes: Set[str]) -> set[Source]:
        """All that depends on these other nodes."""
        return {source for c in self.contributors.values() for source in c.of_nodes(self.view, nodes)}

    def whole(self, endpoint: Endpoint) -> Contribution:
        """What an endpoint's interface consists of, with what its engine will do itself if it is handed over."""
        return whole(self.known, endpoint)

    def contribution(self, source: Source) -> Contribution | None:
        """What the source wants now; None where it no longer exists. Raises whatever its contributor raises."""
        return self.contributors[source.contributor].contribute(self.known, source)
