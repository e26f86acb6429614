"""A marked packet is seen at every device on its way, with the reason and the rule by which it ends."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from support.namespaces import Namespace, home
from support.overlay import Overlay, overlay
from support.waiting import until
from weft.api.live import PacketSeen, RuleSeen
from weft.base.errors import Unsupported
from weft.faults.catalogue import by_drop
from weft.kernel.live.probe import Packet, Sent, send
from weft.kernel.live.watch import Watch
from weft.kernel.plumbing import netns

ABSENT = "10.9.0.77"


@pytest.fixture(scope="module")
def there() -> Iterator[Overlay]:
    """The watchers' own namespace is none of these."""
    with home(), overlay() as found:
        yield found


class Seen(msgspec.Struct):
    sent: Sent
    packets: tuple[PacketSeen, ...]
    rules: tuple[RuleSeen, ...]

    def way(self) -> list[tuple[str, str, str]]:
        return [(p.place, p.device, p.point) for p in self.packets if p.point != "queue"]

    def drops(self) -> list[tuple[str, str, str, str]]:
        return [(p.place, p.device, p.reason, p.function) for p in self.packets if p.point == "drop"]

    def ended(self, place: str, fault: str, reason: str, *functions: str) -> None:
        """Functions may be part of others, as the compiler likes. `fault`: which the catalogue knows by that."""
        found = next((d for d in self.drops() if d[0] == place and d[2] == reason and d[3] in functions), None)
        assert found, self.drops()
        assert fault in [kind.id for kind in by_drop(found[2], found[3])]


def go(
    there: Overlay,
    target: str,
    protocol: str = "udp",
    port: int = 98,
    mark: int = 0,
    seconds: float = 0.2,
    size: int = 64,
    drop: bool = True,
    unseen: Sequence[str] = (),
) -> Seen:
    """From the first container; what four namespaces saw. `drop`: is waited for."""
    token, family = secrets.token_bytes(8), ip_address(target).version
    watch = Watch(token, protocol, family, there.names, tuple(there.names))
    try:
        assert watch.unseen == list(unseen)
        origin = there.containers[1].path
        sent = send(
            origin,
            Packet(target=ip_address(target), protocol=protocol, token=token, port=port, size=size, mark=mark),
            seconds,
        )
        if drop:
            until(lambda: any(p.point == "drop" for p in watch.packets()), 20, lambda: f"a drop; {watch.packets()}")
        return Seen(sent, watch.packets(), watch.rules())
    finally:
        watch.close()


FORWARD = [
    ("c1", "eth0", "out"),
    ("host1", "v0", "in"),
    ("host1", "vx0", "out"),
    ("host1", "u0", "out"),
    ("host2", "u0", "in"),
    ("host2", "vx0", "in"),
    ("host2", "v0", "out"),
    ("c2", "eth0", "in"),
]


@pytest.mark.parametrize("target", ["10.9.0.2", "fd00:9::2"])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_closed_port(there: Overlay, protocol: str, target: str) -> None:
    seen = go(there, target, protocol, seconds=5)
    devices = [hop for hop in seen.way() if hop[1] != "br0"]
    assert devices[: len(FORWARD)] == FORWARD
    assert seen.sent.answer == "refused"
    assert seen.sent.sender == target
    seen.ended("c2", "port-closed", "NO_SOCKET", "tcp_v4_rcv", "tcp_v6_rcv", "__udp4_lib_rcv", "__udp6_lib_rcv")


@pytest.mark.parametrize("target", ["10.9.0.2", "fd00:9::2"])
def test_an_echo_comes_back_the_same_way(there: Overlay, target: str) -> None:
    seen = go(there, target, "icmp", seconds=5, drop=False)
    assert seen.sent.answer == "reply"
    assert [hop for hop in seen.way() if hop[1] != "br0"][-1] == ("c1", "eth0", "in")
    assert not seen.drops()


