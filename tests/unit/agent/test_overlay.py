"""Networks with one subnet for all hosts: who hears of whom, whose an address is, what is left of what is gone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from support.agents import FakeHost, Tap, agent_on, attach, create, settled, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.alloc import addresses as alloc
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Invalid, Unavailable
from weft.base.net import IPAddress, IPNetwork
from weft.cluster.liveness import PROBES
from weft.datapaths._parts import FALLBACK
from weft.hoststate import FdbEntry, Link, Neighbour, Object, Route, Vxlan
from weft.model import keys
from weft.store.protocol import Delete, Guard, Op, Put

NS = "/run/netns/weft-blue"
SUBNETS = ("10.20.0.0/16", "fd20::/64")


@pytest.fixture
def other_host() -> FakeHost:
    return FakeHost("192.168.1.254/24")


@pytest.fixture
async def other(agent: Agent, other_host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """node-2, of the same store."""
    async with agent_on(other_host, store_file, "node-2") as running:
        await until(lambda: "node-2" in agent.view.present and "node-1" in running.view.present)
        yield running


@pytest.fixture
async def blue(agent: Agent, other: Agent) -> None:
    await create(agent, "blue", *SUBNETS, driver="overlay")
    await until(lambda: "blue" in other.view.networks)


def far(host: FakeHost, ns: str = NS) -> set[str]:
    """The addresses that there are entries for."""
    found: set[str] = {o.address for o in host.inside(ns) if isinstance(o, Neighbour)}
    macs = {o.lladdr for o in host.inside(ns) if isinstance(o, Neighbour)}
    return found if macs == {o.lladdr for o in host.inside(ns) if isinstance(o, FdbEntry) and o.dst} else {"on the way"}


def ips(*endpoints: t.EndpointInfo) -> set[str]:
    return {str(a.ip) for e in endpoints for a in e.addresses}


async def left(agent: Agent, network: str = "blue") -> list[str]:
    prefixes = (keys.locations(network), keys.address_claims(network))
    return [item.key for prefix in prefixes for item in (await agent.store.list(prefix)).items]


def ours(host: FakeHost) -> list[Object]:
    """But for what is known of the cluster as soon as there is a network."""
    cluster = re.compile("cluster-tunnels|known-hosts.|hosts.|control.")
    return [o for o in host.ours().values() if o.kind != "sysctl" and not any(map(cluster.fullmatch, o.key))]


# Coming and going.


async def test_the_namespace_stands_from_the_first_container_to_the_last(
    agent: Agent, host: FakeHost, blue: None
) -> None:
    assert ours(host) == []
    for name in ("c1", "c2"):
        host.open(name)
    one, two = await attach(agent, "c1"), await attach(agent, "c2")
    assert ("netns", "", NS) in host.objects
    (device,) = [o for o in host.inside(NS) if isinstance(o, Link) and isinstance(o.type, Vxlan)]
    assert isinstance(device.type, Vxlan) and (device.type.vni, device.type.outside) == (256, "")
    assert [str(g) for g in one.gateways[:2]] == ["172.30.0.1", "fd57:4546:54::1"]
    assert far(host) == set(), "none for containers of this host"
    assert len(await left(agent)) == 2 * 3
    await Service(agent).detach("c1")
    assert ("netns", "", NS) in host.objects
    await Service(agent).detach("c2")
    assert ours(host) == [] and await left(agent) == []
    assert "blue" not in agent.view.locations and "blue" not in agent.view.located
    assert ips(one).isdisjoint(ips(two))


async def test_only_hosts_with_a_container_hear_of_others(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, blue: None
) -> None:
    host.open("c1")
    one = await attach(agent, "c1")
    await settled(other)
    assert not other.view.locations.get("blue") and ours(other_host) == []
    other_host.open("c2")
    two = await attach(other, "c2")
    assert far(other_host) == ips(one), "as soon as attach returns"
    await until(lambda: far(host) == ips(two))
    await Service(other).detach("c2")
    await until(lambda: far(host) == set())
    assert not other.view.locations.get("blue") and "blue" not in other.view.followed


async def test_a_restart_writes_nothing(
    host: FakeHost, store_file: Path, other: Agent, other_host: FakeHost, tmp_path: Path
) -> None:
    other_host.open("c2")
    await create(other, "blue", *SUBNETS, driver="overlay")
    two = await attach(other, "c2")
    third = FakeHost("192.168.1.245/24")
    third.open("c3")
    async with agent_on(third, store_file, "node-3") as agent:
        await until(lambda: "blue" in agent.view.networks)
        await attach(agent, "c3")
    before = len(third.log)
    async with agent_on(third, store_file, "node-3") as agent:
        await until(lambda: agent.loop.started)
        await settled(agent)
        assert far(third) == ips(two)
    assert third.log[before:] == []


async def test_a_node_that_died_is_withdrawn(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, blue: None
) -> None:
    host.open("c1")
    other_host.open("c2")
    await attach(agent, "c1")
    two = await attach(other, "c2")
    await until(lambda: far(host) == ips(two))
    assert isinstance(other.store, Tap)
    other.store.lose()
    await agent.store.commit([], [Delete(keys.presence("node-2"))])
    await until(lambda: "node-2" not in agent.view.present)
    assert far(host) == ips(two)
    for _ in range(PROBES):
        agent.liveness.judge({"node-2": agent.view.nodes["node-2"]}, set())
    await until(lambda: far(host) == set())
    other.store.restore()
    await until(lambda: far(host) == ips(two))


async def test_a_node_that_gets_another_address_is_followed(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, blue: None
) -> None:
    host.open("c1")
    other_host.open("c2")
    await attach(agent, "c1")
    await attach(other, "c2")
    other_host.change(addresses=(ip_interface("192.168.1.77/24"),))
    other._look.set()
    await until(lambda: {o.dst for o in host.inside(NS) if isinstance(o, FdbEntry) and o.dst} == {"192.168.1.77"})


async def test_without_the_store_nothing_is_attached_half(agent: Agent, host: FakeHost, blue: None) -> None:
    assert isinstance(agent.store, Tap)
    host.open("c1")
    agent.store.lose()
    with pytest.raises(Unavailable):
        await attach(agent, "c1")
    agent.store.restore()
    await settled(agent)
    assert ours(host) == [] and "blue" not in agent.view.followed
    await attach(agent, "c1")


# Addresses.


def at_one_place(_subnet: IPNetwork, _node: str) -> IPAddress:
    return _subnet.network_address + 9


async def test_two_hosts_that_take_addresses_at_once_never_clash(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, blue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if both begin at the same place, where each loses to the other all the time."""
    monkeypatch.setattr(alloc, "beginning", at_one_place)
    names = [f"c{number}" for number in range(20)]
    for name in names:
        host.open(name)
        other_host.open(name)
    made = await asyncio.gather(*(attach(a, name) for name in names for a in (agent, other)))
    assert len(ips(*made)) == 80
    assert ips(*made) >= {f"10.20.0.{number}" for number in range(10, 50)}, "one after the other, none left out"


