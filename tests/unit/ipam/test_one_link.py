"""Networks with one subnet for all hosts, of which each has blocks: whose an address is, and what nobody gets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import linked
from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Invalid, WeftError
from weft.cluster.membership import presence_lease
from weft.ipam.stock import Stock
from weft.model import Lease, encode, keys
from weft.store.protocol import Put


@pytest.fixture(autouse=True)
def driver() -> Iterator[None]:
    with linked.linked():
        yield


@pytest.fixture
async def agent(host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    async with agent_on(host, store_file) as running:
        yield running


@pytest.fixture
def other_host() -> FakeHost:
    return FakeHost("192.168.1.254/24")


@pytest.fixture
async def other(agent: Agent, other_host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """node-2, of the same store."""
    async with agent_on(other_host, store_file, "node-2") as running:
        await until(lambda: "node-2" in agent.view.present and "node-1" in running.view.present)
        yield running


async def office(agent: Agent, *others: Agent, subnets: tuple[str, ...], **options: Any) -> None:
    await create(agent, "office", *subnets, driver=linked.NAME, **{"cooldown": 0, **options})
    await until(lambda: all(a.view.lease("office", a.view.me) for a in (agent, *others)))


async def connect(agent: Agent, host: FakeHost, name: str, **more: Any) -> t.EndpointInfo:
    host.open(name)
    return await attach(agent, name, "office", **more)


def lease(agent: Agent, node: str = "") -> Lease:
    found = agent.view.lease("office", node or agent.view.me)
    assert found is not None
    return found


async def test_a_container_is_on_the_whole_link_with_an_address_of_its_hosts_block(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost
) -> None:
    await office(agent, other, subnets=("172.111.222.0/24", "fd0f::/64"))
    one, two = await connect(agent, host, "c1"), await connect(other, other_host, "c1")
    for mine, at in ((one, agent), (two, other)):
        v4, v6 = mine.addresses
        assert (v4.network, v6.network) == (ip_network("172.111.222.0/24"), ip_network("fd0f::/64"))
        assert any(v4.ip in block for block in lease(at).subnets if block.version == 4)
        assert {block.prefixlen for block in lease(at).subnets} == {28, 122} and not lease(at).hosts
    assert set(lease(agent).subnets).isdisjoint(lease(other).subnets)


async def test_all_but_the_ends_are_given_and_then_it_says_what_to_do(agent: Agent, host: FakeHost) -> None:
    await office(agent, subnets=("172.111.222.0/28",), block_size=30, reserve="172.111.222.5/32")
    made = [await connect(agent, host, f"c{n}") for n in range(13)]
    given = {str(a.ip) for e in made for a in e.addresses}
    assert given == {f"172.111.222.{n}" for n in range(1, 15) if n != 5}
    host.open("late")
    with pytest.raises(Exhausted) as refused:
        await attach(agent, "late", "office")
    assert "it has 4, all full" in str(refused.value) and "`weft node rm`" in str(refused.value)
    [info] = await Service(agent).ipam("office")
    assert sum(b.used for b in info.blocks) == 13 and sum(b.free for b in info.blocks) == 0
    assert not (await Service(agent).check_ipam(t.CheckIpam())).faults


async def test_nothing_is_borrowed(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost) -> None:
    await office(agent, other, subnets=("172.111.222.0/29",), block_size=29)
    first = await connect(agent, host, "c1")
    other_host.open("c2")
    with pytest.raises(Exhausted, match="it has 0, all full, others have 1"):
        await attach(other, "c2", "office")
    wish = first.addresses[0].ip + 1
    with pytest.raises(Conflict, match=f"{wish} is in block 172.111.222.0/29 of node-1, and nobody else gives"):
        await attach(other, "c2", "office", addresses=(wish,))
    with pytest.raises(Invalid, match="is reserved"):
        await connect(agent, host, "c3", addresses=(first.addresses[0].network.broadcast_address,))


async def test_there_are_no_pools_and_containers_do_not_move(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost
) -> None:
    await office(agent, other, subnets=("172.111.222.0/24",))
    with pytest.raises(Invalid, match="has no pools"):
        await Service(agent).pools("office")
    made = await connect(agent, host, "c1")
    other_host.open("c2")
    with pytest.raises(WeftError, match="move"):
        await Service(other).move(made.id, t.Move(target="c2"))


@pytest.mark.parametrize(
    ("subnet", "options", "said"),
    [
        ("172.111.222.0/31", {}, "172.111.222.0/31 is too small"),
        ("172.111.222.0/24", {"block_size": 20}, "a block of /20 is larger than 172.111.222.0/24"),
    ],
)
async def test_what_cannot_be_cut_is_refused(agent: Agent, subnet: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        await office(agent, subnets=(subnet,), **options)


async def test_an_address_in_nobodys_or_anothers_block_is_told_by_the_audit(agent: Agent, host: FakeHost) -> None:
    await office(agent, subnets=("172.111.222.0/24",))
    made = await connect(agent, host, "c1")
    astray = msgspec.structs.replace(lease(agent), subnets=(ip_network("172.111.222.240/28"),))
    assert made.addresses[0].ip not in ip_network("172.111.222.240/28")
    await agent.cluster.write([], [Put(keys.lease("office", "node-1"), encode(astray))])
    found = {(f.kind, f.fixed) for f in (await Service(agent).check_ipam(t.CheckIpam(fix=True))).faults}
    assert ("in-no-own-block", False) in found


# Blocks in hand.


async def test_a_block_is_had_in_hand_and_the_next_one_before_it_is_full(agent: Agent, host: FakeHost) -> None:
    await office(agent, subnets=("172.111.222.0/25",), block_size=28, reserve="172.111.222.0/28")
    await until(lambda: len(lease(agent).subnets) == 1)
    for n in range(12):
        await connect(agent, host, f"c{n}")
    assert len(lease(agent).subnets) == 1
    await connect(agent, host, "c12")  # thirteen of sixteen
    await until(lambda: len(lease(agent).subnets) == 2)
    blocks = agent.attachments.blocks
    assert blocks.idle("office") == []
    for n in range(5):
        await Service(agent).detach(f"c{n}")
    assert len(blocks.idle("office")) == 1  # what is left is half used
    assert await blocks.give_back("office", blocks.idle("office")) and len(lease(agent).subnets) == 1
    for n in range(5, 13):
        await Service(agent).detach(f"c{n}")
    assert blocks.idle("office") == []  # the last one stays in hand
    assert not (await Service(agent).check_ipam(t.CheckIpam())).faults


async def test_what_is_only_in_hand_is_left_to_those_who_need_it(
    agent: Agent, other: Agent, other_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two who look at the same moment each may take one. So here one looks after the other."""
    with monkeypatch.context() as patch:
        patch.setattr(Stock, "tend", _only(agent, Stock.tend))
        await office(agent, other, subnets=("172.111.222.0/28",), block_size=29)
        await until(lambda: len(claimed(other)) == 1)
    await other.stock.tend("office")
    assert agent.attachments.blocks.idle("office") == [] and not lease(other).subnets
    await connect(other, other_host, "c1")
    await until(lambda: len(claimed(agent)) == 2)
    idle = agent.attachments.blocks.idle("office")
    assert len(idle) == 1 and await agent.attachments.blocks.give_back("office", idle)
    assert agent.attachments.blocks.idle("office") == []


