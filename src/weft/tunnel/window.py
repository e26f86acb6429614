"""Which numbers of datagrams were seen: each is taken once (RFC 4303 section 3.4.3)."""

from __future__ import annotations

SIZE = 1 << 13
"""How far behind the largest number a datagram may come: datagrams overtake each other."""
_MASK = (1 << SIZE) - 1


class Window:
    """A bit for each of the last numbers, the largest one's is the lowest. Numbers begin with 1."""

    __slots__ = ("_seen", "largest")

    def __init__(self) -> None:
        self.largest, self._seen = 0, 0

    def fresh(self, number: int) -> bool:
        """Whether it was not seen, and is not too old to be told."""
        behind = self.largest - number
        return behind < 0 or (behind < SIZE and not self._seen >> behind & 1)

    def saw(self, number: int) -> None:
        ahead = number - self.largest
        if ahead > 0:
            self._seen = (self._seen << ahead & _MASK | 1) if ahead < SIZE else 1
            self.largest = number
        elif -ahead < SIZE:
            self._seen |= 1 << -ahead
