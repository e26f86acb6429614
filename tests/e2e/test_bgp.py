"""BGP in the reference lab: who speaks to whom, what the kernels have of it, and what a BIRD's end does. Leases are written
into the store, as they are to change at will."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from support.bgp import BLOCKS, bird_routes, established, plant, sessions
from support.reach import NODES, UNDERLAY, client, weft
from support.waiting import note, until
from weft.api import types as t
from weft.lab import Lab
from weft.lab.process import seen_from_outside

METRIC = 2048


@pytest.fixture(scope="module")
def prod(lab: Lab) -> None:
    plant(lab, "prod", BLOCKS, encap="never", masquerade=False)
    client(lab, "node-1").set_bgp(t.SetBgp(hold_time=9))
    note(f"all sessions up after {established(lab, NODES, 6):.1f} s")


@pytest.mark.usefixtures("prod")
def test_everyone_peers_with_everyone_once_for_each_family(lab: Lab) -> None:
    for host in NODES:
        found = sessions(lab, host)
        assert set(found) == {(other, family) for other in NODES if other != host for family in (4, 6)}
        assert {s.asn for s in found.values()} == {64512}
        assert {(s.received, s.announced) for s in found.values()} == {(1, 1)}
    shown = json.loads(weft(lab, "node-1", "bgp", "peers", "-o", "json").stdout)
    assert {(s["name"], s["state"], s["reason"]) for s in shown} == {(n, "Established", "") for n in NODES[1:]}
    assert json.loads(weft(lab, "node-1", "status", "-o", "json").stdout)["bgp"]["established"] == 6


@pytest.mark.usefixtures("prod")
@pytest.mark.parametrize("family", [4, 6])
def test_a_route_for_each_block_of_the_segment_and_a_blackhole_for_the_own(lab: Lab, family: int) -> None:
    of = 0 if family == 4 else 1
    found = bird_routes(lab.host("node-1"), family)
    assert {dst: (r.get("type", "unicast"), r.get("gateway"), r["metric"]) for dst, r in found.items()} == {
        BLOCKS["node-1"][of]: ("blackhole", None, METRIC),
        BLOCKS["node-2"][of]: ("unicast", UNDERLAY["node-2"][family], METRIC),
        BLOCKS["node-3"][of]: ("unicast", UNDERLAY["node-3"][family], METRIC),
    }
    assert {r["dev"] for r in found.values() if r.get("gateway")} == {"eth0"}


@pytest.mark.usefixtures("prod")
def test_what_bird_knows_is_shown(lab: Lab) -> None:
    found = {(r.prefix.with_prefixlen, r.source): r for r in client(lab, "node-1").bgp_routes()}
    own, other = found[BLOCKS["node-1"][0], "own block"], found[BLOCKS["node-2"][0], "node-2"]
    assert own.type == "blackhole" and own.best
    assert other.next_hops == ("192.168.1.254 on eth0",) and other.bgp_next_hop == "192.168.1.254"
    (only,) = client(lab, "node-1").bgp_routes("197.19.186.195")
    assert only.source == "node-2"
    assert weft(lab, "node-1", "bgp", "routes", "nonsense").returncode == 1


@pytest.mark.usefixtures("prod")
def test_what_is_reached_through_a_tunnel_is_left_to_weft(lab: Lab) -> None:
    """node-4 is on another segment: its block is known, but not by BIRD in the kernel, also when a link would do."""
    plant(lab, "prod", BLOCKS, encap="vxlan", masquerade=False)
    try:
        until(lambda: set(bird_routes(lab.host("node-1"))) == {BLOCKS["node-1"][0]}, 10, "no routes of peers by BIRD")
        assert len([r for r in client(lab, "node-1").bgp_routes() if r.source in NODES]) == 6
    finally:
        plant(lab, "prod", BLOCKS, encap="never", masquerade=False)
    until(lambda: len(bird_routes(lab.host("node-1"))) == 3, 10, "BIRD's routes")


@pytest.mark.usefixtures("prod")
def test_an_address_away_from_its_block_has_a_route_of_its_own_and_only_as_long(lab: Lab) -> None:
    before = {host: sessions(lab, host) for host in NODES}
    plant(lab, "prod", BLOCKS, hosts={"node-2": ["197.19.38.150/32"]}, encap="never", masquerade=False)
    took = until(lambda: "197.19.38.150" in bird_routes(lab.host("node-3")), 5, "the address's own route")
    assert bird_routes(lab.host("node-3"))["197.19.38.150"]["gateway"] == UNDERLAY["node-2"][4]
    assert "197.19.38.150" not in bird_routes(lab.host("node-2")), "what lives here is the data path's own"
    plant(lab, "prod", BLOCKS, encap="never", masquerade=False)
    gone = until(lambda: "197.19.38.150" not in bird_routes(lab.host("node-3")), 5, "its withdrawal")
    note(f"an address's own route is there after {took:.2f} s, and gone after {gone:.2f} s")
    for host in NODES:  # and no session was disturbed by any of it
        assert {k: s.since for k, s in sessions(lab, host).items()} == {k: s.since for k, s in before[host].items()}


ROGUE = """
protocol static rogue {{ ipv4;
  route {block} blackhole {{ bgp_large_community.add((64512, 87, 1)); }};
  route 197.19.186.195/32 blackhole;
  route 198.18.0.77/32 blackhole {{ bgp_large_community.add((64512, 87, 1)); }};
}}
"""
"""A node that tells more than is its own: node-2's block, a container's address there, and one of the Internet."""


@pytest.mark.usefixtures("prod")
def test_a_node_is_believed_what_is_its_own_and_nothing_else(lab: Lab) -> None:
    host, run = lab.host("node-3"), lab.host("node-3").own / "run-weft"
    own = (run / "bird.conf").read_text()
    told = own.replace('proto = "own4" ||', 'proto = "own4" || proto = "rogue" ||') + ROGUE.format(
        block=BLOCKS["node-2"][0]
    )
    before = bird_routes(lab.host("node-1"))
    (run / "rogue.conf").write_text(told)
    bird = ["birdc", "-s", "/run/weft/bird.ctl"]
    try:
        assert "Reconfigured" in host.run([*bird, 'configure "/run/weft/rogue.conf"']).stdout
        until(lambda: sessions(lab, "node-1")["node-3", 4].filtered == 3, 10, "three prefixes that are not believed")
        assert bird_routes(lab.host("node-1")) == before
    finally:
        host.run([*bird, 'configure "/run/weft/bird.conf"'])
        (run / "rogue.conf").unlink()
    until(lambda: sessions(lab, "node-1")["node-3", 4].filtered == 0, 10, "an end of it")


CONNECT = """
import socket, struct, sys
local, remote, ttl, password = sys.argv[1:]
def message(sock):
    head = sock.recv(19, socket.MSG_WAITALL)
    sock.recv(int.from_bytes(head[16:18]) - 19, socket.MSG_WAITALL) if len(head) == 19 else b""
    return head[18] if len(head) == 19 else None
