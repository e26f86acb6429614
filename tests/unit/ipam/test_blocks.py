"""Networks whose addresses come from blocks: who gets which, what is written, what is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Invalid
from weft.hoststate.union import Source
from weft.model import AddressRange, Lease, claims, keys
from weft.store.protocol import Delete, Listing, Put

SUBNETS = ("10.9.0.0/24", "fd09::/64")


@pytest.fixture
async def agent(host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """Blocks without containers go back at once."""
    async with agent_on(host, store_file, block_idle=0.1) as running:
        yield running


@pytest.fixture
def other_host() -> FakeHost:
    return FakeHost("192.168.1.254/24")


@pytest.fixture
async def other(agent: Agent, other_host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """node-2, of the same store, in rack b."""
    async with agent_on(other_host, store_file, "node-2", labels={"rack": "b"}) as running:
        await until(lambda: "node-2" in agent.view.present and "node-1" in running.view.present)
        yield running


async def prod(agent: Agent, *others: Agent, subnets: tuple[str, ...] = SUBNETS, **options: Any) -> None:
    options = {"cooldown": 0, **options}
    await create(agent, "prod", *subnets, driver="routed", **options)
    await until(lambda: all(a.view.lease("prod", a.view.me) for a in (agent, *others)))


async def connect(agent: Agent, host: FakeHost, name: str, net: str = "prod", **more: Any) -> t.EndpointInfo:
    host.open(name)
    return await attach(agent, name, net, **more)


def ips(endpoint: t.EndpointInfo) -> list[str]:
    return [str(a.ip) for a in endpoint.addresses]


def lease(agent: Agent, node: str = "") -> Lease:
    found = agent.view.lease("prod", node or agent.view.me)
    assert found is not None
    return found


async def claimed(agent: Agent, prefix: str) -> list[str]:
    return [item.key.removeprefix(prefix) for item in (await agent.store.list(prefix)).items]


async def left(agent: Agent) -> list[str]:
    return await claimed(agent, keys.address_claims("prod")) + await claimed(agent, keys.subnet_claims("prod"))


# Coming and going.


async def test_a_node_begins_without_blocks_and_takes_them_as_containers_come(agent: Agent, host: FakeHost) -> None:
    await prod(agent)
    assert lease(agent).subnets == () and await left(agent) == []
    one = await connect(agent, host, "c1")
    assert len(one.addresses) == 2 and [a.network.prefixlen for a in one.addresses] == [32, 128]
    v4, v6 = lease(agent).subnets
    assert (v4.prefixlen, v6.prefixlen) == (26, 122)
    assert one.addresses[0].ip == v4.network_address and one.addresses[1].ip == v6.network_address
    two = await connect(agent, host, "c2")
    assert ip_address(ips(two)[0]) == v4.network_address + 1
    assert len(lease(agent).subnets) == 2 and len(await left(agent)) == 2 * 2 + 2
    assert set(ips(one)).isdisjoint(ips(two))


async def test_fifty_at_once(agent: Agent, host: FakeHost) -> None:
    await prod(agent, block_size=28)
    made = await asyncio.gather(*(connect(agent, host, f"c{n}") for n in range(50)))
    assert len({ip for e in made for ip in ips(e)}) == 100
    assert sorted(s.prefixlen for s in lease(agent).subnets) == [28, 28, 28, 28, 122] and lease(agent).hosts == ()
    await asyncio.gather(*(Service(agent).detach(f"c{n}") for n in range(50)))
    await until(lambda: lease(agent).subnets == ())
    assert await left(agent) == []


async def test_fifty_at_once_that_all_borrow(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost) -> None:
    await prod(agent, other, subnets=("10.9.0.0/25",), block_size=25)
    first = await connect(agent, host, "c0")
    made = await asyncio.gather(*(connect(other, other_host, f"c{n}") for n in range(1, 51)))
    assert len({ip for e in (first, *made) for ip in ips(e)}) == 51
    assert lease(other).subnets == () and len(lease(other).hosts) == 50
    await asyncio.gather(*(Service(other).detach(f"c{n}") for n in range(1, 51)))
    assert lease(other).hosts == () and len(await left(agent)) == 2


async def test_an_empty_block_goes_back_and_a_used_one_stays(agent: Agent, host: FakeHost) -> None:
    await prod(agent)
    await connect(agent, host, "c1")
    held = lease(agent)
    await asyncio.gather(*(agent.attachments.blocks.give_back("prod", list(held.subnets)) for _ in range(3)))
    assert lease(agent) == held
    await Service(agent).detach("c1")
    await until(lambda: lease(agent).subnets == ())
    await until(lambda: "prod" in agent.view.networks)
    assert await left(agent) == []


async def test_what_came_meanwhile_keeps_its_block(agent: Agent, host: FakeHost) -> None:
    """An endpoint that another instance of this agent wrote just before the block goes."""
    await prod(agent)
    await connect(agent, host, "c1")
    item = (await agent.store.list(keys.endpoints("node-1"))).items[0]
    held, tap = lease(agent), agent.store
    agent.view.endpoints.clear()  # as if it were not known yet
    assert not await agent.attachments.blocks.give_back("prod", list(held.subnets))
    await tap.commit([], [Put(item.key, item.value)])
    assert lease(agent) == held


async def test_what_comes_at_the_last_moment_keeps_its_block(
    host: FakeHost, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written after this node's endpoints were looked at, before the block is given back."""
    async with agent_on(host, store_file) as agent:
        await prod(agent)
        await connect(agent, host, "c1")
        held, store = lease(agent), agent.store
        [item] = (await store.list(keys.endpoints("node-1"))).items
        await store.commit([], [Delete(item.key)])
        await until(lambda: not agent.view.endpoints)
        listed = store.list

        async def list_and_write(prefix: str) -> Listing:
            found = await listed(prefix)
            if prefix == keys.endpoints("node-1"):
                await store.commit([], [Put(item.key, item.value)])
            return found

        monkeypatch.setattr(store, "list", list_and_write)
        assert not await agent.attachments.blocks.give_back("prod", list(held.subnets))
        monkeypatch.undo()
        await until(lambda: agent.view.endpoints)
        assert lease(agent) == held
        await store.commit([], [Delete(item.key)])
        await until(lambda: not agent.view.endpoints)
        assert await agent.attachments.blocks.give_back("prod", list(held.subnets))
        assert lease(agent).subnets == ()


