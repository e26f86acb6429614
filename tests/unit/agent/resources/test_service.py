"""Networks through the service: what is refused, each with its text; what a failure leaves; how things are referred to."""

from __future__ import annotations

import asyncio
from errno import EPERM
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from support.agents import FEATURES, FakeHost, Tap, agent_on, attach, create, network, settled, until
from weft.agent.agent import Agent
from weft.agent.resources.networks import Networks
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, NotFound, Unavailable, Unsupported, WeftError
from weft.base.net import parse_network
from weft.datapaths.registry import DRIVERS
from weft.hoststate import Bridge, Link
from weft.model import Network, decode, encode, keys
from weft.reconcile.protocol import Op
from weft.reconcile.reconciler import key_of
from weft.store.protocol import Put


async def stored(agent: Agent) -> set[str]:
    """What there is of networks."""
    prefixes = (keys.NETWORKS, keys.LEASES, "claims/", keys.ENDPOINTS)
    found = {item.key for prefix in prefixes for item in (await agent.store.list(prefix)).items}
    return found - {keys.number_claim(1)}


@pytest.mark.parametrize(
    ("name", "subnet", "options", "kind", "says"),
    [
        (
            "red", "10.1.128.0/17", {"vni": 2}, Conflict,
            "network red: 10.1.128.0/17 overlaps 10.1.0.0/16 of network blue: choose another --subnet",
        ),
        (
            "red", "192.168.0.0/16", {"vni": 2}, Conflict,
            "network red: 192.168.0.0/16 overlaps node-1's own network 192.168.1.0/24 on eth0: choose another --subnet",
        ),
        (
            "red", "10.2.0.0/29", {"vni": 2}, Invalid,
            "network red: 10.2.0.0/29 is too small: it has to hold four node subnets of /30 at least, "
            "choose a /28 or larger",
        ),
        (
            "red", "10.2.0.0/16", {"vni": 1}, Conflict,
            "network red: VNI 1 is taken by network blue: choose another, such as -O vni=2, or leave -O vni out and get a "
            "free one",
        ),
        (
            "red", "10.1.128.0/17", {"vni": 1}, Conflict,
            "network red: 10.1.128.0/17 overlaps 10.1.0.0/16 of network blue: choose another --subnet",
        ),
        (
            "red", "10.2.0.0/16", {"driver": "warp"}, Invalid,
            f"unknown driver 'warp': choose one of {', '.join(sorted(DRIVERS))}",
        ),
        (
            "red", "10.2.0.0/16", {"driver": "host-gw", "vni": 2}, Invalid,
            "driver host-gw has no option 'vni': it takes dns, fast, flannel, masquerade, node-prefix, node-prefix-v6, "
            "offload, reach, reserve, spoofing, subnet-max, subnet-max-v6, subnet-min, subnet-min-v6",
        ),
        ("red", "10.2.0.0/16", {"vni": "many"}, Invalid, "driver vxlan: option vni=many is not a whole number"),
        ("red", "10.2.0.0/16", {"vni": 1 << 24}, Invalid, "vni=16777216 is outside 1 to 16777215 (RFC 7348: 24 bits)"),
        ("red", "10.2.0.0/16", {"vni": 2, "node_prefix": 17}, Invalid,
         "network red: node-prefix=17 does not suit 10.2.0.0/16: choose 18 to 30"),
        ("blue", "10.2.0.0/16", {}, Conflict, "network blue exists: choose another name, or remove it first"),
        (
            "red", "10.2.0.0/16", {"vni": 2, "underlay": "ipv6"}, Conflict,
            "network red: node-1 has no IPv6 address on eth0: give it one, "
            "or make network red with -O underlay=ipv4",
        ),
        (
            "red", "10.2.0.0/16", {"driver": "routed", "encap": "ipip-cross-subnet"}, Conflict,
            "network red: the kernel of node-1 has no ipip, which encap=ipip-cross-subnet needs: load the module there "
            "(modprobe ipip), or make network red with -O encap=vxlan-cross-subnet",
        ),
        (
            "red", "fd00:2::/48", {"driver": "routed", "encap": "ipip"}, Conflict,
            "network red: encap=ipip carries IPv4 only, and there is no IPv4 subnet: use -O encap=vxlan",
        ),
        ("Red", "10.2.0.0/16", {}, Invalid, "'Red' is not a network name: use 1 to 63 of a-z, 0-9, '.', '_', '-', "
         "beginning and ending with a letter or digit"),
        ("red", "172.30.8.0/24", {}, Conflict, "network red: 172.30.8.0/24 overlaps this host's gateway-subnet 172.30.0.0/16: "
         "choose another --subnet, or another gateway-subnet in weft.toml"),
        ("red", "fd57:4546::/32", {}, Conflict, "network red: fd57:4546::/32 overlaps this host's gateway-subnet-v6 "
         "fd57:4546:54::/64: choose another --subnet, or another gateway-subnet in weft.toml"),
        ("red", "224.0.0.0/8", {}, Invalid,
         "network red: 224.0.0.0/8 is multicast: choose a private prefix, such as 10.1.0.0/16 or fd00:1::/48"),
    ],
)  # fmt: skip
async def test_networks_that_are_refused(
    agent: Agent, name: str, subnet: str, options: dict[str, Any], kind: type[WeftError], says: str
) -> None:
    await create(agent)
    before = await stored(agent)
    with pytest.raises(kind) as caught:
        await create(agent, name, subnet, **options)
    assert str(caught.value) == says and type(caught.value) is kind
    assert await stored(agent) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10.2.0.1/16", "'10.2.0.1/16' has host bits set: did you mean 10.2.0.0/16?"),
        ("10.2/16", "'10.2/16' is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48"),
    ],
)
def test_prefixes_that_are_none(text: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_network(text)
    assert str(caught.value) == says
    with pytest.raises(Invalid) as caught:
        decode(Network, f'{{"name":"red","driver":"vxlan","subnets":["{text}"]}}'.encode())
    assert says in str(caught.value)


async def test_a_kernel_without_vxlan(host: FakeHost, store_file: Path) -> None:
    host.change(features=FEATURES - {"vxlan"})
    async with agent_on(host, store_file) as agent:
        with pytest.raises(Unsupported) as caught:
            await create(agent)
        assert str(caught.value) == (
            "network blue: this host lacks vxlan, which driver vxlan needs: modprobe vxlan, or a kernel with it"
        )
        assert await stored(agent) == set() and host.ours() == {}
        assert (await create(agent, driver="host-gw")).problems == ()


@pytest.mark.parametrize("device", ["weft-blue", "weft.1"])
async def test_a_device_that_is_not_ours_has_the_name(agent: Agent, host: FakeHost, device: str) -> None:
    theirs = Link(name=device, type=Bridge(), alias="", mtu=1500, mac="02:00:00:00:00:77")
    await agent.loop.in_thread(lambda: host.plant(theirs))
    agent.loop.resync({""})
    await settled(agent)
    with pytest.raises(Failed) as caught:
        await create(agent)
    assert str(caught.value).startswith("network blue cannot be set up here: link " + device)
    await settled(agent)
    assert host.objects["link", "", device] == theirs
    assert await stored(agent) == set()
    await until(lambda: not agent.loop.troubles())
    assert host.ours() == {}


async def test_what_the_kernel_refuses_leaves_no_network(agent: Agent, host: FakeHost) -> None:
    def fault(_: int, op: Op) -> int:
        return EPERM if key_of(op)[0] == "nft-chain" else 0

    host.fault = fault
    with pytest.raises(Failed, match=r"network blue cannot be set up here: nft-chain .*: Operation not permitted"):
        await create(agent)
    host.fault = None
    assert await stored(agent) == set()
    await until(lambda: host.ours() == {})
    assert not agent.loop.troubles()


async def test_a_network_is_made_and_removed_without_a_trace(agent: Agent, service: Service, host: FakeHost) -> None:
    before = {k: o for k, o in host.objects.items() if k[0] != "sysctl"}
    info = await create(agent, "blue", "10.1.0.0/16", "fd00:1::/48", internal=True)
    assert (info.name, info.internal, info.endpoints, len(info.leases)) == ("blue", True, 0, 1)
    plain = {
        "vni": 1,
        "port": 8472,
        "underlay": "ipv4",
        "direct-routing": False,
        "encrypt": False,
        "masquerade": True,
        "spoofing": "drop",
        "reach": "self",
        "dns": "on",
        "offload": "on",
        "fast": "checked",
    }
    assert info.options == plain
    assert [n.name for n in await service.networks()] == ["blue"]
    assert (await service.remove_network("blue")).what == ("blue",)
    assert await stored(agent) == set()
    assert {k: o for k, o in host.objects.items() if k[0] != "sysctl"} == before
    await create(agent, "red", "10.1.0.0/16")  # prefix and VNI are free again


async def test_a_network_in_use_is_removed_by_force_only(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent)
    paths = [host.open(name) for name in ("c1", "c2")]
    await attach(agent, "c1"), await attach(agent, "c2")
    with pytest.raises(Conflict) as caught:
        await service.remove_network("blue")
    assert str(caught.value).startswith("network blue has 2 endpoints (c")
    assert str(caught.value).endswith("): detach them first, or use --force")
    assert len((await service.remove_network("blue", "1")).what) == 3
    assert await stored(agent) == set() and not any(map(host.inside, paths))
    await until(lambda: not agent.view.endpoints)


async def test_by_force_also_with_endpoints_on_very_many_nodes(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    mine = await attach(agent, "c1")
    item = await agent.store.get(keys.endpoint("node-1", "blue", mine.id))
    assert item
    for start in range(0, 300, 100):
        puts = [
            Put(keys.endpoint(f"n{n}", "blue", "a"), item.value.replace(b'"node-1"', f'"n{n}"'.encode()))
            for n in range(start, start + 100)
        ]
        await agent.store.commit([], puts)
    assert len((await service.remove_network("blue", "yes")).what) == 302
    assert await stored(agent) == set()


async def test_two_networks_at_once_do_not_get_one_prefix(agent: Agent, store_file: Path) -> None:
    async with agent_on(FakeHost("192.168.1.2/24"), store_file, "node-2") as other:
        results = await asyncio.gather(
            create(agent, "blue", "10.1.0.0/16", driver="host-gw"),
            create(other, "red", "10.1.0.0/17", driver="host-gw"),
            return_exceptions=True,
        )
    assert sorted(type(r).__name__ for r in results) == ["Conflict", "NetworkInfo"]


async def test_a_network_made_elsewhere_this_very_moment_is_known(agent: Agent, service: Service) -> None:
    assert isinstance(agent.store, Tap)
    agent.view.apply = lambda changes, apply=agent.view.apply: None  # type: ignore[method-assign,misc]  # the watch lags
    await agent.store.store.commit([], [Put("networks/red", encode(network("red")))])
    del agent.view.apply
    assert (await service.network("red")).name == "red"


async def test_a_second_vxlan_network_with_defaults_gets_the_next_vni(agent: Agent, service: Service) -> None:
    await create(agent)
    await create(agent, "three", "10.3.0.0/16", vni=3)
    made = [await create(agent, f"n{n}", f"10.{n}.0.0/16") for n in (4, 5)]
    assert [n.options["vni"] for n in made] == [2, 4]
    await service.remove_network("n4")
    again = await create(agent, "n6", "10.6.0.0/16")
    assert again.options["vni"] == 2


async def test_a_vxlan_network_without_a_number_in_its_record_has_vni_1(agent: Agent, service: Service) -> None:
    """So did earlier versions write it."""
    old = Network(name="old", driver="vxlan", subnets=(parse_network("10.4.0.0/16"),))
    await agent.store.commit([], [Put("networks/old", encode(old)), Put("claims/vni/1", b"old")])
    assert (await service.network("old")).options["vni"] == 1
    assert (await create(agent)).options["vni"] == 2
    wanted = t.Attach(target="c", network="old", definition=old)
    assert await Networks(agent).ensure(wanted.definition, "old") == old


async def test_an_unreadable_network_says_why_and_can_be_removed(agent: Agent, service: Service) -> None:
    kept = [Put("claims/vni/7", b"red"), Put("claims/subnets/red/x", b"n"), Put("endpoints/node-2/red/e1", b"{}")]
    await agent.store.commit([], [Put("networks/red", b"{}"), *kept, Put("claims/vni/8", b"blue")])
    with pytest.raises(Invalid, match=r"network red: its record .* `weft network rm red --force` removes it"):
        await service.network("red")
    with pytest.raises(Invalid, match="cannot be read"):
        await service.remove_network("red")
    await service.remove_network("red", force="1")
    left = [i.key for p in ("networks/", "claims/", "endpoints/") for i in (await agent.store.list(p)).items]
    assert left == [keys.number_claim(1), "claims/vni/8"]
    with pytest.raises(NotFound, match="no network red"):
        await service.network("red")


async def test_a_record_that_cannot_be_read_costs_that_record_only(agent: Agent, service: Service) -> None:
    """A subnet with a scope, a record under another's key, a claim of nothing: all lists go on without them."""
    await create(agent)
    await agent.store.commit(
        [],
        [
            Put("networks/zq", b'{"name":"zq","driver":"bridge","subnets":["fd00:77::%x/48"]}'),
            Put("networks/other", b'{"name":"blue","driver":"bridge","subnets":["10.9.0.0/16"]}'),
            Put("leases/blue/node-9", b'{"network":"blue","node":"node-9","subnets":["fd00::%eth0/64"]}'),
            Put("endpoints/node-1/blue/e1", b'{"mac":"\xff"}'),
            Put("endpoints/node-9/blue/e2", b"[" * 10_000),
            Put("bgp/peers/tor", b'{"name":"tor","address":"fe80::1%eth0","asn":5}'),
            Put("claims/addresses/blue/fd00::%x", b"x"),
            Put("claims/subnets/blue/10.1.0.0-x", b"x"),
            Put("claims/floating/none", b"x"),
            Put("endpoints/x", b"x"),
            Put("endpoints/a/b/c/d/e", b"x"),
            Put("leases/x", b"x"),
            Put("nodes/", b"x"),
            Put("claims/subnets/x", b"x"),
        ],
    )
    await until(lambda: "networks/zq" in agent.view.broken and "endpoints/node-1/blue/e1" in agent.view.broken)
    assert agent.view.networks.keys() == {"blue"}
    assert await service.endpoints() == ()
    assert [n.name for n in await service.networks()] == ["blue"]
    told = [p.text for p in (await service.status()).problems]
    assert [text for text in told if text.startswith("networks/zq in the store cannot be read: 'fd00:77::%x/48'")]
    assert [text for text in told if text.startswith("networks/other") and "its name is 'blue'" in text]
    found = await service.check_ipam(t.CheckIpam())
    assert sum(fault.kind == "unreadable" for fault in found.faults) == 12


async def test_how_endpoints_are_referred_to(agent: Agent, service: Service, host: FakeHost, store_file: Path) -> None:
    await create(agent)
    host.open("c1")
    made = await attach(agent, "c1", name="web")
    for ref in (made.id, "web", "node-1/web", "c1", str(made.addresses[0].ip)):
        assert (await service.endpoint(ref)).id == made.id
    far = FakeHost("192.168.1.2/24")
    far.open("c9")
    async with agent_on(far, store_file, "node-2") as other:
        await until(lambda: other.view.lease("blue", "node-2"))
        await create(other, "red", "10.2.0.0/16", vni=2)
        theirs = await attach(other, "c9", "red", name="web")
    await until(lambda: agent.view.lease("blue", "node-2"))
    with pytest.raises(
        Invalid, match=r"web is more than one endpoint: node-[12]/web in (blue|red) .* name one by its id"
    ):
        await service.endpoint("web")
    seen = await service.endpoint("node-2/web")
    assert (seen.id, seen.mtu, seen.gateways) == (theirs.id, 0, theirs.gateways)
    assert {e.node for e in await service.endpoints()} == {"node-1", "node-2"}
    assert [e.node for e in await service.endpoints(node="node-2", network="red")] == ["node-2"]
    assert (await service.network("red")).endpoints == 1


async def test_the_plan_is_empty_when_converged(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent)
    assert (await service.plan()).commands == ()
    host.fault = lambda _, op: EPERM
    await agent.loop.in_thread(lambda: host.destroy(("link", "", "weft.1")))
    await until(agent.loop.troubles)
    commands = (await service.plan("blue")).commands
    assert any(line.startswith("ip link add name weft.1 ") for line in commands), commands


async def test_nodes(agent: Agent, service: Service, host: FakeHost) -> None:
    await create(agent)
    (node,) = await service.nodes()
    assert node == await service.node("node-1")
    assert node.alive and node.this and node.addresses == (ip_interface("192.168.1.68/24"),)
    assert list(node.subnets) == ["blue"] and node.segment == "192.168.1.0/24"


async def test_attach_while_the_store_is_closed(agent: Agent, host: FakeHost) -> None:
    await create(agent)
    host.open("c1")
    await agent.store.close()
    with pytest.raises(Unavailable, match=r"store '.*weft\.db' is closed"):
        await attach(agent, "c1")
    assert not host.inside("/run/netns/c1")
