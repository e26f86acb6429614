"""What Docker itself says of its networks, by its API (GET /networks of Docker Engine API v1.24 and later)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from weft.base.errors import Failed
from weft.client.connection import ask

DEFAULT_SOCKET = "/run/docker.sock"
TIMEOUT = 30.0
"""Seconds. It does not answer while it starts."""


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
