"""What a new network cannot have on this host is refused in one line, and nothing has changed."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from support.agents import FakeHost, create, network, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Invalid
from weft.reconcile.protocol import UplinkChanged


@pytest.mark.parametrize("subnet", ["172.17.0.0/16", "172.17.3.0/24", "172.16.0.0/15"])
async def test_a_subnet_that_overlaps_an_engines_bridge_is_refused(agent: Agent, host: FakeHost, subnet: str) -> None:
    """And so is that of another interface: the uplink's is not the only one that counts."""
    host.change(attached=frozenset({("docker0", ip_network("172.17.0.0/16"))}))
    await agent.loop.in_thread(lambda: host._tell(UplinkChanged("docker0 has an address")))
    await until(lambda: agent.compiler.host is not None and agent.compiler.host.attached)
    with pytest.raises(Conflict, match=r"overlaps 172\.17\.0\.0/16, which this host has on docker0: choose another"):
        await create(agent, "blue", subnet, driver="bridge")
    assert agent.view.networks == {}
    await create(agent, "blue", "172.18.0.0/16", driver="bridge")


@pytest.mark.parametrize(
    ("driver", "room"), [("vxlan", 1450), ("overlay", 1450), ("host-gw", 1500), ("routed", 1500), ("bridge", None)]
)
async def test_an_mtu_that_does_not_fit_through_the_uplink_is_refused(
    agent: Agent, driver: str, room: int | None
) -> None:
    wish = msgspec.structs.replace(network("blue", "10.1.0.0/16", driver=driver), mtu=9000)
    ask = Service(agent).create_network(t.CreateNetwork(network=wish))
    if room is None:  # it leads to no other host
        assert (await ask).mtu == 9000
        return
    with pytest.raises(
        Invalid, match=rf"MTU 9000 does not fit: eth0 carries 1500.*: give --mtu {room} or leave it out"
    ):
        await ask
    assert agent.view.networks == {}
