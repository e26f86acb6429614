"""Interfaces that an engine takes over: made in the host's namespace, given away, never fought over."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, settled, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound
from weft.hoststate import Address, Link, Route, Veth
from weft.ipam.promises import Promises

OWNER = "docker/n1/e1"
SANDBOX = "/run/docker/netns/abc"


async def address_of(agent: Agent, index: int, network: str = "blue") -> str:
    lease = agent.view.lease(network, "node-1")
    assert lease
    return str(lease.subnets[0][index])


async def hand_over(agent: Agent, address: str, target: str = "", owner: str = OWNER, **more: object) -> t.EndpointInfo:
    wish = t.Attach(
        target=target,
        network="blue",
        addresses=(ip_address(address),),
        owner=owner,
        handover=True,
        **more,  # type: ignore[arg-type]
    )
    return await Service(agent).attach(wish)


async def test_the_host_s_end_is_weft_s_the_other_is_given(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    made = await hand_over(agent, await address_of(agent, 2))
    veth = host.objects["link", "", made.host_interface]
    assert isinstance(veth, Link)
    assert veth.type == Veth(peer=made.handover, peer_ns="", given=True)
    assert veth.master == "weft-blue" and veth.mtu == made.mtu == 1450
    assert not [o for o in host.objects.values() if o.ns or (isinstance(o, Address | Route) and o.dev == made.handover)]


async def test_the_engine_is_told_what_it_has_to_do(agent: Agent) -> None:
    await create(agent)
    made = await hand_over(agent, await address_of(agent, 2), mac="02:00:00:00:00:01")
    gateway = ip_address(await address_of(agent, 1))
    assert [(str(r.destination), r.gateway) for r in made.routes] == [("0.0.0.0/0", gateway)]
    assert made.gateways == (gateway,) and made.mac == "02:00:00:00:00:01"


async def test_an_internal_network_has_no_default_route(agent: Agent) -> None:
    await create(agent, internal=True)
    made = await hand_over(agent, await address_of(agent, 2))
    assert [str(r.destination) for r in made.routes] == ["10.1.0.0/16"]


async def test_the_place_is_told_later(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    address = await address_of(agent, 2)
    first = await hand_over(agent, address)
    before = dict(host.objects)
    second = await hand_over(agent, address, SANDBOX)
    assert (second.id, second.handover, second.namespace) == (first.id, first.handover, SANDBOX)
    assert host.objects == before
    assert await hand_over(agent, address, SANDBOX) == second
    third = await hand_over(agent, await address_of(agent, 3), SANDBOX, "docker/n1/e2")
    assert (second.interface, third.interface) == ("eth0", "eth1")


async def test_who_asks_again_for_something_else_is_refused(agent: Agent) -> None:
    await create(agent)
    await hand_over(agent, await address_of(agent, 2))
    with pytest.raises(Conflict, match="detach it first"):
        await hand_over(agent, await address_of(agent, 3))


@pytest.mark.parametrize(("owner", "addresses"), [("", 1), (OWNER, 0)])
async def test_an_owner_and_addresses_are_needed(agent: Agent, owner: str, addresses: int) -> None:
    await create(agent)
    wishes = (ip_address(await address_of(agent, 2)),)[:addresses]
    with pytest.raises(Invalid, match="handed over needs"):
        await Service(agent).attach(t.Attach(target="", network="blue", addresses=wishes, owner=owner, handover=True))


async def test_what_the_engine_does_with_its_end_is_no_drift(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    made = await hand_over(agent, await address_of(agent, 2), SANDBOX)
    host.objects.pop(("link", "", made.handover))  # it is in the container now
    agent.loop.resync()
    await settled(agent)
    assert ("link", "", made.handover) not in host.objects
    assert (await Service(agent).plan()).commands == ()


async def test_it_stays_until_the_engine_takes_it_away(agent: Agent, host: FakeHost) -> None:
    """Weft tidies up after containers of its own only: here it does not know the namespace."""
    await create(agent)
    made = await hand_over(agent, await address_of(agent, 2), SANDBOX)
    host.open("c1")
    await attach(agent, "c1")
    host.cookies[SANDBOX] = 4711  # now the namespace is there
    host.vanish("/run/netns/c1")
    agent.tidy.wake.set()
    await until(lambda: len(agent.view.endpoints) == 1)
    assert [e.id for e in await Service(agent).endpoints()] == [made.id]


async def test_a_restart_finds_it(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent)
        made = await hand_over(agent, await address_of(agent, 2), SANDBOX)
        before = dict(host.objects)
    async with agent_on(host, store_file) as agent:
        assert [e.id for e in await Service(agent).endpoints(owner="docker/")] == [made.id]
        assert host.objects == before
        await Service(agent).detach(owner=OWNER)
        assert ("link", "", made.host_interface) not in host.objects


async def test_only_the_families_asked_for(agent: Agent) -> None:
    await create(agent, "blue", "10.1.0.0/16", "fd00:1::/48")
    made = await hand_over(agent, await address_of(agent, 2))
    assert [a.version for a in made.addresses] == [4]


# Addresses that are kept.


async def test_a_kept_address_is_its_owner_s_only(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    service = Service(agent)
    kept = (await service.reserve("blue", t.Reserve(family=4, owner="docker/"))).address
    other = (await service.reserve("blue", t.Reserve(family=4, owner="docker/"))).address
    assert kept != other and str(kept).endswith("/24")
    host.open("c1")
    with pytest.raises(Conflict, match="a container to come"):
        await service.attach(t.Attach(target="c1", network="blue", addresses=(kept.ip,)))
    with pytest.raises(Conflict, match="a container to come"):
        await service.reserve("blue", t.Reserve(family=4, owner="docker/", address=kept.ip))
    assert str((await hand_over(agent, str(kept.ip))).addresses[0]) == str(kept)


async def test_a_kept_address_is_given_back(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    service = Service(agent)
    kept = (await service.reserve("blue", t.Reserve(family=4, owner="docker/"))).address
    assert (await service.release("blue", str(kept.ip), "cni/")).what == ()
    assert (await service.release("blue", str(kept.ip), "docker/")).what == (str(kept.ip),)
    host.open("c1")
    assert (await service.attach(t.Attach(target="c1", network="blue", addresses=(kept.ip,)))).addresses == (kept,)


async def test_a_family_that_the_network_lacks(agent: Agent) -> None:
    await create(agent)
    with pytest.raises(Invalid, match="has no IPv6 addresses"):
        await Service(agent).reserve("blue", t.Reserve(family=6, owner="docker/"))


def test_a_promise_ends_by_itself() -> None:
    now = 0.0
    promises = Promises(lambda: now)
    promises.keep("blue", ip_address("10.1.1.2"), "docker/", 60)
    now = 59.9
    assert promises.of_others("blue", "cni/x") == [ip_address("10.1.1.2")]
    assert promises.of_others("blue", "docker/n/e") == [] and promises.of_others("red", "") == []
    now = 60.0
    assert promises.of_others("blue", "") == []


async def test_the_place_of_what_is_not_there_is_refused(agent: Agent) -> None:
    await create(agent)
    with pytest.raises(NotFound, match="it was never attached, or is detached"):
        await Service(agent).attach(t.Attach(target=SANDBOX, network="blue", owner=OWNER, handover=True))
    assert not agent.view.endpoints


async def test_the_place_alone_is_told_afterwards(agent: Agent) -> None:
    await create(agent)
    made = await hand_over(agent, await address_of(agent, 2))
    told = await Service(agent).attach(t.Attach(target=SANDBOX, network="blue", owner=OWNER, handover=True))
    assert (told.id, told.addresses, told.namespace) == (made.id, made.addresses, SANDBOX)
