"""The plugin over HTTP on a unix socket, and the process around it: `weft docker run`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from weft import serving
from weft.agent.process import tell_ready
from weft.base.errors import Conflict, Denied, Failed, Unavailable, WeftError
from weft.client import Client
from weft.docker import engine
from weft.docker import sweep as sweeping
from weft.docker.driver import Driver
from weft.docker.ipam import Ipam
from weft.docker.messages import read
from weft.docker.names import Names
from weft.docker.operations import Operation, error_key, operations
from weft.docker.state import PluginState
from weft.docker.sweep import Sweep

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
SOCKET = Path("/run/docker/plugins/weft.sock")
"""Where Docker looks for a plugin `weft`; elsewhere only by a spec file."""
STATE = Path("/var/lib/weft/docker.json")
PATIENCE = 60.0
"""Seconds. When a host boots, Docker may ask before the agent answers or has heard from its store, and what Docker is refused
then it never asks for again: containers with --restart always would stay down. Docker itself waits for a plugin's answer
without a limit (moby, pkg/plugins/client.go: its HTTP client has no timeout), but `docker run` should not hang for ever."""
PAUSE = 0.5
"""Seconds between two attempts."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`agent`, `docker`: sockets of the agent's and of Docker's API. `spec`: a file that tells Docker where `socket` is
    (None: it looks there by itself); its name, or the socket's, is the driver's. `interval`: seconds between two looks at
    what Docker has. `patience`: seconds that a container which is to start waits for an agent that cannot answer yet."""

    agent: str
    socket: Path = SOCKET
    spec: Path | None = None
    state: Path = STATE
    docker: str = engine.DEFAULT_SOCKET
    interval: float = sweeping.INTERVAL
    patience: float = PATIENCE

    @property
    def name(self) -> str:
        return (self.spec or self.socket).stem


def run(settings: Settings) -> None:
    """In the foreground until SIGTERM or SIGINT, which leave the containers' networks as they are. Raises WeftError."""
    with _only_one(settings.state):
        client, state = Client(settings.agent), PluginState(settings.state)
        driver = Driver(client, state)
        docker = engine.Engine(settings.docker)
        sweep = Sweep(client, state, driver, docker, settings.name)
        app = application(operations(driver, Ipam(client, state, driver)), settings.patience)
        asyncio.run(_run(settings, app, sweep, Names(client, state, docker)))


@contextlib.contextmanager
def _only_one(state: Path) -> Iterator[None]:
    try:
        state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = state.with_suffix(".lock").open("w")
    except OSError as error:
        raise Denied(f"cannot use {state.parent}: {error.strerror}: run it as root") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"the plugin runs already ({lock.name} is locked): stop it first") from None
        yield


async def _run(settings: Settings, app: web.Application, sweep: Sweep, names: Names) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with _serving(settings, app):
        log.info("Docker finds driver %s at %s", settings.name, settings.socket)
        tell_ready()
        tasks = [
            asyncio.create_task(sweep_on(sweep, settings.interval), name="sweep"),
            asyncio.create_task(names.run(), name="names"),
        ]
        await over.wait()
        for task in tasks:
            task.cancel()


async def sweep_on(sweep: Sweep, interval: float) -> None:
    """For ever."""
    pause = min(sweeping.FIRST, interval)
    while True:
        try:
            await asyncio.to_thread(sweep.look)
        except Unavailable as error:
            log.debug("%s", error)  # Docker or the agent is yet to start
        except WeftError as error:
            log.warning("%s", error)
        await asyncio.sleep(pause)
        pause = interval


@contextlib.asynccontextmanager
async def _serving(settings: Settings, app: web.Application) -> AsyncIterator[None]:
    path = settings.socket
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        sock = serving.unix_socket(
            path
        )  # one may be left of a plugin that was killed: the lock says that none is running
        _tell(settings)
    except OSError as error:
        raise Failed(f"cannot listen at {path}: {error.strerror or error}") from None
    try:
        async with serving.serving(app, [sock]):
            yield
    finally:
        path.unlink(missing_ok=True)


def _tell(settings: Settings) -> None:
    if settings.spec is not None:
        settings.spec.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        settings.spec.write_text(f"unix://{settings.socket}\n")


def application(table: tuple[Operation, ...], patience: float = PATIENCE) -> web.Application:
    app = serving.application(_errors)
    for operation in table:
        app.router.add_post(operation.path, _handler(operation, patience if operation.waits else 0.0))
    return app


def _handler(operation: Operation, patience: float) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        asked = read(operation.request, await serving.body(request) or b"{}")
        return _json(200, await _answer(operation, asked, patience))

    return handle


async def _answer(operation: Operation, asked: object, patience: float) -> dict[str, Any]:
    """Tried again for `patience` seconds while the agent cannot answer. What is begun is finished, also when dockerd gives
    up waiting; it does not begin anew then."""
    clock = asyncio.get_running_loop().time
    end = clock() + patience
    while True:
        try:
            return await asyncio.shield(asyncio.to_thread(operation.method, asked))
        except Unavailable as error:
            if clock() >= end:
                raise
            log.info("%s waits: %s", operation.path, error)
        await asyncio.sleep(PAUSE)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An error is a reply with status 200: of another one dockerd shows the user IPAM's whole JSON."""
    key = error_key(request.path)
    try:
        return await handler(request)
    except WeftError as error:
        log.warning("%s: %s", request.path, error)
        return _json(200, {key: str(error)})
    except web.HTTPException as error:
        return _json(error.status, {key: f"{request.method} {request.path}: {error.reason}"})
    except Exception:  # the edge of the process: whatever it is, the caller gets an answer and the log the traceback
        log.exception("%s", request.path)
        return _json(200, {key: "the plugin met an unexpected error: its log has the traceback"})


def _json(status: int, value: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), headers={"Content-Type": CONTENT_TYPE})
