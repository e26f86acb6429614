"""Where the agent is asked: its API's socket, and metrics over TCP where the settings say so."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from weft import serving
from weft.agent.agent import Agent
from weft.agent.config import METRICS_EXAMPLE, Config
from weft.agent.http import application, metrics_application
from weft.base.errors import Failed, Invalid
from weft.base.numbers import HIGHEST_PORT, is_number


class Doors:
    def __init__(self, config: Config, agent: Agent) -> None:
        self._config, self._scrape, self._service = config, agent.metrics.scrape, agent.service
        self._metrics = contextlib.AsyncExitStack()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Raises Invalid, Failed."""
        config, path = self._config, Path(self._config.socket_path)
        async with contextlib.AsyncExitStack() as stack:
            # Of an agent that was killed a socket may be left: the lock says that none is running.
            sock = serving.unix_socket(path, int(config.socket_mode, 8), _group(config))
            stack.callback(path.unlink, missing_ok=True)
            await stack.enter_async_context(serving.serving(application(self._service, self._scrape), [sock]))
            stack.push_async_callback(self._close_metrics)
            await self._open_metrics(config)
            yield

    async def take(self, config: Config) -> None:
        """Raises Invalid, Failed: then all is as it was."""
        group = _group(config)
        if config.metrics != self._config.metrics:
            await self._close_metrics()  # the new address may be at the same port
            try:
                await self._open_metrics(config)
            except (Invalid, Failed):
                await self._open_metrics(self._config)
                raise
        path = Path(config.socket_path)
        if config.socket_group != self._config.socket_group:
            os.chown(path, -1, group if group >= 0 else os.getegid())
        path.chmod(int(config.socket_mode, 8))
        self._config = config

    async def _open_metrics(self, config: Config) -> None:
        if config.metrics:
            app = metrics_application(self._scrape)
            await self._metrics.enter_async_context(serving.serving(app, [_metrics_socket(config)]))

    async def _close_metrics(self) -> None:
        await self._metrics.aclose()
        self._metrics = contextlib.AsyncExitStack()


def _group(config: Config) -> int:
    """-1 for none."""
    try:
        return grp.getgrnam(config.socket_group).gr_gid if config.socket_group else -1
    except KeyError:
        raise Invalid(f"socket-group '{config.socket_group}': there is no such group") from None


def _metrics_socket(config: Config) -> socket.socket:
    host, _, port = config.metrics.rpartition(":")
    if not is_number(port) or int(port) > HIGHEST_PORT:
        raise Invalid(f"metrics '{config.metrics}': write ADDRESS:PORT, such as {METRICS_EXAMPLE}")
    try:
        return serving.tcp_socket(host.removeprefix("[").removesuffix("]"), int(port))
    except OSError as error:
        raise Failed(f"cannot serve metrics at {config.metrics}: {error.strerror or error}") from None