# Outside the own blocks.


async def test_a_full_node_borrows_and_gives_back(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost
) -> None:
    await prod(agent, other, subnets=("10.9.0.0/29",), block_size=30)
    for n in range(4):
        await connect(agent, host, f"a{n}")
    for n in range(3):
        await connect(other, other_host, f"b{n}")
    lone = await connect(agent, host, "a4")
    assert lease(agent).hosts == (lone.addresses[0].network,) and len(lease(agent).subnets) == 1
    with pytest.raises(
        Exhausted, match=r"of 2 blocks of /30 in 10.9.0.0/29 it has 1, all full, others have 1 .*weft pool add"
    ):
        await connect(other, other_host, "b4")
    assert len(await left(agent)) == 8 + 2
    await Service(agent).detach("a4")
    assert lease(agent).hosts == ()
    assert ips(await connect(other, other_host, "b5")) == ips(lone)
    assert lease(other).hosts == ()


async def test_strict_affinity_borrows_nothing(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost
) -> None:
    await prod(agent, other, subnets=("10.9.0.0/31", "10.8.0.0/31"), block_size=31, strict_affinity=True)
    one = await connect(agent, host, "a1")
    free = "10.9.0.0" if ips(one)[0].startswith("10.8") else "10.8.0.0"
    with pytest.raises(Conflict, match=r"is in block 10.*/31 of node-1, .* strict-affinity"):
        await connect(other, other_host, "b0", addresses=(one.addresses[0].ip + 1,))
    assert ips(await connect(other, other_host, "b1", addresses=(ip_address(free),))) == [free]
    assert lease(other).subnets == (ip_network(f"{free}/31"),) and lease(other).hosts == ()
    await connect(other, other_host, "b2")
    with pytest.raises(Exhausted, match="strict-affinity forbids borrowing"):
        await connect(other, other_host, "b3")


