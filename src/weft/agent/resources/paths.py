"""The API's operation about ways to other nodes (`weft.api.operations`)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from weft.agent.parts import Parts
from weft.api import mesh as m
from weft.api import types as t
from weft.base.errors import WeftError
from weft.compile import encryption
from weft.compile.paths import networks
from weft.datapaths.driver import Path
from weft.paths.channels import Way
from weft.paths.told import LONG, NAMES, Standing, standing


class Paths:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def mesh_peers(self) -> tuple[m.MeshPeer, ...]:
        return tuple(peers(self._parts))


def peers(parts: Parts) -> Iterator[m.MeshPeer]:
    return (_peer(parts, found) for found in standings(parts))


def standings(parts: Parts) -> Iterator[Standing]:
    machine = parts.prober.machine
    return (standing(name, pair, machine.tick_) for name, pair in sorted(machine.pairs.items()))


def _peer(parts: Parts, found: Standing) -> m.MeshPeer:
    node, me = parts.view.nodes.get(found.name), parts.node
    address = node.address(4 if me is None or me.address(4) else 6) if node else None
    return m.MeshPeer(
        name=found.name,
        address=address,
        state=found.state,
        active=found.active,
        way=found.way.name.lower(),
        via=found.via,
        theirs=found.theirs.name.lower(),
        encrypted=_encrypted(parts, found),
        clear=_clear(parts),
        mtu=found.mtu,
        rtt=None if found.rtt is None else round(found.rtt * 1000, 3),
        since=time.time() - found.since,
        switches=found.switches,
        why=_why(parts, found),
    )


def _encrypted(parts: Parts, found: Standing) -> str:
    """What the kernels cannot encrypt, the program does, where it has a key."""
    how, host = encryption.how(parts.compiler.known, found.name), parts.compiler.host
    if how in ("", "trusted") or (found.way is Way.KERNEL and how != "nothing passes"):
        return how
    return "sleeve" if host is not None and host.keyed else ""


def _why(parts: Parts, found: Standing) -> tuple[str, ...]:
    """What keeps any packets from their best way."""
    return (*found.why, *(found.sleeve if _encrypted(parts, found) == "sleeve" else ()))


def _clear(parts: Parts) -> bool:
    """But for networks that another version of Weft made."""
    for network in networks(parts.view):
        with contextlib.suppress(WeftError):
            if parts.compiler.known.options(network).secured is None:
                return True
    return False


def path(parts: Parts, node: str) -> str:
    """By which packets go to a node, for `weft status`; "" where there is one way only."""
    if node not in parts.prober.machine.pairs:
        return ""
    found = parts.prober.machine.paths().get(node, Path())
    return f"relay via {found.via}" if found.via else found.way


def findings(parts: Parts) -> Iterator[t.Finding]:
    """Of pairs that share a network, and have not been on their best way for some time."""
    found = [(s, _why(parts, s)) for s in standings(parts) if s.active]
    worse = [(s, why) for s, why in found if (why or s.worse) and s.since >= LONG]
    for one, why in worse:
        way = (
            f"{NAMES[one.way]}{f' via {one.via}' if one.via else ''}, not the best"
            if one.worse
            else "encrypted networks"
        )
        yield t.Finding(
            check=f"way to {one.name}",
            result="warning",
            detail=f"{way}: {'; '.join(why) or 'unknown'}",
            advice="let firewalls between the hosts pass UDP 6784 and 6783 both ways, in packets as large as the uplink's MTU; "
            "it comes back by itself (docs/paths.md)",
        )
    if found and not worse:
        yield t.Finding(check="ways to other hosts", result="ok", detail=f"{len(found)} hosts, each on its best way")
