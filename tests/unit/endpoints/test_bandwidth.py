"""Limits asked for with an attachment, by options or labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.agents import FEATURES, FakeHost, agent_on, create
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Invalid, Unsupported
from weft.hoststate import Qdisc, Redirect
from weft.model import Bandwidth

BOTH = Bandwidth(ingress=100_000_000, egress=50_000_000)


async def attach(agent: Agent, target: str, bandwidth: Bandwidth | None = None, **labels: str) -> t.EndpointInfo:
    named = {f"weft.bandwidth/{name}": value for name, value in labels.items()}
    return await Service(agent).attach(t.Attach(target=target, network="blue", bandwidth=bandwidth, labels=named))


def limits(host: FakeHost) -> dict[str, int]:
    """By kind of device: the host's end of a veth, or the queue."""
    buckets = [o for o in host.ours().values() if isinstance(o, Qdisc)]
    return {"from" if o.dev.startswith("weftq") else "to": o.rate for o in buckets}


@pytest.mark.parametrize("driver", ["vxlan", "overlay", "bridge", "host-gw"])
async def test_whatever_the_driver(agent: Agent, host: FakeHost, driver: str) -> None:
    await create(agent, driver=driver)
    host.open("c1")
    made = await attach(agent, "c1", BOTH)
    assert made.bandwidth == BOTH
    assert limits(host) == {"to": 100_000_000, "from": 50_000_000}
    assert {o.dev for o in host.ours().values() if isinstance(o, Redirect)} >= {made.host_interface}
    await Service(agent).detach("c1")
    assert limits(host) == {}


async def test_labels(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    made = await attach(agent, "c1", Bandwidth(egress=8000), ingress="1mbit", egress="9mbit")
    assert made.bandwidth == Bandwidth(ingress=1_000_000, egress=8000)
    assert limits(host) == {"to": 1_000_000, "from": 8000}
    host.open("c2")
    with pytest.raises(Invalid, match="'much' is not a rate"):
        await attach(agent, "c2", ingress="much")
    assert len(agent.view.endpoints) == 1


async def test_attaching_again(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    for name in ("c1", "c2"):
        host.open(name)
    made = await attach(agent, "c1", BOTH)
    assert await attach(agent, "c1", BOTH) == await attach(agent, "c1") == made
    assert (await attach(agent, "c1", Bandwidth(ingress=1_000_000))).bandwidth == Bandwidth(
        ingress=1_000_000, egress=50_000_000
    )
    assert limits(host) == {"to": 1_000_000, "from": 50_000_000}
    await Service(agent).detach("c1")
    await attach(agent, "c2")
    assert (await attach(agent, "c2", egress="8kbit")).bandwidth == Bandwidth(egress=8000), "by a label, too"
    assert limits(host) == {"from": 8000}


async def test_a_kernel_that_cannot(host: FakeHost, store_file: Path) -> None:
    host.change(features=FEATURES - {"ifb"})
    async with agent_on(host, store_file) as agent:
        await create(agent)
        host.open("c1")
        with pytest.raises(Unsupported, match="c1: this host's kernel lacks ifb, which a limit of bandwidth needs"):
            await attach(agent, "c1", BOTH)
        assert agent.view.endpoints == {}
        await attach(agent, "c1", Bandwidth(ingress=1_000_000))
        assert limits(host) == {"to": 1_000_000}
