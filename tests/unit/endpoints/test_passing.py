"""Containers whose packets do not pass their host: in its own namespace, without a network, in one that is there already."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from support.agents import FakeHost, apply, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import services as s
from weft.api import types as t
from weft.base.errors import Conflict, Invalid
from weft.hoststate import HOST, Link, Macvlan
from weft.model import Network
from weft.model.network import OptionValue
from weft.services.model import ServicePort

SEGMENT = "192.168.1.0/24"


async def bare(agent: Agent, name: str, driver: str) -> None:
    await Service(agent).create_network(t.CreateNetwork(network=Network(name=name, driver=driver, subnets=())))


async def test_in_the_hosts_namespace_each_is_its_own_and_goes_with_its_process(agent: Agent, host: FakeHost) -> None:
    await bare(agent, "h", "host")
    host.cookies |= {HOST: 7, "/proc/11/ns/net": 7, "/proc/12/ns/net": 7}
    before = dict(host.objects)
    one, other = [await attach(agent, f"/proc/{pid}/ns/net", "h", name=f"p{pid}") for pid in (11, 12)]
    assert one.id != other.id and one.mac == "" and [str(a) for a in one.addresses] == ["192.168.1.68/24"]
    assert (await attach(agent, "/proc/11/ns/net", "h")).id == one.id
    assert host.objects == before
    agent.tidy.wake.set()
    await until(lambda: not agent.tidy.wake.is_set())
    assert len(agent.view.endpoints) == 2
    del host.cookies["/proc/11/ns/net"]
    agent.tidy.wake.set()
    await until(lambda: [e.name for e in agent.view.endpoints.values()] == ["p12"])


async def test_nobody_in_the_hosts_namespace_is_in_another_network(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    await bare(agent, "n", "none")
    host.cookies |= {HOST: 7, "/proc/11/ns/net": 7}
    for network in ("blue", "n"):
        with pytest.raises(Invalid, match=r"^/proc/11/ns/net is in the host's own network namespace, which"):
            await attach(agent, "/proc/11/ns/net", network)
    assert not agent.view.endpoints


async def test_a_device_on_the_uplink_and_nothing_in_the_host(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.kernel.host.parents.unfit", lambda _name, _kind: "")
    await create(agent, "wire", SEGMENT, driver="macvlan", gateway="192.168.1.9")
    path, before = host.open("c1"), {key for key in host.objects if key[1] == HOST}
    made = await attach(agent, "c1", "wire")
    (link,) = [o for o in host.inside(path) if isinstance(o, Link)]
    assert (link.type, link.mac, link.name) == (Macvlan("eth0", "bridge"), made.mac, "eth0")
    assert [str(g) for g in made.gateways] == ["192.168.1.9"] and made.host_interface == ""
    assert {key for key in host.objects if key[1] == HOST} == before
    for wish, why in (("192.168.1.9", "the network's gateway"), ("192.168.1.68", "node node-1")):
        host.open("c2")
        with pytest.raises(Conflict, match=f"^{wish} is taken by {why}"):
            await attach(agent, "c2", "wire", addresses=(ip_address(wish),))


@pytest.mark.parametrize(("driver", "options"), [("macvlan", {}), ("ipvlan", {"mode": "l2"})])
async def test_policy_and_virtual_addresses_are_refused(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch, driver: str, options: dict[str, OptionValue]
) -> None:
    monkeypatch.setattr("weft.kernel.host.parents.unfit", lambda _name, _kind: "")
    await create(agent, "wire", SEGMENT, driver=driver, **options)
    await apply(
        agent,
        """
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata: {name: closed}
        spec: {podSelector: {matchLabels: {role: db}}, policyTypes: [Ingress]}
        """,
    )
    path = host.open("db")
    with pytest.raises(Conflict, match="closed selects db in network wire, whose packets pass no rules of their host"):
        await attach(agent, "db", "wire", labels={"role": "db"})
    assert not agent.view.endpoints and not host.inside(path)
    await attach(agent, "db", "wire")
    with pytest.raises(Invalid, match="do not pass their hosts"):
        await Service(agent).create_service(
            s.CreateService(name="shop", network="wire", ports=(ServicePort(port=80),), select="a=b")
        )


async def test_two_kinds_on_one_parent_are_refused(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.kernel.host.parents.unfit", lambda _name, _kind: "")
    await create(agent, "wire", SEGMENT, driver="macvlan")
    with pytest.raises(Conflict, match=r"^network other: eth0 carries network wire of driver macvlan, and"):
        await create(agent, "other", "10.9.0.0/24", driver="ipvlan", parent="eth0")
    await create(agent, "other", "10.9.0.0/24", driver="ipvlan", parent="eth0", vlan=30)