def test_a_listener_answers(there: Overlay) -> None:
    with netns.call(there.containers[2].path, lambda: socket.create_server(("10.9.0.2", 8098))) as sock:
        seen = go(there, "10.9.0.2", "tcp", 8098, seconds=5, drop=False)
        assert (seen.sent.answer, seen.drops()) == ("reply", [])
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.accept()  # it was never opened


def test_without_tracepoints_devices_are_seen_all_the_same(there: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise Unsupported("no BTF")

    monkeypatch.setattr("weft.kernel.live.watch.Tracepoints", refused)
    seen = go(there, "10.9.0.2", "tcp", seconds=5, drop=False, unseen=["where packets end, and why: no BTF"])
    way = [hop for hop in seen.way() if hop[1] != "br0"]
    for place in there.names.values():  # among these, time stamps tell, which the kernel puts in a moment later
        expected = [hop for hop in FORWARD if hop[0] == place]
        assert [hop for hop in way if hop[0] == place][: len(expected)] == expected
    assert not seen.drops()


class Fault:
    """Commands that make a fault in a namespace, and those that undo it."""

    def __init__(self, ns: Namespace, make: str, undo: str) -> None:
        self.ns, self.make, self.undo = ns, make, undo

    def __enter__(self) -> None:
        for line in self.make.split("; "):
            self.ns.sh(line)

    def __exit__(self, *_: object) -> None:
        for line in self.undo.split("; "):
            self.ns.sh(line)


def test_a_rule_that_drops(there: Overlay) -> None:
    """In the bridge's tables of the first host: the rule is named."""
    host = there.hosts[1]
    host.run("nft", "-f", "-", stdin=_BRIDGE_DROP)
    try:
        seen = go(there, "10.9.0.2", "udp", 97)
    finally:
        host.sh("nft delete table bridge t")
    seen.ended("host1", "rule-drops", "NETFILTER_DROP", "nft_do_chain", "nf_hook_slow")
    assert [(r.family, r.table, r.chain, r.type, r.verdict) for r in seen.rules][-1] == (
        "bridge",
        "t",
        "f",
        "rule",
        "drop",
    )
    assert seen.rules[-1].handle > 0
    assert (seen.rules[-1].text, seen.rules[-1].comment) == ("udp dport 97 drop", "no 97")


_BRIDGE_DROP = """
table bridge t {
    chain f { type filter hook forward priority 0; udp dport 97 drop comment "no 97"; }
}
"""


def test_a_policy_that_drops_after_a_translation(there: Overlay) -> None:
    """The token is found whatever the address is."""
    host = there.hosts[1]
    host.run("nft", "-f", "-", stdin=_POLICY)
    try:
        seen = go(there, "10.9.0.101", "tcp", 8080)
    finally:
        host.sh("nft delete table inet t")
    assert seen.rules[-1].type == "policy"
    assert seen.rules[-1].verdict == "drop"
    assert [r.chain for r in seen.rules if r.type == "rule"] == ["nat", "f", "pol"]
    assert [r.to for r in seen.rules if r.verdict == "jump"] == ["pol"]


_POLICY = """
table inet t {
    chain nat { type nat hook prerouting priority dstnat; tcp dport 8080 dnat ip to 192.168.7.2:80; }
    chain f { type filter hook forward priority 0; policy drop; jump pol; }
    chain pol { ip daddr 192.168.7.2 tcp dport 80 counter; }
}
"""


def test_a_filter_of_the_senders_own_namespace(there: Overlay) -> None:
    """Before it has a device: the namespace is known by the socket."""
    inside = there.containers[1]
    inside.run(
        "nft", "-f", "-", stdin="table inet t { chain o { type filter hook output priority 0; udp dport 98 drop; }; }"
    )
    try:
        seen = go(there, "10.9.0.2")
    finally:
        inside.sh("nft delete table inet t")
    assert seen.sent.answer == "unsent"
    assert [(d[0], d[1], d[2]) for d in seen.drops()] == [("c1", "", "NETFILTER_DROP")]
    assert [(r.chain, r.verdict) for r in seen.rules] == [("o", "drop")]


def test_the_far_tunnel_is_down(there: Overlay) -> None:
    with Fault(there.hosts[2], "ip link set vx0 down", "ip link set vx0 up"):
        seen = go(there, "10.9.0.2")
    seen.ended("host2", "tunnel-device-missing", "NO_SOCKET", "__udp4_lib_rcv")


def test_the_far_tunnel_has_another_vni(there: Overlay) -> None:
    made = "ip link add vx0 type vxlan id {} dstport 4799 local 192.168.7.2 remote 192.168.7.1 dev u0"
    change = f"ip link del vx0; {made}; ip link set vx0 mtu 1450 master br0 up"
    with Fault(there.hosts[2], change.format(10), change.format(9)):
        seen = go(there, "10.9.0.2")
    seen.ended("host2", "vni-differs", "VXLAN_VNI_NOT_FOUND", "vxlan_rcv")


WAYS = pytest.mark.parametrize(("family", "target"), [(4, "10.77.0.1"), (6, "fd00:77::1")])
"""To where nobody leads."""


@WAYS
def test_no_route_on_the_way(there: Overlay, family: int, target: str) -> None:
    seen = go(there, target, seconds=5)
    seen.ended("host1", "no-route", "IP_INNOROUTES", "ip_error", "ip6_pkt_discard")
    assert seen.sent.answer == "error"
    assert ("net unreachable" if family == 4 else "no route") in seen.sent.text


@WAYS
def test_a_route_that_prohibits(there: Overlay, family: int, target: str) -> None:
    with Fault(
        there.hosts[1], f"ip -{family} route add prohibit {target}", f"ip -{family} route del prohibit {target}"
    ):
        seen = go(there, target, seconds=5)
    reason = "NOT_SPECIFIED" if family == 4 else "IP_INNOROUTES"
    seen.ended("host1", "prohibited", reason, "ip_error", "ip6_pkt_prohibit")
    assert seen.sent.answer == "error"
    assert "prohibited" in seen.sent.text


@pytest.mark.parametrize("target", ["192.168.7.2", "fd00:7::2"])
def test_too_large_for_the_next_device(there: Overlay, target: str) -> None:
    with Fault(there.hosts[1], "ip link set u0 mtu 1300", "ip link set u0 mtu 1500"):
        seen = go(there, target, seconds=5, size=1400)
    seen.ended("host1", "packet-too-big", "PKT_TOO_BIG", "ip_forward", "ip6_forward")
    assert (seen.sent.answer, seen.sent.mtu) == ("error", 1300)


def test_no_route_at_all(there: Overlay) -> None:
    with Fault(there.containers[1], "ip route del default", "ip route add default via 10.9.0.101"):
        seen = go(there, "10.77.0.1", drop=False)
    assert (seen.sent.answer, seen.packets) == ("unsent", ())
    assert "no route" in seen.sent.text


@WAYS
def test_a_blackhole(there: Overlay, family: int, target: str) -> None:
    with Fault(
        there.hosts[1], f"ip -{family} route add blackhole {target}", f"ip -{family} route del blackhole {target}"
    ):
        seen = go(there, target)
    seen.ended("host1", "blackhole", "NOT_SPECIFIED", "ip_error", "dst_discard_out")
    assert seen.sent.answer == "nothing"


def test_a_mark_that_is_led_elsewhere(there: Overlay) -> None:
    rule = "fwmark 0x5 table 77"
    make = f"ip rule add {rule}; ip route add blackhole 10.9.0.2 table 77"
    with Fault(there.containers[1], make, f"ip rule del {rule}; ip route flush table 77"):
        assert go(there, "10.9.0.2", mark=5, drop=False).sent.answer == "unsent"
        assert go(there, "10.9.0.2", seconds=5).sent.answer == "refused"


@pytest.mark.parametrize(
    ("switch", "target"), [("net.ipv4.ip_forward", "192.168.7.2"), ("net.ipv6.conf.all.forwarding", "fd00:7::2")]
)
def test_forwarding_is_off(there: Overlay, switch: str, target: str) -> None:
    with Fault(there.hosts[1], f"sysctl -qw {switch}=0", f"sysctl -qw {switch}=1"):
        seen = go(there, target)
    seen.ended("host1", "forwarding-off", "IP_INADDRERRORS", "ip_error", "ip6_forward")


def test_a_reverse_path_filter(there: Overlay) -> None:
    make = "sysctl -qw net.ipv4.conf.br0.rp_filter=1; ip route add 10.9.0.1 dev u0"
    with Fault(there.hosts[1], make, "sysctl -qw net.ipv4.conf.br0.rp_filter=0; ip route del 10.9.0.1 dev u0"):
        seen = go(there, "192.168.7.2")
    seen.ended("host1", "rp-filter", "IP_RPFILTER", "ip_rcv_finish_core", "ip_rcv_finish")


def test_too_large_for_a_bridge_port(there: Overlay) -> None:
    with Fault(there.hosts[1], "ip link set vx0 mtu 1280", "ip link set vx0 mtu 1450"):
        seen = go(there, "10.9.0.2", size=1400)
    assert [d[:2] for d in seen.drops()] == [("host1", "vx0")]


def test_a_queue_that_drops(there: Overlay) -> None:
    queue = "tc qdisc add dev u0 root tbf rate 8bit burst 60 limit 60"
    with Fault(there.hosts[1], queue, "tc qdisc del dev u0 root"):
        seen = go(there, "10.9.0.2")
    assert [(d[0], d[1], d[2]) for d in seen.drops()] == [("host1", "u0", "QDISC_DROP")]


def test_a_neighbour_that_does_not_answer(there: Overlay) -> None:
    seen = go(there, ABSENT)
    seen.ended(
        "c1",
        "neighbour-failed",
        "NEIGH_FAILED",
        "neigh_invalidate",
        "arp_error_report",
        "neigh_timer_handler",
        "ipv4_link_failure",
    )


# -- nothing is left ---------------------------------------------------------------------------------------------------


def _traces(there: Overlay) -> tuple[set[str], str]:
    """Descriptors of BPF and netlink of this process, and the rules everywhere."""
    kinds = set[str]()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            kinds.add(str(fd.readlink()))
    rules = "".join(namespace.sh("nft list ruleset") for namespace in there.all())
    return {kind for kind in kinds if "bpf" in kind or kind.startswith("socket:")}, rules


def test_nothing_is_left(there: Overlay) -> None:
    there.hosts[1].run("nft", "-f", "-", stdin=_POLICY)
    try:
        before = _traces(there)
        watch = Watch(secrets.token_bytes(8), "tcp", 4, there.names, tuple(there.names))
        meanwhile = _traces(there)
        watch.close()
        assert _traces(there) == before
    finally:
        there.hosts[1].sh("nft delete table inet t")
    assert "weft-trace" in meanwhile[1]
    assert {"anon_inode:bpf-map", "anon_inode:bpf_link"} <= meanwhile[0]


def test_nothing_is_left_after_sigkill(there: Overlay) -> None:
    """The table goes with the process that made it; and nobody else can take it away or be in its way meanwhile."""
    host = there.hosts[1]
    host.run("nft", "-f", "-", stdin=_POLICY)
    code = f"""
import time
from weft.kernel.live.watch import Watch
watch = Watch(bytes(range(8)), "tcp", 4, {{{host.path!r}: "host1"}}, [{host.path!r}])
print(watch.unseen, flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "[]\n"
        host.sh("nft flush ruleset")
        left = host.sh("nft list ruleset")
        assert "weft-trace-0001020304050607" in left
        assert "chain pol" not in left
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    until(lambda: host.sh("nft list ruleset") == "", 20, "the table to be gone")
