"""Networks with `fast=bypass` on a host in memory: which addresses are tracked all the same."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from support.agents import FakeHost, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import services as s
from weft.api import types as t
from weft.hoststate import HOST, NftChain, NftElement, netns
from weft.model import PublishedPort
from weft.model.codec import encode
from weft.model.endpoint import HOST_ITSELF
from weft.policy.model import Policy, Who
from weft.policy.record import POLICIES, policy_key
from weft.services.model import ServicePort
from weft.store.protocol import Delete, Put

CLOSED = Policy(id="policy//closed", kind="Policy", name="closed", subject=Who(), ingress=(), egress=())
SUBNETS = ("10.20.0.0/16", "fd20::/48")
PUBLISHED = (PublishedPort(host_port=8080, container_port=80),)
FLOATING = ip_address("192.0.2.7")


def tracked(host: FakeHost, ns: str = HOST) -> set[str]:
    found = (o for o in tuple(host.objects.values()) if isinstance(o, NftElement) and o.ns == ns)
    return {o.value for o in found if o.set.startswith("tracked-at")}


def addresses(*some: t.EndpointInfo) -> set[str]:
    return {str(address.ip) for each in some for address in each.addresses}


async def grown(host: FakeHost, before: set[str], to: set[str], ns: str = HOST) -> None:
    await until(lambda: tracked(host, ns) - before == to)


async def test_only_who_asks_for_it_has_untracked_packets(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", *SUBNETS, driver="vxlan")
    host.open("c1")
    await attach(agent, "c1", ports=PUBLISHED)
    names = {o.name for o in tuple(host.objects.values()) if isinstance(o, NftChain)}
    assert not tracked(host) and not names & {"bypass", "bypassed4", "bypassed6"}


@pytest.mark.parametrize("driver", ["vxlan", "host-gw", "routed", "bridge"])
async def test_the_hosts_own_addresses_are_tracked(agent: Agent, host: FakeHost, driver: str) -> None:
    """In subnets of nodes: a port of the host leads on from there. Routed containers may have any address of a block."""
    await create(agent, "blue", *SUBNETS, driver=driver, fast="bypass")
    host.open("c1")
    await attach(agent, "c1")
    chains = {o.name for o in tuple(host.objects.values()) if isinstance(o, NftChain)}
    assert {"bypass", "bypassed4", "bypassed6"} <= chains
    lease = agent.view.leases["blue"]["node-1"]
    own = {str(ip) for subnet in lease.subnets for ip in (subnet[0], subnet[1])}
    assert tracked(host) == (set() if driver == "routed" else own)


async def test_who_is_translated_is_tracked(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", *SUBNETS, driver="routed", fast="bypass")
    for name in ("c1", "c2", "c3"):
        host.open(name)
    await attach(agent, "c1")
    assert not tracked(host)
    published = await attach(agent, "c2", ports=PUBLISHED)
    assert tracked(host) == addresses(published)
    await attach(agent, "c3", floating=(FLOATING,))
    floats = next(e for e in agent.view.endpoints.values() if e.name == "c3")
    assert tracked(host) == addresses(published) | {str(a.ip) for a in floats.addresses}
    await Service(agent).detach("c3")
    await Service(agent).detach("c2")
    assert not tracked(host)


@pytest.mark.parametrize("driver", ["routed", "overlay"])
async def test_whom_policy_selects_is_tracked_until_it_does_no_more(agent: Agent, host: FakeHost, driver: str) -> None:
    """In the namespace in which it is asked; not by addresses that are none of the network's."""
    await create(agent, "blue", *SUBNETS, driver=driver, fast="bypass")
    host.open("c1")
    made = await attach(agent, "c1")
    place = netns("blue").path if driver == "overlay" else HOST
    await agent.store.commit((), [Put(policy_key(CLOSED), encode(CLOSED))])
    await grown(host, set(), addresses(made), place)
    assert place == HOST or not tracked(host)
    await agent.store.commit((), [Delete(policy_key(CLOSED))])
    await until(lambda: not agent.view.table(POLICIES).by("id"))
    await grown(host, set(), set(), place)


async def test_members_of_services_are_tracked(agent: Agent, host: FakeHost) -> None:
    """With the service's own addresses. Where only a port of the hosts leads to them, they are as well."""
    await create(agent, "blue", *SUBNETS, driver="routed", fast="bypass")
    for name in ("c1", "c2"):
        host.open(name)
    member = await attach(agent, "c1", labels={"app": "web"})
    await attach(agent, "c2")
    service = Service(agent)
    made = await service.create_service(
        s.CreateService(name="front", network="blue", select="app=web", ports=(ServicePort(port=80),))
    )
    virtual = {str(address) for address in made.service.addresses}
    await grown(host, set(), addresses(member) | virtual)
    await service.remove_service("blue/front")
    await grown(host, set(), set())
    await service.create_service(
        s.CreateService(
            name="door",
            network="blue",
            select="app=web",
            ports=(ServicePort(port=80),),
            publish=("8080:80",),
            mode="names",
        )
    )
    await grown(host, set(), addresses(member))


async def test_a_host_in_the_network_is_tracked(agent: Agent, host: FakeHost) -> None:
    """What comes by it from elsewhere has its address."""
    host.cookies[HOST] = host.cookies[HOST_ITSELF] = 1
    await create(agent, "office", "172.111.222.0/24", driver="mesh", fast="bypass")
    made = await Service(agent).expose("office", t.Expose())
    await grown(host, set(), addresses(made))
