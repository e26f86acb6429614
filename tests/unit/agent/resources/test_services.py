"""Services are made, changed and removed, and what cannot be is refused before anything changes."""

from __future__ import annotations

import asyncio
import math
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service as Operations
from weft.api import services as s
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Invalid, NotFound
from weft.base.net import IPAddress
from weft.cluster import records
from weft.cluster.changes import Changed
from weft.cluster.services import services
from weft.ipam.virtual import Virtual
from weft.kernel.host.connections import Flow
from weft.model import NamedPort, claims, keys
from weft.model.ports import parse
from weft.policy.counting import Count
from weft.services.model import parse_port
from weft.services.record import SERVICE, SERVICES, At
from weft.store.protocol import Delete, Put

PORTS = (parse_port("80:8080"),)


def asked(name: str = "web", network: str = "blue", **more: Any) -> s.CreateService:
    return s.CreateService(**{"name": name, "network": network, "select": f"app={name}", "ports": PORTS, **more})


async def subnets_of_services(agent: Agent, network: str) -> set[str]:
    items = (await agent.store.list(keys.subnet_claims(network))).items
    return {str(s) for s, item in records.claimed(claims.subnet, items) if records.holder(item) == claims.SERVICES}


async def test_a_service_has_its_members_wherever_they_are(
    agent: Agent, host: FakeHost, service: Operations, store_file: Path
) -> None:
    await create(agent, "blue")
    made = await service.create_service(asked())
    assert made.members == ()
    there = FakeHost("192.168.1.254/24")
    async with agent_on(there, store_file, "node-2") as other:
        await until(lambda: "blue" in other.view.networks)
        there.open("c2")
        host.open("c1")
        await attach(agent, "c1", "blue", labels={"app": "web"})
        await attach(other, "c2", "blue", labels={"app": "web"})
        await until(lambda: len(list(services(agent.view).members(At("blue", "web")))) == 2)
        shown = await service.service("web")
        assert [(m.name, m.node, m.state) for m in shown.members] == [
            ("c1", "node-1", "ready"),
            ("c2", "node-2", "ready"),
        ]
        await until(lambda: Operations(other) and other.view.revision(SERVICE.key("blue", "web")))
        assert (await Operations(other).service("blue/web")).service == made.service
        drained = await service.drain("web", s.Drain(member="c2"))
        assert [m.state for m in drained.members] == ["ready", "draining"]
        assert drained.members[1].until is not None
        back = await service.drain("web", s.Drain(member="c2", back=True))
        assert [m.state for m in back.members] == ["ready", "ready"]
        with pytest.raises(NotFound, match="has no member c9: c1, c2"):
            await service.drain("web", s.Drain(member="c9"))
    assert (await service.remove_service("web")).what == ("blue/web",)
    assert await service.services() == ()


async def test_where_nodes_have_subnets_services_have_one_too(agent: Agent, service: Operations) -> None:
    await create(agent, "blue", "10.1.0.0/16", "fd00:1::/48")
    made = (await service.create_service(asked())).service
    assert [a.version for a in made.addresses] == [4, 6]
    assert made.addresses[0] in ip_network("10.1.255.0/24") and made.addresses[1] in ip_network("fd00:1:0:ffff::/64")
    await service.create_service(asked("db"))
    assert await subnets_of_services(agent, "blue") == {"10.1.255.0/24", "fd00:1:0:ffff::/64"}
    await service.remove_service("web")
    assert await subnets_of_services(agent, "blue") == {"10.1.255.0/24", "fd00:1:0:ffff::/64"}
    await service.remove_service("db")
    assert await subnets_of_services(agent, "blue") == set()
    assert (await agent.store.list(keys.address_claims("blue"))).items == ()


