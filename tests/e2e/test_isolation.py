"""Networks are apart: every pair of drivers, on one host and on two, TCP and ICMP, both families; with forged sources, too.

Of each driver there are a network that says nothing (`c-`), one that names all of its kind (`o-`), and an internal one (`i-`),
each with a container on node-1 and on node-2. All of them try all others at once; what is heard is compared with what was
meant."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from support.reach import (
    OUTSIDE,
    UNDERLAY,
    Container,
    PeerServer,
    client,
    make_network,
    namespaces,
    ping,
    run_everywhere,
    seen_as,
    weft,
)
from support.waiting import until
from weft.api import types as t
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.model import PublishedPort

HOSTS = ("node-1", "node-2")
DRIVERS: dict[str, tuple[str, dict[str, str]]] = {
    "bridge": ("bridge", {}),
    "vxlan": ("vxlan", {}),
    "hostgw": ("host-gw", {}),
    "overlay": ("overlay", {}),
    "routed": ("routed", {}),
    "tunnel": ("routed", {"encap": "vxlan"}),
}
BETWEEN_HOSTS = ("vxlan", "hostgw", "routed", "tunnel")
"""Those whose containers have a way to hosts other than their own, by which others' can answer them."""
POOL = {"p-routed": (), "q-routed": (), "r-routed": ("s-routed",), "s-routed": ("r-routed",)}
"""Networks with the same subnets, whose containers' addresses are neighbours; with what they reach."""
FORGERS = ("bridge", "vxlan")
VNIS = itertools.count(2000)

PROBE = """
import json, os, select, socket, struct, sys, time
targets = json.load(sys.stdin)
poll, waiting, found = select.poll(), {}, set()
for number, (kind, address) in enumerate(targets):
    v6 = ":" in address
    if kind == "tcp":
        sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        sock.setblocking(False)
        code = sock.connect_ex((address, 7001))
        if code not in (0, 115):
            continue
        poll.register(sock, select.POLLOUT)
    else:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58) if v6 else socket.socket(
            socket.AF_INET, socket.SOCK_RAW, 1)
        body = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, number, 7)
        if not v6:
            total = sum(struct.unpack("!4H", body))
            body = body[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + body[4:]
        try:
            sock.sendto(body, (address, 0))
        except OSError:
            continue
        poll.register(sock, select.POLLIN)
    waiting[sock.fileno()] = sock, number
end = time.monotonic() + float(sys.argv[1])
while waiting and (left := end - time.monotonic()) > 0:
    for fd, _ in poll.poll(left * 1000):
        sock, number = waiting[fd]
        kind, address = targets[number]
        if kind == "tcp":
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                found.add(number)
        else:
            packet, peer = sock.recvfrom(1000)
            answer = packet if ":" in address else packet[20:]
            if answer[0] not in (0, 129) or struct.unpack("!H", answer[4:6])[0] != number:
                continue
            found.add(number)
        poll.unregister(fd)
        del waiting[fd]
print(json.dumps(sorted(found)))
"""
"""Which of [kind, address] answer, "tcp" at port 7001 or "ping": all are asked at once."""


FORGE = """
import socket, struct, sys
source, target, port = sys.argv[1:4]
body = struct.pack("!4H", int(port), int(port), 13, 0) + b"WEFT!"
head = struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(body), 7, 0, 64, 17, 0, socket.inet_aton(source),
                   socket.inet_aton(target))
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
try:
    out.sendto(head + body, (target, 0))
except OSError as error:
    print(error)
"""
"""Sends a UDP packet with any source. Arguments: source, target, port (both ends')."""


class Try(NamedTuple):
    source: str
    target: str
    kind: str
    family: int


