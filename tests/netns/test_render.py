"""The commands that are printed do what they say: pasted into a shell, in network namespaces of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

import msgspec
import pytest

from support.hoststates import keyed
from weft.hoststate import (
    Address,
    Bridge,
    FdbEntry,
    Ifb,
    IptablesChain,
    Link,
    Neighbour,
    NftChain,
    NftElement,
    NftSet,
    Object,
    Qdisc,
    Redirect,
    Sysctl,
    Veth,
    Vxlan,
    route,
)
from weft.hoststate.firewall import FILTER as PRIORITY
from weft.hoststate.firewall import Hook
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, COUNTER, DROP, Dispatch, Jump
from weft.hoststate.rules.matches import IIFNAME, SADDR
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Op, Reading
from weft.reconcile.render import script

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")

C1 = "/run/netns/c1"
HOOK = Hook(type="filter", hook="forward", priority=PRIORITY)
LATER = Hook(type="filter", hook="forward", priority=PRIORITY + 5)
OURS = IIFNAME.is_("weft0")
FILTER = IptablesChain(
    backend="legacy", family=4, table="filter", parent="FORWARD", name="WEFT-FORWARD", rules=(rule(OURS, ACCEPT),)
)
OBJECTS: tuple[Object, ...] = (
    Sysctl(name="net/ipv4/ip_forward", value="1"),
    NftSet(name="subnets", type=("ipv4_addr",), flags=("interval",)),
    NftElement(set="subnets", value="10.1.0.0/16"),
    NftChain(name="cluster", rules=(rule(SADDR[4].among("subnets"), ACCEPT),)),
    NftChain(name="forward0", hook=HOOK, rules=(rule(OURS, Jump("cluster")), rule(Dispatch(by=SADDR[4], map="doors")))),
    NftSet(name="doors", type=("ipv4_addr",), to=("verdict",)),
    NftElement(set="doors", value="10.1.0.7", to="goto within"),
    NftChain(name="within", rules=(rule(ACCEPT),)),
    FILTER,
    msgspec.structs.replace(FILTER, backend="nft", family=6, rules=()),
    Link(name="weft0", type=Bridge(), mtu=1450, alias="weft:blue"),
    Link(name="weft.1", type=Vxlan(1, 8472, "192.168.1.68", "eth0"), mac="02:00:00:00:00:01", mtu=1400),
    Link(name="veth1", type=Veth("in0", C1), mtu=1450, master="weft0"),
    Link(name="in0", type=Veth("veth1", "", False), mac="02:00:00:00:00:05", mtu=1450, ns=C1),
    Link(name="in1", type=Veth("veth2", ""), ns=C1),
    Link(name="veth2", type=Veth("in1", C1, False)),
    Link(name="weftq1", type=Ifb(), mtu=1450),
    Link(name="weftq2", type=Ifb(), mtu=1450),
    Qdisc(dev="veth1", rate=20_000_000, burst=32768, limit=98304),
    Qdisc(dev="weftq1", rate=1_500_000, burst=32768, limit=98304),
    Qdisc(dev="in1", rate=8_000, burst=2000, limit=3000, ns=C1),
    Redirect(dev="veth1", to="weftq1"),
    Sysctl(name="net/ipv4/conf/weft0/rp_filter", value="0"),
    Address(address="10.1.0.1/24", dev="weft0"),
    Address(address="fd00:1::1/64", dev="weft0"),
    Address(address="10.1.0.5/24", dev="in0", ns=C1),
    Neighbour(address="10.2.0.0", lladdr="02:00:00:00:00:02", dev="weft.1"),
    FdbEntry(lladdr="02:00:00:00:00:02", dst="192.168.1.2", dev="weft.1"),
    route("10.2.0.0/24", via="10.2.0.0", dev="weft.1", onlink=True),
    route("10.3.0.0/24", via="192.168.1.3", dev="eth0", src="10.1.0.1"),
    route("10.4.0.0/24", dev="weft0", metric=7, table=100),
    route("10.9.0.0/16", type="blackhole"),
    route("fd00:2::/64", via="fd00:2::", dev="weft.1", onlink=True),
    route("fd00:9::/48", type="unreachable"),
    route("0.0.0.0/0", via="10.1.0.1", dev="in0", ns=C1),
)
CHANGED: tuple[Object, ...] = (
    Sysctl(name="net/ipv4/conf/weft0/rp_filter", value="2"),
    NftChain(name="cluster", rules=(rule(SADDR[4].among("subnets"), COUNTER, DROP),)),
    NftChain(name="forward0", hook=LATER, rules=(rule(Jump("cluster")),)),
    msgspec.structs.replace(FILTER, parent="INPUT", rules=(rule(OURS, DROP),)),
    Link(name="weft0", type=Bridge(), mtu=1400, alias="weft:red"),
    Link(name="veth1", type=Veth("in0", C1), mtu=1400),
    Qdisc(dev="veth1", rate=30_000_000, burst=40960, limit=98304),
    Redirect(dev="veth1", to="weftq2"),
    Neighbour(address="10.2.0.0", lladdr="02:00:00:00:00:03", dev="weft.1"),
    FdbEntry(lladdr="02:00:00:00:00:02", dst="192.168.1.9", dev="weft.1"),
    route("10.2.0.0/24", via="192.168.1.2", dev="eth0"),
    route("fd00:2::/64", via="fd00:3::", dev="weft.1", onlink=True),
)
SETUP = """
mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add c1 && ip link set lo up
sysctl -q -w net/ipv4/ip_forward=0
ip link add eth0 type bridge && ip address add 192.168.1.68/24 dev eth0 && ip link set eth0 up
show() {
    echo "=== $1"; set +e
    ip -o -d link; ip -o address; ip neigh show nud permanent; bridge fdb show dev weft.1 2>&1; ip route show table all
    ip -6 route show table all; nft -s list ruleset; iptables-legacy -S; ip6tables-nft -S
    sysctl -e net.ipv4.ip_forward net.ipv4.conf.weft0.rp_filter
    tc -d qdisc; tc filter show dev veth1 ingress; tc -n c1 qdisc
    ip -n c1 -o -d link; ip -n c1 -o address; ip -n c1 route; set -e
}
"""
MADE = """
weft0: mtu 1450 alias weft:blue|weft.1: mtu 1400 link/ether 02:00:00:00:00:01|vxlan id 1 local 192.168.1.68 dev eth0
veth1@ mtu 1450 master weft0 alias weft|in0@ link/ether 02:00:00:00:00:05|in1@ UP alias weft|veth2@ UP alias weft
tbf 5746: dev veth1 root rate 20Mbit burst 32Kb|tbf 5746: dev weftq1 root rate 1500Kbit|tbf 5746: dev in1 root rate 8Kbit
mirred (Egress Redirect to device weftq1) stolen|filter protocol all pref 22342 u32|weftq1: mtu 1450 UP ifb alias weft
inet 10.1.0.1/24 scope global weft0|inet6 fd00:1::1/64 nodad|10.2.0.0 dev weft.1 lladdr 02:00:00:00:00:02 PERMANENT proto 87
02:00:00:00:00:02 dst 192.168.1.2 self permanent|10.2.0.0/24 via 10.2.0.0 dev weft.1 proto 87 onlink
10.3.0.0/24 via 192.168.1.3 dev eth0 proto 87 src 10.1.0.1|10.4.0.0/24 dev weft0 table 100 proto 87 scope link metric 7
blackhole 10.9.0.0/16 proto 87|fd00:2::/64 via fd00:2:: dev weft.1 proto 87 metric 1024 onlink
unreachable fd00:9::/48 dev lo proto 87 metric 1024|default via 10.1.0.1 dev in0 proto 87
elements = { 10.1.0.0/16 }|ip saddr @subnets accept|iifname "weft0" jump cluster|net.ipv4.ip_forward = 1
elements = { 10.1.0.7 : goto within }|ip saddr vmap @doors
-A FORWARD -j WEFT-FORWARD|-A WEFT-FORWARD -i weft0 -j ACCEPT|net.ipv4.conf.weft0.rp_filter = 0
"""
TURNED = """
weft0: mtu 1400 alias weft:red|10.2.0.0 dev weft.1 lladdr 02:00:00:00:00:03|02:00:00:00:00:02 dst 192.168.1.9
tbf 5746: dev veth1 root rate 30Mbit burst 40Kb|mirred (Egress Redirect to device weftq2) stolen
10.2.0.0/24 via 192.168.1.2 dev eth0 proto 87|fd00:2::/64 via fd00:3::|ip saddr @subnets counter drop
priority filter + 5|-A INPUT -j WEFT-FORWARD|-A WEFT-FORWARD -i weft0 -j DROP|net.ipv4.conf.weft0.rp_filter = 2
"""


def lines(desired: Iterable[Object], actual: Iterable[Object]) -> str:
    ops: tuple[Op, ...] = plan(keyed(*desired), Reading(keyed(*actual)), {"", C1}).ops
    commands = "\n".join(script(ops, {OBJECTS[0].key: "0", ("sysctl", "", "net/ipv4/conf/weft0/rp_filter"): "0"}))
    return f"{{ {commands}\n}} >/dev/null"


def lacking(expected: str, shown: str) -> list[str]:
    """The expectations for which no line has all words."""
    wanted = [item for line in expected.strip().splitlines() for item in line.split("|")]
    return [want for want in wanted if not any(all(w in line for w in want.split()) for line in shown.splitlines())]


def left(shown: str) -> list[str]:
    """Without what the kernel numbers or does by itself, and without the empty tables that stay."""
    noise = ("fe80:", "weft.1", "table ", "chain ", "}", "type filter", "-P ", "# ", "removed", "start", "ff00::/8")
    return [line for line in shown.splitlines() if line.strip() and not any(word in line for word in noise)]


def test_made_changed_and_removed_as_said() -> None:
    turned = tuple((keyed(*OBJECTS) | keyed(*CHANGED)).values())
    steps = [lines(OBJECTS, ()), "show made", lines(turned, OBJECTS), "show turned", lines((), turned), "show removed"]
    text = "\n".join([SETUP, "show start", *steps])
    done = subprocess.run(
        ["unshare", "-nm", "bash", "-euc", text], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    start, made, changed, removed = done.stdout.split("=== ")[1:]
    assert lacking(MADE, made) == []
    assert lacking(TURNED, changed) == []
    assert sorted(left(removed)) == sorted(left(start))
