"""`weft trace --live`: the packet that was traced is sent for real, and watched on the hosts on its way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from weft.cli.output import Format, show
from weft.cli.session import Waiting

if TYPE_CHECKING:
    from weft.cli.table import Page
    from weft.client import Client
    from weft.live.proof import Proof
    from weft.trace.path import Trace

PATIENCE = 8
"""Seconds for the answer of another host, which waits a second for that of the packet."""


def prove(client: Client, found: Trace, output: Format) -> bool:
    """Shows the trace with the proof (`live` in JSON). Whether the packet arrived, and as it was said."""
    from weft.live.prove import prove as sent

    with Waiting("sending a packet, and watching it"):
        proof = sent(found, lambda host: client.at(host, PATIENCE))
    show(_Proven(found, proof), output, _render)
    return proof.arrived and proof.agrees


class _Proven(msgspec.Struct, frozen=True):
    trace: Trace
    live: Proof


def _render(page: Page, proven: _Proven) -> Iterator[str]:
    from weft.live.render import render
    from weft.trace.render import render as of_trace

    yield from of_trace(proven.trace, page.width, page.paint)
    yield from render(proven.live, page.width, page.paint)
