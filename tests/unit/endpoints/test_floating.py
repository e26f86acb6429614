"""Floating addresses: one endpoint's in the cluster, refused before anything changes, moved and removed with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, Tap, agent_on, attach, create, network, settled, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, NotFound
from weft.hoststate import NftElement
from weft.model import BgpPeer, Network, decode, encode, keys
from weft.model.endpoint import Endpoint
from weft.store.protocol import Delete, Guard, Op, Put

F4, F6, G4 = ip_address("203.0.113.7"), ip_address("2001:db8:f::7"), ip_address("203.0.113.8")


@pytest.fixture
def other_host() -> FakeHost:
    return FakeHost("192.168.1.254/24")


@pytest.fixture
async def other(agent: Agent, host: FakeHost, other_host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """node-2. Both have a container `web` and one `db` to attach."""
    await create(agent, "prod", "10.9.0.0/24", "fd09::/64", driver="routed", cooldown=0)
    for name in ("web", "db"):
        host.open(name)
        other_host.open(name)
    async with agent_on(other_host, store_file, "node-2") as running:
        await until(lambda: running.view.lease("prod", "node-2") and agent.view.lease("prod", "node-2"))
        yield running


async def claimed(agent: Agent) -> dict[str, str]:
    items = (await agent.store.list(keys.FLOATING)).items
    return {str(keys.floating_address(i.key)): i.value.decode() for i in items}


async def faults(agent: Agent, *, fix: bool = False) -> list[tuple[str, bool]]:
    found = await Service(agent).check_ipam(t.CheckIpam(fix=fix))
    return [(f.kind, f.fixed) for f in found.faults]


def mapped(host: FakeHost) -> dict[str, str]:
    """What leads where in the kernel."""
    objects = tuple(host.objects.values())
    return {o.value: o.to for o in objects if isinstance(o, NftElement) and o.set in ("floating4", "floating6")}


def addresses(*some: object) -> t.Float:
    return t.Float(addresses=tuple(ip_address(str(a)) for a in some))


async def test_with_the_container_and_without_it(agent: Agent, host: FakeHost, other: Agent) -> None:
    web = await attach(agent, "web", "prod", name="web", floating=(F4, F6))
    assert web.floating == (F4, F6)
    assert await claimed(other) == {"203.0.113.7": "web on node-1", "2001:db8:f::7": "web on node-1"}
    assert mapped(host) == {str(F4): str(web.addresses[0].ip), str(F6): str(web.addresses[1].ip)}
    assert (await Service(other).endpoint("203.0.113.7")).id == web.id
    assert (await attach(agent, "web", "prod", floating=(F6, F4))).id == web.id
    assert (await attach(agent, "web", "prod", floating=(F4,))).floating == (F4, F6), "nothing is taken away"
    assert (await attach(agent, "web", "prod", floating=(G4,))).floating == (F4, F6, G4)
    assert (await claimed(other))[str(G4)] == "web on node-1"
    await attach(agent, "db", "prod", name="db")
    with pytest.raises(Conflict, match=r"floating address 203.0.113.8 belongs to web on node-1"):
        await attach(agent, "db", "prod", floating=(G4,))
    await Service(agent).detach("db")
    assert await faults(agent) == []
    await Service(agent).detach("web")
    assert await claimed(agent) == {} and mapped(host) == {}
    assert await faults(agent) == []


async def test_given_and_taken_by_any_agent(agent: Agent, host: FakeHost, other: Agent) -> None:
    web = await attach(agent, "web", "prod", name="web")
    assert (await Service(agent).add_floating("web", addresses(F4))).floating == (F4,)
    assert mapped(host) == {str(F4): str(web.addresses[0].ip)}
    assert (await Service(other).add_floating("web", addresses(F4, F6, G4))).floating == (F4, F6, G4)
    await until(lambda: set(mapped(host)) == {str(F4), str(F6), str(G4)})
    assert (await Service(other).remove_floating("web", f"{F4},{F6}")).floating == (G4,)
    await until(lambda: set(mapped(host)) == {str(G4)})
    assert await claimed(agent) == {"203.0.113.8": "web on node-1"}
    with pytest.raises(NotFound, match=r"web has no floating address 203.0.113.7: it has 203.0.113.8"):
        await Service(agent).remove_floating("web", str(F4))
    # What an agent of another node wrote lives and ends with the endpoint's own node.
    await Service(agent).detach("web")
    assert await claimed(agent) == {} and await faults(agent) == []


async def test_all_that_is_refused_changes_nothing(agent: Agent, host: FakeHost, other: Agent) -> None:
    await create(agent, "blue", "10.1.0.0/16")
    await create(agent, "deep", "10.3.0.0/24", driver="routed", internal=True)
    await create(agent, "four", "10.4.0.0/24", driver="routed")
    peer = BgpPeer(name="tor", address=ip_address("192.168.1.2"), asn=65001)
    await agent.store.commit([], [Put(keys.bgp_peer("tor"), encode(peer))])
    await until(lambda: agent.view.bgp_peers)
    await attach(other, "db", "prod", name="theirs", floating=(G4,))
    before = [(i.key, i.revision) for i in (await agent.store.list("")).items if not i.key.startswith("leases/")]
    for net, address, error, text in (
        ("prod", "10.9.0.77", Conflict, "is in 10.9.0.0/24 of network prod"),
        ("prod", "10.1.4.4", Conflict, "is in 10.1.0.0/16 of network blue"),
        ("prod", "192.168.1.254", Conflict, "is the address of node node-2"),
        ("prod", "192.168.1.2", Conflict, "is the address of bgp peer tor"),
        ("prod", G4, Conflict, "203.0.113.8 belongs to theirs on node-2"),
        ("prod", "224.0.0.9", Invalid, "a multicast address"),
        ("prod", "ff0e::1", Invalid, "a multicast address"),
        ("prod", "127.0.0.1", Invalid, "a loopback address"),
        ("prod", "::1", Invalid, "a loopback address"),
        ("prod", "169.254.7.7", Invalid, "a link-local address"),
        ("prod", "fe80::7", Invalid, "a link-local address"),
        ("prod", "0.0.0.0", Invalid, "no address of a host"),
        ("prod", "255.255.255.255", Invalid, "a reserved address"),
        ("prod", "::ffff:203.0.113.7", Invalid, "IPv4 address in IPv6's form"),
        ("four", F6, Invalid, "cannot lead to a container that has only IPv4"),
        ("blue", F4, Invalid, "is of driver vxlan, which speaks no BGP"),
        ("deep", F4, Invalid, "network deep is internal"),
    ):
        with pytest.raises(error, match=text) as refused:
            await attach(agent, "web", net, floating=(ip_address(str(address)),))
        assert "\n" not in str(refused.value)
    assert not agent.view.endpoints
    after = [(i.key, i.revision) for i in (await agent.store.list("")).items if not i.key.startswith("leases/")]
    assert after == before
    await attach(agent, "web", "prod", name="web", floating=(F4,))
    for address, error, text in (
        ("10.9.0.77", Conflict, "is in 10.9.0.0/24"),
        (G4, Conflict, "belongs to theirs"),
        ("::1", Invalid, "loopback"),
    ):
        with pytest.raises(error, match=text):
            await Service(other).add_floating("web", addresses(F6, address))
    assert (await Service(agent).endpoint("web")).floating == (F4,)
    with pytest.raises(Invalid, match="given twice"):
        await attach(agent, "db", "prod", floating=(F6, F6))
    assert set(await claimed(agent)) == {str(F4), str(G4)} and await faults(agent) == []


async def test_no_network_is_laid_over_it(agent: Agent, other: Agent) -> None:
    await attach(agent, "web", "prod", name="web", floating=(F4,))
    with pytest.raises(Conflict, match=r"203.0.113.0/24 contains 203.0.113.7, the floating address of web on node-1"):
        await create(agent, "blue", "203.0.113.0/24")
    with pytest.raises(Conflict, match=r"network prod: 203.0.113.0/26 contains 203.0.113.7"):
        await Service(other).add_pool("prod", t.AddPool(subnet=ip_network("203.0.113.0/26")))


async def test_two_agents_for_one_address(agent: Agent, other: Agent) -> None:
    async def tries(one: Agent) -> bool:
        try:
            await attach(one, "web", "prod", name=f"web-{one.view.me}", floating=(F4, F6))
        except Conflict as error:
            assert "belongs to web-node" in str(error)
            return False
        return True

    for _ in range(20):
        won = await asyncio.gather(tries(agent), tries(other))
        assert sorted(won) == [False, True]
        winner, loser = (agent, other) if won[0] else (other, agent)
        assert set((await claimed(agent)).values()) == {f"web-{winner.view.me} on {winner.view.me}"}
        assert not loser.view.endpoints
        await Service(winner).detach("web")
        assert await claimed(agent) == {}
    assert await faults(agent) == []


def before_the_next_commit(agent: Agent, do: Callable[[], Awaitable[object]]) -> None:
    tap = agent.store
    assert isinstance(tap, Tap)
    real = tap.store.commit

    async def commit(guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        tap.store.commit = real  # type: ignore[method-assign] # the moment is what this is about
        await do()
        return await real(guards, ops)

    tap.store.commit = commit  # type: ignore[method-assign] # as above


@pytest.mark.parametrize("how", ["endpoint", "network"])
async def test_others_are_quicker(agent: Agent, other: Agent, how: str) -> None:
    """Between the question and the transaction, the address or a network over it is made."""
    ops = {
        "endpoint": Put(keys.floating_claim(F4), b"rival on node-2"),
        "network": Put(keys.network("over"), encode(network("over", "203.0.113.0/24"))),
    }
    before_the_next_commit(agent, lambda: other.store.commit([], [ops[how]]))
    with pytest.raises(
        Conflict, match="belongs to rival" if how == "endpoint" else "is in 203.0.113.0/24 of network over"
    ):
        await attach(agent, "web", "prod", floating=(F4,))
    assert not agent.view.endpoints
    assert set(await claimed(agent)) == ({str(F4)} if how == "endpoint" else set())


async def test_a_change_while_it_is_detached(agent: Agent, other: Agent) -> None:
    """The detaching agent has not heard of the newest address yet."""
    await attach(agent, "web", "prod", name="web", floating=(F4,))
    before_the_next_commit(agent, lambda: Service(other).add_floating("web", addresses(G4)))
    await Service(agent).detach("web")
    assert not agent.view.endpoints
    assert await claimed(agent) == {} and await faults(agent) == []


async def test_it_moves_with_the_endpoint(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost) -> None:
    before = await attach(agent, "web", "prod", name="web", floating=(F4, F6))
    moved = await Service(other).move("web", t.Move(target="web"))
    assert (moved.node, moved.floating, moved.addresses) == ("node-2", (F4, F6), before.addresses)
    assert set((await claimed(agent)).values()) == {"web on node-2"}
    assert mapped(other_host) == {str(F4): str(before.addresses[0].ip), str(F6): str(before.addresses[1].ip)}
    await until(lambda: not mapped(host))
    await agent.store.revoke(agent.cluster.tenure_lease)  # what is left of node-1 in the store ends
    assert len(await claimed(other)) == 2
    await Service(other).detach("web")
    assert await claimed(other) == {}


async def test_what_the_kernel_refuses_is_taken_back(
    agent: Agent, host: FakeHost, other: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await attach(agent, "web", "prod", name="web", floating=(F4,))

    async def refuses(_: object) -> Endpoint:
        raise Failed("web is attached to prod, but no")

    with monkeypatch.context() as patched:
        patched.setattr(agent.attachments, "standing", refuses)
        with pytest.raises(Failed):
            await Service(agent).add_floating("web", addresses(F6, G4))
        with pytest.raises(Failed):
            await Service(agent).remove_floating("web", str(F4))
    assert (await Service(agent).endpoint("web")).floating == (F4,)
    assert set(await claimed(agent)) == {str(F4)} and await faults(agent) == []
    await settled(agent)
    assert set(mapped(host)) == {str(F4)}


@pytest.mark.parametrize("shared", [False, True])
async def test_a_network_removed_by_force(agent: Agent, other: Agent, shared: bool) -> None:
    name = "prod"
    if shared:
        await Service(agent).create_network(t.CreateNetwork(network=_sharing("team")))
        await until(lambda: "team" in other.view.networks)
        name = "team"
    await attach(agent, "web", name, floating=(F4,))
    await attach(other, "db", name, floating=(G4,))
    await Service(agent).remove_network(name, force="true")
    assert await claimed(agent) == {} and await faults(agent) == []


def _sharing(name: str) -> Network:
    return Network(name=name, driver="routed", subnets=(), options={"share": "prod"})


async def test_a_node_that_is_removed(agent: Agent, store_file: Path, other: Agent) -> None:
    third = FakeHost("192.168.1.9/24")
    third.open("c")
    async with agent_on(third, store_file, "node-3") as gone:
        await until(lambda: gone.view.lease("prod", "node-3"))
        await attach(gone, "c", "prod", floating=(F4,))
    await until(lambda: "node-3" in agent.view.nodes)
    await Service(agent).remove_node("node-3", force="true")
    assert await claimed(agent) == {}


FAULTS = {
    "claim": "floating-claim-without-endpoint",
    "unclaimed": "endpoint-without-floating-claim",
    "duplicate": "floating-duplicate",
}


@pytest.mark.parametrize("what", FAULTS)
async def test_the_audit(agent: Agent, other: Agent, what: str) -> None:
    web = await attach(agent, "web", "prod", name="web", floating=(F4,))
    db = await attach(other, "db", "prod", name="db")
    key = keys.endpoint("node-2", "prod", db.id)
    item = await agent.store.get(key)
    assert item is not None and web.floating
    copied = encode(msgspec.structs.replace(decode(Endpoint, item.value), floating=(F4,)))
    ops = {
        "claim": Put(keys.floating_claim(G4), b"ghost on node-9"),
        "unclaimed": Delete(keys.floating_claim(F4)),
        "duplicate": Put(key, copied),
    }
    await agent.store.commit([], [ops[what]])
    assert await faults(agent) == [(FAULTS[what], False)]
    fixable = what != "duplicate"
    assert await faults(agent, fix=True) == [(FAULTS[what], fixable)]
    assert await faults(agent) == ([] if fixable else [(FAULTS[what], False)])
    if what == "unclaimed":
        assert await claimed(agent) == {str(F4): "web on node-1"}
        await agent.store.revoke(agent.cluster.tenure_lease)
        assert await claimed(agent) == {}


async def test_floated_at_the_moment_at_which_its_node_is_removed_leaves_no_claim(
    agent: Agent, other: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node's agent floats an address between the look at the endpoint and its removal."""
    assert isinstance(agent.store, Tap) and isinstance(other.store, Tap)
    web = await attach(other, "web", "prod")
    key = keys.endpoint("node-2", "prod", web.id)
    other.store.lose()
    real, commit, late = agent.store.store, agent.store.store.commit, [F4]

    async def meanwhile(guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        if late and any(isinstance(op, Delete) and op.key == key for op in ops):
            item = await real.get(key)
            assert item
            floated = msgspec.structs.replace(decode(Endpoint, item.value), floating=(late.pop(),))
            await commit([], [Put(key, encode(floated)), Put(keys.floating_claim(F4), b"web on node-2")])
        return await commit(guards, ops)

    monkeypatch.setattr(real, "commit", meanwhile)
    await Service(agent).remove_node("node-2", force="yes")
    assert not late and await claimed(agent) == {} and await real.get(key) is None
    assert await faults(agent) == []


@pytest.mark.parametrize("how", ["detach", "node rm"])
async def test_many_with_all_that_an_endpoint_can_claim_go_together(
    agent: Agent, other: Agent, store_file: Path, how: str
) -> None:
    host = FakeHost("192.168.1.9/24")
    async with agent_on(host, store_file, "node-3") as third:
        await until(lambda: "prod" in third.view.networks)
        for n in range(25):
            host.open(f"c{n}")
            addresses = (ip_address(f"203.0.113.{n + 20}"), ip_address(f"2001:db8:f::{n + 20}"))
            await attach(third, f"c{n}", "prod", floating=addresses)
        if how == "detach":
            await third.attachments.remove(list(third.view.endpoints.values()))
    if how == "node rm":
        await Service(agent).remove_node("node-3", force="true")
    left = [item.key for item in (await agent.store.list("")).items if "node-3" in f"{item.key} {item.value!r}"]
    assert [
        key for key in left if key.startswith(("endpoints/", "locations/", "claims/floating", "claims/addresses"))
    ] == []
    assert await faults(agent) == []
