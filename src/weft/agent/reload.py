"""Settings that are read again while the agent runs: SIGHUP, `systemctl reload weft-agent`.

What may change while it runs does, all of it or nothing; what may not is named, and waits for a restart. A file that is wrong
is refused in one line, and the agent goes on as before. Which is which each setting says itself (`weft.agent.settings.Said`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol

import msgspec

from weft.agent.config import SETTINGS, Config
from weft.agent.logs import set_up
from weft.agent.settings import Setting, in_toml
from weft.base.errors import WeftError

log = logging.getLogger(__name__)

Read = Callable[[], Config]
"""The settings as the file and the command line say them now. Raises WeftError."""


class Taker(Protocol):
    async def take(self, config: Config) -> None:
        """These are the settings from now on. Raises WeftError: then it goes on with those from before."""


class Logs:
    async def take(self, config: Config) -> None:
        set_up(config.log_format, config.log_level)


class Change(NamedTuple):
    setting: Setting
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.setting.name} = {self.after} (was {self.before})"


def changes(before: Config, after: Config) -> list[Change]:
    """Pure. In the order of the file."""
    values = ((setting, getattr(before, setting.field), getattr(after, setting.field)) for setting in SETTINGS)
    return [Change(setting, in_toml(old), in_toml(new)) for setting, old, new in values if old != new]


def taken(before: Config, found: Iterable[Change], after: Config) -> Config:
    """`before`, with what may change while the agent runs as it is in `after`. Pure. Raises Invalid."""
    live = {change.setting.field: getattr(after, change.setting.field) for change in found if change.setting.said.live}
    return msgspec.structs.replace(before, **live)


class Hangups:
    """SIGHUP never ends the agent: before it runs they are noted, and then each has the settings read."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()
        self._early = False
        signal.signal(signal.SIGHUP, self._note)

    def _note(self, *_: object) -> None:
        self._early = True

    def listen(self) -> None:
        """From now on by the running loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._heard.set)
        if self._early:
            self._heard.set()

    async def next(self) -> None:
        await self._heard.wait()
        self._heard.clear()


class Reload:
    """`config`: as the agent goes by it. `read` blocks."""

    def __init__(self, config: Config, read: Read, takers: Iterable[Taker]) -> None:
        self.config, self._read, self._takers = config, read, tuple(takers)

    async def run(self, asked: Callable[[], Awaitable[None]], tell: Callable[[bool], None]) -> None:
        """For ever. `tell`: whether it is being done, for systemd."""
        while True:
            await asked()
            tell(True)
            try:
                await self.once()
            finally:
                tell(False)

    async def once(self) -> None:
        try:
            after = await asyncio.to_thread(self._read)
            found = changes(self.config, after)
            wanted = taken(self.config, found, after)
            await self._take(wanted)
        except WeftError as error:
            log.error("the settings are not read again, and those from before hold: %s", error)
            return
        self._say(found)

    async def _take(self, wanted: Config) -> None:
        done = list[Taker]()
        if wanted == self.config:
            return
        try:
            for taker in self._takers:
                await taker.take(wanted)
                done.append(taker)
        except WeftError:
            for taker in reversed(done):
                await taker.take(self.config)
            raise
        self.config = wanted

    def _say(self, found: list[Change]) -> None:
        if not found:
            log.info("the settings are read again: nothing in them has changed")
        for change in found:
            if change.setting.said.live:
                log.info("setting changed: %s", change)
            else:
                log.warning("setting changed, which needs a restart of the agent: %s", change)
