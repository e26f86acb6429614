"""The agent's socket, asked without waiting: what the page's server passes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

import aiohttp

from weft.api.operations import BY_NAME, NODE
from weft.base.errors import Denied, Failed, Invalid, Unavailable

TIMEOUT = 60.0
"""Seconds for an answer, as of `weft.client`."""
READ_ONLY = frozenset(
    [
        "status",
        "doctor",
        "plan",
        "endpoint",
        "flows",
        "explain",
        "policies",
        "policy",
        "policy_counters",
        "bgp_sessions",
        "mesh_peers",
    ]
)
"""Operations that the page may ask for; and the topology, by way of its events."""


class Reply(NamedTuple):
    """`status`: of HTTP. `body`: JSON."""

    status: int
    body: bytes


class AgentSocket:
    def __init__(self, path: str) -> None:
        self.path = path
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, operation: str, params: Mapping[str, str], node: str = "") -> Reply:
        """`params`: of path and query; those that are "" are left out. Raises Invalid, Unavailable, Denied, Failed."""
        op = BY_NAME[operation]
        try:
            target = op.path.format_map({name: quote(value, safe="") for name, value in params.items()})
        except KeyError as missing:
            raise Invalid(f"{operation}: say which {missing.args[0]} is meant") from None
        query = {name: value for name, value in params.items() if name in op.query and value}
        if strange := [name for name in params if name not in op.query and f"{{{name}}}" not in op.path]:
            raise Invalid(f"{operation}: unknown parameter '{strange[0]}'")
        return await self._get(f"{target}?{urlencode(query)}" if query else target, {NODE: node} if node else {})

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _get(self, target: str, headers: Mapping[str, str]) -> Reply:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(self.path, force_close=True), timeout=timeout
            )
        try:
            async with self._session.get(f"http://localhost{target}", headers=headers) as answer:
                return Reply(answer.status, await answer.read())
        except TimeoutError:
            raise Unavailable(f"the agent at {self.path} has not answered for {TIMEOUT:g} s: see its log") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, PermissionError):
                raise Denied(f"no access to the agent's socket {self.path}: run `weft ui` with sudo") from None
            raise Unavailable(f"no agent answers at {self.path}: start it with `weft agent run`") from None
        except aiohttp.ClientError as error:
            raise Failed(
                f"the agent at {self.path} broke off: {str(error) or type(error).__name__}: see its log"
            ) from None
