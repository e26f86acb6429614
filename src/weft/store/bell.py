"""The bell: how one process tells the others on its machine that there is something new, without anybody polling.

A writer touches the bell's file after its commit (`ring`); inotify wakes the listeners of every process, its own too
(`Bell`). A ring says no more than 'look again'. The bell also rings by itself once in `SLOW_CHECK` seconds, for the
writer that died between commit and ring.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

SLOW_CHECK = 1.0
"""Seconds."""

IN_ATTRIB = 0x4
"""Metadata changed (linux/inotify.h): what a touch causes, and nobody's merely looking at the file."""


def ring(file: int) -> None:
    """`file`: a descriptor of the bell's file. A bell that cannot be rung is left to the slow check."""
    with contextlib.suppress(OSError):
        os.utime(file)


class Bell:
    """The listening end, on one event loop. Closed at first; `open` it again if the file may be another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inotify = -1
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: set[asyncio.Event] = set()

    def open(self) -> None:
        """Raises OSError: no such file, or no inotify instance left."""
        self.close()
        self._inotify = _watch(self._path)
        asyncio.get_running_loop().add_reader(self._inotify, self._heard)
        self._tick()

    def close(self) -> None:
        """Wakes all listeners; what they find then is their affair."""
        if self._timer is not None:
            self._timer.cancel()
        if self._inotify >= 0:
            asyncio.get_running_loop().remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = -1
        self._wake()

    @contextlib.contextmanager
    def listener(self) -> Iterator[asyncio.Event]:
        """An event that is set at every ring. Clear it, look, then wait for it: no ring is missed that way."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    def _heard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._inotify, 65536)
        self._wake()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SLOW_CHECK, self._tick)
        self._wake()

    def _wake(self) -> None:
        for event in self._listeners:
            event.set()


def _watch(path: Path) -> int:
    """A non-blocking inotify descriptor on one file (inotify(7)).

    The asyncinotify library wants a task that waits for it; here a callback on the loop is all there is to do.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise _os_error("no inotify instance left, raise fs.inotify.max_user_instances")
    if libc.inotify_add_watch(descriptor, os.fsencode(path), IN_ATTRIB) < 0:
        error = _os_error(str(path))
        os.close(descriptor)
        raise error
    return descriptor


def _os_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
