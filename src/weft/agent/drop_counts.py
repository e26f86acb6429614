"""What rules of this host have refused: policy, isolation, spoofing, services. Read when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping

from weft.api import flows as f
from weft.base.errors import NotFound
from weft.compile import routing_mesh, services
from weft.hoststate import HOST
from weft.policy.counting import Counts, Tally

REASONS: Mapping[str, str] = {
    "closed": "isolation",
    "claims": "spoofing",
    "neighbours": "spoofing",
    "checked": "spoofing",
    services.REFUSED: "service",
    routing_mesh.REFUSED: "service",
}
"""Chains of Weft's in which only what refuses counts, and why that is."""


async def dropped(counts: Callable[[str], Counts], spaces: Iterable[str], policy: Tally) -> tuple[f.Dropped, ...]:
    """`spaces`: namespaces in which rules of Weft's are. Those that refused nothing are left out. Raises Denied, Failed."""
    some = tuple(dict.fromkeys((HOST, *spaces)))
    found = await asyncio.to_thread(lambda: [(ns, _counts(counts, ns)) for ns in some])
    return (*_of_policy(policy), *(each for ns, counted in found for each in _of_chains(ns, counted)))


def _counts(counts: Callable[[str], Counts], ns: str) -> Counts:
    try:
        return counts(ns)
    except NotFound:
        return {}


def _of_policy(policy: Tally) -> Iterator[f.Dropped]:
    for origin, count in policy.items():
        if origin.action in ("deny", "midway") and count.packets:
            what = f"{origin.policy} rule {origin.index + 1}" if origin.policy else f"the default of tier {origin.tier}"
            yield f.Dropped(
                reason="policy",
                what="of no connection" if origin.action == "midway" else what,
                direction=origin.direction,
                packets=count.packets,
                octets=count.octets,
            )


def _of_chains(ns: str, counted: Counts) -> Iterator[f.Dropped]:
    for chain, reason in REASONS.items():
        packets = sum(count.packets for count in counted.get(chain, ()))
        octets = sum(count.octets for count in counted.get(chain, ()))
        if packets:
            yield f.Dropped(reason=reason, where=ns, what=chain, packets=packets, octets=octets)
