"""Up to where this agent knows the store, for whoever waits until it knows more.

The order of changes is kept within a prefix, and between prefixes it is not (`weft.store.follow`). So each is counted by
itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping


class Reached:
    def __init__(self) -> None:
        self._revisions: dict[str, int] = {}
        self._waiting: list[tuple[Mapping[str, int], asyncio.Future[None]]] = []

    def now(self, prefixes: Iterable[str], revision: int) -> None:
        """All is taken over that was written under these up to this revision. It may be an earlier one than before, where the
        store was put back."""
        self._revisions.update(dict.fromkeys(prefixes, revision))
        for wanted, future in self._waiting:
            if self._has(wanted) and not future.done():
                future.set_result(None)

    async def wait(self, wanted: Mapping[str, int]) -> None:
        """Until all is taken over that was written under each prefix up to that revision."""
        if self._has(wanted):
            return
        mine = wanted, asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine[1]
        finally:
            self._waiting.remove(mine)

    def _has(self, wanted: Mapping[str, int]) -> bool:
        return all(self._revisions.get(prefix, 0) >= revision for prefix, revision in wanted.items())
