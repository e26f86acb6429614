"""Flowtables: open connections go past all rules, and what was decided about them does not outlive what it was decided by.

Two hosts of driver `routed`, and a third side that is no container. All flows are UDP on IPv4 unless a test says otherwise: one
datagram there and its echo back, so it is counted exactly what comes through."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec.structs import replace

from support import lab
from support.hoststates import keyed
from support.namespaces import Home, Namespace, home
from support.parts import all_of_endpoint
from support.routed import Host, Router, hosts
from support.waiting import until
from weft.datapaths import _short
from weft.datapaths.driver import gather
from weft.hoststate import IptablesChain, Link, NftChain, NftElement, NftFlowDevice, NftFlowtable, NftSet, Veth
from weft.hoststate.firewall import Hook
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP, RETURN, FlowAdd
from weft.hoststate.rules.matches import CT_STATE, DADDR, SADDR, field
from weft.hoststate.union import Source
from weft.kernel.host import connections, facts, tracked
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.conntrack import delete
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.kernel.plumbing.nfnl import Nftables
from weft.kernel.watch import LinuxWatcher
from weft.model import PublishedPort
from weft.policy.render.marks import CUT
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Create, Reading, Remove
from weft.reconcile.render import script

_MTU_DISCOVER, _DO = 10, 2
"""IP_MTU_DISCOVER, IP_PMTUDISC_DO (linux/in.h)."""
PATIENCE = 30
"""Seconds."""
SHORT = NftFlowtable(name="short")
ADDING = NftChain(
    name="short",
    hook=Hook(type="filter", hook="forward", priority=300),
    rules=(
        *(rule(end[4].among("refused"), RETURN) for end in (SADDR, DADDR)),
        rule(CT_STATE.is_("established"), FlowAdd("short")),
    ),
)
REFUSED = NftSet(name="refused", type=("ipv4_addr",))
JUDGING = NftChain(
    name="judge",
    hook=Hook(type="filter", hook="forward", priority=0),
    rules=(rule(field("ct mark").is_(f"{CUT:#x}/{CUT:#x}"), DROP),),
)
OF_IPTABLES = IptablesChain(
    backend="legacy", family=4, table="filter", parent="FORWARD", name="WEFT-X", rules=(rule(RETURN),)
)


def device(name: str) -> NftFlowDevice:
    return NftFlowDevice(flowtable="short", dev=name)


# -- the objects -------------------------------------------------------------------------------------------------------


def test_the_kernel_has_them() -> None:
    assert "flowtable" in facts.features()


def test_made_read_mended_and_removed(netns: Home, tmp_path: Path) -> None:
    """Devices come and go one by one, and with what they stand for; nft is not asked for that."""
    for name in ("a0", "a1", "a2"):
        netns.sh(f"ip link add {name} up type dummy")
    objects = [SHORT, REFUSED, ADDING, device("a0"), device("a1")]
    kernel = LinuxKernel(keyed(*objects), tmp_path)

    def found() -> set[str]:
        return {key[-1] for key in kernel.read(keyed(*objects), frozenset({""})).objects if key[0] == "nft-flow-device"}

    try:
        assert kernel.apply([Create(obj) for obj in objects]) == []
        assert plan(keyed(*objects), kernel.read(keyed(*objects), frozenset({""})), {""}).ops == ()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", None)
            assert kernel.apply([Create(device("a2")), Remove(device("a0"))]) == []
        assert found() == {"a1", "a2"}
        netns.sh("ip link del a1")
        assert found() == {"a2"}, "which changes no generation"
        netns.sh("ip link add a1 up type dummy")
        assert found() == {"a2"} and kernel.apply([Create(device("a1"))]) == []
        assert kernel.apply([Create(device("none"))])[0].key == device("none").key and found() == {"a1", "a2"}
        assert kernel.apply([Remove(ADDING), Remove(SHORT), Remove(REFUSED)]) == []
        assert "weft" not in netns.sh("nft list tables")
    finally:
        kernel.close()


def test_as_pasted_from_a_plan(netns: Home, tmp_path: Path) -> None:
    netns.sh("ip link add a0 up type dummy")
    wish = keyed(SHORT, REFUSED, ADDING, device("a0"))
    kernel = LinuxKernel(wish, tmp_path)
    try:
        for step, then in ((plan(wish, Reading({}), {""}), set(wish)), (plan({}, Reading(wish), {""}), set[object]())):
            subprocess.run(["bash", "-euc", "\n".join(script(step.ops))], check=True, timeout=60)
            assert set(kernel.read(wish, frozenset({""})).objects) == then
    finally:
        kernel.close()


# -- packets -----------------------------------------------------------------------------------------------------------


class Flow:
    """Datagrams of a container to a port of another one and back, by sockets at both ends."""

    def __init__(self, ns: Namespace, to: str, echo: socket.socket, source: int = 0, port: int = 0) -> None:
        """`port`: that it is sent to, where this is not the one where it is heard."""
        self._echo = echo
        with ns.entered():
            self._socket = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", source))
        self._socket.connect((to, port or echo.getsockname()[1]))
        address, self.source, *_ = self._socket.getsockname()
        self.origin, self.port = ip_address(address).packed, echo.getsockname()[1]
        self._number = 0

    def said(self, count: int, size: int = 8) -> tuple[int, int]:
        """Of so many datagrams how many came there, and how many came back."""
        there = back = 0
        for _ in range(count):
            self._number += 1
            text = b"%08d" % self._number + b"." * (size - 8)
            with suppress(OSError):  # what was heard of the one before
                self._socket.send(text)
            if (heard := received(self._echo, text)) is not None:
                there += 1
                self._echo.sendto(text, heard)
                back += received(self._socket, text) is not None
        return there, back

    def whole(self) -> None:
        """No fragments from here on."""
        self._socket.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _DO)

    def refused(self, size: int) -> bool:
        """Whether a datagram of so many octets is known to be too large."""
        try:
            self._socket.send(b"." * size)
        except OSError as error:
            return error.errno == errno.EMSGSIZE
        return False

    def close(self) -> None:
        self._socket.close()


def received(sock: socket.socket, wanted: bytes) -> object:
    """Whom it is from; None if it does not come within seconds. What came late is passed over."""
    sock.settimeout(2.0)
    try:
        while (got := sock.recvfrom(9000))[0] != wanted:
            pass
    except OSError:
        return None
    return got[1]


def listening(ns: Namespace, port: int) -> socket.socket:
    with ns.entered():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", port))
    return sock


class Pair:
    """`one` with the containers c1 and d1, `two` with c2, which listens on the ports 7 and 8."""

    def __init__(self, netns: Home, one: Host, two: Host) -> None:
        self.one, self.two = one, two
        one.attach("d1", 3)
        one.converge()
        self.want()
        self.router = netns.others[0]
        self.seven, self.eight = listening(two.containers["c2"], 7), listening(two.containers["c2"], 8)
        self.v4, self.v6 = two.addresses()
        self._open: list[Flow] = []

    def want(self) -> None:
        self.one.want(
            Source("flowtable", ""),
            gather([SHORT, REFUSED, ADDING, JUDGING, device("eth0"), *map(device, self.ports())]),
        )
        self.one.converge()

    def ports(self) -> list[str]:
        return [
            o.name
            for o in self.one.union.desired.values()
            if isinstance(o, Link) and isinstance(o.type, Veth) and not o.ns
        ]

    def flow(self, container: str, to: str, echo: socket.socket, source: int = 0) -> Flow:
        self._open.append(Flow(self.one.containers[container], to, echo, source))
        return self._open[-1]

    def offloaded(self, flow: Flow) -> bool:
        found = tracked.listing(self.one.ns.path, Everyone(), 1000).found
        return any(each.offloaded for each in found if each.there.sport == flow.source)

    def short(self, flow: Flow) -> None:
        """Both ways go the short way from here on."""
        assert flow.said(2) == (2, 2)
        until(lambda: self.offloaded(flow), PATIENCE, "the flow in the flowtable")

    @contextmanager
    def refusing(self, what: str) -> Iterator[None]:
        """Somebody's rule, which drops whatever it sees."""
        self.one.ns.run("nft", "add table inet theirs")
        self.one.ns.run("nft", "add chain inet theirs f { type filter hook forward priority 0; }")
        self.one.ns.run("nft", f"add rule inet theirs f {what} drop")
        try:
            yield
        finally:
            self.one.ns.run("nft", "delete table inet theirs")

    @contextmanager
    def heard(self) -> Iterator[LinuxWatcher]:
        """What the agent of `one` hears. Since it may have missed something before, it begins with an empty flowtable."""
        before = self.generation()
        with self.one.ns.entered():
            watcher = self.one.kernel.watch()
        with closing(watcher):
            until(lambda: self.generation() == before + 1, PATIENCE, "the flowtable to be emptied")
            yield watcher

    def generation(self) -> int:
        """Of all rules of `one`: it goes up by one with each change, and so each time that a flowtable is emptied."""
        with self.one.ns.entered(), Nftables() as kernel:
            return kernel.generation() or 0

    def seen(self, port: int) -> tuple[bool, str]:
        """Whether the connection is in the flowtable, and its state."""
        found = tracked.listing(self.one.ns.path, Everyone(), 1000).found
        mine = [each for each in found if each.protocol == socket.IPPROTO_TCP and each.there.sport == port]
        return (mine[0].offloaded, mine[0].state) if mine else (False, "")

    def over(self) -> None:
        for flow in self._open:
            flow.close()
        self._open.clear()

    def put(self, flow: Flow, *, cut: bool) -> None:
        """As who finds that it is forbidden now, or allowed again."""
        assert connections.put(self.one.ns.path, CUT, [(self.tracked(flow), cut)]) == 1

    def tracked(self, flow: Flow) -> connections.Flow:
        found = connections.find({self.one.ns.path: [flow.origin]})[self.one.ns.path]
        (it,) = [each for each in found if each.dport == flow.port and flow.source.to_bytes(2, "big") in each.tuple]
        return it


