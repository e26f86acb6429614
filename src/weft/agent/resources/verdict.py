"""Whether all is well on this node, and if not, why: out of what its status says. Pure.

The state is about this kernel: "converged" where it has what can be wanted of it, "degraded" where it has not, or where the
store is away, which says what is wanted. All is well only where nothing is amiss besides: nothing that cannot be had, no host
that is silent, no session that is down.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from weft.api import types as t

CONVERGED, CONVERGING, DEGRADED, STARTING = "converged", "converging", "degraded", "starting"


def judged(found: t.Status, *, waiting_for: str = "", silent: bool = False) -> t.Status:
    """With its state and the reasons. `waiting_for`: why this node cannot take part yet. `silent`: the store does not answer
    just now, though nobody has given it up yet."""
    own = (*_store(found, silent=silent), *((waiting_for,) if waiting_for else ()), *_troubles(found))
    state = DEGRADED if own and found.state in (CONVERGED, CONVERGING) else found.state
    unsettled = {
        STARTING: ("the agent is still starting",),
        CONVERGING: ("changes are on their way to the kernel",),
    }.get(state, ())
    reasons = (*own, *unsettled, *_amiss(found), *_others(found))
    return msgspec.structs.replace(found, state=state, healthy=not reasons, reasons=reasons)


def _store(found: t.Status, *, silent: bool) -> Iterator[str]:
    store = found.store
    if store.state != "connected":
        yield f"the store is {store.state}" + (f": {store.reason}" if store.reason else "")
    elif silent:
        yield "the store does not answer"


def _troubles(found: t.Status) -> Iterator[str]:
    if found.troubles:
        first = found.troubles[0]
        yield f"{_some(len(found.troubles), 'object')} failed and will be tried again: {first.object}: {first.reason}"


def _amiss(found: t.Status) -> Iterator[str]:
    if found.problems:
        yield _some(len(found.problems), "problem") + f": {found.problems[0].text}"
    if found.bgp is not None and found.bgp.reason:
        yield f"BGP: {found.bgp.reason}"
    for tunnel in found.tunnels:
        if tunnel.trouble:
            yield f"tunnel {tunnel.device}: {tunnel.trouble}"


def _others(found: t.Status) -> Iterator[str]:
    if found.bgp is not None and not found.bgp.reason and found.bgp.established < found.bgp.sessions:
        yield f"{found.bgp.established} of {_some(found.bgp.sessions, 'BGP session')} up: see `weft bgp peers`"
    for peer in found.peers:
        if not peer.alive and not peer.foreign:
            yield f"{peer.name} is {'dead' if peer.withdrawn else 'silent'}" + (
                f": {peer.evidence}" if peer.evidence else ""
            )


def _some(number: int, one: str) -> str:
    return f"{number} {one}{'s' if number != 1 else ''}"
