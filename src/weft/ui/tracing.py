"""A trace for the page: the same that `weft trace -o json` gives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from weft.base.errors import Invalid
from weft.base.net import Family
from weft.client import Client
from weft.trace import collect
from weft.trace.path import Trace


async def trace(socket: str, params: Mapping[str, str]) -> Trace:
    """`socket`: of the agent that is asked, and through it those of other hosts. `params`: "from", "to", "family". Raises
    WeftError."""
    origin, target = params.get("from", ""), params.get("to", "")
    if not origin or not target:
        raise Invalid("a trace needs two ends: say from where and to where")
    family = _family(params.get("family", ""))
    return await asyncio.to_thread(collect.gather, Client(socket), origin, target, family)


def _family(text: str) -> Family | None:
    match text:
        case "":
            return None
        case "4":
            return 4
        case "6":
            return 6
    raise Invalid(f"family '{text}' is neither 4 nor 6")
