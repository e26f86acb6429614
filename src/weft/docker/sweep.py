"""What Docker did while nobody listened: containers and networks that were removed while this process, or the agent, did
not run, are removed from Weft as well.

Docker is asked which endpoints it has. What it lacks in two looks in a row is gone: one look may fall between two steps
of Docker's own.
"""

from __future__ import annotations

import logging

from weft.base.errors import WeftError
from weft.client import Client
from weft.docker import messages as m
from weft.docker import networks
from weft.docker.driver import Driver
from weft.docker.engine import Engine
from weft.docker.state import PluginState

log = logging.getLogger(__name__)

FIRST, INTERVAL = 10.0, 60.0
"""Seconds between the first two looks, and between the others."""


class Sweep:
    """`name`: Docker's name for this driver."""

    def __init__(self, client: Client, state: PluginState, driver: Driver, engine: Engine, name: str) -> None:
        self._client, self._state, self._driver, self._engine, self._name = client, state, driver, engine, name
        self._missed: set[str] = set()

    def look(self) -> list[str]:
        """The owners removed: of endpoints, and of networks ("docker/ID/"). Raises WeftError: nothing can be said now."""
        held = {e.owner for e in self._client.endpoints(owner=m.OWNER)}
        ids = {m.ids(owner)[0] for owner in held} | self._state.networks().keys()
        live = {id: self._engine.endpoints(id) for id in ids}
        self._recover(self._engine.networks(self._name))
        gone = {m.owner(id) for id, endpoints in live.items() if endpoints is None}
        for owner in held:
            network, endpoint = m.ids(owner)
            if endpoint not in (live[network] or ()):
                gone.add(owner)
        removed = [owner for owner in sorted(gone & self._missed, reverse=True) if self._remove(owner)]
        self._missed = gone
        return removed

    def _remove(self, owner: str) -> bool:
        network, endpoint = m.ids(owner)
        try:
            if endpoint:
                self._client.detach(owner=owner)
            else:
                self._driver.forget(network)
        except WeftError as error:
            log.warning("%s is gone from Docker and not yet from Weft: %s", owner, error)
            return False
        log.info("%s is gone from Docker, and so from Weft", owner)
        return True

    def _recover(self, listed: list[dict[str, object]]) -> None:
        """What the state has lost."""
        for network in listed:
            id = str(network.get("Id", ""))
            if self._state.network(id) is not None:
                continue
            try:
                self._state.put(id, networks.ensure(self._client, networks.asked_before(network)))
            except WeftError as error:
                log.warning("network %s of Docker's: %s", network.get("Name"), error)
