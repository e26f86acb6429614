"""Members are asked from inside their own namespaces: real listeners, at loopback and at addresses of their own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address

import pytest

from support.namespaces import Home, Namespace
from weft.health.checks import Check
from weft.health.probe import Prober
from weft.kernel.plumbing import netns as namespaces
from weft.services.model import Health
from weft.services.record import Of

ADDRESSES = ("10.1.0.2", "fd01::2")


@pytest.fixture
def container(netns: Home) -> Namespace:
    """With addresses on a device of its own, as a container has them."""
    found = netns.new()
    found.sh("ip link add eth0 type veth peer name eth1")
    found.sh("ip link set eth1 up")
    found.sh("ip addr add 10.1.0.2/24 dev eth0")
    found.sh("ip addr add fd01::2/64 dev eth0 nodad")
    found.sh("ip link set eth0 up")
    return found


def check(container: Namespace, *addresses: str, cookie: int = 0, port: int = 8080, **health: object) -> Check:
    said = {"kind": "tcp", "timeout": 5.0} | health
    return Check(
        of=Of("blue", "web", "abc"),
        health=Health(**said),  # type: ignore[arg-type]
        path=container.path,
        cookie=cookie,
        addresses=tuple(map(ip_address, addresses or ADDRESSES[:1])),
        port=port,
    )


@asynccontextmanager
async def listening(
    container: Namespace, address: str, answer: Callable[[bytes], bytes] | None = None
) -> AsyncIterator[list[str]]:
    """A server in the container; without `answer` it takes connections and says nothing. Its list: what it was asked."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is None:
            await reader.read()  # until the other side ends it
        else:
            asked = await reader.readuntil(b"\r\n\r\n")
            heard.append(asked.decode())
            with contextlib.suppress(OSError):
                writer.write(answer(asked))
                await writer.drain()
        writer.close()

    with container.entered():
        sock = socket.create_server((address, 8080), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    async with await asyncio.start_server(serve, sock=sock):
        yield heard


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_listener_at_the_containers_own_address_is_reached(container: Namespace, address: str) -> None:
    prober, asked = Prober(), check(container, address)
    where = f"[{address}]:8080" if ":" in address else f"{address}:8080"
    assert await prober.ask(asked) == f"connection refused at {where}"
    async with listening(container, address):
        assert await prober.ask(asked) == ""
    async with listening(container, "::1" if ":" in address else "127.0.0.1"):
        assert await prober.ask(asked) == f"connection refused at {where}", "nobody else reaches that either"


async def test_one_of_its_addresses_is_enough(container: Namespace) -> None:
    async with listening(container, ADDRESSES[1]):
        assert await Prober().ask(check(container, *ADDRESSES)) == ""
    refused = [f"connection refused at {where}:8080" for where in ("10.1.0.2", "[fd01::2]")]
    assert await Prober().ask(check(container, *ADDRESSES)) == "; ".join(refused)
    async with listening(container, ADDRESSES[0], partial(answering, b"HTTP/1.1 503 No")):
        asked = check(container, *ADDRESSES, kind="http", path="/healthz", timeout=5.0)
        assert await Prober().ask(asked) == f"HTTP 503 for /healthz; {refused[1]}"


def answering(line: bytes, _asked: bytes) -> bytes:
    return line and line + b"\r\n\r\n"


async def test_http_takes_the_status(container: Namespace) -> None:
    for line, said in (
        (b"HTTP/1.1 200 OK", ""),
        (b"HTTP/1.0 302 Found", ""),
        (b"HTTP/1.1 503 No", "HTTP 503 for /healthz"),
        (b"220 ESMTP", "no answer of HTTP/1.1 from 10.1.0.2:8080"),
        (b"", "no answer of HTTP/1.1 from 10.1.0.2:8080"),
        (b"x" * 100_000, "no answer of HTTP/1.1 from 10.1.0.2:8080"),
    ):
        async with listening(container, ADDRESSES[0], partial(answering, line)) as heard:
            assert await Prober().ask(check(container, kind="http", path="/healthz", timeout=5.0)) == said
        assert heard[0].startswith("GET /healthz HTTP/1.1\r\nHost: 10.1.0.2:8080\r\n")


async def test_one_that_does_not_answer_has_its_time(container: Namespace) -> None:
    async with listening(container, ADDRESSES[0]):
        assert await Prober().ask(check(container, kind="http", timeout=0.3)) == "no answer from 10.1.0.2:8080 in 0.3 s"
    container.sh("ip route add 10.9.0.0/24 dev eth0")
    container.sh("ip neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev eth0")
    assert await Prober().ask(check(container, "10.9.0.1", timeout=0.3)) == "no answer from 10.9.0.1:8080 in 0.3 s"


async def test_what_cannot_be_asked_says_why(container: Namespace, netns: Home) -> None:
    cookie = namespaces.cookie(container.path)
    assert "connection refused" in await Prober().ask(check(container, cookie=cookie))
    assert await Prober().ask(check(container, cookie=cookie + 1)) == "the container's network namespace is gone"
    assert "none of its ports" in await Prober().ask(check(container, port=0))
    container.sh("ip link set lo down")
    assert re.search("unreachable|no answer", await Prober().ask(check(container, "10.7.0.1", timeout=0.3)))
    container.close()
    assert "no network namespace" in await Prober().ask(check(container))


async def test_many_are_asked_at_once(container: Namespace, netns: Home) -> None:
    prober, others = Prober(), [netns.new() for _ in range(20)]
    async with listening(container, ADDRESSES[0]):
        wanted = [check(container), *(check(other, "127.0.0.1") for other in others)] * 30
        answers = await asyncio.gather(*map(prober.ask, wanted))
    assert answers == ["", *(["connection refused at 127.0.0.1:8080"] * 20)] * 30


async def test_who_stops_waiting_leaves_no_socket(container: Namespace) -> None:
    prober = Prober()
    for pause in (0.0, 0.001, 0.003):
        task = asyncio.create_task(prober.ask(check(container, kind="http")))
        await asyncio.sleep(pause)
        task.cancel()
    assert "connection refused" in await prober.ask(check(container))  # the thread is through with all of them