class Everyone:
    def __contains__(self, _address: object) -> bool:
        return True


@pytest.fixture(scope="module")
def pair(modules: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Their drivers want no short way: which packets are to take it is decided here."""
    net, run = lab.network("routed", (4, 6)), tmp_path_factory.mktemp("run")
    with (
        home() as netns,
        hosts(netns, net, ["node-1", "node-2"], run, lacking=frozenset({"flowtable", "tcx"})) as found,
    ):
        pair = Pair(netns, *found.values())
        try:
            yield pair
        finally:
            pair.seven.close(), pair.eight.close()


@pytest.fixture
def at(pair: Pair) -> Iterator[Pair]:
    yield pair
    pair.over()


def test_open_flows_pass_no_rule(at: Pair) -> None:
    """Of both families. Fragments go the ordinary way."""
    for to in (at.v4, at.v6):
        flow = at.flow("c1", to, at.seven)
        at.short(flow)
        with at.refusing("meta l4proto udp"):
            assert flow.said(5) == (5, 5)
            assert flow.said(1, 3000) == (0, 0)
        assert flow.said(1, 3000) == (1, 1)


def test_what_is_cut_passes_no_more_and_others_go_on(at: Pair) -> None:
    cut, other, v6 = at.flow("c1", at.v4, at.seven), at.flow("d1", at.v4, at.eight), at.flow("c1", at.v6, at.seven)
    for flow in (cut, other, v6):
        at.short(flow)
    at.put(cut, cut=True)
    assert cut.said(2) == (0, 0)
    assert not at.offloaded(cut)
    for flow in (other, v6):
        assert flow.said(3) == (3, 3)
        until(lambda flow=flow: at.offloaded(flow), PATIENCE, "the short way again")  # type: ignore[misc]
    assert at.one.converge().ops == (), "all is as it was"
    at.put(cut, cut=False)
    at.short(cut)


def test_a_flow_whose_entry_is_deleted_is_asked_about_again(at: Pair) -> None:
    """As where a published port goes, or a container."""
    flow = at.flow("c1", at.v4, at.seven)
    at.short(flow)
    with at.refusing("udp dport 7"):
        assert flow.said(2) == (2, 2)
        with at.one.ns.entered(), closing(Netlink(open_socket(u.NETLINK_NETFILTER))) as netlink:
            assert netlink.batch([delete(u.AF_INET, at.tracked(flow))]) == []
        assert flow.said(1) == (0, 0)


def test_routes_that_change_are_followed(at: Pair) -> None:
    """As where a container moves to another host."""
    for to in (at.v4, at.v6):
        flow = at.flow("c1", to, at.seven)
        at.short(flow)
        at.one.ns.run("ip", "route", "add", "blackhole", to)
        assert flow.said(1) == (0, 0)
        at.one.ns.run("ip", "route", "del", "blackhole", to)
        assert flow.said(1) == (1, 1)


def test_who_is_refused_from_now_on_leaves(at: Pair) -> None:
    """The chain that adds looks him up in a set."""
    flow = at.flow("c1", at.v4, at.seven)
    at.short(flow)
    at.one.want(Source("refused", ""), gather([NftElement(set="refused", value=str(ip_address(flow.origin)))]))
    at.one.converge()
    assert flow.said(2) == (2, 2)
    until(lambda: not at.offloaded(flow), PATIENCE, "its mark to go, as the flowtable that it was in is freed")
    assert flow.said(2) == (2, 2) and not at.offloaded(flow), "it is not added again"
    at.one.want(Source("refused", ""), None)
    at.one.converge()
    at.short(flow)


def test_nobody_else_can_use_a_flow(at: Pair) -> None:
    """It is known by its device, too. Another container that sends as its owner meets the ordinary way's checks."""
    flow = at.flow("c1", at.v4, at.seven)
    at.short(flow)
    address = str(ip_address(flow.origin))
    at.one.containers["d1"].sh(f"ip address add {address}/32 dev eth0")
    try:
        with at.one.containers["d1"].entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forged:
            forged.bind((address, flow.source))
            forged.sendto(b"forged", (at.v4, flow.port))
        assert received(at.seven, b"forged") is None
        assert flow.said(1) == (1, 1)
    finally:
        at.one.containers["d1"].sh(f"ip address del {address}/32 dev eth0")


def test_rules_that_others_add_are_asked_at_once(at: Pair) -> None:
    v4, v6 = at.flow("c1", at.v4, at.seven), at.flow("c1", at.v6, at.seven)
    with at.heard() as watcher:

        def stopped(flow: Flow) -> bool:
            watcher.drain()
            return flow.said(1) == (0, 0)

        for flow in (v4, v6):
            at.short(flow)
        with at.refusing("udp dport 7"):
            for flow in (v4, v6):
                until(lambda flow=flow: stopped(flow), PATIENCE, "nothing to pass")  # type: ignore[misc]


def test_rules_that_no_event_tells_of_are_asked_when_they_are_found(at: Pair) -> None:
    """Those of iptables' old back end."""
    at.one.want(Source("legacy", ""), gather([OF_IPTABLES]))
    at.one.converge()
    flow = at.flow("c1", at.v4, at.seven)
    at.short(flow)
    at.one.ns.sh("iptables-legacy -I FORWARD -p udp --dport 7 -j DROP")
    try:
        assert flow.said(2) == (2, 2)
        assert at.one.kernel.unheard() == {""}
        until(lambda: flow.said(1) == (0, 0), PATIENCE, "nothing to pass")
    finally:
        at.one.ns.sh("iptables-legacy -D FORWARD 1")
        at.one.want(Source("legacy", ""), None)
        at.one.converge()


def test_it_is_emptied_once_for_a_change_of_others_and_not_for_our_own(at: Pair) -> None:
    """Nor once more by who hears that it was. An agent that ends empties what it was still to empty."""
    flow = at.flow("c1", at.v4, at.seven)
    with at.heard() as watcher:
        at.short(flow)
        before = at.generation()
        at.one.ns.sh("nft add table inet theirs")

        def emptied() -> bool:
            watcher.drain()
            return at.generation() == before + 2

        until(emptied, PATIENCE, "the flowtable to be emptied")
        at.put(flow, cut=True)  # which empties it
        at.put(flow, cut=False)
        watcher.drain()
        at.one.restart()
        assert at.generation() == before + 4
    at.one.ns.sh("nft delete table inet theirs")
    at.one.converge()
    with at.heard() as watcher:
        at.one.attach("f1", 5)
        at.one.converge()
        after = at.generation()
        watcher.drain()
        at.one.restart()
        assert at.generation() == after
    for source in ("endpoint", "isolation-endpoint"):
        at.one.want(Source(source, "f1"), None)
    at.one.converge()


def test_what_is_too_large_is_told(at: Pair) -> None:
    flow = at.flow("c1", at.v4, at.seven)
    at.short(flow)
    at.one.ns.sh("ip link set eth0 mtu 1300")
    try:
        flow.whole()
        until(lambda: flow.refused(1320), PATIENCE, "the ICMP error that says how large a packet may be")
        until(lambda: flow.said(1, 1200) == (1, 1), PATIENCE, "smaller ones")
    finally:
        at.one.ns.sh("ip link set eth0 mtu 1500")


@pytest.mark.parametrize("number", [0, 1])
def test_tcp_ends_as_it_does_without(at: Pair, number: int) -> None:
    with at.two.containers["c2"].entered():
        server = socket.create_server(("::", 9), family=socket.AF_INET6, dualstack_ipv6=True)
    with at.one.containers["c1"].entered():
        client = socket.create_connection((at.two.addresses()[number], 9), timeout=5)
    port = client.getsockname()[1]
    with server, client, server.accept()[0] as held:

        def short() -> bool:
            client.sendall(b".")
            return len(held.recv(1)) == 1 and at.seen(port)[0]

        until(short, PATIENCE, "the connection in the flowtable")
        with at.refusing("tcp dport 9"):
            client.sendall(b"." * 100_000)
            assert len(held.recv(100_000, socket.MSG_WAITALL)) == 100_000
    until(lambda: at.seen(port)[1] in ("TIME-WAIT", "CLOSED", ""), PATIENCE, lambda: f"its end, not {at.seen(port)}")


def test_published_and_masqueraded(at: Pair) -> None:
    """What is translated is so on the short way; a port that is no longer published ends what came by it."""
    host = str(at.one.node.address(4))
    at.one.attach("e1", 4, ports=(PublishedPort(host_port=8080, container_port=7, protocol="udp"),))
    at.want()
    inside, outside = listening(at.one.containers["e1"], 7), listening(at.router, 7)
    come = Flow(at.two.ns, host, inside, port=8080)
    gone = at.flow("e1", "192.168.1.1", outside)
    for flow in (come, gone):
        at.short(flow)
        with at.refusing("meta l4proto udp"):
            assert flow.said(3) == (3, 3)
    at.one.endpoints["e1"] = at.one.endpoints["e1"]
    at.one.want(
        Source("endpoint", "e1"), gather(all_of_endpoint(at.one.site, replace(at.one.endpoints["e1"], ports=())))
    )
    at.one.converge()
    assert come.said(2) == (0, 0) and gone.said(1) == (1, 1)
    at.one.want(Source("endpoint", "e1"), None)
    at.one.want(Source("isolation-endpoint", "e1"), None)
    at.want()
    for each in (inside, outside, come):
        each.close()


@pytest.mark.parametrize(("driver", "options"), [("vxlan", {}), ("routed", {"encap": "ipip"})])
def test_as_drivers_want_it(netns: Home, tmp_path: Path, driver: str, options: dict[str, str]) -> None:
    """Between hosts by a tunnel, where containers are on a bridge and where they are not. What a bridge switches is not
    mistaken for what is routed, also where the bridge shows it to the rules of IP (br_netfilter)."""
    net, router = lab.network(driver, options=options), Router(netns)
    one, two = (
        Host(netns, router, name, net, tmp_path / name, lacking=frozenset({"tcx"})) for name in ("node-1", "node-2")
    )
    try:
        for host, other in ((one, two), (two, one)):
            for number, name in enumerate(("c", "d"), 2):
                host.attach(name, number)
            host.knows(other)
            host.want(Source("tracked", ""), gather(_short.tracked(host.site.host)))  # as policy does
            host.converge()
        far, near = listening(two.containers["c"], 7), listening(one.containers["d"], 7)
        for to, echo in ((two.addresses(2)[0], far), (one.addresses(3)[0], near)):
            flow = Flow(one.containers["c"], to, echo)
            until(lambda flow=flow: flow.said(3) == (3, 3), PATIENCE, "an answer")  # type: ignore[misc]

            def short(flow: Flow = flow) -> bool:
                assert flow.said(3) == (3, 3)
                found = tracked.listing(one.ns.path, Everyone(), 100).found
                return any(each.offloaded for each in found if each.there.sport == flow.source)

            if echo is far or driver == "routed":
                until(short, PATIENCE, "the flow in the flowtable")  # one packet in some is looked at, by chance
            else:
                assert not any(short() for _ in range(20)), to
            assert flow.said(3) == (3, 3)
            flow.close()
            echo.close()
        assert one.converge().ops == ()
    finally:
        one.close()
        two.close()
