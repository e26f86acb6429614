"""Servers that cannot be used up, and what is served to whom."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector, web

from support.agents import until
from weft import serving
from weft.base.errors import Failed, Invalid

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def served(path: Path, app: web.Application) -> AsyncIterator[ClientSession]:
    async with (
        serving.serving(app, [serving.unix_socket(path)]),
        ClientSession(connector=UnixConnector(str(path))) as it,
    ):
        yield it


def answering(handler: Any = None) -> web.Application:
    async def fine(_: web.Request) -> web.Response:
        return web.Response(text="fine")

    app = serving.application()
    app.router.add_route("*", "/", handler or fine)
    return app


def idle(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(path))
    return sock


async def test_connections_that_are_left_open_do_not_keep_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "most", lambda: 4)
    monkeypatch.setattr(serving, "YIELDING", 0.0)
    path = tmp_path / "s"
    async with served(path, answering()) as client:
        left = [idle(path) for _ in range(30)]
        assert await (await client.get("http://x/")).text() == "fine"
        ended = [sock for sock in left[:20] if await asyncio.to_thread(sock.recv, 1) == b""]
        assert len(ended) == 20, "the longest idle make room"
        for sock in left:
            sock.close()


async def test_a_connection_that_is_idle_for_long_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "IDLE", 0.1)
    path = tmp_path / "s"
    async with served(path, answering()):
        for sent in (b"", b"GET / HT", GET):
            with idle(path) as sock:
                sock.send(sent)
                assert await asyncio.to_thread(_until_end, sock) in (b"", b"fine")


def _until_end(sock: socket.socket) -> bytes:
    received = b""
    while some := sock.recv(1000):
        received += some
    return received[-4:]


async def test_while_all_are_busy_others_wait_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "most", lambda: 3)
    monkeypatch.setattr(serving, "YIELDING", 0.0)
    under_way, go = 0, asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        nonlocal under_way
        under_way += 1
        await go.wait()
        return web.Response(text="fine")

    path = tmp_path / "s"
    async with served(path, answering(slow)) as client:
        asked = [asyncio.create_task(client.get("http://x/")) for _ in range(9)]
        await until(lambda: under_way == 3)
        go.set()
        assert [(await one).status for one in asked] == [200] * 9


async def test_without_a_file_descriptor_it_waits_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, failures = asyncio.get_running_loop(), 2
    accept = loop.sock_accept

    async def none_left(sock: socket.socket) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", none_left)
    async with served(tmp_path / "s", answering()) as client:
        assert (await client.get("http://x/")).status == 200
    assert not failures


async def test_a_body_that_is_too_large_or_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BODY", 0.1)
    said: list[str] = []

    async def read(request: web.Request) -> web.Response:
        try:
            await serving.body(request)
        except Invalid as error:
            said.append(str(error))
        return web.Response()

    path = tmp_path / "s"
    async with served(path, answering(read)) as client:
        await client.post("http://x/", data=b"x" * (serving.LARGEST + 1))
        with idle(path) as sock:
            sock.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
            await until(lambda: len(said) == 2)
    assert said == [
        "the request is larger than 524288 octets: ask for less at once",
        "the request did not arrive within 0.1 s",
    ]


def test_a_socket_takes_the_place_of_a_socket_only(tmp_path: Path) -> None:
    path = tmp_path / "s"
    serving.unix_socket(path, 0o660).close()
    serving.unix_socket(path, 0o660).close()
    assert path.stat().st_mode & 0o777 == 0o660
    (tmp_path / "file").write_text("somebody's")
    with pytest.raises(Invalid, match="file is not a socket"):
        serving.unix_socket(tmp_path / "file")
    with pytest.raises(Failed, match="cannot listen at /proc/x: "):
        serving.unix_socket(Path("/proc/x"))
