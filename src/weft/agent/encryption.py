"""What this host says of itself so that others can encrypt what they send it, and when its keys change (docs/encryption.md)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Container
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from weft.agent.config import Config
from weft.base.errors import Failed, Invalid
from weft.cluster.journal import boot_id
from weft.mesh.rotation import Drawn, draw, due, prepare, restart, tell
from weft.model import ciphers

if TYPE_CHECKING:
    from weft.mesh.keys import HostKeys

log = logging.getLogger(__name__)

WIREGUARD_KEY, ESP_FOLDER = "wireguard.key", "esp"
"""A file in the state directory, a folder in the run directory."""
LOOK = 5.0
"""Seconds between looks whether keys have to change."""


Tell = Callable[[], Awaitable[None]]
Stands = Callable[[], Awaitable[list[str]]]


class Told(TypedDict):
    """Fields of this host's `Node`."""

    ciphers: tuple[str, ...]
    wg_key: str
    esp_salt: str
    esp_start: str


class Encryption:
    """`keys`: this host's; None where it has no mesh secret."""

    def __init__(self, config: Config, clock: Callable[[], float] | None = None) -> None:
        """Raises Invalid, Denied, Failed: the mesh secret or this host's own key cannot be had."""
        self.interval = config.encrypt_rotation
        """Seconds for which keys of ESP are used."""
        self._clock = clock or (lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
        self.keys: HostKeys | None = _keys(config)
        self._drawn: Drawn | None = None

    def told(self, features: Container[str]) -> Told:
        """`features`: what the kernel can do."""
        able = [each for each in ciphers.PREFERRED if self.keys and each in features]
        drawn = None
        if ciphers.ESP in able:
            try:
                drawn = self._have()
            except Failed as error:
                log.warning("without ESP: %s", error)
                able.remove(ciphers.ESP)
        return Told(
            ciphers=tuple(able),
            wg_key=self.keys.public if self.keys and ciphers.WIREGUARD in able else "",
            esp_salt=drawn.told if drawn else "",
            esp_start=drawn.start if drawn else "",
        )

    @property
    def salts(self) -> tuple[str, ...]:
        return self._drawn.taken if self._drawn else ()

    async def run(self, tell_all: Tell, stands: Stands, heard: Callable[[], bool]) -> None:
        """For ever. `tell_all`: what this host says of itself is something else; `stands`: what of its states and policies does
        not stand by now; `heard`: whether others can read now what it says: else they would be left behind."""
        while True:
            await asyncio.sleep(LOOK)
            if self._drawn is not None:
                await self._look(tell_all, stands, heard)

    async def _look(self, tell_all: Tell, stands: Stands, heard: Callable[[], bool]) -> None:
        assert self.keys is not None and self._drawn is not None
        if self.keys.used_twice:
            log.warning("a state of ESP that this host sent by is gone: it begins anew with other keys")
            self._keep(restart(self._drawn, draw()))
            self.keys.used_twice = False
            await tell_all()
        if not due(self._drawn, self._clock(), self.interval) or not heard():
            return
        self._keep(prepare(self._drawn, draw()))
        await tell_all()
        if missing := await stands():
            log.warning("keys of ESP stay as they are for now: %s", missing[0])
            return
        self._keep(tell(self._drawn, self._clock()))
        await tell_all()

    def _have(self) -> Drawn:
        assert self.keys is not None
        if self._drawn is None:
            try:
                self._drawn = self.keys.drawn(self._clock())
            except OSError as error:
                raise Failed(f"what keys of ESP are made of cannot be kept: {error.strerror}") from error
        return self._drawn

    def _keep(self, drawn: Drawn) -> None:
        """Raises Failed: then all stays as it is."""
        assert self.keys is not None
        try:
            self.keys.keep(drawn)
        except OSError as error:
            raise Failed(f"what keys of ESP are made of cannot be kept: {error.strerror}") from error
        self._drawn = drawn


def _keys(config: Config) -> HostKeys | None:
    if not config.mesh_secret:
        return None
    try:
        from weft.mesh.keys import HostKeys
        from weft.mesh.secret import read
    except ImportError as error:
        raise Invalid(f"mesh-secret needs the Python package {error.name}: pip install 'weft[mesh]'") from None
    private, folder = Path(config.state_dir, WIREGUARD_KEY), Path(config.run_dir, ESP_FOLDER)
    return HostKeys(read(config.mesh_secret), private, folder, boot_id())