async def hand_over(agent: Agent, kept: t.Reserved, owner: str) -> t.EndpointInfo:
    wish = t.Attach(target="", network="blue", addresses=(kept.address.ip,), owner=owner, handover=True)
    return await Service(agent).attach(wish)


async def test_what_is_reserved_on_two_hosts_at_once_is_never_the_same(
    agent: Agent, other: Agent, blue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine asks for the address first: what one was promised no other gets, and attaching takes it over."""
    monkeypatch.setattr(alloc, "beginning", at_one_place)
    wish = t.Reserve(family=4, owner="docker/")
    agents = [agent, other] * 10
    kept = await asyncio.gather(*(Service(a).reserve("blue", wish) for a in agents))
    assert len({k.address for k in kept}) == len(agents)
    made = await asyncio.gather(
        *(hand_over(a, k, f"docker/n/e{i}") for i, (a, k) in enumerate(zip(agents, kept, strict=True)))
    )
    assert [m.addresses for m in made] == [(k.address,) for k in kept]
    claims = (await agent.store.list(keys.address_claims("blue"))).items
    assert len(claims) == len(agents) and not [c for c in claims if b"to come" in c.value]
    for a, endpoint in zip(agents, made, strict=True):
        await Service(a).detach(owner=endpoint.owner)
    assert await left(agent) == []


async def test_a_reserved_address_is_nobody_else_s_and_can_be_given_back(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, blue: None
) -> None:
    address, service = ip_address("10.20.0.9"), Service(other)
    kept = await Service(agent).reserve("blue", t.Reserve(family=4, owner="docker/", address=address))
    other_host.open("c2")
    with pytest.raises(Conflict, match="taken by a container to come on node-1"):
        await service.attach(t.Attach(target="c2", network="blue", addresses=(address,)))
    with pytest.raises(Conflict, match="taken by a container to come on node-1"):
        await service.reserve("blue", t.Reserve(family=4, owner="docker/", address=address))
    assert (await Service(agent).release("blue", str(address), "docker/")).what == (str(kept.address.ip),)
    assert await left(agent) == []
    made = await service.attach(t.Attach(target="c2", network="blue", addresses=(address,)))
    assert kept.address in made.addresses
    assert (await Service(agent).release("blue", str(address), "docker/")).what == ()


async def test_a_reserved_address_that_cannot_be_attached_is_still_reserved(
    agent: Agent, host: FakeHost, blue: None
) -> None:
    kept = await Service(agent).reserve("blue", t.Reserve(family=4, owner="docker/"))
    assert isinstance(agent.store, Tap)
    agent.store.lose()
    with pytest.raises(Unavailable):
        await hand_over(agent, kept, "docker/n/e")
    agent.store.restore()
    await Service(agent).release("blue", str(kept.address.ip), "docker/")
    assert await left(agent) == []


async def test_wishes(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, blue: None) -> None:
    for name in ("c1", "c3"):
        host.open(name)
    other_host.open("c2")
    wish = (ip_address("10.20.7.7"),)
    assert "10.20.7.7" in ips(await attach(agent, "c1", addresses=wish))
    with pytest.raises(Conflict, match=r"10\.20\.7\.7 is taken by a container on node-1: choose another"):
        await attach(other, "c2", addresses=wish)
    # Lost between choosing and writing: nobody has told of this one yet.
    await agent.store.commit([], [Put(keys.address_claim("blue", ip_address("10.20.7.8")), b"web on node-9")])
    with pytest.raises(Conflict, match=r"10\.20\.7\.8 is taken by web on node-9: choose another"):
        await attach(other, "c2", addresses=(ip_address("10.20.7.8"),))
    await until(lambda: ours(other_host) == [])
    with pytest.raises(Invalid, match=r"10\.20\.0\.1 is the gateway of subnet"):
        await attach(agent, "c3", addresses=(ip_address("10.20.0.1"),))


async def test_the_last_address(agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost) -> None:
    await create(agent, "tiny", "10.21.0.0/30", driver="overlay", internal=True)
    await until(lambda: "tiny" in other.view.networks)
    host.open("c1")
    other_host.open("c2")
    assert ips(await attach(agent, "c1", "tiny")) == {"10.21.0.2"}
    with pytest.raises(Exhausted) as caught:
        await attach(other, "c2", "tiny")
    assert str(caught.value) == (
        "no address is left in subnet 10.21.0.0/30: of 1 for containers 1 are in use and 0 reserved: "
        "detach some, or make a network with a larger subnet"
    )


async def test_what_somebody_else_has_by_now_is_left_to_him(agent: Agent, host: FakeHost, blue: None) -> None:
    """The node was taken for dead and removed, and its container's address given to another."""
    host.open("c1")
    one = await attach(agent, "c1")
    claims = [keys.address_claim("blue", a.ip) for a in one.addresses]
    assert isinstance(agent.store, Tap)
    stale = agent.view.endpoints[one.id]
    await agent.store.commit([], [Delete(keys.endpoint("node-1", "blue", one.id))])
    await agent.store.commit([], [Put(claim, b"web on node-2") for claim in claims])
    await agent.attachments.forget([stale])
    assert [item.value for claim in claims if (item := await agent.store.get(claim))] == [b"web on node-2"] * 2


# What is removed as a whole.


async def test_a_removed_network_leaves_nothing(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, blue: None
) -> None:
    host.open("c1")
    other_host.open("c2")
    await attach(agent, "c1")
    await attach(other, "c2")
    await Service(agent).remove_network("blue", force="yes")
    await until(lambda: ours(host) == ours(other_host) == [])
    assert await left(agent) == [] and not agent.view.followed
    assert await agent.store.get("claims/vni/256") is None


async def test_a_removed_node_leaves_nothing(
    agent: Agent, host: FakeHost, other: Agent, other_host: FakeHost, blue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing() -> None:
        """As where its agent is gone; else that would write back what runs there."""

    monkeypatch.setattr(other.evidence, "write_back", nothing)
    host.open("c1")
    other_host.open("c2")
    one = await attach(agent, "c1")
    await attach(other, "c2")
    await Service(agent).remove_node("node-2", force="yes")
    await until(lambda: far(host) == set())
    assert len(await left(agent)) == 3 and set(agent.view.located["blue"]) == {a.ip for a in one.addresses}


async def test_vnis_are_chosen_where_none_is_wished_for(agent: Agent, other: Agent) -> None:
    made = await asyncio.gather(
        *(
            create(a, f"n{number}", f"10.{number}.0.0/16", driver="overlay")
            for number, a in enumerate([agent, other] * 3, 30)
        )
    )
    assert sorted(n.options["vni"] for n in made if isinstance(n.options["vni"], int)) == list(range(256, 262))
    with pytest.raises(Conflict, match="VNI 257 is taken by network n"):
        await create(agent, "green", "10.50.0.0/16", driver="overlay", vni=257)


async def test_a_way_out_for_when_the_first_is_gone(agent: Agent, host: FakeHost, blue: None) -> None:
    """Decided once, it left a container without any when it was taken out of its first network."""
    await create(agent, "red", "10.22.0.0/16", driver="overlay")
    path = host.open("c1")
    await attach(agent, "c1")
    second = await attach(agent, "c1", "red")
    assert second.interface == "eth2"
    assert sorted(o.name for o in host.inside(path) if isinstance(o, Link)) == ["eth0", "eth1", "eth2", "eth3"]

    def ways_out() -> list[tuple[int, str]]:
        return sorted((o.metric, o.dev) for o in host.inside(path) if isinstance(o, Route) and o.prefix == "0.0.0.0/0")

    assert ways_out() == [(0, "eth1"), (FALLBACK + 1, "eth3")]
    await settled(agent)
    assert not agent.loop.conflicts
    await Service(agent).detach("c1", "blue")
    await settled(agent)
    assert ways_out() == [(FALLBACK + 1, "eth3")]


async def test_changed_at_the_moment_of_its_detachment_leaves_no_claim(
    agent: Agent, host: FakeHost, blue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else rewrites the endpoint between the look at it and its removal."""
    assert isinstance(agent.store, Tap)
    host.open("c1")
    one = await attach(agent, "c1")
    key = keys.endpoint("node-1", "blue", one.id)
    real, commit, late = agent.store.store, agent.store.store.commit, [2, 1]

    async def meanwhile(guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        if late and any(isinstance(op, Delete) and op.key == key for op in ops):
            item = await real.get(key)
            assert item and late.pop()
            await commit([], [Put(key, item.value)])
        return await commit(guards, ops)

    monkeypatch.setattr(real, "commit", meanwhile)
    await Service(agent).detach("c1")
    assert await left(agent) == [] and await real.get(key) is None


async def test_a_removed_network_leaves_no_cursor(agent: Agent, other: Agent, host: FakeHost, blue: None) -> None:
    """They say which address was given last; each node removes its own."""
    host.open("c1")
    await attach(agent, "c1")
    assert (await agent.store.list(keys.CURSORS)).items
    await Service(other).remove_network("blue", force="yes")
    deadline = asyncio.get_running_loop().time() + 10
    while (await agent.store.list(keys.CURSORS)).items:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
    assert not agent.view.cursors
