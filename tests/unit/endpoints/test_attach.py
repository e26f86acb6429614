"""Containers come and go: all or nothing, twice is once, every address is somebody's or free."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from errno import EBUSY, ENOSPC
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from support.agents import FakeHost, Tap, agent_on, attach, create, make_agent, running, settled, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.base.errors import Conflict, Exhausted, Failed, Invalid, NotFound, Unavailable
from weft.datapaths._parts import FALLBACK
from weft.hoststate import Address, Bridge, Link, NftElement, Route
from weft.model import AddressRange, keys
from weft.model.ports import parse
from weft.reconcile.protocol import Create, Op
from weft.reconcile.reconciler import key_of
from weft.store.protocol import Guard, Put, Unchanged
from weft.store.protocol import Op as Write


@pytest.fixture
def tap(agent: Agent) -> Tap:
    assert isinstance(agent.store, Tap)
    return agent.store


async def endpoints_in(agent: Agent) -> list[str]:
    return [item.key for item in (await agent.store.list(keys.ENDPOINTS)).items]


async def first_addresses(agent: Agent, count: int) -> list[str]:
    lease = agent.view.lease("blue", "node-1")
    assert lease
    return [str(lease.subnets[0].network_address + 2 + n) for n in range(count)]


# Once, twice, not at all.


async def test_an_interface_stands_when_attach_returns(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    path = host.open("c1")
    made = await attach(agent, "c1", labels={"app": "web"})
    (first,) = await first_addresses(agent, 1)
    assert [str(a.ip) for a in made.addresses] == [first]
    assert (made.name, made.container, made.namespace, made.interface) == ("c1", "c1", path, "eth0")
    assert made.mtu == 1450 and made.labels == {"app": "web"} and str(made.gateways[0]).endswith(".1")
    link, address = host.objects["link", path, "eth0"], host.objects["address", path, "eth0", str(made.addresses[0])]
    assert isinstance(link, Link) and link.mac == made.mac and isinstance(address, Address)
    assert ("link", "", made.host_interface) in host.objects
    assert ("route", path, "254", "0.0.0.0/0", "0") in host.objects
    assert await endpoints_in(agent) == [keys.endpoint("node-1", "blue", made.id)]


async def test_attaching_twice_finds_the_first(agent: Agent, host: FakeHost, tap: Tap) -> None:
    await create(agent)
    host.open("c1")
    first = await attach(agent, "c1", name="web")
    await settled(agent)
    writes, commits = len(host.log), tap.commits
    assert await attach(agent, "c1") == first
    assert await attach(agent, "c1", name="web", addresses=tuple(a.ip for a in first.addresses), mac=first.mac) == first
    assert (len(host.log), tap.commits) == (writes, commits)


async def test_at_the_same_time_too(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    results = await asyncio.gather(*(attach(agent, "c1") for _ in range(10)))
    assert len({e.id for e in results}) == 1 and len(await endpoints_in(agent)) == 1


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"name": "other"}, "c1 is attached to blue with name web, not other: detach it first to change that"),
        ({"mac": "02:00:00:00:00:99"}, "c1 is attached to blue with MAC address 02:42:"),
        ({"addresses": (ip_address("10.1.99.5"),)}, "c1 is attached to blue with 10.1."),
    ],
)
async def test_attaching_again_otherwise_is_a_conflict(
    agent: Agent, host: FakeHost, wish: dict[str, Any], says: str
) -> None:
    await create(agent)
    host.open("c1")
    await attach(agent, "c1", name="web")
    with pytest.raises(Conflict) as caught:
        await attach(agent, "c1", **wish)
    assert str(caught.value).startswith(says)


async def test_what_is_attached_but_does_not_stand_is_told(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    path = host.open("c1")
    made = await attach(agent, "c1")
    host.fault = lambda _, op: EBUSY if key_of(op)[:2] == ("address", path) else 0
    await agent.loop.in_thread(lambda: host.destroy(("address", path, "eth0", str(made.addresses[0]))))
    await until(agent.loop.troubles)
    with pytest.raises(Failed, match=r"c1 is attached to blue, but address .*: Device or resource busy"):
        await attach(agent, "c1")
    host.fault = None
    assert len(await endpoints_in(agent)) == 1


async def test_detaching_twice_is_not_found(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent)
    path = host.open("c1")
    await attach(agent, "c1", name="web")
    assert (await service.detach("c1")).what == ("web from blue",)
    assert host.inside(path) == [] and await endpoints_in(agent) == []
    with pytest.raises(
        NotFound, match="c1 is not attached: `weft endpoint ls --node node-1` shows what is attached here"
    ):
        await service.detach("c1")
    await attach(agent, "c1", name="web", owner="cni/net/c1/eth0")
    assert (await service.detach(owner="cni/net/c1/eth0")).what == ("web from blue",)
    assert (await service.detach(owner="cni/net/c1/eth0")).what == (), "engines detach until there is nothing left"


async def test_what_is_not_attached_here_is_told_where_it_is(
    agent: Agent, service: Service, host: FakeHost, store_file: Path
) -> None:
    await create(agent, "blue")
    await create(agent, "red", "10.2.0.0/16", vni=2)
    host.open("shop-1")
    await attach(agent, "shop-1", name="shop")
    with pytest.raises(NotFound, match="shop-1 is not attached to red, but to blue"):
        await service.detach("shop-1", "red")
    with pytest.raises(NotFound, match=r"shpo-1 is not attached: did you mean shop-1 or shop\? `weft endpoint ls"):
        await service.detach("shpo-1")
    async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as other:
        await until(lambda: "node-1" in other.view.present)
        with pytest.raises(NotFound, match="shop is attached on node-1, not here on node-2: run `weft detach` there"):
            await Service(other).detach("shop")
    assert (await service.detach("shop")).what == ("shop from blue",), "the endpoint's name will do"


@pytest.mark.parametrize("reference", ["c1", "/run/netns/c1", "id"])
async def test_what_detach_may_be_called_with(agent: Agent, service: Service, host: FakeHost, reference: str) -> None:
    await create(agent)
    host.open("c1")
    made = await attach(agent, "c1")
    removed = await service.detach(made.id if reference == "id" else reference, "blue")
    assert removed.what == ("c1 from blue",)


async def test_detach_finds_a_container_by_its_namespace(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent)
    path = host.open("c1")
    await attach(agent, path)
    assert (await service.detach("c1")).what == ("c1 from blue",)


async def test_detach_from_one_network_leaves_the_other(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent, "blue")
    await create(agent, "red", "10.2.0.0/16", vni=2)
    path = host.open("c1")
    await attach(agent, "c1", "blue")
    await attach(agent, "c1", "red")
    await service.detach("c1", "blue")
    assert {o.name for o in host.inside(path) if isinstance(o, Link)} == {"eth1"}
    with pytest.raises(NotFound, match="no network green"):
        await service.detach("c1", "green")


# Interfaces.


async def test_interfaces_are_numbered(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue")
    await create(agent, "red", "10.2.0.0/16", vni=2)
    host.open("c1")
    assert (await attach(agent, "c1", "blue")).interface == "eth0"
    assert (await attach(agent, "c1", "red")).interface == "eth1"


async def test_two_networks_at_once_get_two_interfaces(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue")
    await create(agent, "red", "10.2.0.0/16", vni=2)
    host.open("c1")
    one, two = await asyncio.gather(attach(agent, "c1", "blue"), attach(agent, "c1", "red"))
    assert {one.interface, two.interface} == {"eth0", "eth1"}
    assert not agent.loop.troubles()


async def test_a_device_of_the_containers_own_is_left(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    path = host.open("c1")
    host.plant(Link(name="eth0", type=Bridge(), alias="", ns=path))
    assert (await attach(agent, "c1")).interface == "eth1"
    with pytest.raises(Conflict, match="c1 has a device eth0 already: choose another with --interface"):
        await attach(agent, "c1", interface="eth0")
    assert (await attach(agent, "c1", interface="net7")).interface == "net7"


async def test_a_device_name_the_kernel_does_not_take(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    with pytest.raises(Invalid, match="'much-too-long-name' is not an interface name"):
        await attach(agent, "c1", interface="much-too-long-name")


# Addresses.


async def test_wished_for_addresses(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", "10.1.0.0/16", "fd00:1::/48")
    lease = agent.view.lease("blue", "node-1")
    assert lease
    for name in ("c1", "c2"):
        host.open(name)
    wish = lease.subnets[0].network_address + 77
    made = await attach(agent, "c1", addresses=(wish,))
    assert made.addresses[0].ip == wish and made.addresses[1].version == 6
    for address, kind, says in (
        (wish, Conflict, f"{wish} is taken by c1: choose another, or leave the choice to Weft"),
        (lease.subnets[0].network_address + 1, Invalid, "is the gateway of node-1's subnet"),
        (lease.subnets[0].broadcast_address, Invalid, "is the broadcast address of node-1's subnet"),
        (ip_address("10.9.9.9"), Invalid, "10.9.9.9 is outside node-1's subnet"),
    ):
        with pytest.raises(kind) as caught:
            await attach(agent, "c2", addresses=(address,))
        assert says in str(caught.value)


async def test_addresses_from_ranges(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent, "blue", "10.1.0.0/16", "fd00:1::/48")
    lease = agent.view.lease("blue", "node-1")
    assert lease
    for name in ("c1", "c2", "c3"):
        host.open(name)
    whole, first = ip_network("10.1.0.0/16"), lease.subnets[0].network_address
    some = AddressRange(subnet=whole, first=first + 50, last=first + 51, gateway=first + 1)
    made = [await attach(agent, name, ranges=(some,)) for name in ("c1", "c2")]
    assert [e.addresses[0].ip for e in made] == [first + 50, first + 51]
    assert all(e.addresses[1].version == 6 for e in made)
    elsewhere = AddressRange(subnet=ip_network("10.9.0.0/24"))
    for wish, kind, says in (
        ({"ranges": (some,)}, Exhausted, f"no address is left in {first + 50}-{first + 51} of node-1's subnet"),
        ({"ranges": (elsewhere,)}, Invalid, "no address of 10.9.0.0/24 is for containers in node-1's subnet"),
        ({"ranges": (some,), "addresses": (first + 60,)}, Invalid, f"{first + 60} is not within {first + 50}"),
        ({"ranges": (AddressRange(subnet=whole, gateway=first + 9),)}, Invalid, f"it is {first + 1}, leave it to Weft"),
    ):
        with pytest.raises(kind) as caught:
            await attach(agent, "c3", **wish)
        assert says in str(caught.value)
    await service.detach("c1")
    again = await attach(agent, "c3", ranges=(some, elsewhere))
    assert again.addresses[0].ip == first + 50


async def test_a_range_of_a_family_that_the_network_has_not(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    with pytest.raises(Invalid, match=r"range fd00::/64: network blue has only 10\.1\.0\.0/16"):
        await attach(agent, "c1", ranges=(AddressRange(subnet=ip_network("fd00::/64")),))


async def test_reserved_addresses_and_families_the_network_has_not(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", "10.1.0.0/28", node_prefix=30, subnet_min="10.1.0.4/30", subnet_max="10.1.0.4/30")
    await create(agent, "red", "10.2.0.0/24", vni=2, node_prefix=26, subnet_min="10.2.0.64/26", reserve="10.2.0.0/25")
    host.open("c1")
    lease = agent.view.lease("red", "node-1")
    assert lease and str(lease.subnets[0]) in ("10.2.0.128/26", "10.2.0.192/26")
    with pytest.raises(Invalid, match=r"fd00::1: network blue has no IPv6 addresses, it has 10\.1\.0\.0/28"):
        await attach(agent, "c1", "blue", addresses=(ip_address("fd00::1"),))
    two = (ip_address("10.1.0.6"), ip_address("10.1.0.7"))
    with pytest.raises(Invalid, match="takes one address of each of"):
        await attach(agent, "c1", "blue", addresses=two)


async def test_a_reserved_address(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", "10.1.0.0/24", node_prefix=26, subnet_min="10.1.0.64/26", subnet_max="10.1.0.64/26",
                 reserve="10.1.0.96/28")  # fmt: skip
    host.open("c1")
    with pytest.raises(Invalid) as caught:
        await attach(agent, "c1", addresses=(ip_address("10.1.0.100"),))
    assert str(caught.value) == (
        "10.1.0.100 is reserved in this network (reserve=10.1.0.96/28): choose one outside 10.1.0.96/28"
    )


async def test_no_address_is_left_and_a_detach_frees_one(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent, "blue", "10.1.0.0/28", node_prefix=30)
    host.open("c1"), host.open("c2")
    first = await attach(agent, "c1")
    with pytest.raises(Exhausted, match="no address is left in node-1's subnet"):
        await attach(agent, "c2")
    await service.detach("c1")
    assert (await attach(agent, "c2")).addresses == first.addresses


async def test_an_address_is_not_given_again_at_once(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent)
    seen = []
    for name in ("c1", "c2", "c3"):
        host.open(name)
        seen.append(str((await attach(agent, name)).addresses[0].ip))
        await service.detach(name)
    assert seen == await first_addresses(agent, 3)


async def test_what_was_just_freed_is_not_given_at_once_though_endpoints_came_to_the_store_in_another_order(
    agent: Agent, host: FakeHost, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """c2's address is given while c1 is on its way, and c2 is written after it, since its name is another's."""
    await create(agent)
    for name in ("c1", "c2", "c3"):
        host.open(name)
    taken = keys.name_claim("blue", "c2")
    await agent.store.commit([], [Put(taken, b"c2 on node-2", 0)])
    commit, comes, refused = tap.commit, asyncio.Event(), asyncio.Event()

    async def in_turn(guards: Sequence[Guard], ops: Sequence[Write]) -> int | None:
        written = {op.key for op in ops if isinstance(op, Put)}
        if keys.name_claim("blue", "c1") in written:
            comes.set()
            await refused.wait()
        done = await commit(guards, ops)
        if taken in written and done is None:
            refused.set()
            await first
        return done

    monkeypatch.setattr(tap, "commit", in_turn)
    first = asyncio.create_task(attach(agent, "c1"))
    await comes.wait()
    second = await attach(agent, "c2")
    await Service(agent).detach("c2")
    third = await attach(agent, "c3")
    given = [str(a.ip) for made in (await first, second, third) for a in made.addresses]
    assert given == await first_addresses(agent, 3)


async def test_not_after_a_restart_either(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent)
        host.open("c1")
        await attach(agent, "c1")
        await Service(agent).detach("c1")
    async with agent_on(host, store_file) as agent:
        made = await attach(agent, "c1")
        assert str(made.addresses[0].ip) == (await first_addresses(agent, 2))[1]


async def test_a_hundred_at_once_have_distinct_addresses_and_none_is_leaked(
    agent: Agent, service: Service, host: FakeHost
) -> None:
    await create(agent)
    names = [f"c{n}" for n in range(100)]
    paths = [host.open(name) for name in names]
    made = await asyncio.gather(*(attach(agent, name) for name in names))
    assert (
        len({e.addresses for e in made}) == len({e.mac for e in made}) == len({e.host_interface for e in made}) == 100
    )
    assert all(("address", p, "eth0", str(e.addresses[0])) in host.objects for p, e in zip(paths, made, strict=True))
    await asyncio.gather(*(service.detach(name) for name in names))
    assert not any(host.inside(path) for path in paths) and await endpoints_in(agent) == []
    assert not any(agent.attachments._promised.values()) and not agent.attachments._busy
    assert not any(o.name.startswith("weft") and o.name != "weft-blue" and o.name != "weft.1"
                   for o in host.objects.values() if isinstance(o, Link))  # fmt: skip
    wish = ip_address((await first_addresses(agent, 1))[0])
    assert (await attach(agent, "c7", addresses=(wish,))).addresses[0].ip == wish


# What goes wrong.


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"name": "Not A Name"}, "'Not A Name' is not an endpoint name"),
        ({"mac": "nonsense"}, "'nonsense' is not a MAC address"),
        ({"mac": "01:00:5e:00:00:01"}, "is a multicast MAC address"),
    ],
)
async def test_a_bad_request_takes_no_address(agent: Agent, host: FakeHost, wish: dict[str, str], says: str) -> None:
    await create(agent)
    host.open("c1")
    for _ in range(3):
        with pytest.raises(Invalid, match=says):
            await attach(agent, "c1", **wish)
    assert not agent.attachments._promised["blue"]
    assert await endpoints_in(agent) == []


async def test_no_such_namespace_and_no_such_network(agent: Agent) -> None:
    await create(agent)
    with pytest.raises(NotFound, match="no network namespace /run/netns/nowhere: its container may have ended"):
        await attach(agent, "nowhere")
    with pytest.raises(NotFound, match="no network green: `weft network ls` shows those there are"):
        await attach(agent, "c1", "green")


async def test_if_the_kernel_refuses_nothing_is_left(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    path = host.open("c1")

    def fault(_: int, op: Op) -> int:
        return ENOSPC if isinstance(op, Create) and op.obj.key[:2] == ("address", path) else 0

    host.fault = fault
    with pytest.raises(Failed) as caught:
        await attach(agent, "c1")
    (first,) = await first_addresses(agent, 1)
    assert str(caught.value) == (
        f"c1 cannot be attached to blue: address {first}/24 on eth0 in {path}: No space left on device"
    )
    assert host.inside(path) == [] and await endpoints_in(agent) == []
    assert not agent.loop.troubles() and not agent.attachments._promised["blue"]
    host.fault = None
    await attach(agent, "c1", addresses=(ip_address(first),))


async def test_where_the_network_does_not_stand_that_is_the_reason(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    bridge = ("link", "", "weft-blue")
    host.fault = lambda _, op: EBUSY if key_of(op) == bridge else 0
    await agent.loop.in_thread(lambda: host.destroy(bridge))
    await until(agent.loop.troubles)
    with pytest.raises(Failed) as caught:
        await attach(agent, "c1")
    assert str(caught.value) == "c1 cannot be attached to blue: link weft-blue: Device or resource busy"
    assert await endpoints_in(agent) == []


async def test_a_request_that_is_given_up_is_rolled_back(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    path = host.open("c1")
    request = asyncio.create_task(attach(agent, "c1"))
    cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, request.cancel)
    host.fault = lambda _, op: 0 if key_of(op)[:2] != ("link", path) else (cancel(), 0)[1]
    with pytest.raises(asyncio.CancelledError):
        await request
    host.fault = None
    await until(lambda: not host.inside(path))
    assert await endpoints_in(agent) == [] and not agent.attachments._promised["blue"]


async def test_a_store_that_is_lost_makes_no_half_an_endpoint(agent: Agent, host: FakeHost, tap: Tap) -> None:
    await create(agent)
    path = host.open("c1")
    tap.lose("etcd 10.0.0.1:2379: connection refused")
    with pytest.raises(Unavailable, match=r"etcd 10\.0\.0\.1:2379: connection refused"):
        await attach(agent, "c1")
    assert host.inside(path) == [] and not agent.attachments._promised["blue"]
    tap.restore()
    assert await endpoints_in(agent) == []


@pytest.mark.parametrize("driver", ["vxlan", "overlay", "host-gw"])
@pytest.mark.parametrize("times", [3, 1_000])
async def test_a_network_that_changes_under_ones_feet(
    agent: Agent, host: FakeHost, tap: Tap, monkeypatch: pytest.MonkeyPatch, driver: str, times: int
) -> None:
    """It is decided again; not for ever, where it changes all the time."""
    await create(agent, driver=driver)
    host.open("c1")
    network_key, commit, left = keys.network("blue"), tap.store.commit, times

    async def too_late(guards: Sequence[Guard], ops: Sequence[Write]) -> int | None:
        """Somebody else writes the network first: what is decided by then is decided by an older one."""
        nonlocal left
        if left and any(guard.key == network_key for guard in guards if isinstance(guard, Unchanged)):
            left -= 1
            item = await tap.store.get(network_key)
            assert item and await commit([], [Put(network_key, item.value)])
        return await commit(guards, ops)

    monkeypatch.setattr(tap.store, "commit", too_late)
    if times == 3:
        assert (await attach(agent, "c1")).network == "blue" and not left
        return
    with pytest.raises(Unavailable, match="network blue is changed by others all the time: try again"):
        await attach(agent, "c1")
    assert await endpoints_in(agent) == []


async def test_agents_end_leaves_nobody_waiting_and_nothing_half_done(host: FakeHost, store_file: Path) -> None:
    agent = make_agent(host, store_file)
    async with running(agent) as task:
        await until(lambda: agent.loop.started)
        await create(agent)
        path = host.open("c1")
        stop = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
        host.fault = lambda _, op: 0 if key_of(op)[:2] != ("link", path) else (stop(), 0)[1]
        with pytest.raises(Unavailable, match="the agent is stopping"):
            await asyncio.wait_for(attach(agent, "c1"), 5)
        assert await endpoints_in(agent) == []
    host.fault = None
    async with agent_on(host, store_file) as successor:
        assert host.inside(path) == [] and not successor.view.endpoints


# What a container leaves behind.


async def test_a_vanished_namespace_is_cleaned_up(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    path = host.open("c1")
    made = await attach(agent, "c1")
    await agent.loop.in_thread(lambda: host.vanish(path))
    await until(lambda: not agent.view.endpoints)
    await until(lambda: not agent.loop.troubles())
    assert ("link", "", made.host_interface) not in host.objects
    assert await endpoints_in(agent) == []


async def test_a_new_container_of_the_same_name_replaces_the_old_ones_endpoint(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    old = await attach(agent, "c1", name="web")

    def replace() -> str:
        host.cookies.pop("/run/netns/c1")
        host.objects = {k: o for k, o in host.objects.items() if k[1] != "/run/netns/c1" and k[2] != old.host_interface}
        return host.open("c1")

    path = await agent.loop.in_thread(replace)  # unnoticed
    new = await attach(agent, "c1", name="web")
    assert new.id != old.id and new.addresses != old.addresses
    assert await endpoints_in(agent) == [keys.endpoint("node-1", "blue", new.id)]
    assert ("link", "", new.host_interface) in host.objects and ("link", "", old.host_interface) not in host.objects
    assert host.inside(path)


def ways_out(host: FakeHost, path: str) -> list[tuple[str, int, str]]:
    routes = [o for o in host.inside(path) if isinstance(o, Route) and o.prefix.endswith("/0")]
    return sorted((r.prefix, r.metric, r.dev) for r in routes)


async def test_each_family_has_its_way_out(agent: Agent, host: FakeHost) -> None:
    """A first network without IPv6 costs a container nothing of the second one's."""
    await create(agent, "four", "10.4.0.0/16", driver="bridge")
    await create(agent, "both", "10.6.0.0/16", "fd06::/48", driver="routed")
    path = host.open("c1")
    await attach(agent, "c1", "four")
    await attach(agent, "c1", "both")
    last = FALLBACK + 1
    assert ways_out(host, path) == [("0.0.0.0/0", 0, "eth0"), ("0.0.0.0/0", last, "eth1"), ("::/0", last, "eth1")]
    await Service(agent).detach("c1", "four")
    await settled(agent)
    assert ways_out(host, path) == [("0.0.0.0/0", last, "eth1"), ("::/0", last, "eth1")]
    await attach(agent, "c1", "four")
    assert [dev for _, _, dev in ways_out(host, path)] == ["eth1", "eth0", "eth1"], "what has its turn keeps it"


async def test_a_port_follows_to_the_container_s_other_network(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman passes a container's ports to each of its networks, and takes it out of one of them at any time."""
    monkeypatch.setattr("weft.kernel.host.listeners.check_free", lambda _port, _families, _container="": None)
    await create(agent, "green", "10.4.0.0/16", driver="bridge")
    await create(agent, "blue", "10.6.0.0/16", driver="bridge")
    host.open("c1")
    ports = (parse("8080:80"),)
    first = await attach(agent, "c1", "green", ports=ports)
    second = await attach(agent, "c1", "blue", ports=ports)

    def led_to() -> str:
        element = host.objects["nft-element", "", "inet weft", "published4", "tcp . 8080"]
        assert isinstance(element, NftElement)
        return element.to.partition(" ")[0]

    await settled(agent)
    assert led_to() == str(first.addresses[0].ip) and not agent.loop.conflicts
    await Service(agent).detach("c1", "green")
    await settled(agent)
    assert led_to() == str(second.addresses[0].ip)
