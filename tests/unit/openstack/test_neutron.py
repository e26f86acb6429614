"""The client, against a real neutron-server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.neutron_server import NeutronServer
from weft.base.errors import Conflict, Denied, Exhausted, Failed, Invalid, NotFound, Unavailable, WeftError
from weft.openstack import cloud as clouds
from weft.openstack.cloud import Cloud
from weft.openstack.errors import refused
from weft.openstack.neutron import Neutron


@pytest.fixture
def cloud(neutron_server: NeutronServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Neutron]:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(neutron_server.clouds(tmp_path)))
    yield Neutron(Cloud("devstack"))


async def test_a_port_is_bound_with_one_call(cloud: Neutron) -> None:
    net = await cloud.create_network(name="one", description="mine")
    subnet = await cloud.create_subnet(name="one", network_id=net.id, cidr="10.31.0.0/24", ip_version=4)
    port = await cloud.create_port("a port", network_id=net.id, host="node-1", device_owner="compute:weft")
    assert (port.status, port.vif_type, port.host) == ("ACTIVE", "ovs", "node-1")
    assert port.vif_details["bridge_name"] == "br-int"
    assert [ip.subnet_id for ip in port.fixed_ips] == [subnet.id]
    assert [p.id for p in await cloud.ports(network_id=net.id)] == [port.id]
    with pytest.raises(Conflict, match="somebody else's ports are on it"):
        await cloud.delete_network(net.id)
    await cloud.delete_port(port.id)
    await cloud.delete_port(port.id)
    await cloud.delete_network(net.id)
    assert await cloud.networks(name="one") == []


async def test_where_no_agent_is_the_binding_fails(cloud: Neutron) -> None:
    net = await cloud.create_network(name="two")
    port = await cloud.create_port("a port", network_id=net.id, host="elsewhere", device_owner="compute:weft")
    assert port.vif_type == "binding_failed"
    assert await cloud.agents("elsewhere") == []
    assert [a.alive for a in await cloud.agents("node-1")] == [True]
    await cloud.delete_port(port.id)
    await cloud.delete_network(net.id)


async def test_names(cloud: Neutron) -> None:
    first = await cloud.create_network(name="same")
    assert (await cloud.network("same")).id == (await cloud.network(first.id)).id == first.id
    second = await cloud.create_network(name="same")
    with pytest.raises(Invalid, match="Neutron has 2 of the name network same: give the id"):
        await cloud.network("same")
    with pytest.raises(NotFound, match="Neutron has no network none, or not for these credentials"):
        await cloud.network("none")
    with pytest.raises(NotFound, match="Neutron has no security group web"):
        await cloud.group("web")
    for net in (first, second):
        await cloud.delete_network(net.id)


async def test_what_is_asked_for_in_vain(cloud: Neutron) -> None:
    net = await cloud.create_network(name="small")
    subnet = await cloud.create_subnet(name="s", network_id=net.id, cidr="10.32.0.0/29", ip_version=4)
    port = await cloud.create_port("a port", network_id=net.id)
    taken = {"fixed_ips": [{"subnet_id": subnet.id, "ip_address": port.fixed_ips[0].ip_address}]}
    for wish, error, text in (
        (taken, Conflict, "a port: the address is taken"),
        (
            {"fixed_ips": [{"ip_address": "10.99.0.1"}]},
            Invalid,
            "a port: the address is in none of the network's subnets",
        ),
        ({"security_groups": ["5a5b2ee2-0b2a-4bb4-9c0a-2d6f2f3b8a11"]}, NotFound, "a port: Neutron has no such thing"),
    ):
        with pytest.raises(error, match=text):
            await cloud.create_port("a port", network_id=net.id, **wish)
    rest = [(await cloud.create_port("a port", network_id=net.id)).id for _ in range(4)]
    with pytest.raises(Exhausted, match="a port: no address is left in the subnet"):
        await cloud.create_port("a port", network_id=net.id)
    for id in (port.id, *rest):
        await cloud.delete_port(id)
    await cloud.delete_network(net.id)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("nowhere", Unavailable, "networks in Neutron: OpenStack does not answer"),
        ("other", Invalid, "Cloud other was not found"),
    ],
)
async def test_no_such_cloud(cloud: Neutron, name: str, error: type[WeftError], text: str) -> None:
    with pytest.raises(error, match=text):
        await Neutron(Cloud(name)).networks()


async def test_no_cloud_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "none.yaml"))
    with pytest.raises(Invalid, match=r"the agent knows no OpenStack cloud .*write /etc/openstack/clouds.yaml"):
        await Neutron(Cloud()).networks()


async def test_a_server_that_hangs_costs_its_time_and_no_more(
    cloud: Neutron, neutron_server: NeutronServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "ANSWER", 0.5)
    await cloud.networks()
    neutron_server.freeze()
    try:
        began = time.monotonic()
        asked = asyncio.create_task(cloud.networks())
        await asyncio.sleep(0.1)
        assert not asked.done()  # and this loop has gone on
        with pytest.raises(Unavailable):
            await asked
        assert time.monotonic() - began < 5
    finally:
        neutron_server.thaw()


@pytest.mark.parametrize(
    ("status", "body", "error", "text"),
    [
        (409, b'{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: [\'port\']."}}', Exhausted,
         "a port: the project's quota is used up: remove some, or have it raised (Quota exceeded for resources: ['port'])"),
        (401, b"", Denied, "a port: OpenStack does not take the credentials: see clouds.yaml, or the variables OS_…"),
        (403, b'{"NeutronError": {"type": "PolicyNotAuthorized", "message": "no"}}', Denied,
         "a port: these credentials may not do that in OpenStack (no)"),
        (503, b"<html>busy</html>", Unavailable, "a port: Neutron failed with status 503: try again"),
        (504, b'{"NeutronError": "slow"}', Unavailable, "a port: Neutron failed with status 504 (slow): try again"),
        (412, b"[]", Conflict, "a port: somebody else changed it just now: try again"),
    ],
)  # fmt: skip
def test_refusals(status: int, body: bytes, error: type[WeftError], text: str) -> None:
    found = refused(status, body, "a port")
    assert (type(found), str(found)) == (error, text)


@pytest.mark.parametrize("answer", [b"<html>hello</html>", b"[]", b"{}", b'{"networks": [{"name": 1}]}'])
async def test_what_answers_is_not_neutron(answer: bytes) -> None:
    class Proxy(Cloud):
        async def ask(self, *_args: object, **_more: object) -> bytes:
            return answer

    with pytest.raises(Failed, match="networks in Neutron: what answers there is not Neutron"):
        await Neutron(Proxy()).networks()
