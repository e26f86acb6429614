"""Networks in flannel's registry: a real etcd holds it, the agents' hosts are in memory."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.agents import FEATURES, FakeHost, agent_on, attach, settled, until
from support.etcd import EtcdServer
from weft.agent.agent import Agent
from weft.agent.config import Config, store_options
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound, Unavailable, WeftError
from weft.base.net import parse_network
from weft.flannel.members import leave_all
from weft.hoststate import Address, FdbEntry, Link, Neighbour, NftElement, Route, Tun, TunnelPrefix, Vxlan
from weft.model import Network
from weft.model.network import OptionValue
from weft.store.protocol import Put

ME, OTHER = "192.168.1.68", "192.168.1.254"
CONFIG = {"Network": "40.15.0.0/16", "SubnetMin": "40.15.40.0", "SubnetMax": "40.15.60.0", "Backend": {"Type": "vxlan"}}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()


class Prefix:
    """Flannel's keys under a prefix of the test's own."""

    def __init__(self, etcd: EtcdServer) -> None:
        self.etcd, self.path = etcd, f"test.com/network-{next(_numbers)}"
        self.url = f"etcd://{etcd.endpoint}/{self.path}"

    def configure(self, config: object) -> None:
        self.etcd.ctl("put", f"/{self.path}/config", config if isinstance(config, str) else json.dumps(config))

    def put(self, at: str, public: str, mac: str = "0e:08:23:57:14:9a", kind: str = "vxlan") -> None:
        """What a flanneld on another host writes."""
        told = {"PublicIP": public, "PublicIPv6": None, "BackendType": kind, "BackendData": {"VNI": 1, "VtepMAC": mac}}
        self.etcd.ctl("put", f"/{self.path}/subnets/{at}", json.dumps(told))

    def delete(self, at: str) -> None:
        self.etcd.ctl("del", f"/{self.path}/subnets/{at}")

    def keys(self) -> dict[str, dict[str, Any]]:
        """What etcd says of each lease's key."""
        answer = json.loads(self.etcd.ctl("get", "--prefix", f"/{self.path}/subnets", "--write-out=json"))
        return {_text(kv["key"]).rpartition("/")[2]: kv for kv in answer.get("kvs", ())}

    def leases(self) -> dict[str, dict[str, Any]]:
        return {key: json.loads(_text(kv["value"])) for key, kv in self.keys().items()}

    def left_of(self, at: str) -> int:
        """Seconds until the etcd lease ends that a key is bound to."""
        told = self.etcd.ctl("lease", "timetolive", f"{self.keys()[at]['lease']:x}", "--write-out=json")
        return int(json.loads(told)["ttl"])


def _text(base64: str) -> str:
    import base64 as codec

    return codec.b64decode(base64).decode()


@pytest.fixture
def prefix(etcd: EtcdServer) -> Prefix:
    found = Prefix(etcd)
    found.configure(CONFIG)
    return found


@pytest.fixture
def host() -> FakeHost:
    found = FakeHost(f"{ME}/24")
    found.change(features=FEATURES | {"tun"})
    return found


