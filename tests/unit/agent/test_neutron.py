"""Agents on two hosts without a kernel, and a real neutron-server: what comes and goes there with networks and containers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from support.agents import FakeHost, agent_on, attach, until
from support.etcd import free_ports
from support.neutron_server import NeutronServer
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Failed, Invalid, NotFound, Unavailable, WeftError
from weft.hoststate import Address, Link, Route
from weft.ipam import audit_ports
from weft.model import ExposedPort, Network, PublishedPort
from weft.openstack import cloud as clouds

KINDS = ("networks", "subnets", "ports")


def state(server: NeutronServer) -> dict[str, list[str]]:
    return {kind: sorted(found["id"] for found in server.list(kind)) for kind in KINDS}


@pytest.fixture
def neutron(neutron_server: NeutronServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NeutronServer]:
    """What was there before is there afterwards, and nothing else."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(neutron_server.clouds(tmp_path)))
    before = state(neutron_server)
    yield neutron_server
    assert state(neutron_server) == before


@pytest.fixture
async def one(neutron: NeutronServer, host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    async with agent_on(host, store_file, openstack_cloud="devstack") as agent:
        yield agent


@pytest.fixture
async def two(one: Agent, store_file: Path) -> AsyncIterator[tuple[Agent, FakeHost]]:
    host = FakeHost("192.168.1.254/24")
    async with agent_on(host, store_file, "node-2", openstack_cloud="devstack") as agent:
        yield agent, host


async def create(agent: Agent, name: str = "blue", *subnets: str, mtu: int | None = None, **options: Any) -> Network:
    wish = Network(
        name=name,
        driver="neutron",
        subnets=tuple(map(ip_network, subnets)),
        options={key.replace("__", ".").replace("_", "-"): value for key, value in options.items()},
        mtu=mtu,
    )
    await Service(agent).create_network(t.CreateNetwork(network=wish))
    return agent.view.networks[name]


async def remove(agent: Agent, name: str = "blue", **more: str) -> None:
    await Service(agent).remove_network(name, **more)


async def detach(agent: Agent, target: str) -> None:
    await Service(agent).detach(target)


def ours(server: NeutronServer, net: Network) -> list[dict[str, Any]]:
    return server.list("ports", network_id=net.data["net"], device_owner="compute:weft")


async def test_a_network_and_its_containers_on_two_hosts(
    neutron: NeutronServer, one: Agent, host: FakeHost, two: tuple[Agent, FakeHost]
) -> None:
    blue = await create(one, "blue", "10.30.0.0/24", "fd30::/64")
    (there,) = neutron.list("networks", name="weft-blue")
    assert there["id"] == blue.data["net"] and there["description"] == f"weft:{one.known.cluster}/blue"
    assert {s["cidr"] for s in neutron.list("subnets", network_id=there["id"])} == {"10.30.0.0/24", "fd30::/64"}
    before = ours(neutron, blue)

    other, there_host = two
    await until(lambda: "blue" in other.view.networks)
    made = {}
    for agent, fake, name in ((one, host, "c1"), (other, there_host, "c2")):
        fake.open(name)
        made[name] = await attach(agent, name)
    ports = {p["name"]: p for p in ours(neutron, blue)}
    assert {name: p["binding:host_id"] for name, p in ports.items()} == {"c1": "node-1", "c2": "node-2"}
    for name, port in ports.items():
        endpoint = made[name]
        assert port["device_id"] == endpoint.id and port["mac_address"] == endpoint.mac and port["status"] == "ACTIVE"
        assert [str(a.ip) for a in endpoint.addresses] == [ip["ip_address"] for ip in port["fixed_ips"]]
        assert port["description"] == f"weft:{one.known.cluster}/{endpoint.node}"
    data = next(iter(one.view.endpoints.values())).data
    assert data == {
        "port": ports["c1"]["id"], "plug": "ovs", "bridge": "br-int", "mtu": "1450", "gateway": "10.30.0.1",
        "gateway-v6": "fd30::", "routes": "",
    }  # fmt: skip

    inside = host.inside("/run/netns/c1")
    assert {o.address for o in inside if isinstance(o, Address)} > {str(a) for a in made["c1"].addresses}
    assert {(o.prefix, o.via) for o in inside if isinstance(o, Route)} >= {
        ("0.0.0.0/0", "10.30.0.1"),
        ("::/0", "fd30::"),
    }
    assert [o.mtu for o in inside if isinstance(o, Link)] == [1450]
    assert {str(r.gateway) for r in made["c1"].routes if not r.destination.prefixlen} == {"10.30.0.1", "fd30::"}

    again = await attach(one, "c1")
    assert again.id == made["c1"].id and len(ours(neutron, blue)) == 2
    await detach(one, "c1")
    await detach(other, "c2")
    assert ours(neutron, blue) == before == []
    await remove(one)
    assert neutron.list("networks", name="weft-blue") == []


async def test_what_is_asked_for_is_what_the_port_has(neutron: NeutronServer, one: Agent, host: FakeHost) -> None:
    group = neutron.make("security_group", name="web")
    try:
        blue = await create(
            one, "blue", "10.30.1.0/24", mtu=1400, security_groups="web", allowed_address_pairs="10.99.0.0/24"
        )
        host.open("c1")
        made = await attach(one, "c1", addresses=(ip_address("10.30.1.77"),), mac="02:11:22:33:44:55", name="shop")
        (port,) = ours(neutron, blue)
        assert (port["name"], port["mac_address"], port["security_groups"]) == (
            "shop",
            "02:11:22:33:44:55",
            [group["id"]],
        )
        assert [ip["ip_address"] for ip in port["fixed_ips"]] == ["10.30.1.77"] == [str(a.ip) for a in made.addresses]
        assert [pair["ip_address"] for pair in port["allowed_address_pairs"]] == ["10.99.0.0/24"]
        assert one.view.endpoints[made.id].data["mtu"] == "1400"
        host.open("c2")
        with pytest.raises(Conflict, match=r"c2 in network blue: the address is taken: choose another"):
            await attach(one, "c2", addresses=(ip_address("10.30.1.77"),))
        with pytest.raises(Invalid, match=r"c2 in network blue: the address is not one that this subnet gives"):
            await attach(one, "c2", addresses=(ip_address("10.31.0.1"),))
        assert len(ours(neutron, blue)) == 1
        await remove(one, force="yes")
    finally:
        neutron.delete("security_group", group["id"])


async def test_without_port_security(neutron: NeutronServer, one: Agent, host: FakeHost) -> None:
    blue = await create(one, "blue", "10.30.2.0/24", port_security="off")
    host.open("c1")
    await attach(one, "c1")
    (port,) = ours(neutron, blue)
    assert (port["port_security_enabled"], port["security_groups"]) == (False, [])
    await detach(one, "c1")
    await remove(one)


async def test_a_network_that_neutron_has_is_used_and_left_as_it_is(
    neutron: NeutronServer, one: Agent, host: FakeHost
) -> None:
    net = neutron.make("network", name="prod")
    v4 = {"network_id": net["id"], "ip_version": 4}
    first = neutron.make("subnet", cidr="10.40.0.0/24", name="a", gateway_ip=None, **v4)
    routed = {"host_routes": [{"destination": "192.168.7.0/24", "nexthop": "10.40.0.9"}]}
    neutron.ask("PUT", f"/v2.0/subnets/{first['id']}", {"subnet": routed})
    try:
        blue = await create(one, neutron__net="prod")
        assert list(map(str, blue.subnets)) == ["10.40.0.0/24"] and blue.data["net"] == net["id"]
        assert [len(tag) < 61 for tag in neutron.list("networks", id=net["id"])[0]["tags"]] == [True]
        host.open("c1")
        made = await attach(one, "c1")
        data = one.view.endpoints[made.id].data
        assert (data["gateway"], data["routes"]) == ("", "192.168.7.0/24 via 10.40.0.9")
        routes = {(o.prefix, o.via) for o in host.inside("/run/netns/c1") if isinstance(o, Route)}
        assert routes == {("192.168.7.0/24", "10.40.0.9")}
        vm = neutron.make("port", network_id=net["id"], device_owner="compute:nova")
        await detach(one, "c1")
        await remove(one)
        left = neutron.list("networks", id=net["id"])
        assert [n["tags"] for n in left] == [[]] and neutron.list("ports", network_id=net["id"])[0]["id"] == vm["id"]

        second = neutron.make("subnet", cidr="10.40.1.0/24", name="b", **v4)
        with pytest.raises(Invalid, match=r"prod has in Neutron .*a 10\.40\.0\.0/24.*: choose one of each family"):
            await create(one, neutron__net="prod")
        with pytest.raises(Invalid, match="no subnet c: prod has in Neutron"):
            await create(one, neutron__net="prod", neutron__subnet="c")
        with pytest.raises(Invalid, match=r"no subnet 10\.77\.0\.0/24: prod has in Neutron"):
            await create(one, "blue", "10.77.0.0/24", neutron__net="prod")
        blue = await create(one, neutron__net=net["id"], neutron__subnet="b")
        assert blue.data["subnet4"] == second["id"]
        await remove(one)
    finally:
        for port in neutron.list("ports", network_id=net["id"]):
            neutron.delete("port", port["id"])
        neutron.delete("network", net["id"])


async def test_a_network_with_ports_of_others_stays(neutron: NeutronServer, one: Agent) -> None:
    blue = await create(one, "blue", "10.30.3.0/24")
    vm = neutron.make("port", network_id=blue.data["net"], name="vm-7", device_owner="compute:nova")
    with pytest.raises(Conflict) as caught:
        await remove(one)
    assert str(caught.value) == "network blue: 1 ports of others are on it in Neutron (vm-7): remove those first"
    assert "blue" in one.view.networks
    neutron.delete("port", vm["id"])
    neutron.make("port", network_id=blue.data["net"], device_owner="network:distributed", device_id="ovnmeta")  # OVN's
    await remove(one)


@pytest.mark.parametrize(
    ("wish", "error", "text"),
    [
        ({"neutron__net": "none"}, NotFound, "Neutron has no network none, or not for these credentials"),
        ({"subnets": ("10.30.4.0/24",), "security_groups": "none"}, NotFound, "Neutron has no security group none"),
        ({"subnets": ("10.30.4.0/24",), "neutron__pool": "none"}, NotFound, "Neutron has no subnetpool none"),
        ({}, Invalid, "network blue: no subnet: give --subnet"),
        ({"neutron__subnet": "x"}, Invalid, "neutron.subnet=x is of no network"),
        ({"subnets": ("10.30.4.0/24",), "port_security": "off", "security_groups": "a"}, Invalid, "port-security=off"),
        ({"subnets": ("10.30.4.0/24",), "allowed_address_pairs": "10.0.0.1/8"}, Invalid, r"pairs=10\.0\.0\.1/8: .* host bits"),
        ({"subnets": ("10.30.4.0/24",), "mtu": 9000}, Invalid, "Requested MTU is too big, maximum is 1450"),
    ],
)  # fmt: skip
async def test_networks_that_cannot_be(
    neutron: NeutronServer, one: Agent, wish: dict[str, Any], error: type[WeftError], text: str
) -> None:
    with pytest.raises(error, match=text):
        await create(one, "blue", *wish.pop("subnets", ()), **wish)
    assert "blue" not in one.view.networks


async def test_the_loser_of_a_race_for_a_name_removes_what_it_made(
    neutron: NeutronServer, one: Agent, two: tuple[Agent, FakeHost]
) -> None:
    both = await asyncio.gather(
        create(one, "blue", "10.30.5.0/24"), create(two[0], "blue", "10.30.5.0/24"), return_exceptions=True
    )
    assert sorted(type(found) for found in both if isinstance(found, WeftError)) == [Conflict]
    assert len(neutron.list("networks", name="weft-blue")) == 1
    await remove(one)


async def test_a_full_subnet(neutron: NeutronServer, one: Agent, host: FakeHost) -> None:
    await create(one, "blue", "10.30.6.0/30")
    host.open("c1")
    host.open("c2")
    await attach(one, "c1")
    with pytest.raises(Exhausted, match="c2 in network blue: no address is left in the subnet"):
        await attach(one, "c2")
    await detach(one, "c1")
    await attach(one, "c2")
    await detach(one, "c2")
    await remove(one)


async def test_no_agent_of_neutrons(neutron: NeutronServer, host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file, openstack_cloud="devstack", openstack_host="elsewhere") as agent:
        blue = await create(agent, "blue", "10.30.7.0/24")
        host.open("c1")
        with pytest.raises(Failed) as caught:
            await attach(agent, "c1")
        assert str(caught.value).startswith(
            "c1 in network blue: Neutron knows no agent on host elsewhere that takes the port"
        )
        assert ours(neutron, blue) == [] and not agent.view.endpoints
        await remove(agent)


async def test_a_port_that_does_not_become_active(neutron: NeutronServer, host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file, openstack_cloud="devstack", openstack_host="slow-1") as agent:
        blue = await create(agent, "blue", "10.30.8.0/24", plugging_timeout=1)
        host.open("c1")
        with pytest.raises(Failed) as caught:
            await attach(agent, "c1")
        assert str(caught.value) == (
            "c1 cannot be attached to blue: its port in Neutron has not become active in 1 s (its status is DOWN): is "
            "neutron-openvswitch-agent alive on slow-1, and does it see bridge br-int?"
        )
        assert ours(neutron, blue) == [] and not agent.view.endpoints
        assert not any(isinstance(o, Link) and o.name.startswith("tap") for o in host.objects.values())
        await remove(agent)
        await create(agent, "red", "10.30.9.0/24", plugging_timeout=0)
        await attach(agent, "c1", "red")
        await remove(agent, "red", force="yes")


async def test_neutron_goes_away(
    neutron: NeutronServer, one: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody gets a container attached meanwhile; those that are there go on, and can be detached."""
    blue = await create(one, "blue", "10.30.10.0/24")
    for name in ("c1", "c2", "c3"):
        host.open(name)
    await attach(one, "c1")
    await attach(one, "c2")
    before = dict(host.objects)
    monkeypatch.setattr(clouds, "ANSWER", 0.5)
    monkeypatch.setattr(clouds, "WRITE", 0.5)
    neutron.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="c3 in network blue: OpenStack does not answer"):
            await attach(one, "c3")
        assert time.monotonic() - began < 5
        assert host.objects == before and (await Service(one).status()).state == "converged"
        await detach(one, "c1")
        assert {e.name for e in one.view.endpoints.values()} == {"c2"}
    finally:
        neutron.thaw()
    monkeypatch.undo()
    await one.attachments.neutron.leftovers.sweep()
    await one.attachments.neutron.leftovers.sweep()
    assert {p["name"] for p in ours(neutron, blue)} == {"c2"}
    await attach(one, "c3")
    await remove(one, force="yes")


async def test_what_an_agent_left_behind_when_it_was_killed(neutron: NeutronServer, one: Agent, host: FakeHost) -> None:
    blue = await create(one, "blue", "10.30.11.0/24")
    host.open("c1")
    made = await attach(one, "c1")
    values = {"network_id": blue.data["net"], "device_owner": "compute:weft"}
    left = neutron.make("port", description=one.attachments.neutron.marks.port, device_id="gone", **values)
    foreign = neutron.make("port", description="weft:another-cluster/node-1", device_id="theirs", **values)
    assert await one.attachments.neutron.leftovers.sweep() == []
    assert await one.attachments.neutron.leftovers.sweep() == [left["id"]]
    assert {p["device_id"] for p in ours(neutron, blue)} == {made.id, "theirs"}
    neutron.delete("port", foreign["id"])
    await remove(one, force="yes")


async def test_an_address_that_was_kept_comes_with_its_port(neutron: NeutronServer, one: Agent, host: FakeHost) -> None:
    """As Docker asks: for an address of each family first, and for the endpoint afterwards."""
    blue = await create(one, "blue", "10.30.12.0/24", "fd30:12::/64")
    kept = []
    for family in (4, 6):
        kept.append((await Service(one).reserve("blue", t.Reserve(family=family, owner="docker/"))).address)
    assert {p["binding:host_id"] for p in ours(neutron, blue)} == {""} and len(ours(neutron, blue)) == 2
    assert await one.attachments.neutron.leftovers.sweep() == await one.attachments.neutron.leftovers.sweep() == []
    made = await attach(
        one, "", owner="docker/n/e", handover=True, addresses=tuple(a.ip for a in kept), name="docker-e"
    )
    (port,) = ours(neutron, blue)
    assert (port["binding:host_id"], port["device_id"], port["name"]) == ("node-1", made.id, "docker-e")
    assert made.addresses == tuple(kept) and port["mac_address"] == made.mac
    await Service(one).detach(owner="docker/n/e")
    assert ours(neutron, blue) == []

    address = (await Service(one).reserve("blue", t.Reserve(family=4, owner="docker/"))).address
    await Service(one).release("blue", str(address.ip), "docker/")
    assert ours(neutron, blue) == []
    await Service(one).reserve("blue", t.Reserve(family=4, owner="docker/", seconds=0.01))
    await asyncio.sleep(0.02)  # until nobody is promised it any more
    await one.attachments.neutron.leftovers.sweep()
    assert len(await one.attachments.neutron.leftovers.sweep()) == 1
    await remove(one)


async def test_no_cloud_is_known_and_the_agent_is_well(
    host: FakeHost, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (closed,) = free_ports(1)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", f"/nonexistent/{closed}")
    async with agent_on(host, store_file) as agent:
        with pytest.raises(Invalid, match="the agent knows no OpenStack cloud"):
            await create(agent, "blue", "10.30.13.0/24")
        assert (await Service(agent).status()).state == "converged"


@pytest.mark.parametrize(
    "clouds",
    ["[1, 2]", "hello", "clouds: {a: [", "clouds: [a]", "clouds: {devstack: }", "clouds: {devstack: x}",
     "clouds: {devstack: {auth: x}}", "clouds: {devstack: {auth_type: none}}"],
)  # fmt: skip
async def test_a_cloud_that_is_said_wrongly_is_told_and_read_again_when_it_was_mended(
    clouds: str, neutron: NeutronServer, one: Agent
) -> None:
    file = Path(os.environ["OS_CLIENT_CONFIG_FILE"])
    right = file.read_text()
    file.write_text(clouds)
    with pytest.raises(Invalid, match=r"network weft-blue in Neutron: .*[^.]: see clouds\.yaml, and openstack-cloud"):
        await create(one, "blue", "10.30.17.0/24")
    file.write_text(right)
    with pytest.raises(NotFound):  # Neutron is asked
        await create(one, neutron__net="none")


async def test_an_address_of_the_cloud_that_is_wrong_and_then_right(neutron: NeutronServer, one: Agent) -> None:
    file = Path(os.environ["OS_CLIENT_CONFIG_FILE"])
    right = file.read_text()
    file.write_text(right.replace('"devstack"', '"other"').replace('"nowhere"', '"devstack"'))
    with pytest.raises(
        Unavailable, match=r"OpenStack does not answer \(.*misconfigured\): try again, or see clouds\.yaml"
    ):
        await create(one, neutron__net="none")
    file.write_text(right)
    with pytest.raises(NotFound):
        await create(one, neutron__net="none")


async def test_a_security_group_named_twice_and_made_anew(neutron: NeutronServer, one: Agent, host: FakeHost) -> None:
    """And a container that is the network's gateway: it has no way out by itself."""
    group = neutron.make("security_group", name="web")
    blue = await create(one, "blue", "10.30.18.0/24", security_groups=f"web,{group['id']},web")
    neutron.delete("security_group", group["id"])
    again = neutron.make("security_group", name="web")
    host.open("c1")
    try:
        with pytest.raises(NotFound, match=f"Neutron has no security group {group['id']}"):
            await attach(one, "c1")
        await remove(one)
        blue = await create(one, "blue", "10.30.18.0/24", security_groups="web,web")
        neutron.delete("security_group", again["id"])
        again = neutron.make("security_group", name="web")
        made = await attach(one, "c1", addresses=(ip_address("10.30.18.1"),))
        assert [p["security_groups"] for p in ours(neutron, blue)] == [[again["id"]]]
        assert made.gateways == () and not any(isinstance(o, Route) for o in host.inside("/run/netns/c1"))
    finally:
        await remove(one, force="yes")
        neutron.delete("security_group", again["id"])


async def test_what_changes_in_a_network_that_neutron_has(neutron: NeutronServer, one: Agent, host: FakeHost) -> None:
    """A subnet comes of which each port gets an address, asked for or not; then somebody removes it all."""
    net = neutron.make("network", name="prod")
    neutron.make("subnet", network_id=net["id"], cidr="10.52.0.0/24", ip_version=4)
    try:
        await create(one, neutron__net="prod")
        host.open("c1")
        await attach(one, "c1")
        await detach(one, "c1")
        modes = {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}
        neutron.make("subnet", network_id=net["id"], cidr="fd52::/64", ip_version=6, **modes)
        made = await attach(one, "c1")
        assert [str(a.network) for a in made.addresses] == ["10.52.0.0/24", "fd52::/64"]
        for _ in range(3):  # in whatever order Neutron lists them
            kept = (await Service(one).reserve("blue", t.Reserve(family=4, owner="docker/"))).address
            assert str(kept.network) == "10.52.0.0/24"
            await Service(one).release("blue", str(kept.ip), "docker/")
        await detach(one, "c1")
    finally:
        for port in neutron.list("ports", network_id=net["id"]):
            neutron.delete("port", port["id"])
        neutron.delete("network", net["id"])
    one.attachments.neutron.facts.forget()  # a minute goes by
    with pytest.raises(
        NotFound, match=f"network blue: Neutron has its network {net['id']} no more.* `weft network rm blue`"
    ):
        await attach(one, "c1")
    await remove(one)


async def checked(agent: Agent, *, fix: bool = False) -> dict[str, t.Fault]:
    found = (await Service(agent).check_ipam(t.CheckIpam(fix=fix))).faults
    return {fault.kind: fault for fault in found}


async def test_the_audit_tells_what_is_without_the_other_and_puts_it_right(
    neutron: NeutronServer, one: Agent, host: FakeHost, two: tuple[Agent, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    blue = await create(one, "blue", "10.30.14.0/24")
    host.open("c1")
    made = await attach(one, "c1")
    assert await checked(one) == {}
    marks = one.attachments.neutron.marks
    values = {"network_id": blue.data["net"], "device_owner": "compute:weft"}
    lost = neutron.make("security_group", name="weft-lost", description=f"{marks.cluster}node-9")
    groups = {"security_groups": [lost["id"]]}
    neutron.make("port", description=f"{marks.cluster}node-9", device_id="gone", name="lost", **values, **groups)
    theirs = neutron.make("security_group", name="weft-x", description="weft:another-cluster/node-9")
    foreign = neutron.make("port", description="weft:another-cluster/node-9", **values)
    orphan = neutron.make("network", name="weft-old", description=marks.network("old"))
    neutron.delete("port", one.view.endpoints[made.id].data["port"])
    assert set(await checked(one)) == {"endpoint-without-port"}  # all else may be just coming
    monkeypatch.setattr(audit_ports, "YOUNG", -60.0)

    found = await checked(two[0], fix=True)
    assert {kind: (f.network, f.node, f.fixed) for kind, f in found.items()} == {
        "port-without-endpoint": ("blue", "node-9", True),
        "security-group-without-endpoint": ("", "node-9", True),
        "endpoint-without-port": ("blue", "node-1", False),
        "neutron-network-without-network": ("old", "", True),
    }
    assert found["endpoint-without-port"].text.endswith("`weft ipam check --fix` on node-1 makes another one")
    assert neutron.list("security-groups", id=lost["id"]) == [] != neutron.list("security-groups", id=theirs["id"])
    neutron.delete("security_group", theirs["id"])
    assert neutron.list("networks", id=orphan["id"]) == [] and [p["id"] for p in ours(neutron, blue)] == [foreign["id"]]

    assert (await checked(one, fix=True))["endpoint-without-port"].fixed
    (port,) = (p for p in ours(neutron, blue) if p["id"] != foreign["id"])
    again = one.view.endpoints[made.id]
    assert (port["id"], port["mac_address"], port["device_id"]) == (again.data["port"], made.mac, made.id)
    assert [ip["ip_address"] for ip in port["fixed_ips"]] == [str(a.ip) for a in made.addresses]
    assert any(isinstance(o, Link) and o.name == f"tap{port['id'][:11]}" for o in host.objects.values())
    assert await checked(one) == {}
    neutron.delete("port", foreign["id"])
    await remove(one, force="yes")


async def test_an_audit_without_neutron_says_so(
    neutron: NeutronServer, one: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(one, "blue", "10.30.15.0/24")
    monkeypatch.setattr(clouds, "ANSWER", 0.5)
    neutron.freeze()
    try:
        (fault,) = (await checked(one)).values()
        assert (fault.kind, fault.fixed) == ("neutron-not-asked", False) and "OpenStack does not answer" in fault.text
        with pytest.raises(Unavailable, match=r"network blue stays: .* with --force it goes here"):
            await remove(one)
        with pytest.raises(Failed, match=r"network blue is removed, but what was made for it is not: "):
            await remove(one, force="yes")
        assert "blue" not in one.view.networks
    finally:
        neutron.thaw()
    monkeypatch.undo()
    monkeypatch.setattr(audit_ports, "YOUNG", -60.0)
    assert (await checked(one, fix=True))["neutron-network-without-network"].fixed


async def test_exposed_ports_are_opened_by_a_group_of_the_containers_own(
    neutron: NeutronServer, one: Agent, host: FakeHost
) -> None:
    """As for Docker, which tells of them with the endpoint, and publishes afterwards."""
    blue = await create(one, "blue", "10.30.16.0/24")
    address = (await Service(one).reserve("blue", t.Reserve(family=4, owner="docker/"))).address
    exposed = (ExposedPort("tcp", 80), ExposedPort("tcp", 81), ExposedPort("udp", 53))
    wish = {"addresses": (address.ip,), "owner": "docker/n/e", "handover": True, "name": "docker-e"}
    made = await attach(one, "", exposed=exposed, **wish)
    (port,) = ours(neutron, blue)
    groups = {neutron.list("security-groups", id=id)[0]["name"]: id for id in port["security_groups"]}
    assert groups.keys() == {"weft-docker-e", "default"}
    own = groups["weft-docker-e"]
    opened = [
        (r["protocol"], r["port_range_min"], r["port_range_max"])
        for r in neutron.list("security-group-rules", security_group_id=own, direction="ingress")
    ]
    assert sorted(opened) == [("tcp", 80, 81), ("udp", 53, 53)]
    published = PublishedPort(host_port=8080, container_port=80)
    assert (await Service(one).publish(t.Publish(owner="docker/n/e", ports=(published,)))).id == made.id

    neutron.delete("port", port["id"])
    found = (await checked(one, fix=True))["endpoint-without-port"]
    assert not found.fixed and found.text.endswith("is gone from Neutron: start its container again")

    await Service(one).detach(owner="docker/n/e")
    assert ours(neutron, blue) == [] and neutron.list("security-groups", id=own) == []
    left = neutron.make("security_group", name="weft-old", description=one.attachments.neutron.marks.port)
    await one.attachments.neutron.leftovers.sweep()
    assert neutron.list("security-groups", id=left["id"]) != []
    await one.attachments.neutron.leftovers.sweep()
    assert neutron.list("security-groups", id=left["id"]) == []

    host.open("c1")
    with pytest.raises(Invalid, match="c1: no port of the host leads into network blue"):
        await attach(one, "c1", ports=(published,))
    await remove(one)


async def test_an_attachment_that_says_what_its_network_is(neutron: NeutronServer, one: Agent, host: FakeHost) -> None:
    """As CNI's configuration does; the second time it is there, with the subnets that Neutron has."""
    net = neutron.make("network", name="prod")
    neutron.make("subnet", network_id=net["id"], cidr="10.51.0.0/24", ip_version=4)
    wish = Network(name="blue", driver="neutron", subnets=(), options={"neutron.net": "prod"})
    for name in ("c1", "c2"):
        host.open(name)
        made = await attach(one, name, definition=wish)
        assert [str(a.network) for a in made.addresses] == ["10.51.0.0/24"]
    other = Network(name="blue", driver="neutron", subnets=(), options={"neutron.net": "dev"})
    with pytest.raises(Invalid, match="network blue exists and is defined otherwise"):
        await attach(one, "c1", definition=other)
    await remove(one, force="yes")
    neutron.delete("network", net["id"])
