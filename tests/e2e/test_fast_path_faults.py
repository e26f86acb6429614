"""The short way when something goes wrong, or is changed while it is taken: what is forbidden stops passing, nobody uses
another's flow, nothing is lost, and nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path as Folder
from typing import Any

import pytest

from support import forge
from support.cluster import Cluster
from support.datagrams import End, Flow, Strangers, Talking, end
from support.reach import client, make_network, namespaces, weft
from support.talk import ONCE, Flood, Path, Server
from support.traffic import Pair, Traffic
from support.waiting import note, until
from weft.api import types as t
from weft.base.errors import NotFound
from weft.bpf.layout import CONTROL, CONTROL_VALUE
from weft.kernel.host import fastpath
from weft.kernel.kinds.bpf_names import FOLDER, LINKS, MAPS, PROGRAMS
from weft.kernel.plumbing import bpf, netns
from weft.lab import Lab
from weft.policy.render.marks import CUT

HOSTS = ("node-1", "node-2")
NETWORKS = {"ro": ("routed", "10.66.0.0/16", "fd00:66::/64"), "vx": ("vxlan", "10.67.0.0/16", "fd00:67::/48")}
FAMILIES = (4, 6)
OPEN, SWITCHED, OTHERS = 7000, 7001, 7002
"""Ports: allowed all the time; allowed and not by turns, for one flow and for many."""
LATE = 0.1
"""Seconds for what is under way when a policy was applied, or an open connection was cut off."""
FLIPS = 4
pytestmark = pytest.mark.skipif(bool(netns.call_new(fastpath.refusal)), reason="the kernel asks no programs at devices")


def document(ports: Sequence[int]) -> dict[str, Any]:
    """Clients may send to servers, at these ports and by TCP."""
    servers = {"selector": "app == 'server'"}
    rules = [
        {"action": "Allow", "protocol": "UDP", "destination": {**servers, "ports": list(ports)}},
        {"action": "Allow", "protocol": "TCP", "destination": servers},
        {"action": "Allow", "protocol": "ICMP"},
        {"action": "Allow", "protocol": "ICMPv6"},
    ]
    spec = {"selector": "app == 'client'", "types": ["Egress"], "egress": rules}
    return {"apiVersion": "weft/v1", "kind": "Policy", "metadata": {"name": "clients", "namespace": ""}, "spec": spec}


class Scene:
    """In each network a client and somebody else on node-1, a server on node-1 and one on node-2."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.cluster = lab, Cluster(lab)
        self.ends: dict[str, t.EndpointInfo] = {}
        self.places: dict[str, str] = {}
        for network, (driver, *subnets) in NETWORKS.items():
            make_network(lab, network, driver, *subnets)
            for name, host, app in (
                ("client", "node-1", "client"),
                ("other", "node-1", "other"),
                ("near", "node-1", "server"),
                ("far", "node-2", "server"),
            ):
                self.attach(f"{network}-{name}", host, app)

    def attach(self, name: str, host: str, app: str, like: str = "") -> None:
        """`like`: it gets that one's addresses."""
        namespaces(self.lab.host(host), [name])
        addresses = tuple(a.ip for a in self.ends[like].addresses) if like else ()
        request = t.Attach(target=name, network=name[:2], name=name, labels={"app": app}, addresses=addresses)
        self.ends[name], self.places[name] = client(self.lab, host).attach(request), host

    def ns(self, name: str) -> str:
        return f"/proc/{self.lab.host(self.places[name]).holder.pid}/root/run/netns/{name}"

    def address(self, name: str, family: int) -> str:
        return next(str(a.ip) for a in self.ends[name].addresses if a.version == family)

    def end(self, name: str, family: int, port: int = 0) -> End:
        return end(self.ns(name), self.address(name, family), port)

    def flows(self, port: int, servers: Sequence[str] = ("near", "far")) -> list[Flow]:
        return [
            Flow(f"{n}-{to}, IPv{f}", self.end(f"{n}-client", f), self.end(f"{n}-{to}", f, port))
            for n in NETWORKS
            for to in servers
            for f in FAMILIES
        ]

    def apply(self, *ports: int) -> float:
        """When it returned."""
        source = t.PolicySource(place="test", document=document(ports))
        done = client(self.lab, "node-1").apply_policies(t.ApplyPolicies(documents=(source,)))
        assert done.notes == ()
        return time.monotonic()

    def run(self, host: str) -> Folder:
        return Folder(f"/proc/{self.lab.host(host).holder.pid}/root/run/weft")

    def kept(self, host: str = "node-1") -> set[bytes]:
        """The flows that are repeated on the host at this moment."""
        run = self.run(host)
        try:
            fd = bpf.pinned(run / FOLDER / "host" / MAPS / CONTROL)
        except NotFound:
            return set()
        try:
            octets = bpf.lookup(fd, bytes(4), CONTROL_VALUE.size)
        finally:
            os.close(fd)
        assert octets
        generation, _ = CONTROL_VALUE.unpack(octets)
        return {k for f in FAMILIES for k, e in fastpath.entries("", f, run) if e.generation == generation}  # type: ignore[arg-type]

    def cached(self, flows: Sequence[Flow]) -> None:
        """Waits until all of them are, in both directions."""

        def lacking() -> list[str]:
            kept = self.kept()
            return [flow.name for flow in flows if not kept.issuperset(flow.keys)]

        until(lambda: not lacking(), 20, lambda: f"{lacking()} to be repeated")

    def cut(self, flows: Sequence[Flow]) -> bool:
        """Whether connection tracking has them all as those that rules refuse."""
        words = ["conntrack", "-L", "-p", "udp", "-m", f"{CUT:#x}/{CUT:#x}"]
        listed = [self.lab.host("node-1").must("conntrack", [*words, "-f", family]) for family in ("ipv4", "ipv6")]
        found = set(re.findall(r"sport=(\d+) dport", "".join(listed)))
        return found >= {str(flow.client.socket.getsockname()[1]) for flow in flows}

    def counted(self, network: str, host: str = "node-1") -> int:
        return fastpath.counts("", self.run(host)).get(network, fastpath.Count()).packets

    def goes_short(self, network: str) -> None:
        before = self.counted(network)
        until(lambda: self.counted(network) > before + 100, 20, f"packets of {network} on the short way")


