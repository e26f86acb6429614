"""Every kind of operation as commands. The same commands are run against a kernel in tests/netns."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from support.hoststates import keyed
from weft.hoststate import (
    Address,
    Bridge,
    FdbEntry,
    IptablesChain,
    Link,
    Neighbour,
    NftChain,
    NftElement,
    NftSet,
    Object,
    Sysctl,
    Veth,
    Vxlan,
    netns,
    route,
)
from weft.hoststate.firewall import FILTER as PRIORITY
from weft.hoststate.firewall import Hook
from weft.hoststate.paths import ALL
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, COUNTER
from weft.hoststate.rules.matches import IIFNAME, OIFNAME, SADDR
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.reconcile.render import commands, script


def comment(rule: str) -> str:
    """A rule's mark: a hash of the rule itself."""
    return f'comment "weft:{hashlib.sha256(rule.encode()).hexdigest()[:12]}"'


def option(rule: str) -> str:
    return f"-m comment --comment weft:{hashlib.sha256(rule.encode()).hexdigest()[:12]}"


C1, PATH = "/run/netns/c1", "/proc/7/ns/net"
BRIDGE = Link(name="weft0", type=Bridge(), mtu=1450, alias="weft:blue")
VXLAN = Link(name="weft.1", type=Vxlan(1, 8472, "192.168.1.68", "eth0"), mac="02:00:00:00:00:01", mtu=1450)
PORT = Link(name="veth1", type=Veth("eth0", C1), master="weft0")
INSIDE = Link(name="eth0", type=Veth("veth1", "", False), mac="02:00:00:00:00:05", mtu=1450, ns=C1)
HOOK = Hook(type="filter", hook="forward", priority=PRIORITY)
CHAIN = NftChain(
    name="forward1", hook=HOOK, rules=(rule(SADDR[4].among("subnets"), ACCEPT), rule(OIFNAME.is_("weft0"), ACCEPT))
)
PORTS = NftSet(name="ports", type=("inet_proto", "inet_service"), to=("ipv4_addr", "inet_service"))
WEB = NftElement(set="ports", value="tcp . 8080", to="10.1.1.2 . 80")
FILTER = IptablesChain(
    backend="legacy",
    family=4,
    table="filter",
    parent="FORWARD",
    name="WEFT-FORWARD",
    rules=(rule(IIFNAME.is_("weft0"), ACCEPT),),
)
NEIGHBOUR = Neighbour(address="10.1.2.0", lladdr="02:00:00:00:00:02", dev="weft.1")
ENTRY = FdbEntry(lladdr="02:00:00:00:00:02", dst="192.168.1.2", dev="weft.1")
REMOTE = route("10.1.2.0/24", via="10.1.2.0", dev="weft.1", onlink=True)


def other(obj: Object, **fields: object) -> Object:
    return msgspec.structs.replace(obj, **fields)


NETNS = netns("blue")
INNER = Vxlan(256, 4789, "192.168.1.68", "", learning=True, proxy=True, l2miss=True, l3miss=True, outside="")
VXLAN0 = Link(name="vxlan0", type=INNER, mtu=1450, master="br0", ns=NETNS.path)