def _only(agent: Agent, tend: Callable[[Stock, str], Awaitable[None]]) -> Callable[[Stock, str], Awaitable[None]]:
    """Of the others nobody looks."""

    async def one(stock: Stock, name: str) -> None:
        if stock is agent.stock:
            await tend(stock, name)

    return one


def claimed(agent: Agent) -> list[object]:
    return [block for lease in agent.view.leases.get("office", {}).values() for block in lease.subnets]


async def test_blocks_of_a_host_that_is_removed_are_everybodys_at_once(
    agent: Agent, store_file: Path, other_host: FakeHost
) -> None:
    async with agent_on(other_host, store_file, "node-2") as other:
        await office(agent, other, subnets=("172.111.222.0/24",))
        await connect(other, other_host, "c1")
        await until(lambda: len(claimed(agent)) == 2)
        theirs = lease(other).subnets
    await agent.store.revoke(presence_lease("instance-of-node-2", "node-2"))
    await until(lambda: "node-2" not in agent.view.present)
    assert set((await Service(agent).remove_node("node-2")).what) >= set(map(str, theirs))
    [info] = await Service(agent).ipam("office")
    assert {b.node for b in info.blocks} == {"node-1"} and info.used == 0
    assert not (await Service(agent).check_ipam(t.CheckIpam())).faults
