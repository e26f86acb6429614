"""The page's server: files, what the agent says, events. It runs as long as `weft ui` does, and listens on 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from importlib import resources

from aiohttp import web

from weft import __version__, serving
from weft.api import types as t
from weft.base.errors import Failed, NotFound, WeftError
from weft.model import encode
from weft.ui.agent import READ_ONLY, AgentSocket
from weft.ui.events import Events
from weft.ui.guard import ENTRY, Guard, Handler, protect
from weft.ui.tracing import prove, trace

HOST = "127.0.0.1"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Page:
    """`socket`: of the agent that is asked for everything. `defect`: makes a line of an exception that nobody expected."""

    def __init__(self, socket: str, defect: Callable[[Exception], str] = repr) -> None:
        self.guard = Guard()
        self._defect = defect
        self._agent = AgentSocket(socket)
        self._files = dict(_static())
        self._events = Events(self._agent)

    @contextlib.asynccontextmanager
    async def served(self, port: int) -> AsyncIterator[str]:
        """At the address that is given, token included. `port`: 0 for any. Raises Failed."""
        sock = _listen(port)
        number = sock.getsockname()[1]
        try:
            async with serving.serving(self.application(), [sock]):
                yield f"http://{HOST}:{number}{ENTRY}?token={self.guard.token}"
        finally:
            await self._agent.close()

    def application(self) -> web.Application:
        app = serving.application(self.guard.watched, self._errors)
        app.on_response_prepare.append(protect)
        app.on_shutdown.append(self._events.close)
        app.router.add_get("/", self._file)
        app.router.add_get("/static/{name:.+}", self._file)
        app.router.add_get("/api/page", self._about)
        app.router.add_get("/api/events", self._events.serve)
        app.router.add_get("/api/trace", self._trace)
        app.router.add_post("/api/live", self._live)
        app.router.add_get("/api/agent/{operation}", self._pass_on)
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except WeftError as error:
            return _json(t.Error(error=error.code, message=str(error)), error.status)
        except web.HTTPException as error:
            return _json(t.Error(error="invalid", message=error.reason), error.status)
        except Exception as error:  # noqa: BLE001 # the edge of the process: whatever it is is told
            return _json(t.Error(error="failed", message=self._defect(error)), 500)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in self._files:
            raise NotFound(f"there is no {name}")
        kind = _TYPES[name.rpartition(".")[2]]
        return web.Response(body=self._files[name], content_type=kind, charset="utf-8")

    async def _about(self, _: web.Request) -> web.Response:
        return _json({"page": self.guard.page, "version": __version__, "socket": self._agent.path})

    async def _trace(self, request: web.Request) -> web.Response:
        return _json(await trace(self._agent.path, request.query))

    async def _live(self, request: web.Request) -> web.Response:
        return _json(await prove(self._agent.path, request.query))

    async def _pass_on(self, request: web.Request) -> web.Response:
        """An operation that only reads. The parameter `node`: of that node's agent."""
        operation, params = request.match_info["operation"], dict(request.query)
        if operation not in READ_ONLY:
            raise NotFound(f"the page does not ask for {operation}")
        reply = await self._agent.ask(operation, params, params.pop("node", ""))
        return web.Response(status=reply.status, body=reply.body, content_type="application/json")


def _static() -> dict[str, bytes]:
    """The page's files, by their paths below `static`: read once, and nothing else can be asked for."""
    found: dict[str, bytes] = {}

    def read(folder: resources.abc.Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                read(entry, f"{prefix}{entry.name}/")
            elif entry.name.rpartition(".")[2] in _TYPES:
                found[prefix + entry.name] = entry.read_bytes()

    read(resources.files("weft.ui") / "static", "")
    return found


def _listen(port: int) -> socket.socket:
    try:
        return serving.tcp_socket(HOST, port)
    except OSError as error:
        raise Failed(f"cannot listen at {HOST}:{port}: {os.strerror(error.errno or 0)}: give another --port") from None


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(value), content_type="application/json")
