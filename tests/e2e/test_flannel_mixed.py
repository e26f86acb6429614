"""One cluster of Weft's nodes and flannel's, which share flannel's registry: `-O flannel=etcd://…`.

node-1 and node-4 (behind the router) run Weft, node-2 and node-3 the stand-in for flanneld. One network for each data path,
with a prefix of its own in the registry. Weft's own store is another."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from support.capture import Capture, Packet
from support.flannel_hosts import Flannel, Plain, Registry
from support.reach import (
    OUTSIDE,
    UNDERLAY,
    Container,
    PeerServer,
    client,
    converged,
    make_network,
    ping,
    run,
    seen_as,
    shown,
    weft,
)
from support.waiting import until
from weft.lab import Lab

WEFT, FLANNEL = ("node-1", "node-4"), ("node-2", "node-3")
END = Container | Plain


@dataclass(frozen=True)
class Kind:
    """`ttl`: that a container sees of another host's. `routed`: whether hosts beyond a router are reached."""

    name: str
    network: str
    mtu: int
    ttl: int
    routed: bool = True

    @property
    def prefix(self) -> str:
        return f"/coreos.com/{self.name}"

    @property
    def url(self) -> str:
        return f"etcd://192.168.1.1:2379{self.prefix}"

    def __str__(self) -> str:
        return self.name


VXLAN = Kind("vxlan", "40.15.0.0/16", 1450, 62)
HOST_GW = Kind("host-gw", "40.16.0.0/16", 1500, 62, routed=False)
UDP = Kind("udp", "40.17.0.0/16", 1472, 60)
KINDS = (VXLAN, HOST_GW, UDP)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@dataclass(frozen=True)
class Mixed:
    """One network: Weft's containers (node-1's first), flannel's hosts and the containers behind these."""

    kind: Kind
    ours: tuple[Container, ...]
    hosts: tuple[Flannel, ...]
    theirs: tuple[Plain, ...]

    def pairs(self) -> Iterator[tuple[Container, Plain]]:
        """Each of Weft's with each of flannel's that it can reach."""
        near = self.ours if self.kind.routed else self.ours[:1]
        yield from ((mine, theirs) for mine in near for theirs in self.theirs)

    def answers(self) -> bool:
        return all(ping(mine.inside, other.address(4), wait=1).ok for mine, other in self.pairs())


@pytest.fixture(scope="module")
def lab(lab_base: str) -> Iterator[Lab]:
    """The reference lab, with agents where Weft is."""
    with Lab.up(name="mixed", agents=False) as lab:
        agents = [lab.agent(name) for name in WEFT]
        for agent in agents:
            agent.start()
        for agent in agents:
            agent.wait_ready()
        yield lab


@pytest.fixture(scope="module")
def registry(lab: Lab) -> Registry:
    return Registry.up(lab)


@pytest.fixture(scope="module")
def networks(lab: Lab, registry: Registry) -> dict[str, Mixed]:
    """In each, flannel was there first on node-2, and comes later on node-3."""
    found = {}
    for kind in KINDS:
        registry.configure(kind.prefix, Network=kind.network, Backend={"Type": kind.name})
        hosts = [Flannel(lab, FLANNEL[0], registry, kind.prefix, kind.name).start()]
        make_network(lab, kind.name, kind.name, kind.network, hosts=WEFT, flannel=kind.url)
        hosts.append(Flannel(lab, FLANNEL[1], registry, kind.prefix, kind.name).start())
        ours = tuple(run(lab, name, f"{kind}-{name[-1]}", kind.name) for name in WEFT)
        theirs = tuple(host.container(f"{kind}-{host.name[-1]}") for host in hosts)
        found[kind.name] = Mixed(kind, ours, tuple(hosts), theirs)
        until(found[kind.name].answers, 20, f"{kind}: each other's leases")
    return found


def key(mine: Container) -> str:
    """Of its host's lease, below `subnets/`."""
    return mine.subnet(4).replace("/", "-")


def base(mine: Container) -> str:
    return mine.subnet(4).partition("/")[0]


# ------------------------------------------------------------------------------------------------------ the registry


