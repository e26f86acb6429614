"""What Docker's containers are called, and the labels by which they ask for services: Docker tells a driver nothing of it, so
it is asked.

A container's name, the aliases that it has in a network (`--network-alias`, the services of a compose file) and its short id
become aliases of its endpoint, by which containers of other hosts find it, too. Its labels of services
(`weft.services.labels`) become the endpoint's, unless options of the endpoint say something else. Docker is not asked while it
waits for this process: it says when a container has been connected, and is asked then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from weft.api import types as t
from weft.base.errors import Invalid, NotFound, Unavailable, WeftError
from weft.base.names import check_name
from weft.client import Client
from weft.docker import messages as m
from weft.docker.engine import Engine
from weft.docker.state import PluginState
from weft.services.labels import DETAILS, LABEL

log = logging.getLogger(__name__)

EVENTS = {"type": ["network", "container"], "event": ["connect", "rename"]}
PAUSE = 2.0
"""Seconds until it is tried again."""


class Names:
    def __init__(self, client: Client, state: PluginState, engine: Engine) -> None:
        self._client, self._state, self._engine = client, state, engine

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self._follow()
            except Unavailable as error:
                log.debug("%s", error)  # Docker or the agent is yet to start
            except WeftError as error:
                log.warning("what Docker's containers are called is not known yet: %s", error)
            await asyncio.sleep(PAUSE)

    async def _follow(self) -> None:
        """Until Docker ends, or something fails. Raises WeftError."""
        async with self._engine.events(EVENTS) as events:
            await asyncio.to_thread(self.look)
            async for event in events:
                actor = event.get("Actor") or {}
                container = (actor.get("Attributes") or {}).get("container") or actor.get("ID")
                await asyncio.to_thread(self.look_at, str(container))

    def look(self) -> None:
        """At all containers of all networks that are ours. Raises WeftError."""
        containers = {id for network in self._state.networks() for id in self._engine.containers(network)}
        for id in sorted(containers):
            self.look_at(id)

    def look_at(self, container: str) -> None:
        """Raises WeftError."""
        found = self._engine.container(container)
        if found is None:
            return
        for there in ((found.get("NetworkSettings") or {}).get("Networks") or {}).values():
            network, endpoint = str(there.get("NetworkID", "")), str(there.get("EndpointID", ""))
            if endpoint and self._state.network(network) is not None:
                self._tell(m.owner(network, endpoint), called(found, there), asked(found))

    def _tell(self, owner: str, names: tuple[str, ...], labels: dict[str, str]) -> None:
        held = next((e for e in self._client.endpoints(owner=owner) if e.owner == owner), None)
        if held is None:
            return
        fresh = {key: value for key, value in labels.items() if key not in held.labels}
        if set(held.aliases) == set(names) and not fresh:
            return
        gone = tuple(alias for alias in held.aliases if alias not in names)
        try:
            self._client.label(held.id, t.Label(aliases=names, remove_aliases=gone, labels=fresh))
        except NotFound:
            log.debug("%s is gone again", owner)


def called(container: dict[str, Any], there: dict[str, Any]) -> tuple[str, ...]:
    """All names of a container in a network, as Docker describes both, as far as they are names."""
    names = [str(container.get("Name", "")).lstrip("/"), str(container.get("Id", ""))[:12]]
    names += [str(name) for key in ("Aliases", "DNSNames") for name in there.get(key) or ()]
    return tuple(dict.fromkeys(_fit(names)))


def asked(container: dict[str, Any]) -> dict[str, str]:
    """The labels of a container by which it asks for a service, as Docker describes it; none where the name is none."""
    labels = (container.get("Config") or {}).get("Labels") or {}
    found = {key: str(labels[key]) for key in (LABEL, *DETAILS) if labels.get(key)}
    return found if any(_fit([found.get(LABEL, "")])) else {}


def _fit(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        try:
            yield check_name("container", name.lower())
        except Invalid:
            log.debug("%s is no name that others could ask for", name)
