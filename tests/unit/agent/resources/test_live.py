"""A watch is for endpoints of this host, there are few at a time, and each ends by itself."""

from __future__ import annotations

import asyncio
import threading
from ipaddress import ip_address
from typing import Any

import pytest

from support.agents import FakeHost, attach, create, until
from support.watches import FakeWatch
from weft.agent.agent import Agent
from weft.agent.resources.live import MOST
from weft.agent.resources.service import Service
from weft.api.live import PacketSeen, Probed, ProbeRequest, WatchRequest
from weft.base.errors import Conflict, Invalid, NotFound
from weft.kernel.live.probe import Packet, Sent

TOKEN = "5e0d7a1c5e0d7a1c"


@pytest.fixture(autouse=True)
async def web(agent: Agent, host: FakeHost, service: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a container's namespace."""
    monkeypatch.setattr("weft.agent.resources.live.Watch", FakeWatch)
    FakeWatch.made.clear()
    await create(agent, "blue", driver="bridge")
    host.open("web")
    await attach(agent, "web")
    return next(e.namespace.path for e in agent.view.endpoints.values())


def asked(**more: Any) -> WatchRequest:
    return WatchRequest(**{"token": TOKEN, "protocol": "tcp", **more})


async def test_what_was_seen_is_told_until_it_ends(service: Service, web: str) -> None:
    begun = await service.start_watch(asked(namespaces=(web,), seconds=30))
    (watch,) = FakeWatch.made
    assert (watch.token.hex(), watch.places, watch.ruled) == (TOKEN, {web: "web"}, (web,))
    assert (begun.packets, begun.means) == ((), ("tracepoints",))
    watch.seen.append(PacketSeen(at=1, point="in", namespace=web, place="web", device="eth0"))
    assert (await service.watched(begun.id)).packets == tuple(watch.seen)
    assert not watch.closed
    assert (await service.end_watch(begun.id)).packets == tuple(watch.seen)
    assert watch.closed
    with pytest.raises(NotFound):
        await service.watched(begun.id)


async def test_it_ends_by_itself(service: Service) -> None:
    begun = await service.start_watch(asked(seconds=0.05))
    (watch,) = FakeWatch.made
    await until(lambda: watch.closed)
    with pytest.raises(NotFound):
        await service.end_watch(begun.id)


async def test_one_that_cannot_be_made_takes_no_room(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr("weft.agent.resources.live.Watch", refuses)
        for _ in range(MOST + 1):
            with pytest.raises(RuntimeError):
                await service.start_watch(asked())
    await service.start_watch(asked())


async def test_one_that_nobody_waits_for_any_more_ends(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked went away while it was being made."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(FakeWatch):
        def __init__(self, *words: Any) -> None:
            begun.set()
            assert go_on.wait(60)
            super().__init__(*words)

    monkeypatch.setattr("weft.agent.resources.live.Watch", Slow)
    asking = asyncio.create_task(service.start_watch(asked(seconds=30)))
    await until(begun.is_set)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go_on.set()
    await until(lambda: FakeWatch.made and FakeWatch.made[0].closed)


async def test_there_are_few_at_a_time(service: Service) -> None:
    names = [(await service.start_watch(asked())).id for _ in range(MOST)]
    with pytest.raises(Conflict, match="traced on this host already"):
        await service.start_watch(asked())
    await service.end_watch(names[0])
    await service.start_watch(asked())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"token": "5e0d"}, Invalid),
        ({"token": "so many letters!"}, Invalid),
        ({"seconds": 0.0}, Invalid),
        ({"seconds": 3600.0}, Invalid),
        ({"seconds": float("nan")}, Invalid),
        ({"namespaces": ("/proc/1/ns/net",)}, NotFound),
    ],
)
async def test_what_is_not_watched(service: Service, wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await service.start_watch(asked(**wrong))
    assert not FakeWatch.made


async def test_a_packet_is_sent_from_an_endpoint(service: Service, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Packet, float]] = []

    def send(*args: Any) -> Sent:
        calls.append(args)
        return Sent("10.1.0.2", 40_000, "reply", "SYN-ACK", "10.1.0.3", 0.001)

    monkeypatch.setattr("weft.kernel.live.probe.send", send)
    request = ProbeRequest(
        token=TOKEN, target="10.1.0.3", namespace=web, protocol="tcp", port=80, size=1400, mark=5, seconds=2
    )
    answer = Probed(source="10.1.0.2", sport=40_000, answer="reply", text="SYN-ACK", sender="10.1.0.3", seconds=0.001)
    assert await service.send_probe(request) == answer
    packet = Packet(
        target=ip_address("10.1.0.3"), protocol="tcp", token=bytes.fromhex(TOKEN), port=80, size=1400, mark=5
    )
    assert calls == [(web, packet, 2)]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"namespace": "/proc/1/ns/net"}, NotFound),
        ({"target": "web"}, Invalid),
        ({"source": "fd00::1"}, Invalid),
        ({"port": 65536}, Invalid),
        ({"mark": 1 << 32}, Invalid),
        ({"size": 10}, Invalid),
        ({"seconds": -1.0}, Invalid),
    ],
)
async def test_what_is_not_sent(service: Service, wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await service.send_probe(ProbeRequest(**{"token": TOKEN, "target": "10.1.0.3", **wrong}))
