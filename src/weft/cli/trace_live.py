"""`weft trace --live`: the packet that was traced is sent for real, and watched on the hosts on its way."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from weft.base.errors import Unavailable
from weft.cli.output import Format, show
from weft.cli.session import Waiting
from weft.cli.table import Page
from weft.client import Client
from weft.live import prove as proving
from weft.live.local import Local
from weft.live.proof import Proof
from weft.live.render import render
from weft.trace import render as tracing
from weft.trace.path import Trace

PATIENCE = 8
"""Seconds for the answer of another host, which waits a second for that of the packet."""


def prove(client: Client, found: Trace, output: Format) -> bool:
    """Shows the trace with the proof (`live` in JSON). Whether the packet arrived, and as it was said."""
    with Waiting("sending a packet, and watching it"):
        proof = proving.prove(found, _Hosts(client, found).at)
    show(_Proven(found, proof), output, _render)
    return proof.arrived and proof.agrees


class _Hosts:
    """Each by its agent; this one by itself where none runs, or where the way leads through a container that the agent does
    not know."""

    def __init__(self, client: Client, found: Trace) -> None:
        self._client, self._local = client, dict[str, proving.Sides]()
        try:
            me = next(node.name for node in client.nodes() if node.this)
        except Unavailable:
            me = proving.origin(found.there).host
            self._local[me] = Local(_places(found, me))
        else:
            known = {endpoint.namespace for endpoint in client.endpoints(node=me)}
            if any(path not in known and not name.startswith("weft-") for path, name in _places(found, me).items()):
                self._local[me] = Local(_places(found, me))

    def at(self, host: str) -> proving.Sides:
        return self._local.get(host) or self._client.at(host, PATIENCE)


def _places(found: Trace, host: str) -> dict[str, str]:
    """The containers there that the packet comes by, and its answer: names by paths."""
    spots = ((place, name) for place, name in proving.spots(found) if place.host == host and place.ns)
    return {place.ns: name.partition("/")[2] for place, name in spots}


class _Proven(msgspec.Struct, frozen=True):
    trace: Trace
    live: Proof


def _render(page: Page, proven: _Proven) -> Iterator[str]:
    yield from tracing.render(proven.trace, page.width, page.paint)
    yield from render(proven.live, page.width, page.paint)
