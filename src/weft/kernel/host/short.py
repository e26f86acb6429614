"""Which flows take a short way at the moment: by programs, as their maps say; by the flowtable, as conntrack says. And how
much went so, as programs have counted it. All of it blocks."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from weft.base.errors import NotFound
from weft.base.net import Family
from weft.bpf.layout import KEY4, KEY6
from weft.kernel.host import fastpath, tracked
from weft.kernel.host.fastpath import Count
from weft.kernel.host.tracked import Side, Tracked
from weft.kernel.kinds import bpf_names

__all__ = ["Count", "Direction", "Repeated", "Short"]


class Direction(NamedTuple):
    """Of a flow, as its packets are; addresses packed. Protocol and ports are 0 where any are meant."""

    protocol: int
    src: bytes
    dst: bytes
    sport: int = 0
    dport: int = 0

    def turned(self) -> Direction:
        return Direction(self.protocol, self.dst, self.src, self.dport, self.sport)


def of_side(protocol: int, side: Side) -> Direction:
    return Direction(protocol, side.src.packed, side.dst.packed, side.sport or 0, side.dport or 0)


Repeated = Mapping[Direction, str]
"""What programs repeat, with the network."""


class Short:
    """Of this host. `run`: the agent's run directory."""

    def __init__(self, run: Path) -> None:
        self._run = run

    def spaces(self) -> Iterable[str]:
        """The namespaces where programs are."""
        return bpf_names.namespaces(self._run)

    def counts(self, ns: str) -> Mapping[str, Count]:
        """Of each network, since its programs came there. Raises Denied, Unsupported."""
        return fastpath.counts(ns, self._run)

    def repeated(self, ns: str) -> Repeated:
        """Raises Denied, Unsupported."""
        place = bpf_names.folder(ns, self._run)
        networks = {slot: network for network, slot in bpf_names.slots(place).items()}
        (generation, _), now = bpf_names.control(place), time.monotonic_ns()
        found: dict[Direction, str] = {}
        families: tuple[tuple[Family, struct.Struct], ...] = ((4, KEY4), (6, KEY6))
        for family, key in families:
            for octets, entry in fastpath.entries(ns, family, self._run):
                if entry.generation == generation and entry.until > now:
                    src, dst, sport, dport, protocol = key.unpack(octets)
                    found[Direction(protocol, src, dst, sport, dport)] = networks.get(entry.slot, "")
        return found

    def offloaded(self, ns: str) -> list[Tracked]:
        """Raises Denied, Failed."""
        try:
            return tracked.offloaded(ns)
        except NotFound:
            return []
