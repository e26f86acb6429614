"""The service over HTTP on a unix socket, and its OpenAPI document: both made from `weft.api.operations`."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from weft import __version__, serving
from weft.agent import as_of, asking
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.api.operations import AS_OF, NODE, OPERATIONS, PATIENCE, Operation
from weft.base.errors import ERRORS, WeftError
from weft.base.numbers import parse_number
from weft.model import encode
from weft.model.codec import schemas

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


Metrics = Callable[[], Awaitable[tuple[bytes, str]]]
"""The exposition and its content type."""


def application(service: Service, metrics: Metrics) -> web.Application:
    """The whole API: only for whom the socket's mode lets in."""
    app, waiting = metrics_application(metrics), _Waiting()
    app.on_shutdown.append(waiting.end)
    for op in OPERATIONS:
        handler = _handler(service, op)
        app.router.add_route(op.method, op.path, waiting.noted(handler) if "wait" in op.query else handler)
    document = msgspec.json.encode(openapi())

    async def describe(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    app.router.add_get("/openapi.json", describe)
    return app


def metrics_application(metrics: Metrics) -> web.Application:
    """What may be served to anybody: `/metrics`, and nothing else."""
    app = serving.application(_errors)

    async def measure(_: web.Request) -> web.Response:
        body, kind = await metrics()
        return web.Response(body=body, headers={"Content-Type": kind})

    app.router.add_get("/metrics", measure)
    return app


class _Waiting:
    """Requests that wait for something to happen. They do not keep the server from its end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def noted(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                return await handler(request)
            finally:
                self._tasks.discard(task)

        return handle

    async def end(self, _: web.Application) -> None:
        """A signal of the application's."""
        for task in self._tasks:
            task.cancel()


def _handler(service: Service, op: Operation) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        asking.check(op, request.query)
        arguments = {**request.match_info, **request.query}
        body = await serving.body(request, op.largest) if op.request is not None else b""
        node = request.headers.get(NODE, "")
        if service.asking.is_elsewhere(node, op):
            return _raw(200, await service.asking.ask(node, op, arguments, body, _patience(request)))
        as_of.begin()
        found = await asking.perform(service, op, arguments, body)
        return _json(200, found, {AS_OF: told} if (told := service.as_of.told()) else {})

    return handle


def _patience(request: web.Request) -> int:
    text = request.headers.get(PATIENCE, "")
    return parse_number(PATIENCE, text, 1, asking.LONGEST) if text else asking.PATIENCE


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except WeftError as error:
        code = error.code if error.code in ERRORS else "unavailable"
        return _json(error.status, t.Error(error=code, message=str(error)))
    except web.HTTPException as error:
        return _json(
            error.status, t.Error(error="not-found" if error.status == 404 else "invalid", message=error.reason)
        )
    except Exception:  # the edge of the process: whatever it is, the caller gets an answer and the log the traceback
        log.exception("%s %s", request.method, request.path)
        return _json(500, t.Error(error="failed", message=asking.UNEXPECTED))


def _json(status: int, value: object, headers: Mapping[str, str] = {}) -> web.Response:
    return _raw(status, encode(value), headers)


def _raw(status: int, body: bytes, headers: Mapping[str, str] = {}) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


_AS_OF = "the store is away: when the agent last heard from it, why, and what is not known"
_HEADERS: dict[str, dict[str, Any]] = defaultdict(
    dict, GET={"headers": {AS_OF: {"description": _AS_OF, "schema": {"type": "string"}}}}
)


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1 of every operation."""
    types = [op.reply for op in OPERATIONS] + [op.request for op in OPERATIONS if op.request] + [t.Error]
    refs, components = schemas(types)
    error = {"content": {"application/json": {"schema": refs[-1]}}, "description": "what went wrong, in one line"}
    paths: dict[str, Any] = {}
    bodies = iter(refs[len(OPERATIONS) : -1])
    for op, reply in zip(OPERATIONS, refs, strict=False):
        entry: dict[str, Any] = {
            "operationId": op.name,
            "summary": op.summary,
            "parameters": _parameters(op),
            "responses": {
                "200": {
                    "description": "done",
                    "content": {"application/json": {"schema": reply}},
                    **_HEADERS[op.method],
                },
                "default": error,
            },
        }
        if op.request:
            entry["requestBody"] = {"required": True, "content": {"application/json": {"schema": next(bodies)}}}
        paths.setdefault(op.path, {})[op.method.lower()] = entry
    info = {"title": "Weft agent", "version": __version__, "license": {"name": "Apache-2.0"}}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": components}}


def _parameters(op: Operation) -> list[dict[str, Any]]:
    text = {"type": "string"}
    path = [{"name": name, "in": "path", "required": True, "schema": text} for name in op.parts]
    query = [{"name": name, "in": "query", "required": False, "schema": text} for name in op.query]
    header = [{"name": name, "in": "header", "required": False, "schema": text} for name in (NODE, PATIENCE)]
    return path + query + (header if op.afar else [])
