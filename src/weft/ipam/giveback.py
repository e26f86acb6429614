"""Blocks in which this node has had no container for a while go back to all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from weft.base.errors import WeftError
from weft.base.net import IPNetwork
from weft.cluster.view import View
from weft.ipam.blocks import Blocks

log = logging.getLogger(__name__)

LOOKS = 4
"""How often within that while."""


class GiveBack:
    def __init__(self, view: View, blocks: Blocks, after: Callable[[], float]) -> None:
        """`after`: how many seconds that is."""
        self._view, self._blocks, self._after = view, blocks, after
        self._since: dict[tuple[str, IPNetwork], float] = {}
        """(Network, block) → since when it has been seen empty."""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._after() / LOOKS)
            for home, blocks in self._due(time.monotonic()).items():
                try:
                    if await self._blocks.give_back(home, blocks):
                        log.info("gave back %s of network %s", ", ".join(map(str, blocks)), home)
                except WeftError as error:
                    log.warning("blocks of network %s not given back yet: %s", home, error)

    def _due(self, now: float) -> dict[str, list[IPNetwork]]:
        homes = [n for n in self._view.networks if self._view.driver(n).addresses.blocks and self._view.home(n) == n]
        idle = {(home, block) for home in homes for block in self._blocks.idle(home)}
        self._since = {key: self._since.get(key, now) for key in idle}
        due: dict[str, list[IPNetwork]] = {}
        for (home, block), since in self._since.items():
            if now - since >= self._after():
                due.setdefault(home, []).append(block)
        return due
