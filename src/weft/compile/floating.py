"""Floating addresses that lead to a container. Who floats nothing contributes nothing."""

from __future__ import annotations

from weft.compile.endpoint import for_each, ranked, site_of
from weft.compile.known import Known
from weft.datapaths import _bypass, _floating, _short, registry
from weft.datapaths.driver import Answer, Site
from weft.hoststate import Contribution
from weft.model import Endpoint


def answer(site: Site, endpoint: Endpoint) -> Answer:
    """What it takes on the endpoint's own host."""
    to = registry.of(site.network).reached(site, endpoint) if endpoint.floating else None
    if to is not None:
        yield from _floating.floating(endpoint.floating, to.targets, to.dev)
        yield from _bypass.tracked(site, to.targets)
        yield from _short.tracked(site.host)


def _contribute(known: Known, endpoint: Endpoint) -> Contribution | None:
    site = site_of(known, endpoint) if endpoint.floating else None
    return None if site is None else ranked(endpoint, known.gather(answer(site, endpoint)))


CONTRIBUTOR = for_each("floating", _contribute)
