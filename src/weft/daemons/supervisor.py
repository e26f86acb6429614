"""One daemon in the agent's care: what it is to run on goes in, how it is comes out.

It runs while it is wanted, and is ended where nobody wants it any more. It outlives the agent, which finds it again
(`weft.daemons.resident`) and changes nothing where all is as it should be. What it has not confirmed is asked again. Its end is
told by its pidfd. Then it is started again at once; if it ends soon after its start, after a pause that grows. The same is done
with one that can no longer be spoken to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from weft.base import events
from weft.base.errors import Failed, Unavailable, WeftError
from weft.daemons.resident import Unheard

log = logging.getLogger(__name__)

GATHER = 0.05
"""Seconds in which changes come together before a daemon is told."""
SOON = 5.0
"""Seconds: one that ends sooner than this after its start is started again after a pause."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two attempts, after one and after many that failed."""
SILENT = 60.0
"""Seconds: one that answers nothing for so long is started anew. By then BIRD's neighbours have nearly given it up."""

TROUBLE = (WeftError, OSError)
"""What costs a daemon a try, and never the agent: with OSError, also that files, processes or descriptors cannot be had now."""

C = TypeVar("C")
C_in = TypeVar("C_in", contravariant=True)


class Supervised(Protocol):
    """A process, as `weft.daemons.resident.Resident` has it."""

    @property
    def title(self) -> str: ...
    def pid(self) -> int | None: ...
    def pids(self) -> list[int]: ...
    def pidfd(self) -> int | None: ...
    def left(self) -> bool: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def end(self) -> bool: ...
    def answer(self) -> None: ...
    def last_words(self) -> str: ...


class Configurable(Protocol[C_in]):
    """What a daemon runs on. Both may raise WeftError, OSError."""

    def has(self, wanted: C_in) -> bool:
        """Whether it runs on that, or would be started with it."""

    def configure(self, wanted: C_in) -> None:
        """It runs on that from now on, or is to be started with it."""


class DaemonSupervisor(Generic[C]):
    """`trouble`: why it does not run as it should, in one line. `restarts`: how often it was found to have ended. `lock`: held
    while it is being told something; whoever else speaks to it takes it, too."""

    def __init__(
        self,
        daemon: Supervised,
        config: Configurable[C],
        decide: Callable[[], Awaitable[C | None]],
        recovered: Callable[[], None] = lambda: None,
    ) -> None:
        """`decide`: what it is to run on now, None where it is not to run; asked after each `touch`. `recovered` is called when
        the trouble is over."""
        self._daemon, self._config, self._decide, self._recovered = daemon, config, decide, recovered
        self._wake = asyncio.Event()
        self._fd: int | None = None
        self._alone = False
        """It was seen that there is one at most."""
        self._silent_since = self._started = 0.0
        self.trouble, self.restarts, self.lock = "", 0, asyncio.Lock()

    def touch(self) -> None:
        """It may be to run on something else now, or may not be as it should."""
        self._wake.set()

    async def run(self) -> None:
        """For ever. Its end leaves the daemon running."""
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    async with self.lock:
                        await self._bring()
                    if self.trouble:
                        self._recovered()
                    self.trouble, pause = "", FIRST_PAUSE
                except TROUBLE as error:
                    self._say(str(error))
                    asyncio.get_running_loop().call_later(pause, self._wake.set)
                    pause = min(2 * pause, LONGEST_PAUSE)
                await self._wake.wait()
                await asyncio.sleep(GATHER)
                self._wake.clear()
        finally:
            self._forget()

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble

    async def _bring(self) -> None:
        wanted = await self._decide()
        if wanted is not None:
            await asyncio.to_thread(self._apply, wanted)
            self._watch()
            return
        self._forget()
        self._started = 0.0
        if await asyncio.to_thread(self._daemon.end):
            log.info("%s ended: there is nothing for it to do", self._daemon.title)

    def _apply(self, wanted: C) -> None:
        daemon = self._daemon
        if not self._alone and len(daemon.pids()) > 1:
            log.warning("more than one %s runs here for Weft: all are ended, and one is started", daemon.title)
            daemon.kill()
        self._alone = True
        if daemon.pid() is not None:
            self._hear()
        ended = not self._config.has(wanted) and self._tell(wanted)
        if daemon.pid() is None:
            self._start(anew=ended)

    def _tell(self, wanted: C) -> bool:
        """Whether it was ended for it."""
        before = self._daemon.pid()
        self._config.configure(wanted)
        if before is None:
            return False
        log.info("%s has a new configuration", self._daemon.title)
        return self._daemon.pid() is None

    def _start(self, *, anew: bool) -> None:
        """`anew`: it was ended on purpose."""
        daemon = self._daemon
        if not anew and time.monotonic() < self._started + SOON:
            self._started = 0.0
            raise Failed(f"{daemon.title} ended soon after its start: {daemon.last_words()}")
        if not anew and daemon.left():
            self.restarts += 1
            log.warning("%s had ended: starting it again", daemon.title, extra=events.DAEMON_ENDED)
        daemon.start()
        self._started = time.monotonic()
        log.info("%s runs, process %d", daemon.title, daemon.pid() or 0, extra=events.DAEMON_STARTED)

    def _hear(self) -> None:
        """Whether it can be spoken to. One that never will again, or that has been silent for long, is ended so that another
        one takes over. Raises Unavailable while it is only silent."""
        now = time.monotonic()
        try:
            self._daemon.answer()
            self._silent_since = 0.0
            return
        except Unheard as error:
            log.warning("%s: starting it anew", error)
        except Unavailable as error:
            self._silent_since = self._silent_since or now
            if now - self._silent_since < SILENT:
                raise
            log.warning("%s for %.0f s: starting it anew", error, now - self._silent_since)
        self._silent_since = self._started = 0.0
        self._daemon.kill()

    def _watch(self) -> None:
        """Be told when it ends."""
        if self._fd is not None:
            return
        self._fd = self._daemon.pidfd()
        if self._fd is None:
            self._wake.set()  # it has ended already
            return
        asyncio.get_running_loop().add_reader(self._fd, self._ended)

    def _ended(self) -> None:
        self._forget()
        self._wake.set()

    def _forget(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