GOLDEN: list[tuple[Op, list[str]]] = [
    (Create(NETNS), ["ip netns add weft-blue", "ip -n weft-blue link set dev lo alias weft:netns"]),
    (Remove(NETNS), ["ip netns del weft-blue"]),
    (Create(VXLAN0), [
        "ip link add name vxlan0 netns weft-blue mtu 1450 "
        "type vxlan id 256 local 192.168.1.68 dstport 4789 learning proxy l2miss l3miss",
        "ip -n weft-blue link set dev vxlan0 alias weft master br0 up",
    ]),
    (Remove(VXLAN0), ["ip -n weft-blue link del dev vxlan0"]),
    (Create(FdbEntry(lladdr=ALL, dst="192.168.1.2", dev="vxlan0", ns=NETNS.path)), [
        "bridge -n weft-blue fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.168.1.2 self permanent",
    ]),
    (Create(other(PORT, isolated=True)), [
        "ip link add name veth1 type veth peer name eth0 netns c1",
        "ip link set dev veth1 alias weft master weft0 up",
        "bridge link set dev veth1 isolated on",
    ]),
    (Change(other(PORT, isolated=True), PORT), ["bridge link set dev veth1 isolated off"]),
    (Create(BRIDGE), [
        "ip link add name weft0 mtu 1450 type bridge",
        "ip link set dev weft0 alias weft:blue up",
    ]),
    (Create(VXLAN), [
        "ip link add name weft.1 mtu 1450 address 02:00:00:00:00:01 "
        "type vxlan id 1 local 192.168.1.68 dev eth0 dstport 8472 nolearning",
        "ip link set dev weft.1 alias weft up",
    ]),
    (Create(other(PORT, hairpin=True)), [
        "ip link add name veth1 type veth peer name eth0 netns c1",
        "ip link set dev veth1 alias weft master weft0 up",
        "bridge link set dev veth1 hairpin on",
    ]),
    (Change(other(PORT, hairpin=True), PORT), ["bridge link set dev veth1 hairpin off"]),
    (Change(other(PORT, hairpin=True, master=""), other(PORT, hairpin=True)), [
        "ip link set dev veth1 master weft0",
        "bridge link set dev veth1 hairpin on",
    ]),
    (Create(PORT), [
        "ip link add name veth1 type veth peer name eth0 netns c1",
        "ip link set dev veth1 alias weft master weft0 up",
    ]),
    (Create(INSIDE), ["ip -n c1 link set dev eth0 mtu 1450 address 02:00:00:00:00:05 alias weft up"]),
    (Create(Link(name="eth0", type=Veth("veth1", ""), ns=C1)), [
        "ip -n c1 link add name eth0 type veth peer name veth1 netns /proc/$$/ns/net",
        "ip -n c1 link set dev eth0 alias weft up",
    ]),
    (Create(Link(name="veth1", type=Veth("eth0", PATH), up=False)), [
        "ip link add name veth1 type veth peer name eth0 netns /proc/7/ns/net",
        "ip link set dev veth1 alias weft",
    ]),
    (Change(BRIDGE, other(BRIDGE, mtu=1400)), ["ip link set dev weft0 mtu 1400"]),
    (Change(PORT, other(PORT, master="", up=False)), ["ip link set dev veth1 nomaster down"]),
    (Remove(INSIDE), ["ip -n c1 link del dev eth0"]),
    (Create(Address(address="10.1.0.1/24", dev="weft0")), ["ip address add 10.1.0.1/24 dev weft0"]),
    (Create(Address(address="fd00::1/64", dev="eth0", ns=PATH)), [
        "nsenter --net=/proc/7/ns/net ip address add fd00::1/64 dev eth0 nodad"
    ]),
    (Remove(Address(address="fd00::1/64", dev="weft0")), ["ip address del fd00::1/64 dev weft0"]),
    (Create(NEIGHBOUR), ["ip neigh add 10.1.2.0 lladdr 02:00:00:00:00:02 dev weft.1 nud permanent protocol 87"]),
    (Change(NEIGHBOUR, other(NEIGHBOUR, lladdr="02:00:00:00:00:03")), [
        "ip neigh replace 10.1.2.0 lladdr 02:00:00:00:00:03 dev weft.1 nud permanent protocol 87"
    ]),
    (Remove(NEIGHBOUR), ["ip neigh del 10.1.2.0 dev weft.1"]),
    (Create(ENTRY), ["bridge fdb add 02:00:00:00:00:02 dev weft.1 dst 192.168.1.2 self permanent"]),
    (Change(ENTRY, other(ENTRY, dst="192.168.1.3")), [
        "bridge fdb replace 02:00:00:00:00:02 dev weft.1 dst 192.168.1.3 self permanent"
    ]),
    (Remove(other(ENTRY, ns=C1)), ["bridge -n c1 fdb del 02:00:00:00:00:02 dev weft.1 dst 192.168.1.2 self"]),
    (Create(REMOTE), ["ip route add 10.1.2.0/24 via 10.1.2.0 dev weft.1 onlink proto 87"]),
    (Change(REMOTE, other(REMOTE, via="192.168.1.2", dev="eth0", onlink=False)), [
        "ip route replace 10.1.2.0/24 via 192.168.1.2 dev eth0 proto 87"
    ]),
    (Remove(REMOTE), ["ip route del 10.1.2.0/24 via 10.1.2.0 dev weft.1 onlink proto 87"]),
    (Create(route("10.9.0.0/16", type="blackhole", table=100)), ["ip route add blackhole 10.9.0.0/16 proto 87 table 100"]),
    (Create(route("10.8.0.0/24", dev="weft0", src="10.1.0.1")), ["ip route add 10.8.0.0/24 dev weft0 proto 87 src 10.1.0.1"]),
    (Create(route("fd02::/64", via="fd02::", dev="weft.1", onlink=True)), [
        "ip -6 route add fd02::/64 via fd02:: dev weft.1 onlink proto 87 metric 1024"
    ]),
    (Create(route("fd09::/48", type="unreachable")), [
        "ip -6 route add unreachable fd09::/48 dev lo proto 87 metric 1024"
    ]),
    (Create(route("0.0.0.0/0", via="10.1.0.1", dev="eth0", ns=C1)), [
        "ip -n c1 route add 0.0.0.0/0 via 10.1.0.1 dev eth0 proto 87"
    ]),
    (Create(Sysctl(name="net/ipv4/ip_forward", value="1")), ["sysctl -w net/ipv4/ip_forward=1"]),
    (Create(Sysctl(name="net/ipv4/ip_local_port_range", value="1 9", ns=C1)), [
        "ip netns exec c1 sysctl -w 'net/ipv4/ip_local_port_range=1 9'"
    ]),
    (Remove(Sysctl(name="net/ipv4/ip_forward", value="1")), [
        'sysctl -w net/ipv4/ip_forward="${BEFORE:?its value before Weft}"'
    ]),
    (Create(NftSet(name="subnets", type=("ipv4_addr",), flags=("interval",))), [
        "nft add table inet weft",
        "nft 'add set inet weft subnets { type ipv4_addr; flags interval; }'",
    ]),
    (Create(PORTS), [
        "nft add table inet weft",
        "nft 'add map inet weft ports { type inet_proto . inet_service : ipv4_addr . inet_service; }'",
    ]),
    (Remove(PORTS), ["nft 'delete map inet weft ports'"]),
    (Change(NftSet(name="ports", type=("inet_service",)), PORTS), [
        "nft 'delete set inet weft ports; "
        "add map inet weft ports { type inet_proto . inet_service : ipv4_addr . inet_service; }'",
    ]),
    (Create(WEB), ["nft 'add element inet weft ports { tcp . 8080 : 10.1.1.2 . 80 }'"]),
    (Remove(WEB), ["nft 'delete element inet weft ports { tcp . 8080 : 10.1.1.2 . 80 }'"]),
    (Change(WEB, other(WEB, to="10.1.1.3 . 80")), [
        "nft 'delete element inet weft ports { tcp . 8080 : 10.1.1.2 . 80 }; "
        "add element inet weft ports { tcp . 8080 : 10.1.1.3 . 80 }'",
    ]),
    (Remove(NftSet(name="subnets", type=("ipv4_addr",))), ["nft 'delete set inet weft subnets'"]),
    (Create(NftElement(set="subnets", value="10.1.0.0/16")), ["nft 'add element inet weft subnets { 10.1.0.0/16 }'"]),
    (Remove(NftElement(set="subnets", value="10.1.0.0/16", ns=PATH)), [
        "nsenter --net=/proc/7/ns/net nft 'delete element inet weft subnets { 10.1.0.0/16 }'"
    ]),
    (Create(CHAIN), [
        "nft add table inet weft",
        "nft 'add chain inet weft forward1 { type filter hook forward priority filter; policy accept; }; "
        f"add rule inet weft forward1 ip saddr @subnets accept {comment('ip saddr @subnets accept')}; "
        f"""add rule inet weft forward1 oifname "weft0" accept {comment('oifname "weft0" accept')}'""",
    ]),
    (Change(CHAIN, other(CHAIN, rules=(rule(COUNTER),))), [
        f"nft 'flush chain inet weft forward1; add rule inet weft forward1 counter {comment('counter')}'"
    ]),
    (Change(CHAIN, other(CHAIN, hook=None, rules=())), [
        "nft 'flush chain inet weft forward1; delete chain inet weft forward1; add chain inet weft forward1'"
    ]),
    (Remove(CHAIN), ["nft 'flush chain inet weft forward1; delete chain inet weft forward1'"]),
    (Create(FILTER), [
        "iptables-legacy -w -t filter -N WEFT-FORWARD",
        f"iptables-legacy -w -t filter -A WEFT-FORWARD -i weft0 {option('-i weft0 -j ACCEPT')} -j ACCEPT",
        "iptables-legacy -w -t filter -I FORWARD 1 -j WEFT-FORWARD",
    ]),
    (Change(FILTER, other(FILTER, rules=(rule(OIFNAME.is_("weft0"), ACCEPT),))), [
        "printf '%s\\n' '*filter' ':WEFT-FORWARD - [0:0]' "
        f"'-A WEFT-FORWARD -o weft0 {option('-o weft0 -j ACCEPT')} -j ACCEPT' COMMIT"
        " | iptables-legacy-restore -w --noflush"
    ]),
    (Remove(other(FILTER, parent="")), [
        "iptables-legacy -w -t filter -F WEFT-FORWARD",
        "iptables-legacy -w -t filter -X WEFT-FORWARD",
    ]),
    (Remove(other(FILTER, backend="nft", family=6)), [
        "ip6tables-nft -w -t filter -D FORWARD -j WEFT-FORWARD",
        "ip6tables-nft -w -t filter -F WEFT-FORWARD",
        "ip6tables-nft -w -t filter -X WEFT-FORWARD",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("op", "lines"), GOLDEN, ids=[lines[-1][:40] for _, lines in GOLDEN])
def test_golden(op: Op, lines: list[str]) -> None:
    assert commands(op) == lines


def test_a_sysctls_old_value_where_it_is_known() -> None:
    sysctl = Sysctl(name="net/ipv4/ip_forward", value="1")
    assert commands(Remove(sysctl), {sysctl.key: "0"}) == ["sysctl -w net/ipv4/ip_forward=0"]


def test_a_script_makes_a_table_once() -> None:
    objects = keyed(CHAIN, NftSet(name="s", type=("ipv4_addr",)), NftSet(name="s", type=("ipv4_addr",), ns=C1))
    lines = script(Create(obj) for obj in objects.values())
    assert [line for line in lines if "table" in line] == [
        "nft add table inet weft",
        "ip netns exec c1 nft add table inet weft",
    ]
