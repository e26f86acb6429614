"""Hears a kernel's events as they come."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from weft.reconcile.protocol import Event, Watcher


class Ear:
    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self._poll = select.poll()
        self._poll.register(watcher.fileno(), select.POLLIN)

    def settle(self) -> list[Event]:
        """All events until it has been quiet for a moment."""
        heard: list[Event] = []
        while self._poll.poll(200):
            heard += self.watcher.drain()
        return heard

    def until(self, expected: Callable[[Event], bool]) -> list[Event]:
        heard: list[Event] = []
        deadline = time.monotonic() + 5
        while not any(expected(event) for event in heard):
            assert time.monotonic() < deadline, heard
            if self._poll.poll(100):
                heard += self.watcher.drain()
        return heard
