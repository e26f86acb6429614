"""`weft ipam show` and `check`: nothing is found of what agents did; what was edited by hand is found and put right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Invalid
from weft.base.net import IPAddress, parse_address, parse_network
from weft.model import Lease, decode, encode, keys
from weft.store.protocol import Delete, Put


@pytest.fixture
async def other(agent: Agent, store_file: Path) -> AsyncIterator[Agent]:
    """node-2, with a container in `prod` that has borrowed an address, and one in the overlay."""
    await create(agent, "prod", "10.9.0.0/24", driver="routed", cooldown=0)
    await create(agent, "over", "10.20.0.0/24", driver="overlay")
    host = FakeHost("192.168.1.254/24")
    async with agent_on(host, store_file, "node-2") as running:
        await until(lambda: running.view.lease("prod", "node-2") and "over" in running.view.networks)
        for name in ("b1", "b2", "o1"):
            host.open(name)
        await attach(running, "b1", "prod")
        await attach(running, "b2", "prod", addresses=(outside(running),))
        await attach(running, "o1", "over")
        yield running


def outside(agent: Agent) -> IPAddress:
    lease = agent.view.lease("prod", agent.view.me)
    blocks = lease.subnets if lease else ()
    return next(a for n in (5, 70) if not any((a := parse_address(f"10.9.0.{n}")) in b for b in blocks))


async def check(agent: Agent, *, fix: bool = False, network: str = "") -> list[tuple[str, bool]]:
    found = await Service(agent).check_ipam(t.CheckIpam(network=network, fix=fix))
    assert found.endpoints and found.addresses
    return sorted((f.kind, f.fixed) for f in found.faults)


async def held(agent: Agent, node: str = "node-2") -> Lease:
    item = await agent.store.get(keys.lease("prod", node))
    assert item is not None
    return decode(Lease, item.value)


async def test_nothing_is_wrong_and_all_is_shown(agent: Agent, other: Agent) -> None:
    assert await check(agent) == []
    over, prod = await Service(agent).ipam()
    assert (over.network, over.used, over.blocks, over.outside) == ("over", 1, (), 0)
    assert (prod.used, prod.cooling, prod.outside) == (2, 0, 1)
    [block] = prod.blocks
    assert (block.node, block.used, block.borrowed, block.free) == ("node-2", 1, 0, 63)
    assert await Service(agent).ipam("prod") == (prod,)
    await create(agent, "blue")
    with pytest.raises(Invalid, match="network blue: its addresses are out of its nodes' subnets"):
        await Service(agent).ipam("blue")


async def test_borrowed_addresses_are_shown_in_their_block(agent: Agent, host: FakeHost, other: Agent) -> None:
    lease = await held(agent)
    host.open("a1")
    await attach(agent, "a1", "prod", addresses=(lease.subnets[0].broadcast_address,))
    [prod] = await Service(agent).ipam("prod")
    assert [(b.used, b.borrowed, b.free) for b in prod.blocks] == [(2, 1, 62)] and prod.outside == 2


async def _edit(agent: Agent, what: str) -> None:
    store, lease = agent.store, await held(agent)
    b1 = next(i for i in (await store.list(keys.endpoints("node-2"))).items if b'"name":"b1"' in i.value)
    o1 = next(i for i in (await store.list(keys.locations("over"))).items)
    address = lease.subnets[0].network_address
    block = keys.subnet_claim("prod", lease.subnets[0])
    ops = {
        "claim": Put(keys.address_claim("prod", parse_address("10.9.0.200")), b"ghost on node-9"),
        "cooling": Put(keys.address_claim("prod", address), b"nobody, was b1 on node-2"),
        "unclaimed": Delete(keys.address_claim("prod", address)),
        "endpoint": Delete(b1.key),
        "block": Put(keys.subnet_claim("prod", parse_network("10.9.0.192/26")), b"node-1"),
        "unblock": Delete(block),
        "stolen": Put(block, b"node-1"),
        "host": Put(keys.lease("prod", "node-2"), encode(msgspec.structs.replace(lease, hosts=()))),
        "hosts": Put(
            keys.lease("prod", "node-2"),
            encode(msgspec.structs.replace(lease, hosts=(*lease.hosts, parse_network("10.9.0.201/32")))),
        ),
        "nobody": Put(keys.lease("prod", "node-9"), encode(Lease(network="prod", node="node-9", subnets=()))),
        "network": Put("claims/addresses/gone/10.7.0.1", b"web on node-1"),
        "location": Put(keys.location("over", "f" * 16), o1.value),
        "overlay": Put("claims/addresses/over/10.20.0.99", b"web on node-1"),
        "unlocated": Delete("claims/addresses/over/" + decode_address(o1.value)),
        "unknown": Delete(keys.location("prod", b1.key.rpartition("/")[2])),
        "misknown": Put(o1.key, o1.value.replace(b'"namespace":"default"', b'"namespace":"other"')),
    }
    await store.commit([], [ops[what]])


def decode_address(value: bytes) -> str:
    return str(msgspec.json.decode(value)["addresses"][0])


FAULTS = {
    "claim": ["claim-without-endpoint"],
    "cooling": ["endpoint-without-claim"],
    "unclaimed": ["endpoint-without-claim"],
    "endpoint": ["claim-without-endpoint", "location-without-endpoint", "name-claim-without-endpoint"],
    "block": ["block-without-lease"],
    "unblock": ["block-without-claim"],
    "stolen": ["block-of-another", "block-without-lease", "not-routed"],
    "host": ["not-routed"],
    "hosts": ["route-without-endpoint"],
    "nobody": ["lease-of-nobody"],
    "network": ["claim-without-endpoint"],
    "location": ["location-without-endpoint"],
    "overlay": ["claim-without-endpoint"],
    "unlocated": ["endpoint-without-claim"],
    "unknown": ["endpoint-without-location"],
    "misknown": ["endpoint-without-location"],
}


@pytest.mark.parametrize("what", FAULTS)
async def test_a_fault_is_found_and_put_right(agent: Agent, other: Agent, what: str) -> None:
    await _edit(agent, what)
    assert await check(agent) == [(kind, False) for kind in FAULTS[what]]
    fixed = await check(agent, fix=True)
    assert {kind for kind, _ in fixed} == set(FAULTS[what]) and all(done for _, done in fixed)
    assert await check(agent) == []
    if what in ("cooling", "unclaimed", "unlocated", "unblock"):  # what is put back ends with its node's tenure
        await agent.store.revoke(other.cluster.tenure_lease)
        assert (await agent.store.list("claims/")).items == tuple(
            i for i in (await agent.store.list("claims/")).items if b"node-2" not in i.value
        )


async def test_a_node_that_is_gone(agent: Agent, other: Agent, store_file: Path) -> None:
    host = FakeHost("192.168.1.9/24")
    async with agent_on(host, store_file, "node-3") as third:
        await until(lambda: third.view.lease("prod", "node-3"))
        for name, network in (("c1", "prod"), ("c2", "over")):
            host.open(name)
            await attach(third, name, network)
    await agent.store.commit([], [Delete(keys.node("node-3"))])
    assert {kind for kind, _ in await check(agent)} == {"lease-of-nobody", "endpoint-of-nobody"}
    fixed = await check(agent, fix=True)
    assert {kind for kind, _ in fixed} >= {"lease-of-nobody", "endpoint-of-nobody"} and all(done for _, done in fixed)
    assert await check(agent) == []
    assert not [
        i.key
        for p in ("claims/", "endpoints/", "leases/")
        for i in (await agent.store.list(p)).items
        if b"node-3" in i.value and i.key != keys.number_claim(3)  # frees itself with the node's tenure
    ]


async def test_only_the_user_can_choose_between_two(agent: Agent, other: Agent, host: FakeHost) -> None:
    host.open("a1")
    await attach(agent, "a1", "prod")
    [a1] = (await agent.store.list(keys.endpoints("node-1"))).items
    b1 = next(i for i in (await agent.store.list(keys.endpoints("node-2"))).items if b'"name":"b1"' in i.value)
    mine, theirs = (msgspec.json.decode(i.value)["addresses"][0] for i in (a1, b1))
    await agent.store.commit([], [Put(a1.key, a1.value.replace(mine.encode(), theirs.encode()))])
    found = await Service(agent).check_ipam(t.CheckIpam(fix=True))
    [left] = [f for f in found.faults if not f.fixed]
    assert left.kind == "duplicate" and left.text.startswith("a1 on node-1, b1 on node-2 have the same")


async def test_one_network_only_and_what_cannot_be_read(agent: Agent, other: Agent) -> None:
    await _edit(agent, "overlay")
    assert await check(agent, network="prod") == []
    assert len(await check(agent, network="over")) == 1
    await agent.store.commit([], [Put("leases/prod/node-7", b"{")])
    assert [kind for kind, _ in await check(agent)] == ["claim-without-endpoint", "unreadable"]
