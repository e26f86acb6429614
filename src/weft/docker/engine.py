"""What Docker itself says of its networks, by its API (GET /networks of Docker Engine API v1.24 and later)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec

from weft.base.errors import Failed, Unavailable
from weft.client.connection import ask

DEFAULT_SOCKET = "/run/docker.sock"
TIMEOUT = 30.0
"""Seconds. It does not answer while it starts."""
LONGEST_EVENT = 1 << 20
"""Octets: one says all labels of a container."""


class Engine:
    """Blocking. Raises Unavailable while Docker does not run, Failed."""

    def __init__(self, socket: str = DEFAULT_SOCKET) -> None:
        self._socket = socket

    def networks(self, driver: str) -> list[dict[str, Any]]:
        """Those of a driver, with what they were created with."""
        filters = quote(msgspec.json.encode({"driver": [driver]}).decode())
        found = self._get(f"/networks?filters={filters}", list[dict[str, Any]])
        return [n for n in found or [] if n.get("Driver") == driver]

    def endpoints(self, network: str) -> set[str] | None:
        """The ids of those that a network has; None where there is no such network."""
        found = self._get(f"/networks/{quote(network, safe='')}", dict[str, Any])
        if found is None:
            return None
        containers = found.get("Containers") or {}
        return {str(c.get("EndpointID", "")) for c in containers.values()}

    def containers(self, network: str) -> set[str]:
        """The ids of those that are in a network."""
        found = self._get(f"/networks/{quote(network, safe='')}", dict[str, Any]) or {}
        return set(found.get("Containers") or {})

    def container(self, id: str) -> dict[str, Any] | None:
        """What it is and where it is attached; None where there is no such container. Docker answers when it is done with
        what it does to the container."""
        found: dict[str, Any] | None = self._get(f"/containers/{quote(id, safe='')}/json", dict[str, Any])
        return found

    @contextlib.asynccontextmanager
    async def events(self, filters: dict[str, list[str]]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """What happens from now on. With HTTP/1.0 Docker writes one object a line, without chunks. Raises Unavailable,
        Failed."""
        wish = quote(msgspec.json.encode(filters).decode())
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=LONGEST_EVENT)
        except OSError as error:
            raise Unavailable(f"Docker does not answer at {self._socket}: {error.strerror}") from None
        try:
            writer.write(f"GET /events?filters={wish} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            status = await reader.readline()
            while (await reader.readline()).strip():
                pass  # headers
            if b" 200 " not in status:
                raise Failed(f"Docker at {self._socket} tells of no events: {status.decode(errors='replace').strip()}")
            yield _objects(reader)
        except (OSError, ValueError) as error:
            raise Unavailable(f"Docker at {self._socket} broke off: {error}") from None
        finally:
            writer.close()

    def _get(self, target: str, kind: type) -> Any:
        answer = ask(self._socket, TIMEOUT, "GET", target, None)
        if answer.status == 404:
            return None
        try:
            if answer.status != 200:
                raise Failed(f"Docker at {self._socket} answers {target} with status {answer.status}")
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.MsgspecError as error:
            raise Failed(f"Docker's answer to {target} is not understood: {error}") from None


async def _objects(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """One a line, until the other end closes. Raises ValueError for a line that is none."""
    while line := await reader.readline():
        yield msgspec.json.decode(line, type=dict[str, Any])
