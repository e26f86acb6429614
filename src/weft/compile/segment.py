"""This host's part of a network with one subnet for all hosts: there as long as the network's locations are followed."""

from __future__ import annotations

from collections.abc import Iterator

from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import registry
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import records

NAME = "segment"


def _touched(_: View, changed: Changed) -> Iterator[Source]:
    return (Source(NAME, network) for network in changed.parts(records.LOCATIONS))


def _of_network(_: View, network: str) -> Iterator[Source]:
    yield Source(NAME, network)


def _contribute(known: Known, source: Source) -> Contribution | None:
    if source.network not in known.view.followed:
        return None
    site = known.here(source.network)
    return None if site is None else known.gather(registry.of(site.network).segment(site))


CONTRIBUTOR = Contributor(name=NAME, contribute=_contribute, touched=_touched, of_network=_of_network)
