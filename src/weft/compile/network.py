"""A network as such; where it cannot be on this host, the reason."""

from __future__ import annotations

from collections.abc import Iterator

from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import registry
from weft.datapaths.driver import Site
from weft.hoststate import Contribution
from weft.hoststate.union import Source

NAME = "network"


def _of_network(_: View, network: str) -> Iterator[Source]:
    yield Source(NAME, network)


def _contribute(known: Known, source: Source) -> Contribution | None:
    if known.view.home(source.network) != source.network:
        return None  # it uses what is there for another network
    site = known.site(source.network)
    return known.gather(registry.of(site.network).network(site)) if isinstance(site, Site) else site


CONTRIBUTOR = Contributor(name=NAME, contribute=_contribute, of_network=_of_network)
