"""Waiting for something to come true: polled, with a deadline."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

_PAUSE = 0.02
_never = threading.Event()


def note(line: str) -> None:
    """A figure, for whoever runs the tests with -s."""
    sys.stdout.write(f"\n{line}")


def until(condition: Callable[[], object], seconds: float, what: str | Callable[[], str]) -> float:
    """The seconds it took. Fails after `seconds`, saying `what` was waited for."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"waited {seconds:g} s for {what() if callable(what) else what}")
        _never.wait(_PAUSE)
    return time.monotonic() - start
