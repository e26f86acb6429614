"""An agent with a target besides its kernel: a route in a cloud's table for each peer."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_interface
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, agent_on, create, network, until
from support.clouds import CloudRoute, FakeCloud
from weft.agent.resources.networks import Networks
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Unavailable, Unsupported
from weft.compile.compiler import Compiler
from weft.datapaths.driver import Answer, Host, Learnt, Site
from weft.datapaths.registry import DRIVERS
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.targets.calls import Limits
from weft.targets.remote import Remote
from weft.targets.routes import FORMER, Border


@pytest.fixture
def routed_by_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = Compiler.contribution

    def contribution(self: Compiler, source: Source) -> Contribution | None:
        found = kernels(self, source)
        if found is None or source.contributor != "peer":
            return found
        lease = self.view.lease(source.network, source.name)
        routes = (
            CloudRoute(place="rtb-1", destination=str(s), via=source.name) for s in (lease.subnets if lease else ())
        )
        return msgspec.structs.replace(found, objects=(*found.objects, *routes))

    monkeypatch.setattr(Compiler, "contribution", contribution)


@pytest.mark.usefixtures("routed_by_the_cloud")
async def test_status_plan_and_metrics_tell_of_it(host: FakeHost, store_file: Path) -> None:
    cloud = FakeCloud("rtb-1", clock=time.monotonic)
    cloud.away = True
    remote = Remote(cloud, Limits(rate=100.0, timeout=1.0))
    far = FakeHost("192.168.1.2/24")
    async with agent_on(host, store_file, remotes=(remote,)) as agent, agent_on(far, store_file, "node-2") as other:
        service = Service(agent)
        await service.create_network(t.CreateNetwork(network=network("blue")))
        await asyncio.wait_for(service.attach(t.Attach(target=host.open("c1"), network="blue")), 5)
        lease = await other.leases.ensure("blue", other.ready())
        await until(lambda: agent.view.lease("blue", "node-2"))
        await until(lambda: agent.loops.troubles())
        status = await service.status()
        assert status.state == "degraded"
        told = {trouble.object: trouble.reason for trouble in status.troubles}
        assert told["reading cloud of rtb-1"] == "cloud cannot be reached: Connection refused"
        cloud.refused = {("cloud-route", "rtb-1", str(subnet)): "RouteLimitExceeded" for subnet in lease.subnets}
        cloud.away = False
        await until(lambda: [x.reason for x in agent.loops.troubles()] == ["RouteLimitExceeded"], 20)
        [command] = [line for line in (await service.plan()).commands if line.startswith("cloud")]
        assert command.endswith("--via node-2")
        status = await service.status()
        assert status.objects["cloud-route"] == t.Count(desired=1, actual=0, failed=1)
        cloud.refused.clear()
        await until(lambda: cloud.objects, 20)
        await until(lambda: agent.loops.counts()["cloud-route"].actual == 1)
        assert (await service.plan()).commands == ()
        text = agent.metrics.exposition()[0].decode()
        assert 'weft_objects{kind="cloud-route",state="actual"} 1.0' in text
        assert 'weft_target_writes_total{target="cloud"} 1.0' in text
        assert 'weft_target_resync_age_seconds{target="cloud"}' in text


async def test_a_driver_that_needs_one_is_refused_without_it(
    host: FakeHost, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudy = msgspec.structs.replace(DRIVERS["bridge"], name="cloudy", targets=("cloud",))
    monkeypatch.setitem(DRIVERS, "cloudy", cloudy)
    async with agent_on(host, store_file) as agent:
        with pytest.raises(Unsupported) as caught:
            await Service(agent).create_network(t.CreateNetwork(network=network("blue", driver="cloudy")))
        assert str(caught.value) == ("network blue: this agent knows no target cloud: it is of another version of Weft")
    remote = Remote(FakeCloud("rtb-1", clock=time.monotonic), Limits(rate=100.0, timeout=1.0))
    async with agent_on(host, store_file, remotes=(remote,)) as agent:
        made = await Service(agent).create_network(t.CreateNetwork(network=network("blue", driver="cloudy")))
        assert made.driver == "cloudy"


async def test_without_one_nothing_is_told(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        assert b"weft_target" not in agent.metrics.exposition()[0]


# ------------------------------------------------------------------------------- made when the first network needs them


@pytest.fixture
def cloudy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver whose lease says what the cloud does of its host, and that asks the cloud for a route to it."""

    def told(host: Host) -> str:
        return host.targets.get("cloud", Learnt()).facts.get("host", "")

    def network_(site: Site) -> Answer:
        yield from DRIVERS["host-gw"].network(site)
        for subnet in site.lease.subnets:
            yield CloudRoute(place="rtb-1", destination=str(subnet), via=site.lease.data["host"])

    driver = msgspec.structs.replace(
        DRIVERS["host-gw"],
        name="cloudy",
        targets=("cloud",),
        network=network_,
        lease_data=lambda host, _network, _options: {"host": told(host)},
        refusal=lambda host, _network, _options: (
            "" if told(host) else host.targets.get("cloud", Learnt(why="wait")).why
        ),
        fixed={"subnet-min": lambda _host, _options: "10.1.7.0/24"},
    )
    monkeypatch.setitem(DRIVERS, "cloudy", driver)