async def test_wishes(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost) -> None:
    await prod(agent, other, reserve="10.9.0.128/25")
    one = await connect(agent, host, "c1")
    near, far = one.addresses[0].ip + 1, ip_address("10.9.0.5")
    far = far if far not in lease(agent).subnets[0] else ip_address("10.9.0.70")
    assert ips(await connect(agent, host, "c2", addresses=(near,)))[0] == str(near)
    lone = await connect(agent, host, "c3", addresses=(far,))
    assert lease(agent).hosts == (lone.addresses[0].network,)
    for wish, error, text in (
        ("10.9.0.130", Invalid, "reserved"),
        ("10.10.0.1", Invalid, "outside network prod: choose one of 10.9.0.0/24, fd09::/64"),
        (str(far), Conflict, "is taken by c3 on node-1"),
    ):
        with pytest.raises(error, match=text):
            await connect(other, other_host, "c4", addresses=(ip_address(wish),))
    assert lease(other).subnets == () and len(other.view.endpoints) == 0
    await Service(agent).detach("c3")
    assert lease(agent).hosts == ()


async def test_both_families_or_none(agent: Agent, host: FakeHost) -> None:
    await prod(agent, subnets=("10.9.0.0/26", "fd09::/127"), block_size_v6=127)
    for n in range(2):
        await connect(agent, host, f"c{n}")
    before = await left(agent)
    with pytest.raises(Exhausted, match="no IPv6 address is left for node-1"):
        await connect(agent, host, "c2")
    assert await left(agent) == before and not any(agent.attachments._promised.values())


# Cool-down.


async def test_a_freed_address_cools_down_and_a_wish_may_have_it(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost
) -> None:
    await prod(agent, other, subnets=("10.9.0.0/30",), block_size=30, cooldown=2)
    made = [await connect(agent, host, f"c{n}") for n in range(4)]
    await Service(agent).detach("c1")
    [item] = [i for i in (await agent.store.list(keys.address_claims("prod"))).items if claims.is_cooling(i.value)]
    assert item.value == b"nobody, was c1 on node-1"
    for a, h in ((agent, host), (other, other_host)):
        with pytest.raises(Exhausted):
            await connect(a, h, "d1")
    back = await connect(other, other_host, "c1", addresses=(made[1].addresses[0].ip,))
    assert ips(back) == ips(made[1]) and lease(other).hosts == (made[1].addresses[0].network,)
    await Service(agent).detach("c2")
    agent.attachments.blocks._cooling.clear()  # as after a restart
    with pytest.raises(Exhausted):
        await connect(agent, host, "d2")
    await until(lambda: not agent.attachments.blocks._cold("prod"))
    deadline = asyncio.get_running_loop().time() + 10
    while str(made[2].addresses[0].ip) in await left(agent):
        assert asyncio.get_running_loop().time() < deadline, "the claim frees itself"
        await asyncio.sleep(0.05)
    assert ips(await connect(agent, host, "d3")) == ips(made[2])


# Addresses kept for endpoints to come, and ranges.


async def test_an_address_that_is_kept_is_nobody_else_s(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost
) -> None:
    await prod(agent, other, subnets=("10.9.0.0/30",), block_size=30)
    service = Service(agent)
    kept = (await service.reserve("prod", t.Reserve(family=4, owner="engine/"))).address
    gone = (await service.reserve("prod", t.Reserve(family=4, owner="engine/"))).address
    assert len(lease(agent).subnets) == 1 and kept != gone
    assert (await service.check_ipam(t.CheckIpam())).faults == ()
    with pytest.raises(Conflict, match="is taken by a container to come on node-1"):
        await connect(other, other_host, "b1", addresses=(kept.ip,))
    assert {ips(await connect(other, other_host, f"c{n}"))[0] for n in range(2)}.isdisjoint(
        {str(kept.ip), str(gone.ip)}
    )
    with pytest.raises(Exhausted):
        await connect(other, other_host, "c2")
    made = await connect(agent, host, "a1", addresses=(kept.ip,), owner="engine/a1")
    assert made.addresses == (kept,)
    assert (await service.release("prod", str(gone.ip), "engine/")).what == (str(gone.ip),)
    assert ips(await connect(other, other_host, "c2")) == [str(gone.ip)]
    assert (await service.check_ipam(t.CheckIpam())).faults == ()


