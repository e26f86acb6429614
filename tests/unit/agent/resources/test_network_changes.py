"""Networks that are changed while containers are in them: what can be, what cannot, and what it comes to on every host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from errno import EINVAL
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.agents import FakeHost, agent_on, attach, create, network, settled, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, NotFound
from weft.base.net import IPNetwork
from weft.compile.isolation import ANEW
from weft.datapaths import registry
from weft.datapaths.change import OF_NETWORK
from weft.datapaths.registry import DRIVERS
from weft.hoststate import Key, Link, Object
from weft.kernel.host.connections import Flow
from weft.model import Network, PublishedPort, records
from weft.reconcile.protocol import Change

SUBNET = "10.20.0.0/16"
OTHER: dict[str, Any] = {
    "reserve": "10.20.99.0/24",
    "masquerade": False,
    "spoofing": "allow",
    "reach": "red",
    "dns": "off",
    "subnet-min": "10.20.40.0/24",
    "subnet-max": "10.20.200.0/24",
    "strict-affinity": True,
    "cooldown": 5,
    "gateway": "10.20.0.9",
    "direct-routing": True,
    "interface": "ethwe0",
    "flood": True,
}
"""Another value of each option that can be changed."""
ELSEWHERE = {"aws-vpc", "neutron", "neutron-routes"}
"""Drivers of which a cloud is a part."""
BARE = {"host", "none"}


def options_of(driver: str) -> Iterator[str]:
    return (field.encode_name for field in msgspec.structs.fields(DRIVERS[driver].options))


# What can be changed is said of each thing.


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_each_option_says_whether_it_can_be_changed(driver: str) -> None:
    for name in options_of(driver):
        change = registry.change(DRIVERS[driver], name)
        assert change.when == "live" or change.text, f"{name} does not say why, or what stays as it was"
        assert change.when != "fixed" or change.instead, f"{name} has no way out"


def test_each_field_of_a_network_says_whether_it_can_be_changed() -> None:
    assert OF_NETWORK.keys() == {field.name for field in msgspec.structs.fields(Network)}


# What cannot be is refused, before anything changes.


async def test_what_is_fixed_is_refused_with_the_value_the_reason_and_the_way_out(agent: Agent) -> None:
    await create(agent, "blue", SUBNET)
    before = agent.view.networks["blue"]
    for request, told in (
        (
            t.SetNetwork(options={"vni": 9}),
            r"network blue: vni cannot be changed from 1 to 9: hosts do not change at one mom",
        ),
        (t.SetNetwork(driver="host-gw"), r"driver cannot be changed from vxlan to host-gw: .*; make another network"),
        (
            t.SetNetwork(subnets=(ip_network("10.21.0.0/16"),)),
            r"subnets cannot be changed from 10\.20\.0\.0/16 to 10\.21",
        ),
        (t.SetNetwork(mtu=1480), r"MTU 1480 does not fit: eth0 carries 1500, less 50 for the tunnel 1450"),
        (t.SetNetwork(mtu=500), r"MTU 500 is outside 576 to 65535"),
        (t.SetNetwork(options={"colour": 1}), r"driver vxlan has no option 'colour'"),
        (t.SetNetwork(remove=("colour",)), r"driver vxlan has no option 'colour'"),
        (t.SetNetwork(options={"dns": "off"}, remove=("dns",)), r"option dns is given and taken away"),
        (t.SetNetwork(internal=True, options={"reach": "red"}), r"reach=red, and an internal network reaches no other"),
        (t.SetNetwork(options={"reserve": "10.9.0.0/24"}), r"reserve=10\.9\.0\.0/24 is not inside 10\.20\.0\.0/16"),
        (t.SetNetwork(mtu=1400, options={"vni": 9}), r"vni cannot be changed"),
    ):
        with pytest.raises(Invalid, match=told):
            await Service(agent).set_network("blue", request)
    with pytest.raises(NotFound, match="no network green: `weft network ls`"):
        await Service(agent).set_network("green", t.SetNetwork(mtu=1400))
    assert agent.view.networks["blue"] is before


async def test_pools_are_the_way_to_other_subnets(agent: Agent) -> None:
    await create(agent, "blue", SUBNET, driver="routed")
    with pytest.raises(Invalid, match=r"each of them is a pool; `weft pool` adds and removes pools"):
        await Service(agent).set_network("blue", t.SetNetwork(subnets=(ip_network(SUBNET), ip_network("10.21.0.0/16"))))


async def test_an_internal_network_has_nothing_that_leads_in_from_outside(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", SUBNET)
    host.open("web")
    await attach(agent, "web", ports=(PublishedPort(host_port=8080, container_port=80),))
    with pytest.raises(Conflict, match=r"port 8080:80/tcp leads to web on node-1: take that away first"):
        await Service(agent).set_network("blue", t.SetNetwork(internal=True))
    await Service(agent).detach("web")
    assert (await Service(agent).set_network("blue", t.SetNetwork(internal=True))).network.internal


async def test_a_gateway_is_no_containers_address(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", SUBNET, driver="macvlan")
    host.open("web")
    await attach(agent, "web", addresses=(ip_address("10.20.0.9"),))
    with pytest.raises(Conflict, match=r"gateway 10\.20\.0\.9 is the address of web on node-1: choose another"):
        await Service(agent).set_network("blue", t.SetNetwork(options={"gateway": "10.20.0.9"}))


async def test_addresses_in_use_are_told_and_stay(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", SUBNET)
    host.open("web")
    there = str((await attach(agent, "web")).addresses[0].ip)
    done = await Service(agent).set_network("blue", t.SetNetwork(options={"reserve": f"{there}/32"}))
    assert [c.what for c in done.changes] == ["reserve"]
    assert done.notes[-1] == f"reserve: in use now: {there} by web on node-1"
    assert [str(a.ip) for e in agent.view.endpoints.values() for a in e.addresses] == [there]


async def test_a_host_that_cannot_do_it_takes_it_back(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", SUBNET)
    before = host.ours()
    host.fault = lambda _number, op: EINVAL if isinstance(op, Change) and isinstance(op.new, Link) else 0
    with pytest.raises(Failed, match="network blue stays as it was: this host cannot do it"):
        await Service(agent).set_network("blue", t.SetNetwork(mtu=1300))
    host.fault = None
    assert agent.view.networks["blue"].mtu is None
    await until(lambda: host.ours() == before)


# Nothing is lost.


async def test_two_who_change_different_things_both_get_them(agent: Agent) -> None:
    await create(agent, "blue", SUBNET)
    service = Service(agent)
    await asyncio.gather(
        service.set_network("blue", t.SetNetwork(mtu=1300)),
        service.set_network("blue", t.SetNetwork(labels={"tier": "front"})),
        service.set_network("blue", t.SetNetwork(options={"dns": "off"})),
        service.set_network("blue", t.SetNetwork(options={"spoofing": "allow"})),
    )
    found = agent.view.networks["blue"]
    assert (found.mtu, found.labels, found.options["dns"], found.options["spoofing"]) == (
        1300,
        {"tier": "front"},
        "off",
        "allow",
    )


async def test_what_is_only_asked_changes_nothing(agent: Agent) -> None:
    await create(agent, "blue", SUBNET)
    before = agent.view.networks["blue"]
    done = await Service(agent).set_network("blue", t.SetNetwork(mtu=1300, check=True))
    assert [(c.what, c.old, c.new) for c in done.changes] == [("mtu", None, 1300)]
    assert agent.view.networks["blue"] is before


async def test_setting_what_is_so_already_writes_nothing(agent: Agent) -> None:
    await create(agent, "blue", SUBNET)
    commits = agent.store.commits  # type: ignore[attr-defined]
    done = await Service(agent).set_network("blue", t.SetNetwork(options={"vni": 1, "dns": "on"}, internal=False))
    assert done.changes == () and agent.view.networks["blue"].options["vni"] == 1
    assert agent.store.commits <= commits + 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("driver", "option", "number"), [("vxlan", "vni", 1), ("mesh", "vni", 256), ("udp", "port", 8285)]
)
async def test_a_number_that_weft_chose_stays_when_it_is_taken_away(
    agent: Agent, driver: str, option: str, number: int
) -> None:
    await create(agent, "blue", SUBNET, driver=driver)
    done = await Service(agent).set_network("blue", t.SetNetwork(remove=(option,)))
    assert done.changes == () and agent.view.networks["blue"].options[option] == number
    [document] = (await Service(agent).declared("network/blue")).documents
    assert f'"{option}":{number}' in bytes(document).decode()  # type: ignore[call-overload]


# A network that is changed to something is on every host as one that was made so.


@pytest.fixture
async def hosts(agent: Agent, host: FakeHost, store_file: Path) -> AsyncIterator[list[tuple[Agent, FakeHost]]]:
    """Two, each with two containers."""
    second = FakeHost("192.168.1.254/24")
    async with agent_on(second, store_file, "node-2") as running:
        await until(lambda: "node-2" in agent.view.present and "node-1" in running.view.present)
        for one, name in ((host, "a"), (host, "b"), (second, "c"), (second, "d")):
            one.open(name)
        yield [(agent, host), (running, second)]


async def lent(hosts: list[tuple[Agent, FakeHost]], made: Network) -> list[tuple[IPNetwork, ...]]:
    """What each host has of the network: they take it as soon as they hear of that, so either may be the first."""
    found = list[tuple[IPNetwork, ...]]()
    for running, _ in hosts:
        await until(lambda running=running: made.name in running.view.networks)  # type: ignore[misc]
        await running.leases.ensure(made.name, running.host.host)  # type: ignore[arg-type]
        lease = running.view.lease(made.name, running.view.me)
        found.append(lease.subnets if lease else ())
    return found


async def join(hosts: list[tuple[Agent, FakeHost]], made: Network, held: Sequence[tuple[IPNetwork, ...]]) -> None:
    """The containers get addresses that are the same wherever their hosts have the same subnets (`lent`)."""
    for (running, _), names, subnets in zip(hosts, ("ab", "cd"), held, strict=True):
        for place, name in enumerate(names):
            base = subnets[0] if subnets else ip_network(SUBNET)
            start = 20 if names == "ab" or base != ip_network(SUBNET) else 4000
            wish = () if not made.subnets else (base.network_address + start + place,)
            await attach(running, name, made.name, addresses=wish)


async def leave(hosts: list[tuple[Agent, FakeHost]], name: str) -> None:
    for (running, _), names in zip(hosts, ("ab", "cd"), strict=True):
        for container in names:
            await Service(running).detach(container)
    await removed(hosts, name)


async def removed(hosts: list[tuple[Agent, FakeHost]], name: str) -> None:
    await Service(hosts[0][0]).remove_network(name)
    for running, _ in hosts:
        await until(lambda running=running: name not in running.view.networks)  # type: ignore[misc]
        await settled(running)


def agree(hosts: list[tuple[Agent, FakeHost]], made: Network) -> bool:
    """Whether they have heard the same of who has which subnets of the network, and, if all follow that, of where its
    containers are."""
    views = [running.view for running, _ in hosts]
    held = [view.leases.get(made.name) for view in views]
    places = [view.locations.get(made.name) for view in views if view.follows(records.LOCATIONS, made.name)]
    return held.count(held[0]) == len(views) and (len(places) < len(views) or places.count(places[0]) == len(views))


async def state(hosts: list[tuple[Agent, FakeHost]], made: Network) -> list[dict[Key, Object]]:
    """What there is on each host, in its containers too, when all is as it is to be."""
    await until(lambda: agree(hosts, made))
    for running, _ in hosts:
        await until(lambda running=running: running.view.networks.get(made.name) == made)  # type: ignore[misc]
        await settled(running)
        await running.following.settle(made.name)
        await settled(running)
    return [dict(host.objects) for _, host in hosts]


def differing(
    some: list[dict[Key, Object]], others: list[dict[Key, Object]]
) -> list[tuple[Object | None, Object | None]]:
    pairs = zip(some, others, strict=True)
    return [(a.get(k), b.get(k)) for a, b in pairs for k in sorted({*a, *b}, key=str) if a.get(k) != b.get(k)]


def cases() -> Iterator[tuple[str, str]]:
    for driver in sorted(DRIVERS.keys() - ELSEWHERE - BARE):
        passed = DRIVERS[driver].passed
        live = [n for n in options_of(driver) if n in OTHER and registry.change(DRIVERS[driver], n).when == "live"]
        yield from ((driver, name) for name in live if passed or name not in ("reach", "spoofing"))
        yield from ((driver, name) for name in ("mtu", *(["internal"] if passed else [])))


@pytest.mark.parametrize(("driver", "what"), list(cases()))
async def test_a_network_that_is_changed_is_as_one_that_was_made_so(
    hosts: list[tuple[Agent, FakeHost]], driver: str, what: str
) -> None:
    service = Service(hosts[0][0])
    await create(hosts[0][0], "red", "10.30.0.0/16", driver="bridge", reach="blue")
    common: dict[str, Any] = {"cooldown": 0} if "cooldown" in options_of(driver) and what != "cooldown" else {}
    plain = network("blue", SUBNET, driver=driver, reach="self", **common)
    if what == "mtu":
        wish, wanted = t.SetNetwork(mtu=1300), msgspec.structs.replace(plain, mtu=1300)
    elif what == "internal":
        wish, wanted = t.SetNetwork(internal=True), msgspec.structs.replace(plain, internal=True)
    else:
        wish = t.SetNetwork(options={what: OTHER[what]})
        wanted = msgspec.structs.replace(plain, options={**plain.options, what: OTHER[what]})

    held = list[list[tuple[IPNetwork, ...]]]()

    async def made(this: Network) -> list[dict[Key, Object]]:
        await service.create_network(t.CreateNetwork(network=this))
        held.append(await lent(hosts, this))
        if held[-1] != held[0]:  # the other host was the first this time: once more
            await removed(hosts, this.name)
            return await made(this)
        await join(hosts, this, held[-1])
        return await state(hosts, hosts[0][0].view.networks["blue"])

    first = await made(plain)
    done = await service.set_network("blue", wish)
    assert [c.what for c in done.changes] == [what]
    changed = await state(hosts, hosts[0][0].view.networks["blue"])
    back = t.SetNetwork(mtu=0 if what == "mtu" else None, internal=False if what == "internal" else None)
    if what not in ("mtu", "internal"):
        back = t.SetNetwork(options={what: done.changes[0].old})
    await service.set_network("blue", back)
    again = await state(hosts, hosts[0][0].view.networks["blue"])
    assert differing(again, first) == []
    await leave(hosts, "blue")
    assert differing(changed, await made(wanted)) == []


# Numbers that nobody gives are chosen.


@pytest.mark.parametrize("driver", sorted(DRIVERS.keys() - ELSEWHERE - BARE))
@pytest.mark.parametrize("encap", ["", "vxlan"])
async def test_a_second_and_a_third_network_need_no_numbers(agent: Agent, driver: str, encap: str) -> None:
    if encap and driver != "routed":
        pytest.skip("it has no such option")
    more = {"encap": encap} if encap else {}
    for number in range(3):
        await create(agent, f"n{number}", f"10.{40 + number}.0.0/16", driver=driver, **more)
    options = [registry.parse_options(agent.view.networks[f"n{number}"]) for number in range(3)]
    numbers = [(o.tunnel_vni, o.udp_port) for o in options if o.udp_port]
    assert len(set(numbers)) == len(numbers)


async def test_a_port_of_driver_udp_is_none_where_hosts_have_vxlan(agent: Agent) -> None:
    await create(agent, "one", "10.40.0.0/16", driver="vxlan", port=8285)
    await create(agent, "two", "10.41.0.0/16", driver="udp")
    assert agent.view.networks["two"].options["port"] == 8286
    with pytest.raises(Invalid, match=r"port=8285 is that of network one, whose driver sends something else there"):
        await create(agent, "three", "10.42.0.0/16", driver="udp", port=8285)


# What becomes of open connections.


def flow(source: str, to: str) -> Flow:
    one, other = ip_address(source).packed, ip_address(to).packed
    return Flow(b"", b"", b"", False, 6, one, other, 80, other, 80, one, 0)


async def test_open_connections_are_asked_about_again_before_the_change_is_told_done(
    agent: Agent, host: FakeHost
) -> None:
    """Only those that lead to where a container may not go any more; and no longer when it may again."""
    service = Service(agent)
    await create(agent, "blue", SUBNET, reach="red")
    await create(agent, "red", "10.30.0.0/16", reach="blue")
    host.open("c1")
    own = str((await attach(agent, "c1")).addresses[0].ip)
    other, outside, inside = flow("10.30.0.2", own), flow(own, "192.0.2.1"), flow(own, "10.20.77.2")
    host.conntrack.flows[""] = [other, outside, inside]

    def marked() -> list[tuple[Flow, bool]]:
        made = [each for _, bit, changes in host.conntrack.marked if bit == ANEW for each in changes]
        host.conntrack.marked.clear()
        return made

    await service.set_network("blue", t.SetNetwork(options={"reach": "self"}))
    assert marked() == [(other, True)]
    await service.set_network("blue", t.SetNetwork(internal=True))
    assert marked() == [(other, True), (outside, True)]
    host.conntrack.flows[""] = [msgspec.structs.replace(each, mark=ANEW | 1) for each in (other, outside)]
    other, outside = host.conntrack.flows[""]
    await service.set_network("blue", t.SetNetwork(internal=False))
    assert marked() == [(outside, False)]
    host.conntrack.flows[""] = [other]
    await service.set_network("blue", t.SetNetwork(options={"reach": "red"}))
    assert marked() == [(other, False)]
