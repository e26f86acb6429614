"""What containers of one bridge send each other comes to policy, too."""

from __future__ import annotations

from collections.abc import Iterator

from weft.hoststate import BridgeFilter


def bridged(ns: str, bridge: str) -> Iterator[BridgeFilter]:
    """What the bridge of a place where policy is asked must be told; nothing where there is none (""). It is wanted by
    each endpoint that has policy, so a bridge whose endpoints have none switches packets as fast as before."""
    if bridge:
        yield BridgeFilter(dev=bridge, ns=ns)
