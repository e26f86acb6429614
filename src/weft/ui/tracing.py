"""Traces for the page: the same that `weft trace -o json` gives, and `--live`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from weft.base.errors import Invalid
from weft.base.net import parse_family
from weft.base.numbers import parse_number
from weft.client import Client
from weft.trace import collect
from weft.trace.path import Trace
from weft.trace.what import What

if TYPE_CHECKING:
    from weft.live.proof import Proof

PATIENCE = 8
"""Seconds for the answer of another host about a packet that was sent."""


class Proven(msgspec.Struct, frozen=True):
    """As `weft trace --live -o json` has it."""

    trace: Trace
    live: Proof


async def prove(socket: str, params: Mapping[str, str]) -> Proven:
    """Sends such a packet for real, and has it watched. Raises WeftError."""
    from weft.live.prove import prove as sent

    found, local = await trace(socket, params), Client(socket)
    return Proven(found, await asyncio.to_thread(sent, found, lambda host: local.at(host, PATIENCE)))


async def trace(socket: str, params: Mapping[str, str]) -> Trace:
    """`socket`: of the agent that is asked, and through it those of other hosts. `params`: "from", "to",
    "family", "protocol", "port". Raises WeftError."""
    origin, target = params.get("from", ""), params.get("to", "")
    if not origin or not target:
        raise Invalid("a trace needs two ends: say from where and to where")
    family, port = parse_family(params.get("family", "")), params.get("port", "")
    what = What(protocol=params.get("protocol", ""), port=parse_number("port", port) if port else 0)
    return await asyncio.to_thread(collect.gather, Client(socket), origin, target, family, what)
