"""What took a short way, by network: in status and in metrics."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from support.agents import FakeHost, attach, create, settled
from weft.agent import fast_counts
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Failed
from weft.hoststate import HOST
from weft.kernel.host.short import Count, Direction
from weft.kernel.host.tracked import Side, Tracked

PROGRAMS, FLOWTABLE = fast_counts.PROGRAMS, fast_counts.FLOWTABLE


@pytest.fixture
async def web(agent: Agent, host: FakeHost, service: Service) -> t.EndpointInfo:
    await create(agent, "blue", driver="bridge")
    host.open("web")
    found = await attach(agent, "web", "blue")
    await settled(agent)
    return found


def able(host: FakeHost, agent: Agent, *features: str) -> None:
    agent.host.features = agent.host.features | frozenset(features)


def direction(last: int) -> Direction:
    return Direction(6, ip_address("10.1.0.2").packed, ip_address(f"10.1.0.{last}").packed, 40_000, 80)


def offloaded(source: str) -> Tracked:
    there = Side(ip_address(source), ip_address("203.0.113.9"), 40_000, 80, 1, 100)
    back = Side(ip_address("203.0.113.9"), ip_address("192.168.1.68"), 80, 40_000, 1, 100)
    return Tracked(protocol=6, there=there, back=back, state="", timeout=60, mark=0, offloaded=True)


async def test_by_network_from_all_namespaces(
    agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo
) -> None:
    able(host, agent, PROGRAMS, FLOWTABLE)
    there = direction(9)
    host.short.counted = {
        HOST: {"blue": Count(5, 500, 2)},
        "weft-red": {"blue": Count(1, 10, 1), "red": Count(7, 7, 7)},
    }
    host.short.cached = {HOST: {there: "blue", there.turned(): "blue", direction(10): "blue"}}
    host.short.in_flowtable = [offloaded(str(web.addresses[0].ip)), offloaded("198.51.100.1")]
    status = await service.status()
    assert status.means == ("flowtable", "cache")
    assert status.fast == (
        t.FastStatus(network="blue", flows={"cache": 2, "flowtable": 1}, packets=6, octets=510, asked=3),
        t.FastStatus(network="red", flows={}, packets=7, octets=7, asked=7),
    )
    text = (await agent.metrics.scrape())[0].decode()
    assert 'weft_fast_packets_total{network="blue"} 6.0' in text
    assert 'weft_fast_octets_total{network="red"} 7.0' in text
    assert 'weft_fast_entered_total{network="blue"} 3.0' in text
    assert 'weft_fast_flows{means="cache",network="blue"} 2.0' in text
    assert 'weft_fast_flows{means="flowtable",network="red"} 0.0' in text


class Slow:
    """Each look at what there is takes so long, in seconds of a clock of its own."""

    def __init__(self, takes: float) -> None:
        self.takes, self.now, self.looks = takes, 100.0, 0

    def spaces(self) -> list[str]:
        self.looks += 1
        self.now += self.takes
        return [HOST]

    def counts(self, ns: str) -> dict[str, Count]:
        return {}

    def repeated(self, ns: str) -> dict[Direction, str]:
        return {direction(9): "blue"}

    def offloaded(self, ns: str) -> list[Tracked]:
        return []


async def test_it_is_read_for_each_who_asks_and_seldom_where_that_takes_long() -> None:
    """So that who has just switched it off does not see what went so a moment ago."""
    ways = Slow(takes=0.01)
    counts = fast_counts.FastCounts(dict, lambda: frozenset({PROGRAMS}), ways, lambda: ways.now)
    for after, looks in ((0.0, 1), (0.09, 1), (0.02, 2)):
        ways.now += after
        await counts.refresh()
        assert ways.looks == looks
    ways.takes = 1.0
    for after, looks in ((0.2, 3), (9.0, 3), (1.1, 4)):
        ways.now += after
        await counts.refresh()
        assert ways.looks == looks


async def test_further_networks_are_one(agent: Agent, host: FakeHost) -> None:
    number = fast_counts.MOST + 3
    host.short.counted = {HOST: {f"n{n:03}": Count(1, 10, 1) for n in range(number)}}
    counts = agent.fast_counts
    await counts.refresh()
    shown = counts.shown()
    assert len(shown) == fast_counts.MOST + 1
    assert (shown[fast_counts.OTHERS].packets, shown[fast_counts.OTHERS].octets) == (3, 30)


async def test_a_kernel_that_lacks_both_is_well(agent: Agent, service: Service, web: t.EndpointInfo) -> None:
    status = await service.status()
    assert (status.means, status.fast, status.healthy) == ((), (), True)


async def test_what_cannot_be_read_costs_no_answer(
    agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo
) -> None:
    host.short.counted = {HOST: {"blue": Count(5, 500, 2)}}
    host.short.trouble = Failed("BPF: no")
    assert [each.packets for each in (await service.status()).fast] == [5]