async def test_only_addresses_of_a_range(agent: Agent, host: FakeHost) -> None:
    await prod(agent, subnets=("10.9.0.0/24", "10.8.0.0/24"))
    part = AddressRange(subnet=ip_network("10.8.0.0/24"), first=ip_address("10.8.0.100"), last=ip_address("10.8.0.101"))
    made = [ips(await connect(agent, host, f"c{n}", ranges=(part,)))[0] for n in range(2)]
    assert sorted(made) == ["10.8.0.100", "10.8.0.101"] and lease(agent).subnets == (ip_network("10.8.0.64/26"),)
    with pytest.raises(Exhausted):
        await connect(agent, host, "c2", ranges=(part,))
    with pytest.raises(Invalid, match=r"is not within 10\.8\.0\.100-10\.8\.0\.101"):
        await connect(agent, host, "c2", ranges=(part,), addresses=(ip_address("10.9.0.9"),))
    gateway = msgspec.structs.replace(part, gateway=ip_address("10.8.0.1"))
    with pytest.raises(Invalid, match=r"10\.8\.0\.1 is no gateway"):
        await connect(agent, host, "c2", ranges=(gateway,))


# A lease that was lost.


async def test_a_lost_lease_is_taken_up_again(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost) -> None:
    await prod(agent, other)
    one = await connect(agent, host, "c1")
    theirs = await connect(other, other_host, "c2")
    lone = await connect(agent, host, "c3", addresses=(theirs.addresses[0].ip + 1,))
    held = lease(agent)
    await agent.store.commit([], [Delete(keys.lease("prod", "node-1"))])
    await until(lambda: agent.view.lease("prod", "node-1") is not None and lease(agent) == held)
    assert held.hosts == (lone.addresses[0].network,) and one.addresses[0] in held.subnets[0]


# Several networks over one.


async def test_a_network_that_shares_another_s_blocks(agent: Agent, host: FakeHost, other: Agent) -> None:
    await prod(agent, other)
    dev = await create(agent, "dev", "10.9.0.0/24", "fd09::/64", driver="routed", share="prod")
    assert dev.subnets == agent.view.networks["prod"].subnets
    one, two = await connect(agent, host, "c1"), await connect(agent, host, "c2", "dev")
    assert ip_address(ips(two)[0]) == ip_address(ips(one)[0]) + 1 and two.network == "dev"
    assert agent.view.leases.get("dev", {}) == {} and len(lease(agent).subnets) == 2
    assert any(o for o in host.inside("/run/netns/c2"))
    inside = {Source("endpoint", "dev", two.id)}
    assert inside <= agent.compiler.of_network("dev"), "also where the network is heard of after its containers"
    assert inside <= agent.compiler.of_network("prod")
    with pytest.raises(Conflict, match="network prod is shared by dev: remove that first"):
        await Service(agent).remove_network("prod", force="yes")
    for options, text in (
        ({"share": "prod", "cooldown": 3}, "option cooldown cannot be its own"),
        ({"share": "dev"}, "share=prod"),
    ):
        with pytest.raises(Invalid, match=text):
            await create(agent, "test", "10.9.0.0/24", "fd09::/64", driver="routed", **options)
    await until(lambda: "dev" in other.view.networks)
    await Service(other).remove_network("dev", force="yes")
    await until(lambda: [e.name for e in agent.view.endpoints.values()] == ["c1"])
    assert len(await claimed(agent, keys.address_claims("prod"))) == 2
    await until(lambda: "dev" not in agent.view.networks and not host.inside("/run/netns/c2"))
    await Service(agent).remove_network("prod", force="yes")
    assert await left(agent) == []


async def test_a_removed_node_leaves_nothing(agent: Agent, host: FakeHost, store_file: Path) -> None:
    await prod(agent)
    await connect(agent, host, "c1")
    gone = FakeHost("192.168.1.9/24")
    async with agent_on(gone, store_file, "node-3") as third:
        await until(lambda: "prod" in third.view.networks)
        await connect(third, gone, "c3", addresses=(next(iter(agent.view.endpoints.values())).addresses[0].ip + 1,))
    await Service(agent).remove_node("node-3", force="yes")
    assert len(await left(agent)) == 4
    assert agent.view.lease("prod", "node-3") is None