@pytest.mark.parametrize("driver", ["overlay", "routed", "vxlan"])
async def test_many_made_at_once_have_addresses_of_their_own(
    agent: Agent, host: FakeHost, service: Operations, store_file: Path, driver: str
) -> None:
    await create(agent, "blue", "10.1.0.0/24", driver=driver)
    async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as other:
        await until(lambda: "blue" in other.view.networks)
        for name in (names := [f"c{n}" for n in range(6)]):
            host.open(name)
        twins = [service, Operations(other)]
        made, ends = await asyncio.gather(
            asyncio.gather(*(twins[n % 2].create_service(asked(f"s{n}")) for n in range(8))),
            asyncio.gather(*(attach(agent, name, "blue") for name in names)),
        )
    addresses = [m.service.addresses[0] for m in made] + [e.addresses[0].ip for e in ends]
    assert len(set(addresses)) == 14
    for subnet in await subnets_of_services(agent, "blue"):
        assert not any(e.addresses[0].ip in ip_network(subnet) for e in ends)


async def test_a_wish_is_granted_or_refused_with_the_reason(agent: Agent, host: FakeHost, service: Operations) -> None:
    await create(agent, "blue", "10.1.0.0/16")
    await create(agent, "flat", "10.2.0.0/24", driver="overlay")
    host.open("c1")
    node = (await attach(agent, "c1", "blue")).addresses[0].network
    there = (await attach(agent, "c1", "flat")).addresses[0].ip
    made = await service.create_service(asked(addresses=(ip_address("10.1.77.7"),)))
    assert made.service.addresses == (ip_address("10.1.77.7"),)
    for network, address, error, text in (
        ("blue", "10.9.0.1", Invalid, r"10\.9\.0\.1 is outside network blue: choose one of 10\.1\.0\.0/16"),
        ("blue", "10.1.77.7", Conflict, r"10\.1\.77\.7 is taken by service blue/web"),
        ("blue", "10.1.77.255", Invalid, "is the broadcast address of subnet"),
        ("blue", str(node[9]), Conflict, f"is in node-1's subnet {node}"),
        ("flat", str(there), Conflict, "is taken by c1 on node-1"),
        ("flat", "10.2.0.0", Invalid, "is the network address of subnet"),
        ("flat", "10.2.0.1", Invalid, "is the gateway of subnet"),
        ("flat", "fd00::5", Invalid, "is outside network flat"),
    ):
        with pytest.raises(error, match=text):
            await service.create_service(asked("db", network, addresses=(ip_address(address),)))
    assert len(await service.services()) == 1
    moved = await service.set_service("web", s.SetService(addresses=(ip_address("10.1.78.7"),)))
    assert moved.service.addresses == (ip_address("10.1.78.7"),)
    assert await subnets_of_services(agent, "blue") == {"10.1.78.0/24"}


async def test_names_that_are_taken(agent: Agent, service: Operations) -> None:
    await create(agent, "blue")
    await create(agent, "red", "10.2.0.0/16")
    await service.create_service(asked(aliases=("www",)))
    for more, error, text in (
        ({}, Conflict, "network blue has a service web already"),
        ({"name": "www"}, Conflict, "www is a name of service web in network blue"),
        ({"name": "db", "aliases": ("web",)}, Conflict, "web is a name of service web"),
        ({"name": "db", "aliases": ("db",)}, Invalid, "one of its names is given twice"),
        ({"name": "db", "select": ""}, Invalid, "say which containers it leads to"),
        ({"name": "db", "ports": ()}, Invalid, "say which ports its virtual address has"),
        ({"name": "db", "network": "none"}, NotFound, "no network none"),
    ):
        with pytest.raises(error, match=text):
            await service.create_service(asked(**more))
    await service.create_service(asked(network="red", aliases=("www",)))
    with pytest.raises(Invalid, match="web is a service of several networks: say blue/web or red/web"):
        await service.service("web")
    assert (await service.service("red/web")).service.network == "red"


