"""Up to where this agent knows the store, for whoever waits until it knows more."""

from __future__ import annotations

import asyncio


class Reached:
    """`revision`: of the last change taken over."""

    def __init__(self) -> None:
        self.revision = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def now(self, revision: int) -> None:
        """It may be an earlier one than before, where the store was put back."""
        self.revision = revision
        for wanted, future in self._waiting:
            if wanted <= revision and not future.done():
                future.set_result(None)

    async def wait(self, revision: int) -> None:
        """Until all is taken over that was written up to this revision."""
        if revision <= self.revision:
            return
        mine = revision, asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine[1]
        finally:
            self._waiting.remove(mine)
