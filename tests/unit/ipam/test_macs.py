"""MAC addresses that are asked for: nobody else on the same segment has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.base.errors import Conflict, WeftError
from weft.base.names import stable_mac
from weft.model import keys

MAC = "02:11:22:33:44:55"


@pytest.fixture
async def hosts(agent: Agent, host: FakeHost, store_file: Path) -> AsyncIterator[tuple[Agent, Agent]]:
    """node-1 and node-2, with containers a1, b1 and a2, b2."""
    far = FakeHost("192.168.1.254/24")
    async with agent_on(far, store_file, "node-2") as other:
        await until(lambda: "node-2" in agent.view.present and "node-1" in other.view.present)
        for name in ("a", "b"):
            host.open(f"{name}1")
            far.open(f"{name}2")
        yield agent, other


async def network(driver: str, *agents: Agent) -> None:
    await create(agents[0], "blue", "10.20.0.0/16", "fd20::/64" if driver == "overlay" else "fd20::/48", driver=driver)
    await until(lambda: all("blue" in agent.view.networks for agent in agents))


@pytest.mark.parametrize("second", [0, 1])
async def test_the_same_mac_twice_in_an_overlay_network_is_refused(hosts: tuple[Agent, Agent], second: int) -> None:
    """On the same host and on another one, where nobody need have told of it yet."""
    await network("overlay", *hosts)
    await attach(hosts[0], "a1", mac=MAC)
    target = f"b{second + 1}"
    with pytest.raises(Conflict, match=f"MAC address {MAC} is taken in network blue by .*: choose another"):
        await attach(hosts[second], target, mac=MAC.upper())
    await Service(hosts[0]).detach("a1", network="blue")
    assert (await hosts[0].store.list(keys.mac_claims("blue"))).items == ()
    assert (await attach(hosts[second], target, mac=MAC)).mac == MAC


@pytest.mark.parametrize("driver", ["overlay", "vxlan"])
async def test_of_twins_at_once_one_has_it(hosts: tuple[Agent, Agent], driver: str) -> None:
    await network(driver, *hosts)
    targets = ("a1", "b1") if driver == "vxlan" else ("a1", "b2")
    agents = (hosts[0], hosts[0]) if driver == "vxlan" else hosts
    attempts = [attach(agent, target, mac=MAC) for agent, target in zip(agents, targets, strict=True)]
    outcome = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [one for one in outcome if isinstance(one, WeftError)]
    assert len(refused) == 1 and "MAC address" in str(refused[0])
    assert len((await hosts[0].store.list(keys.mac_claims("blue"))).items) == 1


async def test_a_bridge_is_each_hosts_own(hosts: tuple[Agent, Agent]) -> None:
    await network("vxlan", *hosts)
    await attach(hosts[0], "a1", mac=MAC)
    with pytest.raises(Conflict, match="is taken in network blue by a1"):
        await attach(hosts[0], "b1", mac=MAC)
    assert (await attach(hosts[1], "a2", mac=MAC)).mac == MAC
    await Service(hosts[0]).detach("a1", network="blue")
    await attach(hosts[0], "b1", mac=MAC)


@pytest.mark.parametrize("driver", ["overlay", "vxlan"])
async def test_a_mac_that_somebody_has_without_asking_is_refused(hosts: tuple[Agent, Agent], driver: str) -> None:
    """The gateway's, and the one of the container that has or gets an address."""
    await network(driver, *hosts)
    with pytest.raises(Conflict, match="by the gateway on node-2"):
        await attach(hosts[0], "a1", mac=stable_mac("bridge", "node-2", "blue"))
    with pytest.raises(Conflict, match=r"by the container with 10\.20\.99\.9"):
        await attach(hosts[0], "a1", mac="02:42:0a:14:63:09")
    made = await attach(hosts[0], "a1", mac="02:42:0b:14:63:09")  # of no address of this network
    assert made.mac == "02:42:0b:14:63:09"


async def test_the_usual_mac_needs_no_claim(hosts: tuple[Agent, Agent]) -> None:
    await network("overlay", *hosts)
    made = await attach(hosts[0], "a1")
    await Service(hosts[0]).detach("a1", network="blue")
    assert (await attach(hosts[0], "a1", mac=made.mac, addresses=(made.addresses[0].ip,))).mac == made.mac
    assert (await hosts[0].store.list(keys.mac_claims("blue"))).items == ()


async def test_where_each_is_alone_on_its_link_the_same_mac_does_no_harm(hosts: tuple[Agent, Agent]) -> None:
    await create(hosts[0], "blue", "10.20.0.0/16", driver="routed")
    await attach(hosts[0], "a1", mac=MAC)
    assert (await attach(hosts[0], "b1", mac=MAC)).mac == MAC


async def test_a_removed_network_or_node_leaves_no_claim(hosts: tuple[Agent, Agent]) -> None:
    await network("vxlan", *hosts)
    await attach(hosts[0], "a1", mac=MAC)
    await attach(hosts[1], "a2", mac=MAC)
    await Service(hosts[0]).remove_node("node-2", force="yes")
    assert [i.key for i in (await hosts[0].store.list("claims/macs/")).items] == [f"claims/macs/blue/node-1/{MAC}"]
    await Service(hosts[0]).remove_network("blue", force="yes")
    assert (await hosts[0].store.list("claims/macs/")).items == ()
