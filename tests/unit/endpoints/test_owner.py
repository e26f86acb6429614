"""Attachments that belong to another program, which finds them again by a key of its own."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from support.agents import FakeHost, create, network, settled, until
from weft.agent.agent import Agent
from weft.agent.resources import endpoints as endpoints_module
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound
from weft.hoststate import Link, Neighbour
from weft.model import keys


def request(name: str, owner: str = "", **more: object) -> t.Attach:
    return t.Attach(target=name, network="blue", owner=owner or f"cni/net/{name}/eth0", **more)  # type: ignore[arg-type]


@pytest.fixture
async def blue(agent: Agent, host: FakeHost) -> None:
    """A network, and containers c1 and c2."""
    await create(agent)
    host.open("c1")
    host.open("c2")


async def test_found_and_detached_by_its_owner(agent: Agent, host: FakeHost, service: Service, blue: None) -> None:
    first = await service.attach(request("c1"))
    await service.attach(request("c2", owner="other/x"))
    assert first.owner == "cni/net/c1/eth0"
    assert [e.owner for e in await service.endpoints(owner="cni/net/")] == ["cni/net/c1/eth0"]
    assert await service.endpoints(owner="cni/net/c1/eth0x") == ()
    assert (await service.detach(owner="cni/net/c1")).what == (), "an owner is the whole key"
    host.vanish("/run/netns/c1")
    assert (await service.detach(owner="cni/net/c1/eth0")).what == ("c1 from blue",)
    assert (await service.detach(owner="cni/net/c1/eth0")).what == ()
    assert [e.owner for e in await service.endpoints()] == ["other/x"]


async def test_an_owner_says_all(service: Service, blue: None) -> None:
    with pytest.raises(Invalid, match="leave out"):
        await service.detach("c1", owner="cni/net/c1/eth0")


async def test_exclusive(service: Service, blue: None) -> None:
    await service.attach(request("c1"))
    await service.attach(request("c1"))
    with pytest.raises(Conflict, match="attached to blue already, by eth0"):
        await service.attach(request("c1", exclusive=True))


async def test_detaching_waits_for_the_attaching(agent: Agent, host: FakeHost, service: Service, blue: None) -> None:
    """Whoever asked for it was killed, and the next one clears up already."""
    for _ in range(20):
        attaching = asyncio.create_task(service.attach(request("c1")))
        await asyncio.sleep(0)
        done = await service.detach(owner="cni/net/c1/eth0")
        assert attaching.done() and done.what == ("c1 from blue",)
        assert agent.view.endpoints == {} and host.inside("/run/netns/c1") == []


class TestDefinition:
    async def test_made_where_it_is_missing(self, host: FakeHost, service: Service) -> None:
        host.open("c1")
        wanted = network("blue", "10.9.0.0/16", vni=9)
        endpoint = await service.attach(request("c1", definition=wanted))
        assert endpoint.network == "blue"
        assert (await service.network("blue")).options["vni"] == 9

    async def test_by_many_at_once(self, host: FakeHost, service: Service) -> None:
        names = [f"c{number}" for number in range(10)]
        for name in names:
            host.open(name)
        made = await asyncio.gather(*(service.attach(request(n, definition=network("blue"))) for n in names))
        assert len({e.addresses for e in made}) == 10

    async def test_defaults_are_the_same_as_saying_so(self, service: Service, blue: None) -> None:
        await service.attach(request("c1", definition=network("blue", vni=1)))

    @pytest.mark.parametrize(
        "other",
        [network("blue", driver="bridge"), network("blue", "10.2.0.0/16"), network("blue", vni=2)],
        ids=["driver", "subnet", "option"],
    )
    async def test_another_one(self, service: Service, blue: None, other: object) -> None:
        with pytest.raises(Invalid, match="network blue exists and is defined otherwise"):
            await service.attach(request("c1", definition=other))
        assert await service.endpoints() == ()

    async def test_why_it_cannot_be_made(self, host: FakeHost, service: Service, blue: None) -> None:
        clashing = network("green", vni=5)
        with pytest.raises(Conflict, match="blue"):
            await service.attach(t.Attach(target="c1", network="green", definition=clashing))


class TestCheck:
    async def test_it_stands(self, service: Service, blue: None) -> None:
        endpoint = await service.attach(request("c1"))
        found = await service.check("cni/net/c1/eth0")
        assert (found.endpoint, found.faults) == (endpoint, ())

    async def test_read_anew(
        self, host: FakeHost, service: Service, blue: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(endpoints_module, "SETTLING", 0.05)
        await service.attach(request("c1"))
        lost = next(o for o in host.inside("/run/netns/c1") if o.kind == "address")
        del host.objects[lost.key]
        found = await service.check("cni/net/c1/eth0")
        assert len(found.faults) == 1 and str(lost.address) in found.faults[0]

    async def test_nobody_s(self, service: Service, blue: None) -> None:
        await service.attach(t.Attach(target="c1", network="blue"))
        for owner in ("", "cni/net/c1/eth0"):
            with pytest.raises(NotFound):
                await service.check(owner)


async def test_routes_are_told(service: Service, blue: None) -> None:
    endpoint = await service.attach(request("c1"))
    assert [(str(r.destination), str(r.gateway)) for r in endpoint.routes] == [("0.0.0.0/0", str(endpoint.gateways[0]))]


# What further plugins of an engine's chain do to an interface.

OTHER = "c2:b0:57:49:47:f1"


async def given(agent: Agent, host: FakeHost, path: str, **changes: object) -> None:
    """By another plugin, after ours has done."""
    await settled(agent)
    link = host.objects["link", path, "eth0"]
    host.plant(msgspec.structs.replace(link, **changes))


async def test_a_changed_mac_address_stays_and_hosts_send_there(agent: Agent, host: FakeHost, service: Service) -> None:
    """It was set back within a second, as CNI's plugin `tuning` noticed. Where hosts have entries for it they follow."""
    await create(agent, "red", "10.77.0.0/16", driver="routed")
    path = host.open("c1")
    made = await service.attach(msgspec.structs.replace(request("c1"), network="red"))
    await given(agent, host, path, mac=OTHER, mtu=1300)
    await until(lambda: agent.view.endpoints[made.id].mac == OTHER)
    await settled(agent)
    link = host.objects["link", path, "eth0"]
    assert isinstance(link, Link) and (link.mac, link.mtu) == (OTHER, 1300)
    entry = host.objects["neighbour", "", made.host_interface, str(made.addresses[0].ip)]
    assert isinstance(entry, Neighbour) and entry.lladdr == OTHER
    assert not agent.loop.troubles()