async def test_ports_of_all_hosts(agent: Agent, host: FakeHost, service: Operations) -> None:
    await create(agent, "blue")
    made = await service.create_service(asked(publish=("28000", ":80")))
    first, chosen = made.service.published
    assert (first.host_port, first.container_port, chosen.container_port) == (28000, 80, 80)
    assert 30_000 <= chosen.host_port <= 32_767
    with pytest.raises(Conflict, match=r"port 28000/tcp leads to service blue/web already \(28000:80/tcp\)"):
        await service.create_service(asked("db", publish=("28000",)))
    with pytest.raises(Invalid, match=r"leads to none of the service's ports \(80:8080/tcp\)"):
        await service.create_service(asked("db", publish=("28001:81",)))
    changed = await service.set_service("web", s.SetService(publish=(":80", "28002:80")))
    assert set(changed.service.published) == {chosen, *(p for p in changed.service.published if p.host_port == 28002)}
    assert len(changed.service.published) == 2
    at_one = s.SetService(publish=("203.0.113.9:28003:80", "203.0.113.8:28003:80"))
    assert len((await service.set_service("web", at_one)).service.published) == 2
    with pytest.raises(Conflict, match=r"port 203.0.113.7:28003/tcp leads to service blue/web .* at another address"):
        await service.create_service(asked("db", publish=("203.0.113.7:28003:80",)))
    await service.create_service(asked("db", publish=("[2001:db8::7]:28003:80",)))


async def test_what_is_set(agent: Agent, service: Operations) -> None:
    await create(agent, "blue")
    made = (await service.create_service(asked())).service
    named = (await service.set_service("web", s.SetService(members=("c1",), drain=5, affinity="client-ip"))).service
    assert (named.select, named.members, named.drain, named.affinity) == ("", ("c1",), 5, "client-ip")
    assert named.addresses == made.addresses
    assert (await service.set_service("web", s.SetService(mode="names"))).service.addresses == ()
    assert await subnets_of_services(agent, "blue") == set()
    assert (await service.set_service("web", s.SetService(mode="vip"))).service.addresses == made.addresses


async def test_a_member_without_the_port_that_is_looked_for_says_so(
    agent: Agent, host: FakeHost, service: Operations
) -> None:
    await create(agent, "blue")
    ports = tuple(map(parse_port, ("80:http", "53:dns/udp", "443")))
    await service.create_service(asked(ports=ports))
    for name, named in (("c1", (NamedPort("http", "tcp", 8080), NamedPort("dns", "udp", 53))), ("c2", ())):
        host.open(name)
        await attach(agent, name, labels={"app": "web"}, named_ports=named)
    members = (await service.service("web")).members
    assert [(m.name, m.state, m.reason) for m in members] == [
        ("c1", "ready", ""),
        ("c2", "ready", "no port called http/tcp, dns/udp"),
    ]