@every_kind
def test_wefts_leases_are_as_flannels(lab: Lab, registry: Registry, networks: dict[str, Mixed], kind: Kind) -> None:
    """The same key, and the same fields. Empty ones are left out, but for the v6 address."""
    for mine in networks[kind.name].ours:
        expected = {"PublicIP": UNDERLAY[mine.host][4], "PublicIPv6": None}
        if kind is not UDP:
            expected["BackendType"] = kind.name
        if kind is VXLAN:
            (link,) = shown(lab.host(mine.host), "ip -j link show dev weft.1")
            expected["BackendData"] = {"VNI": 1, "VtepMAC": link["address"]}
        assert registry.leases(kind.prefix)[key(mine)] == expected
        number, left = registry.etcd_lease(kind.prefix, key(mine))
        assert number and 86_000 < left <= 86_400


@every_kind
def test_nothing_else_is_in_flannels_registry(registry: Registry, networks: dict[str, Mixed], kind: Kind) -> None:
    """Flannelds read all that begins with PREFIX/subnets, and take it for leases."""
    mixed = networks[kind.name]
    keys = {key(mine) for mine in mixed.ours} | {f"{h.subnet.network_address}-24" for h in mixed.hosts}
    listed = registry.ctl("get", "--prefix", "--keys-only", kind.prefix).split()
    assert set(listed) == {f"{kind.prefix}/config"} | {f"{kind.prefix}/subnets/{name}" for name in keys}


@every_kind
def test_no_flanneld_has_passed_over_a_lease_of_wefts(networks: dict[str, Mixed], kind: Kind) -> None:
    for host in networks[kind.name].hosts:
        assert host.alive and "passed over" not in host.said() and "Error" not in host.said(), host.said()


# ---------------------------------------------------------------------------------------------------- who reaches whom


@every_kind
def test_both_ways(networks: dict[str, Mixed], kind: Kind) -> None:
    for mine, theirs in networks[kind.name].pairs():
        assert ping(mine.inside, theirs.address(4)).ttl == kind.ttl
        assert ping(theirs.inside, mine.address(4)).ttl == kind.ttl


@every_kind
def test_each_sees_the_others_own_address(networks: dict[str, Mixed], kind: Kind) -> None:
    """By TCP: neither side masquerades what stays in the cluster."""
    for mine, theirs in networks[kind.name].pairs():
        for source, target in ((mine, theirs), (theirs, mine)):
            with PeerServer(target.inside):
                assert seen_as(source.inside, target.address(4)) == source.address(4)


@every_kind
def test_the_whole_mtu_and_not_one_octet_more(networks: dict[str, Mixed], kind: Kind) -> None:
    for mine, theirs in networks[kind.name].pairs():
        for source, target in ((mine, theirs), (theirs, mine)):
            assert ping(source.inside, target.address(4), "-M", "do", "-s", str(kind.mtu - 28)).ok
            refusal = ping(source.inside, target.address(4), "-M", "do", "-s", str(kind.mtu - 27), "-W", "0.2").text
            assert "message too long" in refusal


@every_kind
def test_hosts_reach_the_others_containers(lab: Lab, networks: dict[str, Mixed], kind: Kind) -> None:
    """With the base of their own subnet, where the tunnel's device has it."""
    mixed = networks[kind.name]
    mine, theirs = next(mixed.pairs())
    with PeerServer(theirs.inside), PeerServer(mine.inside):
        seen = seen_as(lab.host(mine.host), theirs.address(4)), seen_as(mixed.hosts[0].host, mine.address(4))
    hosts = UNDERLAY[mine.host][4], mixed.hosts[0].public_ip
    assert seen == (hosts if kind is HOST_GW else (base(mine), str(mixed.hosts[0].subnet.network_address)))


@every_kind
def test_the_way_out_is_masqueraded_by_each_ones_host(lab: Lab, networks: dict[str, Mixed], kind: Kind) -> None:
    with PeerServer(lab.host("outside")):
        for end in (networks[kind.name].ours[0], networks[kind.name].theirs[0]):
            assert seen_as(end.inside, OUTSIDE[4]) == UNDERLAY[end.host][4]


@every_kind
def test_wefts_nodes_reach_each_other_too(networks: dict[str, Mixed], kind: Kind) -> None:
    one, two = networks[kind.name].ours
    assert ping(one.inside, two.address(4), wait=1).ttl == (kind.ttl if kind.routed else 0)


def test_the_gateway_is_the_first_address_as_flannels(networks: dict[str, Mixed]) -> None:
    for mixed in networks.values():
        for mine in mixed.ours:
            assert mine.gateway(4) == str(IPv4Network(mine.subnet(4)).network_address + 1)


# -------------------------------------------------------------------------------------------------------- the kernels