with socket.socket() as sock:
    sock.bind((local, 0))
    sock.settimeout(1.5)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(ttl))
    if password:
        peer = struct.pack("=H2x4s", socket.AF_INET, socket.inet_aton(remote)).ljust(128, b"\\0")
        key = password.encode()
        sock.setsockopt(socket.IPPROTO_TCP, 14, peer + struct.pack("=BBHi", 0, 0, len(key), 0) + key.ljust(80, b"\\0"))
    try:
        sock.connect((remote, 179))
        kind = message(sock)  # BIRD's OPEN: from now on, and not before, it looks at the TTL
        sock.sendall(bytes(19))
        while kind not in (None, 3):
            kind = message(sock)
        print("heard" if kind else "closed")
    except (TimeoutError, ConnectionResetError):
        print("silence")
"""
"""Nonsense to another node's BIRD from this one's address, as a container seems to have, or another process on the host. It is
complained of (NOTIFICATION, RFC 4271 section 6.1) where it is heard."""


@pytest.mark.usefixtures("prod")
@pytest.mark.parametrize(
    ("host", "ttl", "knows", "expected"),
    [
        ("node-1", 255, False, "silence"),
        ("node-4", 255, False, "silence"),  # behind the router
        ("node-1", 254, True, "silence"),  # forwarded once, as what a container sends is
        ("node-1", 255, True, "heard"),  # BIRD itself
    ],
    ids=["no-password", "no-password-from-afar", "forwarded", "bird"],
)
def test_nobody_but_bird_speaks_to_another_nodes_bird(
    lab: Lab, host: str, ttl: int, knows: bool, expected: str
) -> None:
    local, remote = UNDERLAY[host][4], UNDERLAY["node-2"][4]
    conf = (lab.host(host).own / "run-weft/bird.conf").read_text()
    section = conf.partition("protocol bgp 'node4:node-2'")[2]
    password = section.partition('password "')[2].partition('"')[0]
    assert len(password) == 64
    words = [sys.executable, "-c", CONNECT, local, remote, str(ttl), password if knows else ""]

    def said() -> str:
        return lab.host(host).run(words, check=True).stdout.strip()

    if expected == "heard":  # it is refused while another connection is about to be made
        until(lambda: said() == expected, 20, "an answer")
    else:
        assert {said(), said()} <= ({"silence", "closed"} if knows else {"silence"})
    established(lab, NODES, 6)


def bird_of(lab: Lab, host: str) -> int:
    """Its pid inside of the lab."""
    return int((lab.host(host).own / "run-weft/bird.pid").read_text())


def kill(lab: Lab, host: str) -> int:
    pid = bird_of(lab, host)
    seen_from_outside(lab.init)[pid].signal(signal.SIGKILL)
    return pid


@pytest.mark.usefixtures("prod")
def test_a_purge_takes_it_along_also_when_it_was_killed(lab: Lab) -> None:
    for dead in (False, True):
        process = seen_from_outside(lab.init)[bird_of(lab, "node-4")]
        assert lab.agent("node-4").end(signal.SIGTERM)
        assert bird_routes(lab.host("node-4")) and process.alive, "a stopped agent leaves all as it is"
        if dead:
            kill(lab, "node-4")
        gone = weft(lab, "node-4", "agent", "purge", "--yes")
        assert "removed the BGP speaker and its routes" in gone.stdout, gone
        assert not bird_routes(lab.host("node-4")) and not bird_routes(lab.host("node-4"), 6)
        assert process.wait(5) and not list((lab.host("node-4").own / "run-weft").glob("bird.[cp]*"))
        lab.agent("node-4").start()
        lab.agent("node-4").wait_ready()
        established(lab, NODES, 6, 60)


@pytest.mark.usefixtures("prod")
def test_the_last_network_takes_birds_and_their_routes_along(lab: Lab) -> None:
    pids = {host: seen_from_outside(lab.init)[bird_of(lab, host)] for host in NODES}
    client(lab, "node-1").remove_network("prod", force=True)
    for host in NODES:
        assert pids[host].wait(10), f"{host}: BIRD lives on"
    until(lambda: not any(bird_routes(lab.host(host), f) for host in NODES for f in (4, 6)), 5, "no routes of BIRD")
    for host in NODES:
        assert not list((lab.host(host).own / "run-weft").glob("bird.ctl"))
