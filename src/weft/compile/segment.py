"""This host's part of a network with one subnet for all hosts: there as long as containers of this host are in it."""

from __future__ import annotations

from collections.abc import Iterator

from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import registry
from weft.hoststate import Contribution
from weft.hoststate.union import Source

NAME = "segment"


def _of_network(_: View, network: str) -> Iterator[Source]:
    yield Source(NAME, network)


def _contribute(known: Known, source: Source) -> Contribution | None:
    if not known.view.endpoints_of(source.network):
        return None
    site = known.here(source.network)
    return None if site is None else known.gather(registry.of(site.network).segment(site))


CONTRIBUTOR = Contributor(name=NAME, contribute=_contribute, of_network=_of_network)
