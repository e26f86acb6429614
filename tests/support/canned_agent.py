"""An agent of canned answers: a real HTTP server on a unix socket, that speaks the API's own types."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from weft.api import types as t
from weft.api.operations import AS_OF, NODE, OPERATIONS, Operation
from weft.base.errors import WeftError
from weft.model import encode


@dataclass(frozen=True)
class Asked:
    operation: str
    params: dict[str, str]
    body: bytes
    node: str = ""


@dataclass(frozen=True)
class Raw:
    """An answer that no agent gives."""

    status: int
    body: bytes


class Hangs:
    """No answer until the test ends."""


@dataclass
class CannedAgent:
    """`answers`: by operation, or by operation and another node that is asked for, a reply, what makes one of what was asked,
    an error to raise, or something odd. `marks`: by operation, what its header `Weft-As-Of` says. `asked`: what came, in
    order."""

    path: Path
    answers: dict[object, object] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def socket(self) -> str:
        return str(self.path)

    def answer(self, asked: Asked) -> Raw:
        self.asked.append(asked)
        named = asked.operation, asked.node
        reply = self.answers[named if named in self.answers else asked.operation]
        if callable(reply):
            reply = reply(asked)
        if isinstance(reply, WeftError):
            return Raw(reply.status, encode(t.Error(error=reply.code, message=str(reply))))
        if isinstance(reply, Hangs):
            self.over.wait(30)
            return Raw(500, b"")
        return reply if isinstance(reply, Raw) else Raw(200, encode(reply))


def _match(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    for op in OPERATIONS:
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", op.path), path)
        if op.method == method and found:
            return op, {name: unquote(value) for name, value in found.groupdict().items()}
    raise LookupError(f"{method} {path} is no operation")


class _Handler(BaseHTTPRequestHandler):
    agent: CannedAgent

    def _serve(self) -> None:
        url = urlsplit(self.path)
        op, params = _match(self.command, url.path)
        query = dict(parse_qsl(url.query, strict_parsing=bool(url.query)))
        assert set(query) <= set(op.query), query
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        raw = self.agent.answer(Asked(op.name, params | query, body, self.headers.get(NODE, "")))
        self.send_response(raw.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw.body)))
        if op.name in self.agent.marks:
            self.send_header(AS_OF, self.agent.marks[op.name])
        self.end_headers()
        self.wfile.write(raw.body)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news; what it got wrong it is told by the connection's end."""


@contextmanager
def canned_agent(path: Path, answers: Mapping[Any, object]) -> Iterator[CannedAgent]:
    agent = CannedAgent(path, dict(answers))
    handler = type("Handler", (_Handler,), {"agent": agent})
    with _Server(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield agent
        finally:
            agent.over.set()
            server.shutdown()
            thread.join()