def entries(lab: Lab, host: str, device: str) -> set[tuple[str, str, str]]:
    """(subnet, its VTEP's MAC address, its host) for each peer of a vxlan device; "" for what is missing."""
    neighbours = {n["dst"]: n["lladdr"] for n in shown(lab.host(host), f"ip -j neigh show dev {device} nud permanent")}
    hosts = {e["mac"]: e["dst"] for e in shown(lab.host(host), f"bridge -j fdb show dev {device}") if "dst" in e}
    found = set()
    for route in shown(lab.host(host), f"ip -j -4 route show dev {device}"):
        if "gateway" in route:
            mac = neighbours.get(route["gateway"], "")
            found.add((route["dst"], mac, hosts.get(mac, "")))
    return found


def test_weft_and_flannel_have_the_same_entries_for_each_other(
    lab: Lab, registry: Registry, networks: dict[str, Mixed]
) -> None:
    """One neighbour, one FDB entry and one route per host, whose lease it is."""
    leases = registry.leases(VXLAN.prefix)
    whole = {
        (name.replace("-", "/"), value["BackendData"]["VtepMAC"].lower(), value["PublicIP"])
        for name, value in leases.items()
    }
    assert len(whole) == 4
    for host, device in (
        (WEFT[0], "weft.1"),
        (WEFT[1], "weft.1"),
        (FLANNEL[0], "flannel.1"),
        (FLANNEL[1], "flannel.1"),
    ):
        assert entries(lab, host, device) == {e for e in whole if e[2] != UNDERLAY[host][4]}, host


def pinged(lab: Lab, folder: Path, mixed: Mixed) -> list[Packet]:
    """What goes over node-1's uplink when its container and flannel's ping each other: two questions, two answers."""
    mine, theirs = next(mixed.pairs())
    with Capture(lab.host(mine.host), folder) as capture:
        assert ping(mine.inside, theirs.address(4)).ok
        assert ping(theirs.inside, mine.address(4)).ok
    between = {UNDERLAY[mine.host][4], UNDERLAY[theirs.host][4]}
    return [p for p in capture.packets if "ip" in p.layers and {p["ip.src"][0], p["ip.dst"][0]} == between]


def test_vxlan_on_the_wire(lab: Lab, registry: Registry, networks: dict[str, Mixed], tmp_path: Path) -> None:
    macs = {v["PublicIP"]: v["BackendData"]["VtepMAC"] for v in registry.leases(VXLAN.prefix).values()}
    found = pinged(lab, tmp_path, networks["vxlan"])
    assert len(found) == 4
    for packet in found:
        assert packet.layers == ("eth", "ip", "udp", "vxlan", "eth", "ip", "icmp", "data")
        assert (packet["vxlan.vni"], packet["udp.dstport"]) == (("1",), ("8472",))
        assert packet["eth.src"][1] == macs[packet["ip.src"][0]]
        assert packet["eth.dst"][1] == macs[packet["ip.dst"][0]]
        assert packet["ip.ttl"][1] == "63"


def test_host_gw_on_the_wire(lab: Lab, networks: dict[str, Mixed], tmp_path: Path) -> None:
    mine, theirs = next(networks["host-gw"].pairs())
    with Capture(lab.host(mine.host), tmp_path) as capture:
        assert ping(mine.inside, theirs.address(4)).ok
        assert ping(theirs.inside, mine.address(4)).ok
    found = [p for p in capture.packets if set(p.ends) == {mine.address(4), theirs.address(4)}]
    assert len(found) == 4
    assert {p.layers[:3] for p in found} == {("eth", "ip", "icmp")}
    assert {p["ip.ttl"] for p in found} == {("63",)}


def test_udp_on_the_wire(lab: Lab, networks: dict[str, Mixed], tmp_path: Path) -> None:
    """A bare packet in each datagram, one less of its TTL for the host's routing and one for the pump."""
    found = pinged(lab, tmp_path, networks["udp"])
    assert len(found) == 4
    for packet in found:
        assert packet.layers[:3] == ("eth", "ip", "udp") and packet["udp.length"] == ("92",)
        assert (packet["udp.srcport"], packet["udp.dstport"]) == (("8285",), ("8285",))
        inner = bytes.fromhex(packet["udp.payload"][0].replace(":", ""))
        assert (inner[0], inner[8], inner[9], len(inner)) == (0x45, 62, 1, 84)


# -------------------------------------------------------------------------------------------------- they come and go


