"""Which address of each family a network's containers on this host were given last: the next one is given after it, so that one
that was just freed is not somebody else's at once.

It is written with each endpoint, for an agent that starts. While endpoints are on their way to the store, the record is behind:
it comes back as of one of them when others have been given addresses already. So until all have arrived it is not looked at.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from weft.base.net import IPAddress
from weft.cluster.view import View


class Cursors:
    def __init__(self, view: View) -> None:
        self._view = view
        self._under_way: Counter[str] = Counter()
        self._last: dict[str, dict[str, IPAddress]] = {}

    def of(self, network: str) -> dict[str, IPAddress]:
        """By family; to be changed by whoever gives an address."""
        if self._under_way[network]:
            return self._last[network]
        return self._view.cursors.setdefault(network, {})

    @contextlib.contextmanager
    def under_way(self, network: str) -> Iterator[None]:
        """From when an address is given until its endpoint is written, or is not to be."""
        self._last[network] = self.of(network)
        self._under_way[network] += 1
        try:
            yield
        finally:
            self._under_way[network] -= 1
            last = self._last[network]
            if not self._under_way[network]:
                del self._under_way[network], self._last[network]
            if network in self._view.networks:
                self._view.cursors[network] = last
