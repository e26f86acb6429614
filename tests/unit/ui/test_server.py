"""Who is let in to the page, and what it passes on. Without a browser."""

from __future__ import annotations

import http.client
import json
import re
import socket
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from aiohttp.web import StreamResponse

from support import pages
from support.canned_agent import CannedAgent
from support.waiting import until
from weft.api.operations import BY_NAME
from weft.api.topology import EndpointLine
from weft.ui import events as events_module
from weft.ui import server
from weft.ui.agent import READ_ONLY


class Caller:
    def __init__(self, address: str) -> None:
        found = urlsplit(address)
        self.port = found.port or 0
        self.entry = f"{found.path}?{found.query}"
        self.cookie = ""

    def ask(
        self, path: str, method: str = "GET", *, host: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Host"] = host or f"127.0.0.1:{self.port}"
        if self.cookie:
            sent.setdefault("Cookie", self.cookie)
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), body

    def enter(self) -> None:
        status, headers, _ = self.ask(self.entry)
        assert status == 200 and headers["Refresh"] == "0; url=/"
        self.cookie = headers["Set-Cookie"].partition(";")[0]


@pytest.fixture
def caller(address: str) -> Caller:
    return Caller(address)


def test_the_token_is_exchanged_for_a_cookie_that_no_script_and_no_other_site_gets(caller: Caller) -> None:
    _, headers, _ = caller.ask(caller.entry)
    assert re.fullmatch(r"weft-[0-9a-f]{8}=[\w-]{32}; HttpOnly; Path=/; SameSite=Strict", headers["Set-Cookie"])
    assert caller.entry.partition("token=")[2] not in headers["Set-Cookie"]
    caller.enter()
    assert caller.ask("/")[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/static/app.js", "/api/page", "/api/events", "/api/trace?from=a&to=b", "/api/agent/doctor", "/nothing"],
)
def test_nobody_is_let_in_without_it(caller: Caller, agent: CannedAgent, path: str) -> None:
    for cookie in ("", "weft-00000000=x", f"{'x' * 13}=\u00fc"):
        status, headers, body = caller.ask(path, Cookie=cookie.encode("latin-1").decode("latin-1"))
        assert status == 401 and b"weft ui" in body, body
        assert "Set-Cookie" not in headers
    assert agent.asked == []


@pytest.mark.parametrize("token", ["", "wrong", "\u00e4" * 32])
def test_a_wrong_token_is_refused(caller: Caller, token: str) -> None:
    status, headers, body = caller.ask(f"/enter?token={quote(token)}")
    assert status == 401 and "Set-Cookie" not in headers and b"use the one it printed" in body


def test_a_name_of_somebody_elses_is_refused(caller: Caller) -> None:
    """DNS rebinding: the browser believes that 127.0.0.1 is evil.example."""
    caller.enter()
    for host in (f"evil.example:{caller.port}", "evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:80:80"):
        assert caller.ask("/api/page", host=host or "evil")[0] == 403, host
    for host in (f"localhost:{caller.port}", "localhost", "127.0.0.1:1", f"[::1]:{caller.port}"):
        assert caller.ask("/api/page", host=host)[0] == 200, host


def test_other_sites_are_refused(caller: Caller) -> None:
    caller.enter()
    own = f"http://127.0.0.1:{caller.port}"
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert caller.ask("/api/page", **headers)[0] == 403, headers
    assert caller.ask("/api/page", Origin=own, Sec_Fetch_Site="same-origin")[0] == 200


def test_what_does_anything_needs_the_pages_secret(caller: Caller) -> None:
    caller.enter()
    secret = json.loads(caller.ask("/api/page")[2])["page"]
    assert caller.ask("/api/page", "POST")[0] == 403
    assert caller.ask("/api/page", "POST", Weft_Page="wrong")[0] == 403
    assert caller.ask("/api/page", "DELETE")[0] == 403
    assert caller.ask("/api/page", "POST", Weft_Page=secret)[0] == 405  # let in, and nothing there takes it
    assert caller.ask("/api/live?from=a&to=b", "GET")[0] == 405
    assert caller.ask("/api/live?from=a&to=b", "POST")[0] == 403
    status, _, body = caller.ask("/api/live?from=a", "POST", Weft_Page=secret)
    assert (status, json.loads(body)["message"]) == (400, "a trace needs two ends: say from where and to where")


def test_whatever_is_answered_forbids_what_the_page_does_not_need(caller: Caller) -> None:
    for path in ("/", "/nothing", caller.entry):
        _, headers, body = caller.ask(path)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store" and "Server" not in headers
        assert b"<script>" not in body and b"style=" not in body
    caller.enter()
    _, _, body = caller.ask("/")
    assert re.findall(rb"<script[^>]*>", body) == [b'<script type="module" src="static/app.js">']


def test_only_files_of_the_page_are_served(caller: Caller) -> None:
    caller.enter()
    assert caller.ask("/static/views/map.js")[0] == 200
    for path in (
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
        "/static/",
        "/static/views",
    ):
        status, _, body = caller.ask(path)
        assert status == 404 and b"import" not in body, path


