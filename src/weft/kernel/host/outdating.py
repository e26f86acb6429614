"""What was decided about open connections is decided anew, and nobody waits for it.

Programs are told at once, and again as soon as no packet is under way (some 10 ms). Flowtables are emptied, which costs more:
each connection goes the ordinary way once. Changes of others come in bursts, as when kube-proxy or Docker writes its rules. So
a flowtable is emptied a few times per second at most, and always once more after the last change.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Generic, TypeVar

from weft.base.errors import NotFound, WeftError
from weft.kernel.host import flowtables
from weft.kernel.kinds import bpf_names
from weft.kernel.plumbing import bpf
from weft.kernel.plumbing.tools import Started

log = logging.getLogger(__name__)

T = TypeVar("T")

REST: Final = 0.3
"""Seconds from the end of emptying to the beginning of the next."""


class Gathering(Generic[T]):
    """Work that a thread of its own does, each time for all that was asked for since it last began. `rest`: seconds from its
    end to the next beginning. The thread is in the network namespace of who makes this."""

    def __init__(self, work: Callable[[Set[T]], None], name: str, rest: float = 0) -> None:
        self._work, self._rest = work, rest
        self._lock = threading.Lock()
        self._asked: set[T] = set()
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._thread.submit(lambda: None)  # it begins here

    def ask(self, some: Iterable[T]) -> None:
        with self._lock:
            waits = bool(self._asked)
            self._asked.update(some)
            if self._asked and not waits:
                self._thread.submit(self._once)

    def close(self) -> None:
        """What was asked for is done when this returns, without a rest."""
        self._over.set()
        self._thread.shutdown()

    def _once(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, set()
        self._work(asked)
        self._over.wait(self._rest)


class Outdating:
    """`run`: the run directory. `started` is told the ports of sockets by which flowtables are emptied."""

    def __init__(self, run: Path, started: Started) -> None:
        self._run, self._started = run, started
        self._settling = Gathering[Path](lambda places: bpf_names.count_up(places, bpf.settle), "weft-outdating")
        self._emptying = Gathering(self._empty, "weft-emptying", REST)

    def programs(self, namespaces: Iterable[str]) -> None:
        """What programs of these namespaces repeat does not count any more."""
        if places := bpf_names.with_programs(namespaces, self._run):
            bpf_names.count_up(places)
            self._settling.ask(places)

    def flowtables(self, namespaces: Iterable[str]) -> None:
        """The flowtables of these namespaces are emptied, now or some tenths of a second later."""
        self._emptying.ask(namespaces)

    def close(self) -> None:
        self._settling.close()
        self._emptying.close()

    def _empty(self, namespaces: Set[str]) -> None:
        for ns in namespaces:
            try:
                flowtables.forget(ns, self._started)
            except NotFound:
                continue
            except (WeftError, OSError) as error:
                log.error("open connections are not asked about again after others changed rules: %s", error)