_BY_ID = {PROGRAMS: 13, MAPS: 14, LINKS: 30}
"""BPF_…_GET_FD_BY_ID of linux/bpf.h."""
_ID_AT = {PROGRAMS: 4, MAPS: 4, LINKS: 4}


def objects(run: Folder) -> list[tuple[str, int]]:
    """The numbers that the kernel knows a host's programs, maps and links by."""
    found = []
    for kind in _BY_ID:
        for pin in (run / FOLDER).glob(f"*/{kind}/*"):
            fd = bpf.pinned(pin)
            found.append((kind, struct.unpack_from("=I", bpf.info(fd), _ID_AT[kind])[0]))
            os.close(fd)
    return found


def living(some: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    found = []
    for kind, number in some:
        try:
            os.close(bpf.call(_BY_ID[kind], struct.pack("=III", number, 0, 0)))
        except NotFound:
            continue
        found.append((kind, number))
    return found


@pytest.fixture(scope="module")
def scene(lab_base: str) -> Iterator[Scene]:
    with Lab.up(name="fast-faults") as lab:
        scene = Scene(lab)
        yield scene
        left = [each for host in HOSTS for each in objects(scene.run(host))]
    until(lambda: not living(left), 20, lambda: f"an end of {living(left)} with the lab")


def test_what_comes_to_be_forbidden_stops_and_what_is_allowed_goes_on(scene: Scene) -> None:
    scene.apply(OPEN, SWITCHED, OTHERS)
    took, pause = list[float](), threading.Event()
    with ExitStack() as stack:
        floods = []
        for network in NETWORKS:
            for name in ("near", "far"):
                server = stack.enter_context(closing(Server(scene.ns(f"{network}-{name}"))))
                source, address = scene.ns(f"{network}-client"), scene.address(f"{network}-{name}", 4)
                floods.append(Flood(Path(f"{network}-{name}", source, server, address), ONCE[0], 5))
        began = time.monotonic()
        for flood in floods:
            stack.enter_context(flood)
        allowed = stack.enter_context(Talking(scene.flows(OPEN))).flows
        strangers = [
            stack.enter_context(Strangers(scene.ns(f"{n}-client"), scene.address(f"{n}-client", 4), server))
            for n in NETWORKS
            for server in [scene.end(f"{n}-far", 4, OTHERS)]
        ]
        forget = ["conntrack", "-D", "-p", "udp", "--dport", str(OTHERS)]
        stack.callback(scene.lab.host("node-1").run, forget)
        stack.callback(scene.lab.host("node-2").run, forget)
        for _ in range(FLIPS):
            with Talking(scene.flows(SWITCHED)) as talking:
                scene.cached([*talking.flows, *allowed])
                asked = time.monotonic()
                returned = scene.apply(OPEN)
                took.append(returned - asked)
                assert scene.cut(talking.flows)
                pause.wait(4 * LATE)
            ends = {f"{flow.name} {way}": getattr(flow, way) for flow in talking.flows for way in ("client", "server")}
            assert all(each.heard for each in (*ends.values(), *(each.server for each in strangers)))
            assert {name: late for name, each in ends.items() if (late := each.after(returned + LATE))} == {}
            assert [late for each in strangers if (late := each.server.after(returned + LATE))] == []
            heard = [len(each.server.heard) for each in strangers]
            scene.apply(OPEN, SWITCHED, OTHERS)
            until(
                lambda heard=heard: all(len(s.server.heard) > n for s, n in zip(strangers, heard, strict=True)),  # type: ignore[misc]
                10,
                "what is allowed again",
            )
        stack.close()
        made = sum(flood.made for flood in floods)
        note(f"{made / (time.monotonic() - began):.0f} connections a second; apply took {max(took):.3f} s at most")
        assert [line for flood in floods for line in flood.failed] == []
        assert made > 500
        assert {flow.name: flow.lost for flow in allowed if flow.lost} == {}


@pytest.mark.parametrize("host", HOSTS)
def test_an_address_that_somebody_else_has_at_once(scene: Scene, host: str) -> None:
    """Whom the policy lets nobody reach."""
    scene.apply(OPEN, SWITCHED)
    pause = threading.Event()
    for network in NETWORKS:
        old, heir = f"{network}-old", f"{network}-heir"
        scene.attach(old, host, "server")
        scene.cluster.settled(HOSTS)
        flows = [
            Flow(f"{old}, IPv{f}", scene.end(f"{network}-client", f), scene.end(old, f, SWITCHED)) for f in FAMILIES
        ]
        with Talking(flows):
            scene.cached(flows)
            client(scene.lab, host).detach(old, network)
            scene.attach(heir, host, "heir", like=old)
            returned = time.monotonic()
            with ExitStack() as stack:
                heard = [scene.end(heir, family, SWITCHED) for family in FAMILIES]
                for found in heard:
                    stack.callback(found.socket.close)
                until(lambda flows=flows: scene.cut(flows), 20, "an end of what is open")  # type: ignore[misc]
                cut = time.monotonic()
                pause.wait(4 * LATE)
                for found in heard:
                    found.listen()
        last = max((by for each in heard for by in each.after(returned)), default=0)
        note(
            f"{heir} on {host}: {[len(each.heard) for each in heard]} arrived, the last sent {last:.3f} s after attach"
        )
        assert [late for each in heard if (late := each.after(cut + LATE))] == []
        assert all(flow.server.heard for flow in flows)
        for name in (old, heir):
            if name == heir:
                client(scene.lab, host).detach(name, network)
            scene.lab.host(host).must("end", ["ip", "netns", "del", name])


def test_nobody_uses_anothers_flow(scene: Scene) -> None:
    """Frames with its addresses and ports, of somebody on the same host."""
    scene.apply(OPEN)
    with Talking(scene.flows(OPEN)) as talking:
        scene.cached(talking.flows)
        before = {flow.name: len(flow.server.heard) for flow in talking.flows}
        for flow in talking.flows:
            network = flow.name[:2]
            (source, port, *_), (to, there, *_) = (e.socket.getsockname() for e in (flow.client, flow.server))
            mine, theirs = (scene.ends[f"{network}-{name}"].mac for name in ("other", "client"))
            family = 6 if ":" in to else 4
            number, packet = forge.ip(
                source, to, forge.UDP, forge.summed(source, to, forge.udp(port, there, b"forged"))
            )
            with closing(netns.call(scene.ns(f"{network}-other"), lambda: socket.socket(17, socket.SOCK_RAW))) as out:
                out.bind(("eth0", 0))
                for mac in (mine, theirs):
                    for _ in range(20):
                        out.send(forge.frame(_leads(scene, f"{network}-other", to, family), mac, number, packet))
        until(lambda: all(len(f.server.heard) > before[f.name] + 50 for f in talking.flows), 20, "the flows to go on")
        scene.cached(talking.flows)
    assert {flow.name: flow.server.foreign for flow in talking.flows if flow.server.foreign} == {}
    assert all(flow.lost == 0 for flow in talking.flows)


def _leads(scene: Scene, name: str, to: str, family: int) -> str:
    """The MAC address that packets to there have."""
    inside = scene.lab.host(scene.places[name]).container(name)
    route = inside.must("route", ["ip", "-o", f"-{family}", "route", "get", to]).split()
    hop = route[route.index("via") + 1] if "via" in route else to
    neighbour = ["ip", f"-{family}", "neigh", "show", "to", hop]
    if "lladdr" not in inside.must("neighbour", neighbour):
        inside.run(["ping", "-n", "-c", "1", "-W", "2", to])
    words = inside.must("neighbour", neighbour).split()
    return words[words.index("lladdr") + 1]


def test_an_agent_that_is_killed_a_link_that_is_lost_and_the_way_back(scene: Scene, tmp_path: Folder) -> None:
    scene.apply(OPEN)
    lab, host = scene.lab, scene.lab.host("node-1")
    pairs = [
        Pair(host.container(f"{n}-client"), lab.host("node-2").container(f"{n}-far"), scene.address(f"{n}-far", f))
        for n, f in zip(NETWORKS, FAMILIES, strict=True)
    ]
    with Talking(scene.flows(OPEN)) as talking, Traffic(tmp_path, pairs) as traffic:
        scene.cached(talking.flows)
        start = traffic.mark()

        scene.cluster.end("node-1", signal.SIGKILL)
        scene.goes_short("ro")
        traffic.flows()
        scene.cluster.start("node-1")
        scene.cluster.settled(HOSTS)
        scene.cached(talking.flows)

        links = scene.run("node-1") / FOLDER / "host" / LINKS
        names = {pin.name for pin in links.iterdir()}
        host.must("harm", ["sh", "-c", "rm /run/weft/bpf/host/links/*-ingress"])
        assert {pin.name for pin in links.iterdir()} < names
        until(lambda: {pin.name for pin in links.iterdir()} == names, 20, "links that were taken away by hand")
        scene.cached(talking.flows)

        for network in NETWORKS:
            done = weft(lab, "node-1", "network", "set", network, "-O", "offload=off")
            assert done.returncode == 0, done.stderr
        until(lambda: not scene.kept() & {k for f in talking.flows for k in f.keys}, 20, "the ordinary way")
        before = {network: scene.counted(network) for network in NETWORKS}
        traffic.flows()
        assert {network: scene.counted(network) for network in NETWORKS} == before
        for network in NETWORKS:
            done = weft(lab, "node-1", "network", "set", network, "-O", "offload=on")
            assert done.returncode == 0, done.stderr
        scene.cached(talking.flows)
        traffic.flows()
        assert traffic.lost(start) == 0
    assert {flow.name: flow.lost for flow in talking.flows if flow.lost} == {}


def test_a_purge_leaves_nothing(scene: Scene) -> None:
    """In the kernel, whatever names there are; nor tables, nor what was mounted."""
    host, were = scene.lab.host("node-1"), objects(scene.run("node-1"))
    assert {kind for kind, _ in living(were)} == set(_BY_ID)
    scene.cluster.end("node-1", signal.SIGTERM)
    done = weft(scene.lab, "node-1", "agent", "purge", "--yes")
    assert done.returncode == 0, done.stderr
    until(lambda: not living(were), 20, lambda: f"an end of {living(were)}")
    assert "/run/weft/bpf" not in host.must("mounts", ["cat", "/proc/mounts"])
    assert "weft" not in host.must("tables", ["nft", "list", "tables"])