@pytest.fixture
async def agent(host: FakeHost, tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_on(host, tmp_path / "weft.db") as agent:
        yield agent


def blue(prefix: Prefix, *subnets: str, driver: str = "vxlan", **options: OptionValue) -> Network:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return Network(
        name="blue",
        driver=driver,
        subnets=tuple(map(parse_network, subnets)),
        options={"flannel": prefix.url, **named},
    )


async def create(agent: Agent, network: Network) -> t.NetworkInfo:
    return await Service(agent).create_network(t.CreateNetwork(network=network))


def entries(host: FakeHost) -> set[str]:
    """What leads to others, in words."""
    found = set[str]()
    for o in host.objects.values():
        match o:
            case Route(via=via, dev="weft.1" | "eth0" as dev) if via and o.prefix != "0.0.0.0/0":
                found.add(f"{o.prefix} via {via} dev {dev}")
            case Neighbour(dev="weft.1"):
                found.add(f"neigh {o.address} {o.lladdr}")
            case FdbEntry(dev="weft.1"):
                found.add(f"fdb {o.lladdr} {o.dst}")
            case NftElement(set="known-hosts4"):
                found.add(f"known {o.value}")
    return found


def towards(subnet: str, public: str, mac: str) -> set[str]:
    base = subnet.partition("/")[0]
    return {f"{subnet} via {base} dev weft.1", f"neigh {base} {mac}", f"fdb {mac} {public}", f"known {public}"}


def problems(agent: Agent) -> list[tuple[str, str]]:
    from weft.agent.resources import infos

    return [(p.peer, p.text) for p in infos.problems(agent)]


def own(agent: Agent) -> str:
    """The key of this node's lease."""
    lease = agent.view.lease("blue", agent.view.me)
    assert lease is not None
    return str(lease.subnets[0]).replace("/", "-")


# ------------------------------------------------------------------------------------------------ taking part


async def test_a_node_is_a_host_of_flannels(agent: Agent, host: FakeHost, prefix: Prefix) -> None:
    made = await create(agent, blue(prefix))
    assert (made.subnets, made.options["vni"], made.options["port"]) == ((parse_network("40.15.0.0/16"),), 1, 8472)
    await until(lambda: agent.flannel.members["blue"].entries)
    await settled(agent)
    assert entries(host) == set()  # it is none of its own peers
    [(at, told)] = prefix.leases().items()
    third = int(at.split(".")[2])
    assert at == f"40.15.{third}.0-24" and 40 <= third <= 60
    [vtep] = [o for o in host.objects.values() if isinstance(o, Link) and isinstance(o.type, Vxlan)]
    assert told == {
        "PublicIP": ME,
        "PublicIPv6": None,
        "BackendType": "vxlan",
        "BackendData": {"VNI": 1, "VtepMAC": vtep.mac},
    }
    assert (vtep.name, vtep.mtu, vtep.type.vni, vtep.type.port, vtep.type.learning) == ("weft.1", 1450, 1, 8472, False)
    assert f"40.15.{third}.0/32" in {o.address for o in host.objects.values() if isinstance(o, Address)}
    assert 86_000 < prefix.left_of(at) <= 86_400
    host.open("c1")
    endpoint = await attach(agent, "c1")
    assert str(endpoint.addresses[0]).startswith(f"40.15.{third}.") and str(endpoint.gateways[0]) == f"40.15.{third}.1"


async def test_hosts_of_flannels_are_peers_like_any_other(agent: Agent, host: FakeHost, prefix: Prefix) -> None:
    prefix.put("40.15.26.0-24", OTHER)
    await create(agent, blue(prefix))
    await until(lambda: towards("40.15.26.0/24", OTHER, "0e:08:23:57:14:9a") <= entries(host))
    prefix.put("40.15.56.0-24", "192.168.1.245", "0e:08:23:57:14:9b")
    await until(lambda: towards("40.15.56.0/24", "192.168.1.245", "0e:08:23:57:14:9b") <= entries(host))
    shown = await Service(agent).network("blue")
    assert [(h.node, h.foreign) for h in shown.leases] == [
        ("node-1", ""),
        (f"flannel:{OTHER}", "flannel"),
        ("flannel:192.168.1.245", "flannel"),
    ]
    status = await Service(agent).status()
    assert [(p.name, p.foreign, p.same_segment) for p in status.peers] == [
        ("flannel:192.168.1.245", "flannel", True),
        (f"flannel:{OTHER}", "flannel", True),
    ]
    assert status.networks[0].peers == 2
    nodes = await Service(agent).nodes()
    far = {n.name: n.subnets for n in nodes if n.foreign}
    assert far[f"flannel:{OTHER}"] == {"blue": (parse_network("40.15.26.0/24"),)} and len(far) == len(nodes) - 1 == 2
    assert (await Service(agent).node(f"flannel:{OTHER}")).foreign == "flannel"
    with pytest.raises(Conflict, match="runs no agent of Weft's: it goes when its key in flannel's registry does"):
        await Service(agent).remove_node(f"flannel:{OTHER}")
    prefix.put("40.15.26.0-24", OTHER, "0e:08:23:57:14:9c")  # its VTEP was made anew
    await until(lambda: towards("40.15.26.0/24", OTHER, "0e:08:23:57:14:9c") <= entries(host))
    prefix.delete("40.15.26.0-24")
    await until(lambda: not any(OTHER in text or "40.15.26.0" in text for text in entries(host)))
    assert towards("40.15.56.0/24", "192.168.1.245", "0e:08:23:57:14:9b") <= entries(host)


async def test_by_host_routes(agent: Agent, host: FakeHost, prefix: Prefix) -> None:
    prefix.configure({"Network": "40.15.0.0/16", "Backend": {"Type": "host-gw"}})
    prefix.etcd.ctl(
        "put", f"/{prefix.path}/subnets/40.15.26.0-24", json.dumps({"PublicIP": OTHER, "BackendType": "host-gw"})
    )
    await create(agent, blue(prefix, driver="host-gw"))
    await until(lambda: f"40.15.26.0/24 via {OTHER} dev eth0" in entries(host))
    assert prefix.leases()[own(agent)] == {"PublicIP": ME, "PublicIPv6": None, "BackendType": "host-gw"}


async def test_by_udp(agent: Agent, host: FakeHost, prefix: Prefix) -> None:
    """Which is what flannel takes where the config names no Backend. Its leases say nothing of what they are, and all count."""
    prefix.configure({"Network": "40.15.0.0/16"})
    prefix.etcd.ctl("put", f"/{prefix.path}/subnets/40.15.26.0-24", json.dumps({"PublicIP": OTHER}))
    made = await create(agent, blue(prefix, driver="udp"))
    assert made.options["port"] == 8285
    assert prefix.leases()[own(agent)] == {"PublicIP": ME, "PublicIPv6": None}
    far = ("40.15.26.0/24", OTHER)
    await until(lambda: far in {(o.prefix, o.remote) for o in host.objects.values() if isinstance(o, TunnelPrefix)})
    assert f"known {OTHER}" in entries(host)
    [device] = [o for o in host.objects.values() if isinstance(o, Link) and isinstance(o.type, Tun)]
    assert (device.name, device.mtu) == ("weft.udp8285", 1472)


async def test_what_another_sort_of_host_says_is_a_problem(agent: Agent, host: FakeHost, prefix: Prefix) -> None:
    prefix.put("40.15.26.0-24", OTHER, kind="ipip")
    prefix.etcd.ctl("put", f"/{prefix.path}/subnets/40.15.27.0-24", "no JSON")
    prefix.etcd.ctl("put", f"/{prefix.path}/subnets/nonsense", "{}")
    await create(agent, blue(prefix))
    name = f"flannel:{OTHER}"
    told = f"{name} is not reached: its lease has BackendType ipip, and this network is vxlan: see to its flanneld"
    await until(lambda: (name, told) in problems(agent))
    assert not any("40.15.26" in text or "40.15.27" in text for text in entries(host))


async def test_nobody_draws_to_himself_what_is_not_his(agent: Agent, host: FakeHost, prefix: Prefix) -> None:
    await create(agent, blue(prefix))
    mine = own(agent).rpartition(".")[0]
    for at in ("0.0.0.0-0", "192.168.1.0-24", f"{mine}.128-25"):
        prefix.put(at, OTHER)
    name = f"flannel:{OTHER}"
    for subnet, why in {
        "0.0.0.0/0": "is not inside 40.15.0.0/16",
        "192.168.1.0/24": "is not inside 40.15.0.0/16",
        f"{mine}.128/25": f"overlaps {mine}.0/24, which is this node's",
    }.items():
        told = f"{name} is not reached: its subnet {subnet} {why}: see to its flanneld"
        await until(lambda told=told: (name, told) in problems(agent))  # type: ignore[misc]
    assert entries(host) == set()


async def test_nobody_draws_to_himself_what_another_node_has(
    agent: Agent, host: FakeHost, prefix: Prefix, tmp_path: Path
) -> None:
    """As long as that one's agent runs."""
    await create(agent, blue(prefix))
    third = "192.168.1.9"
    async with agent_on(FakeHost(f"{OTHER}/24"), tmp_path / "weft.db", "node-2", presence_ttl=2.0) as other:
        await until(lambda: other.view.lease("blue", "node-2") and agent.view.lease("blue", "node-2"))
        subnet = own(other)
        prefix.put(subnet, third)
        said = subnet.replace("-", "/")
        told = f"flannel:{third} is not reached: its subnet {said} is node-2's, which runs: see to its flanneld"
        await until(lambda: (f"flannel:{third}", told) in problems(agent))
        assert not any(third in text for text in entries(host))
        assert any(OTHER in text for text in entries(host))
    await until(lambda: (f"flannel:{third}", told) not in problems(agent))


async def test_a_host_without_the_address_that_flannel_needs(tmp_path: Path, prefix: Prefix) -> None:
    prefix.configure({"Network": "40.15.0.0/16", "Backend": {"Type": "host-gw"}})
    async with agent_on(FakeHost("fd00::68/64"), tmp_path / "weft.db") as agent:
        with pytest.raises(
            Conflict, match="node-1 has no IPv4 address on eth0, by which flannel's hosts know each other"
        ):
            await create(agent, blue(prefix, driver="host-gw"))
        assert agent.view.networks == {} and prefix.leases() == {}


async def test_a_node_that_lacks_what_the_connection_needs(agent: Agent, prefix: Prefix, tmp_path: Path) -> None:
    """It goes on with all else, and says so."""
    await create(agent, blue(prefix))
    settings = {"store_password_file": str(tmp_path / "none"), "state_dir": str(tmp_path / "other")}
    item = await agent.store.get("networks/blue")
    assert item is not None
    secret = item.value.replace(b"etcd://127", b"etcd://weft@127")
    await agent.store.commit([], [Put("networks/blue", secret)])
    async with agent_on(FakeHost(f"{OTHER}/24"), tmp_path / "weft.db", "node-2", **settings) as other:
        await until(
            lambda: any("none', named in the store's options, cannot be read" in text for _, text in problems(other))
        )
        assert "node-2" in agent.view.present or await _comes(agent, "node-2")


async def _comes(agent: Agent, name: str) -> bool:
    await until(lambda: name in agent.view.present)
    return True


async def test_a_jumbo_host_sends_what_others_are_sure_to_carry(tmp_path: Path, prefix: Prefix) -> None:
    jumbo = FakeHost(f"{ME}/24", mtu=9000)
    async with agent_on(jumbo, tmp_path / "weft.db") as agent:
        await create(agent, blue(prefix))
        assert [o.mtu for o in jumbo.objects.values() if isinstance(o, Link) and o.name in ("weft.1", "weft-blue")] == [
            1450
        ] * 2


# ------------------------------------------------------------------------------------------------ which subnet


async def test_the_lease_with_its_address_is_taken_over(agent: Agent, prefix: Prefix) -> None:
    """As after a flanneld on this host, whose containers keep their subnet."""
    prefix.put("40.15.43.0-24", ME)
    prefix.put("40.15.200.0-24", ME)  # of another config: none that fits
    await create(agent, blue(prefix))
    assert own(agent) == "40.15.43.0-24"
    assert prefix.leases()["40.15.43.0-24"]["BackendData"]["VtepMAC"] != "0e:08:23:57:14:9a"
    assert prefix.left_of("40.15.43.0-24") > 86_000
    assert "40.15.200.0-24" in prefix.leases()


async def test_what_overlaps_another_is_not_taken(agent: Agent, prefix: Prefix) -> None:
    """Also where the lengths differ: all but one are taken."""
    prefix.put("40.15.40.0-22", "192.168.1.1")
    for third in (*range(44, 50), *range(51, 61)):
        prefix.put(f"40.15.{third}.128-25", f"192.168.2.{third}")
    await create(agent, blue(prefix))
    assert own(agent) == "40.15.50.0-24"


async def test_a_full_registry_leaves_nothing_behind(agent: Agent, prefix: Prefix) -> None:
    prefix.put("40.15.32.0-19", "192.168.1.1")
    with pytest.raises(WeftError, match="no subnet is left for node-1"):
        await create(agent, blue(prefix))
    assert agent.view.networks == {}
    assert list(prefix.leases()) == ["40.15.32.0-19"]


async def test_two_nodes_and_none_is_doubled(agent: Agent, host: FakeHost, prefix: Prefix, tmp_path: Path) -> None:
    await create(agent, blue(prefix))
    other_host = FakeHost(f"{OTHER}/24")
    async with agent_on(other_host, tmp_path / "weft.db", "node-2") as other:
        await until(lambda: other.view.lease("blue", "node-2") and agent.view.lease("blue", "node-2"))
        assert {told["PublicIP"] for told in prefix.leases().values()} == {ME, OTHER}
        assert len({own(agent), own(other)}) == 2
        mac = prefix.leases()[own(other)]["BackendData"]["VtepMAC"]
        await until(lambda: towards(own(other).replace("-", "/"), OTHER, mac) <= entries(host))
        await until(lambda: len((agent.flannel.members["blue"]).entries) == 2)
        await settled(agent)
        status = await Service(agent).status()
        assert [p.name for p in status.peers] == ["node-2"]
        assert [held.node for held in (await Service(agent).network("blue")).leases] == ["node-1", "node-2"]
        # A node that is gone for good is gone for flannel's hosts, too.
        key = own(other)
    await Service(agent).remove_node("node-2", force="yes")
    assert key not in prefix.leases()
    await until(lambda: not any(OTHER in text for text in entries(host)))


async def test_a_flanneld_in_the_place_of_a_node(agent: Agent, host: FakeHost, prefix: Prefix, tmp_path: Path) -> None:
    """The way back: as long as the node's agent runs its lease counts, and afterwards what the registry says."""
    await create(agent, blue(prefix))
    other_host, mac = FakeHost(f"{OTHER}/24"), "0e:08:23:57:14:9d"
    async with agent_on(other_host, tmp_path / "weft.db", "node-2", presence_ttl=2.0) as other:
        await until(lambda: other.view.lease("blue", "node-2") and agent.view.lease("blue", "node-2"))
        at, base = own(other), own(other).rpartition("-")[0]
        mine = towards(at.replace("-", "/"), OTHER, prefix.leases()[at]["BackendData"]["VtepMAC"])
        await until(lambda: mine <= entries(host))
    prefix.put(at, OTHER, mac)
    others = towards(at.replace("-", "/"), OTHER, mac)
    await until(lambda: others <= entries(host))  # node-2's agent does not run any more
    await until(lambda: [text for text in entries(host) if text.startswith("fdb")] == [f"fdb {mac} {OTHER}"])
    prefix.delete(at)
    prefix.put("40.15.50.0-24" if at != "40.15.50.0-24" else "40.15.51.0-24", OTHER, mac)
    await until(lambda: not any(base in text for text in entries(host)))
    await until(lambda: [text for text in entries(host) if text.startswith("fdb")] == [f"fdb {mac} {OTHER}"])


async def test_a_node_of_which_the_registry_says_something_else(
    agent: Agent, host: FakeHost, prefix: Prefix, tmp_path: Path
) -> None:
    await create(agent, blue(prefix))
    async with agent_on(FakeHost(f"{OTHER}/24"), tmp_path / "weft.db", "node-2") as other:
        await until(lambda: other.view.lease("blue", "node-2") and agent.view.lease("blue", "node-2"))
        at = own(other)
        mine = towards(at.replace("-", "/"), OTHER, prefix.leases()[at]["BackendData"]["VtepMAC"])
        await until(lambda: mine <= entries(host))
        other.flannel.members["blue"].want(None)  # it does not look at its entry
        prefix.put(at, OTHER, "0e:08:23:57:14:9d")
        told = "node-2's entry in flannel's registry says vtep-mac 0e:08:23:57:14:9d, and its lease vtep-mac "
        await until(lambda: any(peer == f"flannel:{OTHER}" and text.startswith(told) for peer, text in problems(agent)))
        assert mine <= entries(host)


# ------------------------------------------------------------------------------------------------ what others do


async def test_a_key_that_was_deleted_is_taken_again(agent: Agent, host: FakeHost, prefix: Prefix) -> None:
    await create(agent, blue(prefix))
    at = own(agent)
    await until(lambda: agent.flannel.members["blue"].synced.is_set())
    told, before = prefix.leases()[at], entries(host)
    prefix.delete(at)
    await until(lambda: at in prefix.leases())
    assert prefix.leases()[at] == told
    assert prefix.left_of(at) > 86_000
    assert own(agent) == at and entries(host) == before


async def test_an_etcd_lease_that_ended_is_granted_again(agent: Agent, prefix: Prefix) -> None:
    await create(agent, blue(prefix))
    at = own(agent)
    await until(lambda: agent.flannel.members["blue"].synced.is_set())
    prefix.etcd.ctl("lease", "revoke", f"{prefix.keys()[at]['lease']:x}")
    await until(lambda: at in prefix.leases())
    assert prefix.left_of(at) > 86_000


async def test_a_subnet_that_somebody_took_meanwhile(agent: Agent, prefix: Prefix, etcd: EtcdServer) -> None:
    """The containers stay, it is told, and when the other one is gone the subnet is taken again."""
    await create(agent, blue(prefix))
    at = own(agent)
    await until(lambda: agent.flannel.members["blue"].synced.is_set())
    told = json.dumps(
        {"PublicIP": OTHER, "BackendType": "vxlan", "BackendData": {"VNI": 1, "VtepMAC": "0e:08:23:57:14:9a"}}
    )
    etcd.ctl("put", f"/{prefix.path}/subnets/{at}", told)
    url = prefix.url
    text = (
        f"this node's subnet {at} is {OTHER}'s in flannel's registry {url}: its containers stay, and flannel's "
        f"hosts do not reach them; stop the flanneld at {OTHER}, and delete its key"
    )
    await until(lambda: ("", text) in problems(agent))
    assert own(agent) == at and prefix.leases()[at]["PublicIP"] == OTHER
    prefix.delete(at)
    await until(lambda: prefix.leases().get(at, {}).get("PublicIP") == ME)
    await until(lambda: ("", text) not in problems(agent))


async def test_a_flanneld_with_this_nodes_address_is_told(agent: Agent, prefix: Prefix) -> None:
    await create(agent, blue(prefix))
    at = own(agent)
    mine = prefix.leases()[at]
    await until(lambda: agent.flannel.members["blue"].synced.is_set())
    prefix.put(at, ME, "0e:08:23:57:14:9d")
    await until(lambda: prefix.leases()[at] == mine)
    await until(lambda: problems(agent))
    [(_, text)] = problems(agent)
    assert text.startswith(
        f"another program with this node's address {ME} has written this node's entry {at} into flannel's"
    )
    assert "VtepMAC 0e:08:23:57:14:9d" in text and text.endswith("Stop it")


# ------------------------------------------------------------------------------------------------ what is away


async def test_a_registry_that_is_away(agent: Agent, host: FakeHost, prefix: Prefix, etcd: EtcdServer) -> None:
    """What is known stays, also over a compaction; what happened meanwhile is found afterwards."""
    prefix.put("40.15.26.0-24", OTHER)
    prefix.put("40.15.27.0-24", "192.168.1.27")
    await create(agent, blue(prefix))
    await until(lambda: any(OTHER in text for text in entries(host)) and any("1.27" in text for text in entries(host)))
    before = entries(host)
    etcd.stop(signal.SIGKILL)
    try:
        await until(
            lambda: any(
                text.startswith(f"flannel's registry {prefix.url} is away since 20") for _, text in problems(agent)
            )
        )
        assert entries(host) == before
    finally:
        etcd.start()
    prefix.delete("40.15.26.0-24")
    prefix.put("40.15.28.0-24", "192.168.1.28")
    etcd.compact()
    await until(
        lambda: any("1.28" in text for text in entries(host)) and not any(OTHER in text for text in entries(host)), 20
    )
    assert not [text for _, text in problems(agent) if "away" in text]
    assert own(agent) in prefix.leases()


async def test_an_agent_that_starts_while_the_registry_is_away(
    host: FakeHost, prefix: Prefix, etcd: EtcdServer, tmp_path: Path
) -> None:
    prefix.put("40.15.26.0-24", OTHER)
    async with agent_on(host, tmp_path / "weft.db") as agent:
        await create(agent, blue(prefix))
        await until(lambda: any(OTHER in text for text in entries(host)))
        at = own(agent)
    before = entries(host)
    etcd.stop()
    try:
        async with agent_on(host, tmp_path / "weft.db") as agent:
            await settled(agent)
            await until(lambda: any("is away since" in text for _, text in problems(agent)))
            assert entries(host) == before and own(agent) == at
            etcd.start()
            await until(lambda: not any("is away since" in text for _, text in problems(agent)), 20)
            assert entries(host) == before and at in prefix.leases()
    finally:
        etcd.start() if etcd._process is None else None


# ------------------------------------------------------------------------------------------------ the end


async def test_the_key_goes_with_the_network(agent: Agent, host: FakeHost, prefix: Prefix) -> None:
    prefix.put("40.15.26.0-24", OTHER)
    await create(agent, blue(prefix))
    await until(lambda: any(OTHER in text for text in entries(host)))
    await Service(agent).remove_network("blue")
    await until(lambda: list(prefix.leases()) == ["40.15.26.0-24"])
    await settled(agent)
    assert entries(host) == set()


async def test_the_key_goes_with_the_node(host: FakeHost, prefix: Prefix, tmp_path: Path) -> None:
    prefix.put("40.15.26.0-24", OTHER)
    async with agent_on(host, tmp_path / "weft.db") as agent:
        await create(agent, blue(prefix))
        assert len(prefix.leases()) == 2
    await leave_all(tmp_path / "node-1", store_options(Config()))
    assert list(prefix.leases()) == ["40.15.26.0-24"]
    assert not list((tmp_path / "node-1" / "flannel").iterdir())


async def test_a_network_that_went_while_the_agent_was_away(agent: Agent, prefix: Prefix, tmp_path: Path) -> None:
    await create(agent, blue(prefix))
    other_host = FakeHost(f"{OTHER}/24")
    async with agent_on(other_host, tmp_path / "weft.db", "node-2") as other:
        await until(lambda: other.view.lease("blue", "node-2"))
        at = own(other)
    await Service(agent).remove_network("blue")
    await until(lambda: list(prefix.leases()) == [at])
    async with agent_on(other_host, tmp_path / "weft.db", "node-2"):
        await until(lambda: not prefix.leases())


# ------------------------------------------------------------------------------------------------ refusals

REFUSED: list[tuple[object, dict[str, Any], type[WeftError], str]] = [
    (CONFIG, {"driver": "host-gw"}, Invalid, "its Backend is vxlan, not host-gw: use --driver vxlan"),
    (
        CONFIG,
        {"subnet": "40.16.0.0/16"},
        Invalid,
        "its Network is 40.15.0.0/16, not 40.16.0.0/16: give --subnet as it says",
    ),
    (CONFIG, {"subnet": "40.15.0.0/16", "vni": 7}, Invalid, "it says vni=1, not 7: leave -O vni out"),
    (CONFIG, {"node_prefix": 25}, Invalid, "it says node-prefix=24, not 25"),
    (CONFIG, {"driver": "overlay"}, Invalid, "driver overlay is none that flannel has: choose host-gw"),
    ("{", {}, Invalid, "the config in flannel's registry etcd://"),
    ("[]", {}, Invalid, "it is no JSON object"),
    (
        {"Network": "40.15.0.0/16", "Backend": {"Type": "vxlan2"}},
        {},
        Invalid,
        "Type 'vxlan2', which flannel does not have",
    ),
    ({"Network": "40.15.0.0/16", "Backend": {"Type": "wireguard"}}, {}, Invalid, "Weft cannot take part in that one"),
    ({"Backend": {"Type": "vxlan"}}, {}, Invalid, "it has no Network"),
    ({**CONFIG, "EnableIPv6": True, "IPv6Network": "fd00:1::/48"}, {}, Invalid, "EnableIPv6 is true, and driver vxlan"),
    (CONFIG, {"subnet": "40.15.0.0/16 fd00::/48"}, Invalid, "(EnableIPv6 is false)"),
    (None, {}, NotFound, "has no config: see that the prefix is right"),
]


@pytest.mark.parametrize(("config", "asked", "kind", "text"), REFUSED, ids=[r[3][:40] for r in REFUSED])
async def test_what_does_not_fit_is_refused(
    agent: Agent, prefix: Prefix, config: object, asked: dict[str, Any], kind: type[WeftError], text: str
) -> None:
    if config is None:
        prefix.etcd.ctl("del", f"/{prefix.path}/config")
    else:
        prefix.configure(config)
    wanted = dict(asked)
    subnets = str(wanted.pop("subnet", "")).split()
    with pytest.raises(kind) as caught:
        await create(agent, blue(prefix, *subnets, **wanted))
    assert (
        str(caught.value).startswith("network blue: ") and text in str(caught.value) and "\n" not in str(caught.value)
    )
    assert agent.view.networks == {} and prefix.leases() == {}


async def test_one_prefix_is_one_network(agent: Agent, prefix: Prefix) -> None:
    await create(agent, blue(prefix))
    with pytest.raises(Conflict, match="is network blue's: one prefix is one network"):
        await create(agent, Network(name="red", driver="vxlan", subnets=(), options={"flannel": prefix.url}))


async def test_a_registry_that_does_not_answer(agent: Agent) -> None:
    gone = Network(
        name="blue", driver="vxlan", subnets=(), options={"flannel": "etcd://127.0.0.1:1/coreos.com/network"}
    )
    with pytest.raises(Unavailable, match=r"network blue: etcd at 127\.0\.0\.1:1"):
        await create(agent, gone)
    assert agent.view.networks == {}


async def test_the_files_for_other_programs(host: FakeHost, prefix: Prefix, tmp_path: Path) -> None:
    env, docker = tmp_path / "run" / "subnet.env", tmp_path / "run" / "docker_opts.env"
    settings = {"subnet_env": str(env), "docker_opts": str(docker)}
    async with agent_on(host, tmp_path / "weft.db", **settings) as agent:
        await create(agent, blue(prefix))
        await until(env.exists)
        base = own(agent).rpartition(".")[0]
        assert env.read_text() == (
            f"FLANNEL_NETWORK=40.15.0.0/16\nFLANNEL_SUBNET={base}.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        )
        assert f'DOCKER_OPTS=" --bip={base}.1/24 --ip-masq=false --mtu=1450"' in docker.read_text()
        await Service(agent).remove_network("blue")
        await until(lambda: not env.exists() and not docker.exists())
