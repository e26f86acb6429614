"""What changes in the cluster, as server-sent events (HTML Living Standard §9.2).

Each event is an answer of the agent's operation `topology`, and its id is the answer's `at`: a browser that comes back says
the last id it had, and is told what changed since, or everything where that is not known any more. The next answer is asked for
once the last one is written, so nothing gathers here for a reader that is slow; one that takes nothing for a while is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from aiohttp import web

from weft.api import types as t
from weft.base.errors import WeftError
from weft.model import encode
from weft.ui.agent import AgentSocket, Reply

HEARTBEAT = 10
"""Seconds without a change until a sign of life."""
SLOW = 10.0
"""Seconds in which a reader has to take something."""
AGAIN = 1.0
"""Seconds until an agent is asked again that did not answer."""


class _Head(msgspec.Struct):
    """Of a topology. The rest passes through unread."""

    at: str
    whole: bool = False
    problem: str = ""


class Events:
    def __init__(self, agent: AgentSocket) -> None:
        self._agent = agent
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Until the reader goes, is too slow, or `close`."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        task = asyncio.create_task(self._tell(response, request.headers.get("Last-Event-ID", "")))
        self._open.add(task)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await task
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._open.discard(task)
        if request.transport is not None:
            request.transport.abort()
        return response

    async def close(self, _: web.Application) -> None:
        """A signal of the application's: all readers go."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _tell(self, response: web.StreamResponse, after: str) -> None:
        """For ever. Raises ConnectionError, TimeoutError."""
        problem = ""
        while True:
            try:
                reply = await self._agent.ask("topology", {"after": after, "wait": str(HEARTBEAT) if after else ""})
            except WeftError as error:
                reply = Reply(503, encode(t.Error(error=error.code, message=str(error))))
            if reply.status != 200:
                await _write(response, _event("away", "", reply.body))
                await asyncio.sleep(AGAIN)
                continue
            head = msgspec.json.decode(reply.body, type=_Head)
            if head.at == after and head.problem == problem:
                await _write(response, b"event: alive\ndata: {}\n\n")
                await asyncio.sleep(AGAIN)  # also an agent that does not wait is not asked all the time
                continue
            after, problem = head.at, head.problem
            await _write(response, _event("topology", after, reply.body))


def _event(name: str, id: str, data: bytes) -> bytes:
    """`data`: JSON without line breaks."""
    head = f"event: {name}\n" + (f"id: {id}\n" if id else "")
    return head.encode() + b"data: " + data + b"\n\n"


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SLOW):
        await response.write(data)