class Maker:
    """`remotes`: those that were made. `cloud`: what all of them reach."""

    def __init__(self) -> None:
        self.cloud = FakeCloud("rtb-1", clock=time.monotonic)
        self.remotes: list[Remote] = []

    def __call__(self, border: Border, _cloud: str) -> Remote:
        self.border = border
        self.remotes.append(Remote(self.cloud, Limits(rate=1000.0, burst=1000, timeout=1.0)))
        return self.remotes[-1]


@pytest.mark.usefixtures("cloudy")
async def test_it_is_made_with_the_first_network_that_needs_it(host: FakeHost, store_file: Path) -> None:
    make = Maker()
    far = FakeHost("192.168.1.2/24")
    async with (
        agent_on(host, store_file, targets={"cloud": make}) as agent,
        agent_on(far, store_file, "node-2", targets={"cloud": Maker()}) as other,
    ):
        await create(agent, "plain", "10.9.0.0/16")
        assert not make.remotes and b"weft_target" not in agent.metrics.exposition()[0]
        made = await create(agent, "blue", driver="cloudy")
        assert made.options["subnet-min"] == "10.1.7.0/24", "what the host says is written down"
        await Networks(agent).ensure(network("blue", driver="cloudy"), "blue")  # which is the same one
        await until(lambda: [o for o in make.cloud.objects.values() if getattr(o, "via", "") == "node-1"])
        assert len(make.remotes) == 1
        await until(lambda: b'weft_target_writes_total{target="cloud"}' in agent.metrics.exposition()[0])
        await until(lambda: other.view.lease("blue", "node-2"))
        assert other.view.lease("blue", "node-2").data == {"host": "node-2"}  # type: ignore[union-attr]
        await until(lambda: agent.view.lease("blue", "node-2"))
        found = make.border()
        assert sorted(found.holders.values()) == ["node-1", "node-2"] and found.sweeps
        assert not other.targets._borders["cloud"]().sweeps, "the lowest of those that live"
        await Service(agent).remove_network("blue")
        await until(lambda: not make.cloud.objects)
        assert make.border().subnets, "what was Weft's is swept for a while"
        make.border._clock = lambda: time.monotonic() + FORMER
        assert not make.border().subnets, "then it may be somebody else's"


@pytest.mark.usefixtures("cloudy")
async def test_without_it_the_network_is_refused_and_nothing_is_left(host: FakeHost, store_file: Path) -> None:
    make = Maker()
    make.cloud.away = True
    async with agent_on(host, store_file, targets={"cloud": make}) as agent:
        with pytest.raises(Unavailable) as caught:
            await create(agent, "blue", driver="cloudy")
        assert str(caught.value) == "network blue: cloud cannot be reached: Connection refused"
        assert not agent.view.networks and not list(agent.targets.problems())
        make.cloud.away = False
        await create(agent, "blue", driver="cloudy")
        await until(lambda: make.cloud.objects)
        assert len(make.remotes) == 1


@pytest.mark.usefixtures("cloudy")
async def test_a_node_that_cannot_learn_says_so_and_takes_part_when_it_can(host: FakeHost, store_file: Path) -> None:
    make, lost = Maker(), Maker()
    lost.cloud.away = True
    far = FakeHost("192.168.1.2/24")
    async with (
        agent_on(host, store_file, targets={"cloud": make}) as agent,
        agent_on(far, store_file, "node-2", targets={"cloud": lost}) as other,
    ):
        await create(agent, "blue", driver="cloudy")
        await until(lambda: list(other.targets.problems()))
        problems = {p.text for p in (await Service(other).status()).problems}
        assert "target cloud: cloud cannot be reached: Connection refused" in problems
        assert other.view.lease("blue", "node-2") is None
        lost.cloud.away = False
        await until(lambda: other.view.lease("blue", "node-2"), 20)
        await until(lambda: lost.cloud.objects, 20)


@pytest.mark.usefixtures("cloudy")
async def test_a_lease_says_anew_what_the_host_has_become(host: FakeHost, store_file: Path) -> None:
    make = Maker()
    async with agent_on(host, store_file, targets={"cloud": make}) as agent:
        await create(agent, "blue", driver="cloudy")
        subnets = agent.view.lease("blue", "node-1").subnets  # type: ignore[union-attr]
        await until(lambda: make.cloud.objects)
        make.cloud.learnt = {"host": "another"}
        await agent.targets._ask("cloud")
        await until(lambda: agent.view.lease("blue", "node-1").data == {"host": "another"})  # type: ignore[union-attr]
        assert agent.view.lease("blue", "node-1").subnets == subnets  # type: ignore[union-attr]
        await until(lambda: [o.via for o in make.cloud.objects.values() if isinstance(o, CloudRoute)] == ["another"])
        asked = make.cloud.made("learn")
        host.change(addresses=(ip_interface("192.168.1.69/24"),))
        agent._look.set()
        await until(lambda: make.cloud.made("learn") == asked + 1)
        make.cloud.away = True
        await agent.targets._ask("cloud")
        assert agent.targets.known["cloud"].facts == {"host": "another"}, "what was known stays known"
