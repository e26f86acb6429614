"""All that the contributors that a container has put together, for tests that ask drivers themselves."""

from __future__ import annotations

from weft.compile import floating, ports
from weft.datapaths import registry
from weft.datapaths.driver import Answer, Site
from weft.model import Endpoint


def all_of_endpoint(site: Site, endpoint: Endpoint) -> Answer:
    yield from registry.of(site.network).endpoint(site, endpoint)
    yield from ports.answer(site, endpoint)
    yield from floating.answer(site, endpoint)