class World:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.containers: dict[str, Container] = {}
        """By NETWORK-HOSTNUMBER."""

    def network(self, number: int, name: str, *, internal: bool = False, **options: str) -> None:
        driver, more = DRIVERS[name[2:]]
        if driver == "vxlan" or "encap" in more:
            more = {**more, "vni": str(next(VNIS))}
        subnets = [f"10.{number}.0.0/16", f"fd00:{number}::/{64 if driver == 'overlay' else 48}"]
        if "share" in options:
            subnets = []
        make_network(self.lab, name, driver, *subnets, internal=internal, **more, **options)
        self.containers |= {c.name: c for c in run_everywhere(self.lab, name, HOSTS)}

    def tries(self) -> list[Try]:
        return [
            Try(one, other, kind, family)
            for one, other in itertools.permutations(self.containers, 2)
            for kind in ("tcp", "ping")
            for family in (4, 6)
        ]

    def heard(self, tries: Sequence[Try], seconds: float = 2.5) -> set[Try]:
        """The tries that were answered."""
        by_source: dict[str, list[Try]] = {}
        for each in tries:
            by_source.setdefault(each.source, []).append(each)
        with ThreadPoolExecutor(6) as pool:
            found = pool.map(lambda source: self._heard(by_source[source], seconds), by_source)
            return set().union(*found)

    def _heard(self, tries: list[Try], seconds: float) -> set[Try]:
        asked = json.dumps([[each.kind, self.containers[each.target].address(each.family)] for each in tries])
        probe = [sys.executable, "-SIc", PROBE, str(seconds)]
        done = self.containers[tries[0].source].inside.run(probe, input=asked, check=True, timeout=60)
        return {tries[number] for number in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def world(lab: Lab) -> Iterator[World]:
    found = World(lab)
    everybody = ",".join(f"o-{kind}" for kind in DRIVERS)
    for number, kind in enumerate(DRIVERS):
        spoofing = {"spoofing": "allow"} if kind in FORGERS else {}  # else what is forged does not leave the container
        found.network(20 + number, f"c-{kind}", **spoofing)
        found.network(40 + number, f"o-{kind}", reach=everybody)
        found.network(60 + number, f"i-{kind}", internal=True)
    for name, others in POOL.items():
        share = {} if name == "p-routed" else {"share": "p-routed"}
        found.network(80, name, **share, **({"reach": ",".join(others)} if others else {}))
    with ExitStack() as stack:
        for container in found.containers.values():
            stack.enter_context(PeerServer(container.inside))
        yield found


def meant(each: Try) -> bool:
    """Whether it is to be answered."""
    (network, host), (other, other_host) = each.source.rsplit("-", 1), each.target.rsplit("-", 1)
    kind, other_kind = network[2:], other[2:]
    if network == other:
        return host == other_host or kind != "bridge"
    if network in POOL or other in POOL:
        return other in POOL.get(network, ())
    if not network.startswith("o-") or not other.startswith("o-") or other_kind == "overlay":
        return False  # nobody has a route to an overlay network's addresses
    if kind == "overlay":
        return host == other_host or other_kind in BETWEEN_HOSTS
    return host == other_host or {kind, other_kind} <= set(BETWEEN_HOSTS)


def unpromised(each: Try) -> bool:
    """It comes there as its host, which has no address in such a tunnel: it depends on which one the kernel takes."""
    (network, host), (other, other_host) = each.source.rsplit("-", 1), each.target.rsplit("-", 1)
    return (network, other) == ("o-overlay", "o-tunnel") and host != other_host


def test_each_reaches_its_own_network_and_those_that_name_each_other(world: World) -> None:
    tries = [each for each in world.tries() if not unpromised(each)]
    wanted = {each for each in tries if meant(each)}
    heard: set[Try] = set()

    def settled() -> bool:  # the first packets may come before BGP has spread all routes
        heard.update(world.heard(sorted(wanted - heard)))
        return wanted <= heard

    until(settled, 60, lambda: f"unanswered: {sorted(wanted - heard)[:20]}")
    assert sorted(world.heard([each for each in tries if each not in wanted], 1.5)) == []


def test_what_is_dropped_is_counted(world: World) -> None:
    def dropped() -> int:
        chain = world.lab.host("node-1").run(["nft", "list", "chain", "inet", "weft", "closed"], check=True).stdout
        return int(chain.split("counter packets ")[1].split()[0])

    before = dropped()
    world.heard([Try("c-vxlan-1", "c-bridge-1", "tcp", 4)], 0.5)
    assert dropped() > before


# ------------------------------------------------------------------------------------------------------ forged sources


def passes(sender: Inside, source: str, target: str, at: Inside) -> bool:
    """Whether a UDP packet with this source gets to a container's interface. Others are sent with it whose way is open, by
    which it is known when to stop waiting: the receiver sends one to itself."""
    watch = ["timeout", "10", "tcpdump", "-i", "any", "-ln", "-c", "1", "udp and (port 7777 or port 7778)"]
    with at.popen(watch) as tcpdump:
        assert tcpdump.stderr is not None and tcpdump.stdout is not None
        until(lambda: "listening" in tcpdump.stderr.readline(), 5, "tcpdump")  # type: ignore[union-attr]
        sender.run([sys.executable, "-SIc", FORGE, source, target, "7777"], timeout=20)
        at.run([sys.executable, "-SIc", FORGE, "127.0.0.1", "127.0.0.1", "7778"], check=True, timeout=20)
        seen = tcpdump.stdout.readline()
        tcpdump.terminate()
    assert ".777" in seen, seen
    return ".7777" in seen


@pytest.mark.parametrize("kind", DRIVERS)
@pytest.mark.parametrize("prefix", ["c", "i"])
def test_nobody_gets_in_in_the_name_of_a_neighbour(world: World, prefix: str, kind: str) -> None:
    """From another network of the host, and from the segment."""
    target = world.containers[f"{prefix}-{kind}-1"]
    neighbour = world.containers[f"{prefix}-{kind}-2"].address(4)
    address = target.address(4)
    other = world.containers["c-bridge-1" if kind != "bridge" else "c-vxlan-1"]
    assert not passes(other.inside, neighbour, address, target.inside)
    if kind in ("hostgw", "routed"):
        return  # the segment carries their packets as they are: who is on it can be anybody (see ADR 26)
    segment = world.lab.host("node-3")
    segment.run(["ip", "route", "replace", f"{address}/32", "via", UNDERLAY["node-1"][4]], check=True)
    try:
        assert not passes(segment, neighbour, address, target.inside)
    finally:
        segment.run(["ip", "route", "del", f"{address}/32"], check=True)


# ------------------------------------------------------------------------------ what is for everybody stays so


@pytest.fixture(scope="module")
def shops(world: World) -> Iterator[dict[str, int]]:
    """On node-1, in each closed network a container `shop-KIND` with a published port: its number, by kind."""
    host, ports = world.lab.host("node-1"), {kind: 8100 + n for n, kind in enumerate(DRIVERS)}
    namespaces(host, [f"shop-{kind}" for kind in DRIVERS])
    with ExitStack() as stack:
        for kind, port in ports.items():
            published = (PublishedPort(host_port=port, container_port=PeerServer.PORT),)
            client(world.lab, "node-1").attach(t.Attach(target=f"shop-{kind}", network=f"c-{kind}", ports=published))
            stack.enter_context(PeerServer(host.container(f"shop-{kind}")))
        yield ports


def answered(source: Inside, address: str, port: int) -> bool:
    script = f"exec 3<>/dev/tcp/{address}/{port} && cat <&3"
    return bool(source.run(["timeout", "5", "bash", "-c", script], timeout=20).stdout)


@pytest.mark.parametrize("kind", DRIVERS)
def test_published_ports_are_for_everybody(world: World, shops: dict[str, int], kind: str) -> None:
    """On the container's host and on another one, from all other networks and from outside; but not from internal ones."""
    sources = {name: c.inside for name, c in world.containers.items() if name.startswith("c-") and kind not in name}
    sources["outside"] = world.lab.host("outside")
    for family in (4, 6):
        unheard = [n for n, source in sources.items() if not answered(source, UNDERLAY["node-1"][family], shops[kind])]
        assert unheard == []


def test_floating_addresses_are_for_everybody(world: World) -> None:
    host, floating = world.lab.host("node-1"), "198.51.100.77"
    namespaces(host, ["floats"])
    assert weft(world.lab, "node-1", "attach", "floats", "-n", "c-routed", "--floating", floating).returncode == 0
    with PeerServer(host.container("floats")):
        for name in ("c-vxlan-1", "c-bridge-1", "c-overlay-1", "c-vxlan-2"):
            until(lambda name=name: seen_as(world.containers[name].inside, floating) != "", 20, name)  # type: ignore[misc]


def test_all_but_internal_ones_reach_outside(world: World) -> None:
    for name, container in world.containers.items():
        assert ping(container.inside, OUTSIDE[4], wait=1).ok != name.startswith("i-"), name


# ------------------------------------------------------------------------------------------------------ what is told


def test_a_one_sided_reach_is_told(world: World) -> None:
    lab = world.lab
    made = weft(
        lab, "node-1", "network", "create", "lonely", "-d", "bridge", "-s", "10.90.0.0/16", "-O", "reach=c-vxlan"
    )
    assert made.returncode == 0
    told = "network lonely: does not reach c-vxlan, though it names it: both have to name each other"
    assert told in made.stderr
    assert "`weft network set c-vxlan -O reach=lonely`" in weft(lab, "node-1", "network", "show", "lonely").stdout
    assert "is not reached by lonely" in weft(lab, "node-1", "network", "show", "c-vxlan").stdout
    assert "lonely does not reach c-vxlan" in weft(lab, "node-1", "doctor").stdout
    client(lab, "node-1").remove_network("lonely")
