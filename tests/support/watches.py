"""A stand-in for what watches in the kernel: it has seen what it is told, and knows whether it is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from weft.api.live import PacketSeen, RuleSeen


class FakeWatch:
    made: ClassVar[list[FakeWatch]] = []
    """All, the latest at the end."""

    def __init__(
        self, token: bytes, protocol: str, family: int, places: Mapping[str, str], ruled: Sequence[str] = ()
    ) -> None:
        self.token, self.protocol, self.family = token, protocol, family
        self.places, self.ruled = dict(places), tuple(ruled)
        self.means, self.unseen = ["tracepoints"], ["rules of nftables: none here"]
        self.seen: list[PacketSeen] = []
        self.closed = False
        FakeWatch.made.append(self)

    def packets(self) -> tuple[PacketSeen, ...]:
        return tuple(self.seen)

    def rules(self) -> tuple[RuleSeen, ...]:
        return ()

    def close(self) -> None:
        self.closed = True
