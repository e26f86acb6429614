"""An agent with a target besides its kernel: a route in a cloud's table for each peer."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, agent_on, network, until
from support.clouds import CloudRoute, FakeCloud
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Unsupported
from weft.compile.compiler import Compiler
from weft.datapaths.registry import DRIVERS
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.targets.calls import Limits
from weft.targets.remote import Remote


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
