"""The ports of this host that lead to a container. Who publishes nothing contributes nothing."""

from __future__ import annotations

from weft.compile.contributor import Contributor
from weft.compile.endpoint import changed_here, here, ranked, site_of
from weft.compile.known import Known
from weft.datapaths import _ports, registry
from weft.datapaths.driver import Answer, Site
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import Endpoint

NAME = "ports"


def answer(site: Site, endpoint: Endpoint) -> Answer:
    """What it takes on the endpoint's own host."""
    to = registry.of(site.network).reached(site, endpoint) if endpoint.ports else None
    if to is not None:
        yield from _ports.published(endpoint.ports, to.targets, to.dev, to.subnets)


def _contribute(known: Known, source: Source) -> Contribution | None:
    endpoint = known.view.endpoints.get(source.name)
    if endpoint is None or not endpoint.ports:
        return None
    site = site_of(known, endpoint)
    return None if site is None else ranked(endpoint, known.gather(answer(site, endpoint)))


CONTRIBUTOR = Contributor(
    name=NAME,
    contribute=_contribute,
    touched=lambda _, changed: changed_here(changed, NAME),
    of_network=lambda view, network: here(view, network, NAME),
)