def routes(lab: Lab, host: str) -> dict[str, str]:
    """Subnet to next hop or device, of the networks under test."""
    found = shown(lab.host(host), "ip -j -4 route")
    return {r["dst"]: r.get("gateway", r.get("dev", "")) for r in found if r["dst"].startswith("40.")}


def test_a_flanneld_dies_and_its_host_is_still_reached(lab: Lab, networks: dict[str, Mixed]) -> None:
    mixed = networks["vxlan"]
    mixed.hosts[1].kill()
    before = routes(lab, WEFT[0])
    assert mixed.answers()
    mixed.hosts[1].start()
    assert mixed.answers() and routes(lab, WEFT[0]) == before


@every_kind
def test_a_flanneld_renews_and_nothing_changes(lab: Lab, networks: dict[str, Mixed], kind: Kind) -> None:
    mixed = networks[kind.name]
    before = routes(lab, WEFT[0])
    mixed.hosts[0].renew()
    assert mixed.answers() and routes(lab, WEFT[0]) == before


@every_kind
def test_wefts_key_is_deleted(lab: Lab, registry: Registry, networks: dict[str, Mixed], kind: Kind) -> None:
    """It takes the same subnet again; a flanneld would have ended. Its containers keep their addresses."""
    mixed = networks[kind.name]
    mine, process = mixed.ours[0], lab.agent(WEFT[0]).process()
    before = registry.leases(kind.prefix)[key(mine)]
    registry.delete(f"{kind.prefix}/subnets/{key(mine)}")
    until(lambda: registry.leases(kind.prefix).get(key(mine)) == before, 20, "the same lease again")
    number, left = registry.etcd_lease(kind.prefix, key(mine))
    assert number and 86_000 < left <= 86_400
    until(mixed.answers, 20, "everyone")
    assert lab.agent(WEFT[0]).process() == process
    (now,) = [e for e in client(lab, WEFT[0]).endpoints() if e.id == mine.endpoint.id]
    assert now.addresses == mine.endpoint.addresses


def await_entries(lab: Lab, host: str, wanted: set[tuple[str, str, str]]) -> None:
    until(
        lambda: wanted <= entries(lab, host, "weft.1"), 30, lambda: f"{host}: {wanted - entries(lab, host, 'weft.1')}"
    )


def await_no_route(lab: Lab, host: str, subnet: str) -> None:
    until(lambda: subnet not in routes(lab, host), 20, f"{host}: the end of its route to {subnet}")


def await_leases(registry: Registry, kind: Kind, wanted: set[str]) -> None:
    until(lambda: set(registry.leases(kind.prefix)) == wanted, 20, f"{kind}: no other leases than {wanted}")


@contextmanager
def cut_off(lab: Lab, hosts: tuple[str, ...]) -> Iterator[None]:
    """From etcd."""
    rule = ["OUTPUT", "-p", "tcp", "--dport", "2379", "-j", "REJECT"]
    with ExitStack() as undo:
        for host in hosts:
            lab.host(host).must("rule", ["iptables", "-w", "-I", *rule])
            undo.callback(lab.host(host).must, "rule", ["iptables", "-w", "-D", *rule])
        yield


def lease(kind: Kind, public_ip: str, **data: object) -> str:
    value: dict[str, object] = {"PublicIP": public_ip, "PublicIPv6": None}
    if kind is not UDP:
        value["BackendType"] = kind.name
    return json.dumps(value | ({"BackendData": data} if data else {}))


def put(registry: Registry, kind: Kind, subnet: str, value: str) -> Callable[[], None]:
    """As a host does that is only a record here; the way to take it back."""
    name = f"{kind.prefix}/subnets/{subnet.replace('/', '-')}"
    registry.put(name, value)
    return lambda: registry.delete(name)


def test_a_host_comes_changes_and_goes(lab: Lab, registry: Registry, networks: dict[str, Mixed]) -> None:
    """With its key go its entries. A put may bring another VTEP or another address."""
    subnet, mac, other = "40.15.200.0/24", "0e:08:23:57:14:9a", "0e:08:23:57:14:9b"
    told: list[tuple[str, str]] = [(mac, "192.168.1.99"), (other, "192.168.1.98")]
    for vtep, address in told:
        gone = put(registry, VXLAN, subnet, lease(VXLAN, address, VNI=1, VtepMAC=vtep))
        for host in WEFT:
            seen = {(subnet, vtep, address)}
            await_entries(lab, host, seen)
    gone()
    for host in WEFT:
        await_no_route(lab, host, subnet)
        left = lab.host(host).must("entries", ["bridge", "fdb", "show", "dev", "weft.1"])
        left += lab.host(host).must("entries", ["ip", "neigh", "show", "dev", "weft.1"])
        assert mac not in left and other not in left and "40.15.200.0" not in left