def test_only_what_reads_is_passed_on(caller: Caller, agent: CannedAgent) -> None:
    caller.enter()
    assert all(BY_NAME[name].method == "GET" for name in READ_ONLY)
    assert caller.ask("/api/agent/doctor")[0] == 200
    for operation in ("remove_node", "attach", "kernel", "nonsense"):
        assert caller.ask(f"/api/agent/{operation}")[0] == 404
    assert [asked.operation for asked in agent.asked] == ["doctor"]
    status, _, body = caller.ask("/api/agent/endpoint?ref=none")
    assert (status, json.loads(body)["message"]) == (404, "no endpoint none")
    status, _, body = caller.ask("/api/agent/endpoint")
    assert (status, json.loads(body)["message"]) == (400, "endpoint: say which ref is meant")
    status, _, body = caller.ask("/api/agent/doctor?x=1")
    assert (status, json.loads(body)["message"]) == (400, "doctor: unknown parameter 'x'")


def test_an_agent_that_is_away_is_told_in_a_line(tmp_path: Path) -> None:
    with pages.served(tmp_path / "none.sock") as address:
        caller = Caller(address)
        caller.enter()
        status, _, body = caller.ask("/api/agent/doctor")
        assert status == 503 and json.loads(body)["message"].startswith(
            f"no agent answers at {tmp_path}/none.sock: start"
        )
        status, _, body = caller.ask("/api/trace?from=a&to=b")
        assert status == 503 and json.loads(body)["message"].startswith("no agent answers")
        wrong = {"": "two ends", "&family=5": "neither 4 nor 6", "&protocol=x": "protocol x", "&port=x": "port"}
        for more, says in wrong.items():
            status, _, body = caller.ask(f"/api/trace?from=a&to={'b' if more else ''}{more}")
            assert status == 400 and says in json.loads(body)["message"]


def events(caller: Caller, number: int, last: str = "") -> list[tuple[str, str, object]]:
    """The first so many: kind, id, data."""
    connection = http.client.HTTPConnection("127.0.0.1", caller.port, timeout=20)
    connection.request(
        "GET", "/api/events", headers={"Cookie": caller.cookie, **({"Last-Event-ID": last} if last else {})}
    )
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    found = []
    while len(found) < number:
        lines = []
        while line := answer.readline().decode().rstrip("\n"):
            lines.append(line.partition(": "))
        said = {name: value for name, _, value in lines}
        found.append((said["event"], said.get("id", ""), json.loads(said["data"])))
    connection.close()
    return found


def test_events_begin_with_everything_and_go_on_where_they_broke_off(caller: Caller, world: pages.World) -> None:
    caller.enter()
    [(kind, at, data)] = events(caller, 1)
    assert kind == "topology" and data["whole"] and set(data["nodes"]) == {"node-1", "node-2", "node-3", "node-4"}
    world.put("nodes", "node-4", None)
    [(kind, _, data)] = events(caller, 1, last=at)
    assert kind == "topology" and not data.get("whole") and data["nodes"] == {"node-4": None}
    world.restart()
    [(kind, _, data)] = events(caller, 1, last=at)
    assert data["whole"] and set(data["nodes"]) == {"node-1", "node-2", "node-3"}


def test_an_agent_that_goes_and_comes_back(caller: Caller, world: pages.World) -> None:
    caller.enter()
    world.leave()
    [(kind, at, data)] = events(caller, 1)
    assert (kind, at) == ("away", "") and data["message"].startswith("no agent answers")
    world.restart()
    assert events(caller, 1)[0][0] == "topology"


def test_what_nobody_expected_is_told_in_a_line(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> object:
        raise KeyError("nonsense")

    monkeypatch.setattr(server, "trace", broken)
    caller.enter()
    status, _, body = caller.ask("/api/trace?from=a&to=b")
    assert (status, json.loads(body)) == (500, {"error": "failed", "message": "KeyError('nonsense')"})


def test_a_reader_that_takes_nothing_is_dropped(
    caller: Caller, world: pages.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "SLOW", 0.2)
    caller.enter()
    write, gave_up, size = events_module._write, list[type[BaseException]](), 24 * 10**6  # more than the kernel keeps
    for at in range(24):
        world.rows.put("endpoints", f"e{at}", EndpointLine(name="x" * (size // 24), network="blue", node="node-1"))

    async def watched(response: StreamResponse, data: bytes) -> None:
        try:
            await write(response, data)
        except BaseException as error:
            gave_up.append(type(error))
            raise

    monkeypatch.setattr(events_module, "_write", watched)
    with socket.create_connection(("127.0.0.1", caller.port)) as reader:
        head = f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{caller.port}\r\nCookie: {caller.cookie}\r\n\r\n"
        reader.sendall(head.encode())
        until(lambda: gave_up, 30, "the end of its patience")
        got = 0
        while some := reader.recv(2**20):
            got += len(some)
    assert gave_up == [TimeoutError] and got < size
