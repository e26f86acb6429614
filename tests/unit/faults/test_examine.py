"""What the doctor sees in dumps, and that it keeps quiet where all is well."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import msgspec
import pytest

from weft.api import types as t
from weft.api.dump import (
    AddressDump,
    FdbDump,
    FiltersDump,
    HostDump,
    LinkDump,
    NamespaceDump,
    NeighbourDump,
    NftElementDump,
    NftFlowtableDump,
    NftSetDump,
    NftTableDump,
    PeerDump,
    ProgramDump,
    RouteDump,
    RuleDump,
    SocketDump,
    VxlanDump,
)
from weft.faults.catalogue import KINDS
from weft.faults.examine import CHECKS, compare, examine
from weft.faults.scene import Told

AGENT = Path(__file__).parents[3] / "src" / "weft" / "agent" / "resources"
C1, C2 = "/run/netns/c1", "/run/netns/c2"


def endpoint(name: str, node: str, path: str, number: int) -> t.EndpointInfo:
    return t.EndpointInfo(
        id=name,
        name=name,
        network="blue",
        node=node,
        container=name,
        namespace=path,
        interface="eth0",
        host_interface=f"weft-{name}",
        mac=f"02:42:0a:01:01:{number:02x}",
        addresses=(ip_interface(f"10.1.1.{number}/24"),),
        gateways=(ip_address("10.1.1.1"),),
        resolver="127.0.0.11",
    )


ONE, TWO = endpoint("c1", "node-1", C1, 2), endpoint("c2", "node-1", C2, 3)
TOLD = Told(
    endpoints=(ONE, TWO),
    nodes=(
        t.NodeInfo(name="node-1", addresses=(ip_interface("192.168.1.1/24"),), uplink="eth0", mtu=1500, alive=True),
    ),
    networks=(
        t.NetworkInfo(
            name="blue", driver="vxlan", subnets=(ip_network("10.1.0.0/16"),), options={}, internal=False, mtu=None
        ),
    ),
)


def container(e: t.EndpointInfo) -> NamespaceDump:
    peer = PeerDump(namespace="", name=e.host_interface, ifindex=7)
    return NamespaceDump(
        path=e.namespace,
        name=e.name,
        links=(LinkDump(name="eth0", ifindex=2, kind="veth", mac=e.mac, up=True, carrier=True, peer=peer, mtu=1450),),
        addresses=(AddressDump(dev="eth0", address=str(e.addresses[0])),),
        routes=(RouteDump(prefix="0.0.0.0/0", via="10.1.1.1", dev="eth0"),),
    )


OWN = NamespaceDump(
    links=(
        LinkDump(name="eth0", ifindex=2, up=True, carrier=True, mac="02:00:00:00:00:01"),
        LinkDump(
            name="weft-c1",
            ifindex=3,
            kind="veth",
            up=True,
            carrier=True,
            master="br",
            mtu=1450,
            programs=(
                ProgramDump(at="ingress", name="weft_fast", judged="accept"),
                ProgramDump(at="egress", name="weft_seen", judged="accept"),
            ),
        ),
        LinkDump(name="weft-c2", ifindex=4, kind="veth", up=True, carrier=True, master="br", mtu=1450),
        LinkDump(
            name="weft.1", ifindex=5, kind="vxlan", alias="weft", vxlan=VxlanDump(vni=1, port=8472, local="192.168.1.1")
        ),
    ),
    addresses=(AddressDump(dev="eth0", address="192.168.1.1/24"),),
    routes=(RouteDump(prefix="10.1.0.0/16", dev="weft.1", proto=87),),
)
HEALTHY = HostDump(node="node-1", namespaces=(OWN, container(ONE), container(TWO)))


def change(place: int, **changed: object) -> HostDump:
    spaces = list(HEALTHY.namespaces)
    spaces[place] = msgspec.structs.replace(spaces[place], **changed)
    return msgspec.structs.replace(HEALTHY, namespaces=tuple(spaces))


def link(place: int, name: str, **changed: object) -> HostDump:
    links = (
        msgspec.structs.replace(each, **changed) if each.name == name else each
        for each in HEALTHY.namespaces[place].links
    )
    return change(place, links=tuple(links))


def found(dump: HostDump, told: Told = TOLD) -> list[tuple[str, str]]:
    return [(f.fault, f.fix) for f in examine({"node-1": dump}, told) if f.result != "ok"]


def test_a_healthy_host_has_nothing() -> None:
    assert found(HEALTHY) == []
    assert all(f.detail.endswith("none found") for f in examine({"node-1": HEALTHY}, TOLD))


IN_C1 = f"nsenter --net={C1}"
CASES = {
    "link-down": (link(1, "eth0", up=False), f"{IN_C1} ip link set eth0 up"),
    "resolver-unreachable": (
        change(1, links=(*HEALTHY.namespaces[1].links, LinkDump(name="lo", ifindex=1, kind="loopback"))),
        f"{IN_C1} ip link set lo up",
    ),
    "no-device": (change(1, links=(), addresses=()), ""),
    "arp-off": (link(1, "eth0", noarp=True), f"{IN_C1} ip link set eth0 arp on"),
    "duplicate-mac": (link(1, "eth0", mac=TWO.mac), f"{IN_C1} ip link set eth0 address {ONE.mac}"),
    "port-mtu": (link(1, "eth0", mtu=1500), f"{IN_C1} ip link set eth0 mtu 1450"),
    "address-missing": (change(1, addresses=()), f"{IN_C1} ip address add 10.1.1.2/24 dev eth0"),
    "duplicate-address": (
        change(1, addresses=(*HEALTHY.namespaces[1].addresses, AddressDump(dev="eth0", address="10.1.1.3/24"))),
        f"{IN_C1} ip address del 10.1.1.3/24 dev eth0",
    ),
    "dad-failed": (
        change(0, addresses=(*OWN.addresses, AddressDump(dev="eth0", address="fd00::1/64", flags=("dadfailed",)))),
        "ip address del fd00::1/64 dev eth0 && ip address add fd00::1/64 dev eth0",
    ),
    "stale-neighbour": (
        change(
            1, neighbours=(NeighbourDump(dev="eth0", address="10.1.1.3", lladdr="02:00:00:00:00:09", state="stale"),)
        ),
        f"{IN_C1} ip neigh del 10.1.1.3 dev eth0",
    ),
    "stale-fdb": (
        change(0, fdb=(FdbDump(dev="weft-c2", lladdr=ONE.mac, master="br"),)),
        f"bridge fdb del {ONE.mac} dev weft-c2 master",
    ),
    "arp-ignored": (
        change(1, sysctls={"net.ipv4.conf.all.arp_ignore": "8"}),
        f"{IN_C1} sysctl -w net.ipv4.conf.all.arp_ignore=0",
    ),
    "echo-ignored": (
        change(1, sysctls={"net.ipv4.icmp_echo_ignore_all": "1"}),
        f"{IN_C1} sysctl -w net.ipv4.icmp_echo_ignore_all=0",
    ),
    "shaping": (
        link(1, "eth0", programs=(ProgramDump(at="queue", name="blackhole", text="blackhole", judged="drop"),)),
        f"{IN_C1} tc qdisc del dev eth0 root",
    ),
    "tc-drops": (
        link(1, "eth0", programs=(ProgramDump(at="ingress", name="u32", text="tc filter u32"),)),
        f"{IN_C1} tc filter del dev eth0 ingress",
    ),
    "xdp-drops": (
        link(1, "eth0", programs=(ProgramDump(at="xdp", id=3, text="XDP program 3"),)),
        f"{IN_C1} ip link set dev eth0 xdp off",
    ),
    "fast-path-missing": (
        link(0, "weft-c1", programs=(ProgramDump(at="ingress", name="weft_fast", judged="accept"),)),
        "",
    ),
    "no-route-in-container": (
        change(1, routes=()),
        f"{IN_C1} ip -4 route add default via 10.1.1.1 dev eth0 onlink",
    ),
    "blackhole": (
        change(0, routes=(RouteDump(prefix="10.1.2.0/24", type="blackhole", proto=3),)),
        "ip -4 route del blackhole 10.1.2.0/24",
    ),
    "overlap": (
        change(0, routes=(RouteDump(prefix="10.1.2.0/24", dev="eth0", proto=3, metric=9),)),
        "ip -4 route del 10.1.2.0/24 metric 9",
    ),
    "rule-diverts": (
        change(0, rules=(RuleDump(priority=99, family=4, table=77, dst="10.1.0.0/16"),)),
        "ip -4 rule del priority 99",
    ),
    "tunnel-address-changed": (change(0, addresses=()), "ip link del weft.1"),
    "fdb-wrong-host": (
        change(0, fdb=(FdbDump(dev="weft.1", lladdr=ONE.mac, dst="192.168.1.9"),)),
        f"bridge fdb replace {ONE.mac} dev weft.1 dst 192.168.1.1 self permanent",
    ),
    "conntrack-full": (
        change(0, sysctls={"net.netfilter.nf_conntrack_count": "99", "net.netfilter.nf_conntrack_max": "100"}),
        "sysctl -w net.netfilter.nf_conntrack_max=65536",
    ),
    "ports-exhausted": (
        change(1, sysctls={"net.ipv4.ip_local_port_range": "40000 40009"}, counters={"sockets.tcp": 10}),
        f"{IN_C1} sysctl -w 'net.ipv4.ip_local_port_range=10240 65000'",
    ),
    "backlog-full": (change(1, sockets=(SocketDump(protocol=6, port=80, waiting=6, room=5),)), ""),
    "receive-buffer-full": (
        change(1, sockets=(SocketDump(protocol=17, port=53, waiting=90, room=100, dropped=7),)),
        "",
    ),
    "checksum-offload": (change(1, counters={"Udp.InCsumErrors": 20}), ""),
    "source-ports-clash": (change(0, counters={"conntrack.insert_failed": 1000}), ""),
    "memory-pressure": (change(0, counters={"TcpExt.TCPMemoryPressures": 1}), ""),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_fault_is_named_with_what_mends_it(kind: str) -> None:
    dump, fix = CASES[kind]
    assert found(dump) == [(kind, fix)]


@pytest.mark.parametrize(("offloaded", "lacks"), [((), ["eth0"]), (("eth0",), [])])
def test_a_device_that_may_take_a_short_way_has_what_that_takes(offloaded: tuple[str, ...], lacks: list[str]) -> None:
    """By its name in the set of these devices; a bridge has nothing itself."""
    names = (b"eth0", b"br", b"weft-c1")
    devices = NftSetDump(name="short-devices", elements=tuple(NftElementDump(key=n.ljust(16, b"\0")) for n in names))
    flowtables = (NftFlowtableDump(name="short", devices=offloaded),)
    table = NftTableDump(family="inet", name="weft", sets=(devices,), flowtables=flowtables)
    bridge = LinkDump(name="br", ifindex=9, kind="bridge", up=True, carrier=True)
    dump = change(0, filters=FiltersDump(nft=(table,)), links=(*OWN.links, bridge))
    wrong = [f for f in examine({"node-1": dump}, TOLD) if f.fault == "fast-path-missing"]
    assert [f.detail.split()[0] for f in wrong] == lacks


def test_hosts_that_disagree_about_a_tunnel() -> None:
    other = msgspec.structs.replace(HEALTHY, node="node-2", namespaces=(OWN,))
    third = msgspec.structs.replace(other, node="node-3")
    odd = OWN.links[3]
    assert odd.vxlan is not None
    vxlan = msgspec.structs.replace(odd.vxlan, vni=9)
    wrong = msgspec.structs.replace(OWN, links=(msgspec.structs.replace(odd, vxlan=vxlan),))
    fourth = msgspec.structs.replace(other, node="node-4", namespaces=(wrong,))
    dumps = {d.node: d for d in (HEALTHY, other, third, fourth)}
    assert [(f.fault, f.host, f.fix) for f in compare(dumps)] == [("vni-differs", "node-4", "ip link del weft.1")]


def test_what_finds_a_kind_and_what_the_catalogue_says_agree() -> None:
    """Also of those that the agent looks for itself."""
    of_agents = {m for path in AGENT.glob("*.py") for m in re.findall(r'fault="([a-z0-9-]+)"', path.read_text())}
    of_agents |= {"tool-missing", "kernel-feature"}
    of_dumps = {name for names in CHECKS.values() for name in names}
    assert of_agents | of_dumps == {kind.id for kind in KINDS.values() if "doctor" in kind.by}