def test_a_host_goes_by_the_end_of_its_etcd_lease(lab: Lab, registry: Registry, networks: dict[str, Mixed]) -> None:
    number = registry.ctl("lease", "grant", "86400").split()[1]
    registry.put(f"{HOST_GW.prefix}/subnets/40.16.201.0-24", lease(HOST_GW, "192.168.1.97"), f"--lease={number}")
    until(lambda: routes(lab, WEFT[0]).get("40.16.201.0/24") == "192.168.1.97", 20, "its route")
    registry.ctl("lease", "revoke", number)
    until(lambda: "40.16.201.0/24" not in routes(lab, WEFT[0]), 20, "the end of it")


def test_what_is_no_lease_of_this_kind_is_passed_over(lab: Lab, registry: Registry, networks: dict[str, Mixed]) -> None:
    """The one that comes after them is not."""
    undo = [
        put(registry, VXLAN, "40.15.202.0/24", lease(HOST_GW, "192.168.1.96")),
        put(registry, VXLAN, "40.15.203.0/24", "no JSON"),
        put(registry, VXLAN, "40.15.204.0/24", '{"PublicIP":"nowhere","BackendType":"vxlan"}'),
        put(registry, VXLAN, "40.15.205.0/24", lease(VXLAN, "192.168.1.95", VNI=1)),
        put(registry, VXLAN, "40.15.206.0/24", "[1]"),
        put(registry, VXLAN, "no-subnet", lease(VXLAN, "192.168.1.94", VNI=1, VtepMAC="0e:08:23:57:14:9c")),
        put(registry, VXLAN, "40.15.207.0/24", lease(VXLAN, "192.168.1.93", VNI=1, VtepMAC="0e:08:23:57:14:9d")),
    ]
    try:
        until(lambda: "40.15.207.0/24" in routes(lab, WEFT[0]), 20, "the last one")
        assert not {f"40.15.{n}.0/24" for n in range(202, 207)} & set(routes(lab, WEFT[0]))
        assert networks["vxlan"].answers()
    finally:
        for back in undo:
            back()
    until(lambda: "40.15.207.0/24" not in routes(lab, WEFT[0]), 20, "the end of it")


def test_while_the_registry_is_away(lab: Lab, registry: Registry, networks: dict[str, Mixed]) -> None:
    """Everybody goes on; a container comes. What is missed meanwhile is read again, though etcd has forgotten the steps:
    who has come, who has gone, who has changed (which flannelds do not see in a list)."""
    goes = put(registry, VXLAN, "40.15.210.0/24", lease(VXLAN, "192.168.1.92", VNI=1, VtepMAC="0e:08:23:57:14:a1"))
    put(registry, VXLAN, "40.15.211.0/24", lease(VXLAN, "192.168.1.91", VNI=1, VtepMAC="0e:08:23:57:14:a2"))
    before = [
        ("40.15.210.0/24", "0e:08:23:57:14:a1", "192.168.1.92"),
        ("40.15.211.0/24", "0e:08:23:57:14:a2", "192.168.1.91"),
    ]
    until(lambda: set(before) <= entries(lab, WEFT[0], "weft.1"), 20, "two hosts")
    agents = [lab.agent(name).process() for name in WEFT]
    registry.stop()
    assert all(mixed.answers() for mixed in networks.values())
    guest = run(lab, WEFT[0], "guest", "vxlan")
    theirs = networks["vxlan"].theirs[0]
    assert ping(guest.inside, theirs.address(4)).ok and ping(theirs.inside, guest.address(4)).ok
    with cut_off(lab, WEFT):  # so that the agents come back after all has been done, and forgotten
        registry.start()
        goes()
        back = put(registry, VXLAN, "40.15.211.0/24", lease(VXLAN, "192.168.1.90", VNI=1, VtepMAC="0e:08:23:57:14:a3"))
        comes = put(registry, VXLAN, "40.15.212.0/24", lease(VXLAN, "192.168.1.89", VNI=1, VtepMAC="0e:08:23:57:14:a4"))
        registry.compact()
    after = {
        ("40.15.211.0/24", "0e:08:23:57:14:a3", "192.168.1.90"),
        ("40.15.212.0/24", "0e:08:23:57:14:a4", "192.168.1.89"),
    }
    for host in WEFT:
        await_entries(lab, host, after)
        await_no_route(lab, host, "40.15.210.0/24")
    assert [lab.agent(name).process() for name in WEFT] == agents
    assert all(mixed.answers() for mixed in networks.values())
    for undo in (back, comes):
        undo()
    lab.rm(WEFT[0], "guest")