async def test_labels_that_ask_for_what_cannot_be_are_logged_once(
    agent: Agent, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    """They are tried again and again."""
    await create(agent, "blue")
    host.open("c1")
    await attach(agent, "c1", labels={"weft.service": "web", "weft.service.port": "0"})
    for _ in range(3):
        await until(lambda: not agent.automatic._todo and list(agent.automatic.problems()))
        agent.automatic.again()
    await until(lambda: not agent.automatic._todo and list(agent.automatic.problems()))
    assert len([r for r in caplog.records if "as labels ask for" in r.message]) == 1


async def test_a_network_with_services_is_not_removed_by_mistake(
    agent: Agent, host: FakeHost, service: Operations
) -> None:
    await create(agent, "prod", "10.9.0.0/24", driver="routed")
    await create(agent, "dev", "10.9.0.0/24", driver="routed", share="prod")
    for network in ("prod", "dev"):
        await service.create_service(asked(network=network))
    with pytest.raises(Conflict, match=r"network dev has 1 services \(web\): remove them first, or use --force"):
        await service.remove_network("dev")
    host.open("c1")
    await attach(agent, "c1", "dev", labels={"weft.service": "auto"})
    await until(lambda: At("dev", "auto") in services(agent.view).services)
    with pytest.raises(Conflict, match="network dev has 1 endpoints"):
        await service.remove_network("dev")
    await service.remove_network("dev", force="yes")
    assert [info.service.network for info in await service.services()] == ["prod"]
    assert len((await agent.store.list(keys.address_claims("prod"))).items) == 1, "the other's is given back"
    await service.remove_network("prod", force="yes")
    assert (await agent.store.list("services/")).items == ()
    assert (await agent.store.list(keys.address_claims("prod"))).items == ()
    assert await subnets_of_services(agent, "prod") == set()


async def test_containers_leave_the_block_of_services_alone(agent: Agent, host: FakeHost, service: Operations) -> None:
    await create(agent, "prod", "10.9.0.0/28", driver="routed", block_size=30)
    web = (await service.create_service(asked(network="prod"))).service
    [subnet] = (await service.network("prod")).services
    free = next(a for a in subnet if a not in web.addresses)
    with pytest.raises(Conflict, match=f"is in {subnet}, which is for virtual addresses of services"):
        host.open("c")
        await attach(agent, "c", "prod", addresses=(free,))
    for n in range(12):
        host.open(f"c{n}")
        assert (await attach(agent, f"c{n}", "prod")).addresses[0].ip not in subnet
    with pytest.raises(Exhausted):
        await attach(agent, "c", "prod")
    [prod] = await service.ipam()
    assert (prod.services, prod.used) == (1, 13)
    assert [b.node for b in prod.blocks if b.block == subnet] == [claims.SERVICES]


async def test_members_on_a_dead_host_are_not_called_ready(
    agent: Agent, host: FakeHost, service: Operations, store_file: Path
) -> None:
    await create(agent, "blue")
    await service.create_service(asked())
    there = FakeHost("192.168.1.254/24")
    async with agent_on(there, store_file, "node-2") as other:
        await until(lambda: "blue" in other.view.networks)
        for at, place, name in ((agent, host, "c1"), (other, there, "c2")):
            place.open(name)
            await attach(at, name, "blue", labels={"app": "web"})
        await until(lambda: len(list(services(agent.view).members(At("blue", "web")))) == 2)
        agent.liveness.dead.add("node-2")
        members = (await service.service("web")).members
        assert [(m.state, m.reason) for m in members] == [("ready", ""), ("unready", "the agent of node-2 is dead")]
        text = (await agent.metrics.scrape())[0].decode()
        assert 'weft_service_members{network="blue",service="web",state="unready"} 1.0' in text
        named = agent.names._server._answers._names.find(("blue",), "tasks.web")
        assert named is not None and [there.name for there in named.locations] == ["c1"]


async def test_the_audit_finds_what_is_not_as_services_say(agent: Agent, service: Operations) -> None:
    await create(agent, "blue")
    await create(agent, "flat", "10.2.0.0/24", driver="overlay")
    web = (await service.create_service(asked())).service
    flat = (await service.create_service(asked(network="flat"))).service
    assert await faults(service) == []
    [subnet] = await subnets_of_services(agent, "blue")
    await agent.store.commit(
        [],
        [
            Delete(keys.subnet_claim("blue", ip_network(subnet))),
            Delete(keys.address_claim("flat", flat.addresses[0])),
            Delete(SERVICE.key("blue", "none")),
            Put(keys.address_claim("flat", ip_address("10.2.0.99")), claims.of_service("flat", "gone")),
            Put(keys.subnet_claim("blue", ip_network("10.1.7.0/24")), claims.SERVICES.encode()),
        ],
    )
    assert await faults(service) == [
        ("claim-without-service", "10.2.0.99", False),
        ("service-outside-its-subnet", str(web.addresses[0]), False),
        ("service-without-claim", str(flat.addresses[0]), False),
        ("subnet-without-service", "10.1.7.0/24", False),
    ]
    assert all(fixed for _, _, fixed in await faults(service, fix=True))
    assert await faults(service) == []
    assert await subnets_of_services(agent, "blue") == {subnet}


async def faults(service: Operations, *, fix: bool = False) -> list[tuple[str, str, bool]]:
    found = (await service.check_ipam(t.CheckIpam(fix=fix))).faults
    return sorted((f.kind, f.subject, f.fixed) for f in found)


async def test_who_was_drained_is_out_when_the_time_is_over_and_forgotten_when_long_gone(
    agent: Agent, host: FakeHost, service: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other hosts may hear of a change of the service before they hear that the container is gone."""
    await create(agent, "blue")
    host.open("c1")
    await attach(agent, "c1", "blue", labels={"app": "web"})
    await service.create_service(asked(drain=0.2))
    told = services(agent.view)
    told.taken("test")
    await service.drain("web", s.Drain(member="c1"))
    assert told.taken("test") == {At("blue", "web")}
    await until(lambda: told.taken("test") == {At("blue", "web")}, 5)
    [member] = (await service.service("web")).members
    assert member.state == "out"
    await service.detach("c1")
    await asyncio.sleep(0.1)
    assert services(agent.view).services[At("blue", "web")].draining
    monkeypatch.setattr("weft.cluster.drains.GRACE", 0.3)
    agent.drains.heard(Changed())
    await until(lambda: services(agent.view).services[At("blue", "web")].draining == ())


async def test_what_other_hosts_cannot_give_a_service_they_tell(
    agent: Agent, host: FakeHost, service: Operations, store_file: Path
) -> None:
    await create(agent, "blue")
    with socket.create_server(("127.0.0.1", 0)) as program:
        port = program.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port}/tcp of this host is held by"):
            await service.create_service(asked(publish=(f"{port}",)))
    there = FakeHost("192.168.1.254/24")
    async with agent_on(there, store_file, "node-2") as other:
        await until(lambda: "blue" in other.view.networks)
        there.open("c2")
        await attach(other, "c2", "blue", ports=(parse("28100:80"),))
        made = await service.create_service(asked(publish=("28100", "203.0.113.9:28101")))
        assert made.problems == ()
        await until(lambda: other.view.revision(SERVICE.key("blue", "web")))
        [text] = (await Operations(other).service("web")).problems
        assert text == "port 28100/tcp of this host leads to c2 in network blue: publish another, or detach that"
        assert f"service web: {text}" in [p.text for p in (await Operations(other).status()).problems]
        with pytest.raises(Conflict, match=r"leads to service blue/web already \(28100:80/tcp\)"):
            there.open("c3")
            await attach(other, "c3", "blue", ports=(parse("28100:80"),))


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 86401.0])
def test_a_time_for_drained_members_that_is_none_is_refused_before_it_is_sent(seconds: float) -> None:
    """JSON has no NaN: sent, it would be null, as if nothing was to change."""
    with pytest.raises(Invalid, match=r"drain .* is not possible: 0 to 86400 s are"):
        s.SetService(drain=seconds)
    with pytest.raises(Invalid, match="drain"):
        asked(drain=seconds)


async def test_connections_are_counted_by_member(agent: Agent, host: FakeHost, service: Operations) -> None:
    await create(agent, "blue")
    ends = []
    for name in ("c1", "c2"):
        host.open(name)
        ends.append((await attach(agent, name, "blue", labels={"app": "web"})).addresses[0].ip)
    made = (await service.create_service(asked(publish=("28000",)))).service
    vip, outside = made.addresses[0], ip_address("192.168.1.68")
    host.conntrack.flows[""] = [
        flow(vip, 80, ends[0]),
        flow(vip, 80, ends[0]),
        flow(outside, 28000, ends[1]),
        flow(vip, 81, ends[0]),
        flow(ends[0], 8080, ends[0]),
        msgspec.structs.replace(flow(outside, 28000, ends[1]), over=True, mark=1 << 21),
    ]
    host.counted[""] = {"services-refused": [Count(), Count(7, 420)], "entries-input": [Count(2, 88)]}
    shown = await service.service("web")
    assert [(m.name, m.connections) for m in shown.members] == [("c1", 2), ("c2", 1)]
    text = (await agent.metrics.scrape())[0].decode()
    assert 'weft_service_members{network="blue",service="web",state="ready"} 2.0' in text
    assert 'weft_service_connections{network="blue",service="web"} 3.0' in text
    assert "weft_services_refused_total 9.0" in text
    host.counted[""] = {"services-refused": [Count(), Count(1, 60)], "entries-input": [Count(3, 132)]}
    assert "weft_services_refused_total 11.0" in (await agent.metrics.scrape())[0].decode(), "one chain is a new one"


def flow(to: IPAddress, port: int, member: IPAddress) -> Flow:
    client = ip_address("10.1.99.9").packed
    return Flow(
        tuple=b"",
        id=b"",
        zone=b"",
        translated=to != member,
        protocol=6,
        origin=client,
        dst=to.packed,
        dport=port,
        src=member.packed,
        sport=8080,
        back=client,
    )


async def test_a_record_that_cannot_be_read_is_told_and_can_be_removed(agent: Agent, service: Operations) -> None:
    await create(agent, "blue")
    await agent.store.commit([], [Put(SERVICE.key("blue", "bad"), b"{}")])
    await until(lambda: agent.view.broken)
    [told] = (await service.status()).problems
    assert told.text.startswith("services/blue/bad in the store cannot be read: ")
    assert told.text.endswith("; `weft service rm blue/bad` removes it")
    with pytest.raises(Conflict, match="network blue has a service bad already"):
        await service.create_service(asked("bad"))
    await service.remove_service("blue/bad")
    await until(lambda: not agent.view.broken)
    assert (await agent.store.list("services/")).items == ()


async def test_of_two_that_leave_a_subnet_at_once_the_last_one_frees_it(
    agent: Agent, service: Operations, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(agent, "blue", "10.1.0.0/24")
    async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as other:
        await until(lambda: "blue" in other.view.networks)
        names, both, read = ("one", "two"), asyncio.Barrier(2), Virtual._of_services
        for name in names:
            await service.create_service(asked(name))
        await until(lambda: all(other.view.table(SERVICES).get(At("blue", name)) for name in names))
        first = set[Virtual]()

        async def each_sees_both(self: Virtual, home: str) -> set[IPAddress]:
            found = await read(self, home)
            if self not in first:
                first.add(self)
                await both.wait()
            return found

        monkeypatch.setattr(Virtual, "_of_services", each_sees_both)
        twins = zip((service, Operations(other)), names, strict=True)
        await asyncio.gather(*(operations.remove_service(f"blue/{name}") for operations, name in twins))
        assert await subnets_of_services(agent, "blue") == set() and await faults(service) == []


@pytest.mark.parametrize("driver", ["vxlan", "overlay"])
async def test_those_that_come_while_others_go_keep_their_subnet(
    agent: Agent, service: Operations, store_file: Path, driver: str
) -> None:
    """The last service in a subnet frees it, unless another one has just been given an address of it."""
    await create(agent, "blue", "10.1.0.0/24", driver=driver)
    async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as other:
        await until(lambda: "blue" in other.view.networks)

        async def come_and_go(operations: Operations, name: str, times: int) -> None:
            for _ in range(times):
                [address] = (await operations.create_service(asked(name))).service.addresses
                held = await subnets_of_services(agent, "blue")
                assert driver == "overlay" or any(address in ip_network(subnet) for subnet in held)
                await operations.remove_service(f"blue/{name}")

        twins = [service, Operations(other)]
        await asyncio.gather(*(come_and_go(twins[n % 2], f"s{n}", 6) for n in range(4)))
        assert await faults(service) == []
        assert (await agent.store.list(keys.address_claims("blue"))).items == ()
        assert await subnets_of_services(agent, "blue") == set()