async def test_what_nobody_else_manages_is_put_back(agent: Agent, host: FakeHost, service: Service, blue: None) -> None:
    made = await service.attach(t.Attach(target="c1", network="blue"))
    await given(agent, host, made.namespace, mac=OTHER, mtu=1300)

    def as_made() -> bool:
        link = host.objects["link", made.namespace, "eth0"]
        return isinstance(link, Link) and (link.mac, link.mtu) == (made.mac, made.mtu)

    await until(as_made)


async def test_other_hosts_learn_of_a_changed_mac_address(agent: Agent, host: FakeHost, service: Service) -> None:
    """But of none that another container has: both would be lost."""
    await create(agent, "over", "10.78.0.0/16", driver="overlay")
    paths = [host.open(name) for name in ("c1", "c2")]
    one, two = [await service.attach(msgspec.structs.replace(request(n), network="over")) for n in ("c1", "c2")]
    await given(agent, host, paths[0], mac=OTHER)
    await until(lambda: agent.view.locations["over"][one.id].mac == OTHER)
    await given(agent, host, paths[1], mac=OTHER)
    await settled(agent)
    await agent.attachments.follow_macs(agent.loop.altered)
    assert agent.view.locations["over"][two.id].mac == agent.view.endpoints[two.id].mac == two.mac
    claim = keys.mac_claim("over", "", OTHER)
    assert await agent.store.get(claim) is not None
    for name in ("c2", "c1"):
        await service.detach(owner=f"cni/net/{name}/eth0")
    assert await agent.store.get(claim) is None