def test_a_restarted_agent_has_the_same_lease(lab: Lab, registry: Registry, networks: dict[str, Mixed]) -> None:
    mine = {mixed.kind: mixed.ours[0] for mixed in networks.values()}
    before = {kind: registry.leases(kind.prefix) for kind in mine}
    agent = lab.agent(WEFT[0])
    agent.end(signal.SIGKILL)
    assert all(mixed.answers() for mixed in networks.values())
    agent.start()
    agent.wait_ready()
    until(lambda: client(lab, WEFT[0]).status().state == "converged", 20, "convergence")
    assert {kind: registry.leases(kind.prefix) for kind in mine} == before
    assert client(lab, WEFT[0]).plan().commands == ()
    assert all(mixed.answers() for mixed in networks.values())


# --------------------------------------------------------------------------------------------- from the one to the other


def test_a_host_is_moved_from_flannel_to_weft_and_back(
    lab: Lab, registry: Registry, networks: dict[str, Mixed]
) -> None:
    """As docs/flannel.md has it. It keeps its subnets: the key is taken over both times."""
    here = FLANNEL[1]
    before = {kind: mixed.hosts[1].subnet for kind, mixed in networks.items()}
    for mixed in networks.values():
        mixed.hosts[1].leave()
    lab.host(here).must("no device of flannel's", ["ip", "link", "del", "flannel.1"])
    lab.host(here).must("no routes of flannel's", ["ip", "route", "flush", "root", HOST_GW.network, "dev", "eth0"])
    agent = lab.agent(here)
    agent.start()
    agent.wait_ready()
    converged(lab, (*WEFT, here))
    moved = {kind: run(lab, here, f"{kind}-moved", kind) for kind in networks}
    for kind, mixed in networks.items():
        assert moved[kind].subnet(4) == str(before[kind])
        for other in (mixed.ours[0], mixed.theirs[0]):
            until(lambda o=other, k=kind: reached(o, moved[k]), 20, f"{kind}: {other.name} and a moved host's")
    for kind in moved:
        lab.rm(here, f"{kind}-moved")
    agent.end(signal.SIGTERM)
    assert weft(lab, here, "agent", "purge", "--yes").returncode == 0
    assert weft(lab, WEFT[0], "node", "rm", here, "--force").returncode == 0
    for kind, mixed in networks.items():
        assert registry.key_of(mixed.kind.prefix, UNDERLAY[here][4]) == "", kind
        mixed.hosts[1].start()
        assert mixed.hosts[1].subnet == before[kind]
        again = mixed.hosts[1].container(f"{kind}-back")
        for other in (mixed.ours[0], mixed.theirs[0]):
            until(lambda o=other, a=again: reached(o, a), 20, f"{kind}: {other.name} and a host's that came back")


def reached(one: END, other: END) -> bool:
    return ping(one.inside, other.address(4), wait=1).ok and ping(other.inside, one.address(4), wait=1).ok


# ------------------------------------------------------------------------------------------------------------- the end


def test_a_removed_network_leaves_the_registry_to_flannel(
    lab: Lab, registry: Registry, networks: dict[str, Mixed]
) -> None:
    """The last test: Weft's leases go, and with them what flannelds have for these; flannel's own stay."""
    for kind in KINDS:
        for mine in networks[kind.name].ours:
            lab.rm(mine.host, mine.name)
        done = weft(lab, WEFT[0], "network", "rm", kind.name)
        assert done.returncode == 0, done.stderr
        theirs = {f"{host.subnet.network_address}-24" for host in networks[kind.name].hosts}
        await_leases(registry, kind, theirs)
        assert registry.value(f"{kind.prefix}/config")
    for host in FLANNEL:
        for mixed in networks.values():
            for mine in mixed.ours:
                await_no_route(lab, host, mine.subnet(4))
    for kind, mixed in networks.items():
        there = str(mixed.hosts[1].subnet.network_address + 1)
        assert ping(mixed.theirs[0].inside, there).ok, f"{kind}: flannel's hosts go on"
