"""Connections of a host's containers: whose they are, which are asked for, what was refused, and what comes after."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from support.agents import FakeHost, attach, create, settled, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import flows as f
from weft.api import types as t
from weft.base.errors import Failed, Invalid, NotFound
from weft.hoststate import HOST
from weft.kernel.host.short import Direction, of_side
from weft.kernel.host.tracked import Side, Tracked
from weft.policy.counting import Count


@pytest.fixture
async def some(agent: Agent, host: FakeHost, service: Service) -> dict[str, t.EndpointInfo]:
    """Containers in two networks."""
    await create(agent, "blue", driver="bridge")
    await create(agent, "red", "10.2.0.0/16", driver="bridge")
    found = {}
    for name, network in (("web", "blue"), ("db", "blue"), ("other", "red")):
        host.open(name)
        found[name] = await attach(agent, name, network)
    await settled(agent)
    return found


class Talking:
    """Events, as a test says them."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._waiting: list[tuple[bool, Tracked]] = []
        self.overruns = 0

    def say(self, *events: tuple[bool, Tracked]) -> None:
        self._waiting += events
        self._there.send(b"x")

    def fileno(self) -> int:
        return self._here.fileno()

    def read(self, _addresses: frozenset[bytes], _most: int) -> tuple[list[tuple[bool, Tracked]], int]:
        found, self._waiting = self._waiting, []
        if found:
            self._here.recv(4096)
        return found, len(found)

    def close(self) -> None:
        self._here.close()
        self._there.close()


def connection(source: str, target: str, octets: int = 100) -> Tracked:
    there = Side(ip_address(source), ip_address(target), 40_000, 80, 1, octets)
    back = Side(ip_address(target), ip_address(source), 80, 40_000, 1, octets)
    return Tracked(protocol=6, there=there, back=back, state="ESTABLISHED", timeout=60, mark=0)


def address(endpoint: t.EndpointInfo) -> str:
    return str(endpoint.addresses[0].ip)


async def page(service: Service, **about: str) -> f.FlowPage:
    found: f.FlowPage = await service.flows(**about)
    return found


def ends(found: f.FlowPage) -> list[tuple[str, str]]:
    return [(flow.source.name or str(flow.source.address), flow.target.name) for flow in found.flows]


async def test_of_all_of_one_network_or_of_one_end(
    host: FakeHost, service: Service, some: dict[str, t.EndpointInfo]
) -> None:
    web, db, other = (address(some[name]) for name in ("web", "db", "other"))
    host.tracker.found[HOST] = [
        connection(web, db, 100),
        connection("203.0.113.9", other, 300),
        connection(other, web, 200),
        connection("203.0.113.9", "203.0.113.8", 999),
    ]
    everything = await page(service)
    assert ends(everything) == [("203.0.113.9", "other"), ("other", "web"), ("web", "db")], "the largest first"
    assert (everything.node, everything.total, everything.accounting) == ("node-1", 3, True)
    assert ends(await page(service, network="red")) == [("203.0.113.9", "other"), ("other", "web")]
    assert ends(await page(service, endpoint="db")) == [("web", "db")]
    assert ends(await page(service, endpoint="203.0.113.9")) == [("203.0.113.9", "other")]
    assert len((await page(service, limit="1")).flows) == 1
    assert host.tracker.looks[-1][2] == 1, "no more than that is kept of what the kernel tells"


@pytest.mark.parametrize(
    ("about", "error"),
    [
        ({"network": "nosuch"}, NotFound),
        ({"endpoint": "nosuch"}, NotFound),
        ({"limit": "0"}, Invalid),
        ({"limit": "999999"}, Invalid),
        ({"after": "yesterday"}, Invalid),
        ({"after": "1.x"}, Invalid),
        ({"after": "now", "wait": "3600"}, Invalid),
    ],
)
async def test_what_is_refused(
    service: Service, some: dict[str, t.EndpointInfo], about: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await page(service, **about)


async def test_what_cannot_be_read_is_told_and_no_failure(
    host: FakeHost, service: Service, some: dict[str, t.EndpointInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise Failed("connections cannot be listed: conntrack: no such module")

    monkeypatch.setattr(host.tracker, "listing", broken)
    assert (await page(service)).problems == ("connections cannot be listed: conntrack: no such module",)


async def test_what_rules_refused_has_a_reason(
    agent: Agent, host: FakeHost, service: Service, some: dict[str, t.EndpointInfo]
) -> None:
    host.counted[HOST] = {"closed": [Count(3, 252)], "claims": [Count(), Count(1, 84)], "others": [Count(9, 9)]}
    found = (await page(service, dropped="true")).dropped
    assert [(each.reason, each.what, each.packets, each.octets) for each in found] == [
        ("isolation", "closed", 3, 252),
        ("spoofing", "claims", 1, 84),
    ]
    assert (await page(service)).dropped == ()


async def test_following_tells_what_comes_after_with_names(
    agent: Agent, host: FakeHost, service: Service, some: dict[str, t.EndpointInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Talking()
    monkeypatch.setattr(agent.flow_watch, "_listen", lambda _ns: source)
    first = await page(service, after="now")
    assert first.flows == () and first.last == "0.0"
    web, db = address(some["web"]), address(some["db"])
    source.say(
        (True, connection(web, db)), (False, connection(web, db)), (True, connection(address(some["other"]), web))
    )
    await until(lambda: agent.flow_watch.last == 3)
    found = await page(service, after=first.last, wait="5", endpoint="db")
    assert [(flow.event, flow.source.name) for flow in found.flows] == [("new", "web"), ("end", "web")]
    assert found.last == "3.0"
    assert (await page(service, after=found.last)).flows == ()


async def test_what_takes_a_short_way_is_marked(
    agent: Agent, host: FakeHost, service: Service, some: dict[str, t.EndpointInfo]
) -> None:
    web, db, other = (address(some[name]) for name in ("web", "db", "other"))
    plain, one_way, both = connection(web, db), connection(web, other), connection(db, other)
    inside = msgspec.structs.replace(connection(other, web), offloaded=True)
    host.tracker.found[HOST] = [plain, one_way, both, inside]
    answers = of_side(6, one_way.back)
    pair = Direction(0, *(ip_address(each).packed for each in (db, other)))
    host.short.cached[HOST] = {answers: "blue", pair: "red", pair.turned(): "red"}
    found = {(str(flow.source.address), str(flow.target.address)): flow for flow in (await page(service)).flows}
    assert (found[web, db].short, found[web, db].short_ways) == ("", ())
    assert (found[web, other].short, found[web, other].short_ways) == ("cache", ("answered",))
    assert (found[db, other].short, found[db, other].short_ways) == ("cache", ("sent", "answered"))
    assert (found[other, web].short, found[other, web].short_ways) == ("flowtable", ("sent", "answered"))


async def test_programs_that_cannot_be_asked_cost_the_mark_only(
    agent: Agent, host: FakeHost, service: Service, some: dict[str, t.EndpointInfo]
) -> None:
    host.tracker.found[HOST] = [connection(address(some["web"]), address(some["db"]))]
    host.short.trouble = Failed("BPF: no")
    found = await page(service)
    assert [flow.short for flow in found.flows] == [""]
    assert found.problems == ("what goes past the rules: BPF: no",)
