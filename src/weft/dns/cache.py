"""Answers of other servers, kept for a while. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from weft.dns.message import Answer, Query, aged

LONGEST = 30
"""Seconds, however long an answer holds: so an outside change is seen soon."""
LARGEST = 4096
"""Octets of an answer that is kept."""


class _Kept(NamedTuple):
    packet: bytes
    ttls: tuple[int, ...]
    since: float
    until: float


class Cache:
    """`most`: answers; beyond, what was not asked for the longest time goes. `clock`: seconds."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most, self._clock = most, clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def put(self, key: Hashable, packet: bytes, said: Answer) -> None:
        if self._most and said.life and len(packet) <= LARGEST:
            now = self._clock()
            self._kept[key] = _Kept(packet, said.ttls, now, now + min(said.life, LONGEST))
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def get(self, key: Hashable, query: Query) -> bytes | None:
        """With TTLs that are as much shorter as it is old."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        now = self._clock()
        if now >= kept.until:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return aged(kept.packet, query, kept.ttls, int(now - kept.since))

    def __len__(self) -> int:
        return len(self._kept)
