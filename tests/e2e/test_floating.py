"""Floating addresses in a lab: a machine behind a router of the data centre reaches a container by one, on whichever host."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from support.bgp import bird_routes, established
from support.reach import PeerServer, client, ping, seen_as, weft
from support.waiting import note, until
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.lab.topology import Topology
from weft.model import BgpPeer, Network, codec

NODES = ("node-1", "node-2")
UNDERLAY = {"node-1": ("192.168.1.68", "fd00:192:168:1::68"), "node-2": ("192.168.1.254", "fd00:192:168:1::254")}
TOR = ("192.168.1.4", "fd00:192:168:1::4")
OUTSIDE = ("10.50.3.2", "fd00:10:50:3::2")
FLOATING = ("203.0.113.77", "2001:db8:f::77")
FAMILIES = pytest.mark.parametrize("of", [0, 1], ids=["v4", "v6"])

_PREPARE = """
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip netns add outside
ip link add inner type veth peer name eth0 netns outside
ip link set inner up
ip -n outside link set eth0 up
for net in 10.50.3. fd00:10:50:3::; do
  case $net in *:*) length=64 option=nodad;; *) length=24 option=;; esac
  ip addr add ${net}1/$length dev inner $option
  ip -n outside addr add ${net}2/$length dev eth0 $option
  ip -n outside route add default via ${net}1
done
mkdir -p /run/tor
cat >/run/tor/bird.conf
"""


def _bird_conf() -> str:
    channels = (("ipv4", "10.50.3.0/24"), ("ipv6", "fd00:10:50:3::/64"))
    text = f"router id {TOR[0]};\nprotocol device {{}}\n"
    for of, (channel, behind) in enumerate(channels):
        text += f"protocol kernel {{ {channel} {{ export where source = RTS_BGP; }}; }}\n"
        text += f'protocol static {{ {channel}; route {behind} via "inner"; }}\n'
        for node in NODES:
            text += (
                f"protocol bgp {{ local {TOR[of]} as 65003; neighbor {UNDERLAY[node][of]} as 64512; hold time 9; "
                f"connect delay time 1; connect retry time 2; error wait time 1, 2; "
                f"{channel} {{ import all; export where source = RTS_STATIC; }}; }}\n"
            )
    return text


@pytest.fixture(scope="module")
def rack(lab_base: str) -> Iterator[Lab]:
    """node-1 with c1, node-2 with c2, and a router with a machine behind it; all sessions up."""
    hosts = [{"name": n, "segment": "a", "addresses": [f"{a}/24", f"{b}/64"]} for n, (a, b) in UNDERLAY.items()]
    hosts.append({"name": "tor", "segment": "a", "addresses": [f"{TOR[0]}/24", f"{TOR[1]}/64"]})
    router = {"a": ["192.168.1.1/24", "fd00:192:168:1::1/64"]}
    topology = codec.convert(Topology, {"segments": ["a"], "hosts": hosts, "router": router})
    with Lab.up(topology, name="floating", agents=False) as lab:
        for node in NODES:
            lab.agent(node).start()
        for node in NODES:
            lab.agent(node).wait_ready()
        tor = lab.host("tor")
        tor.must("router", ["bash", "-ec", _PREPARE], input=_bird_conf())
        command = ["bird", "-f", "-c", "/run/tor/bird.conf", "-s", "/run/tor/ctl", "-P", "/run/tor/pid"]
        tor.detach(command, tor.own / "bird.log")
        agent = client(lab, "node-1")
        subnets = ("197.19.0.0/16", "fd80:24e2:f998:72d6::/64")
        agent.create_network(Network(name="prod", driver="routed", subnets=tuple(map(ip_network, subnets))))
        for of, address in enumerate(TOR):
            agent.add_bgp_peer(BgpPeer(name=f"tor{of}", address=ip_address(address), asn=65003, hold_time=9))
        for number, node in enumerate(NODES, 1):
            lab.run(node, f"c{number}", network="prod")
        established(lab, NODES, 4, 60)
        yield lab


def outside(lab: Lab) -> Inside:
    return lab.host("tor").container("outside")


def via(lab: Lab, of: int) -> object:
    """Where the router sends packets for the floating address."""
    found = bird_routes(lab.host("tor"), 6 if of else 4)
    return found.get(FLOATING[of], {}).get("gateway")


def addresses(lab: Lab, ref: str) -> tuple[str, ...]:
    return tuple(str(a.ip) for a in client(lab, "node-1").endpoint(ref).addresses)


@pytest.fixture(scope="module")
def floated(rack: Lab) -> Lab:
    """c1 has its floating addresses."""
    said = weft(rack, "node-1", "endpoint", "float", "c1", *FLOATING)
    assert said.stdout == f"c1 of prod on node-1: floating {', '.join(FLOATING)}\n", said.stderr
    for of in (0, 1):
        took = until(lambda of=of: via(rack, of) == UNDERLAY["node-1"][of], 10, "the route at the router")
        note(f"at the router {took:.2f} s after the command has ended")
    return rack


@FAMILIES
def test_in_and_out_from_behind_a_router(floated: Lab, of: int) -> None:
    c1, c2 = floated.host("node-1").container("c1"), floated.host("node-2").container("c2")
    with PeerServer(c1):
        assert seen_as(outside(floated), FLOATING[of]) == OUTSIDE[of]
    with PeerServer(outside(floated)):
        assert seen_as(c1, OUTSIDE[of]) == FLOATING[of]
        assert seen_as(c2, OUTSIDE[of]) == UNDERLAY["node-2"][of]


@FAMILIES
def test_from_containers_and_hosts(floated: Lab, of: int) -> None:
    node_1, node_2 = (floated.host(node) for node in NODES)
    until(lambda: FLOATING[of] in bird_routes(node_2, 6 if of else 4), 10, "the route on node-2")
    floated.run("node-1", f"neighbour{of}", network="prod")
    with PeerServer(node_1.container("c1")):
        assert seen_as(node_1.container("c1"), FLOATING[of]) == FLOATING[of]
        assert seen_as(node_1.container(f"neighbour{of}"), FLOATING[of]) == addresses(floated, f"neighbour{of}")[of]
        assert seen_as(node_1, FLOATING[of]) == UNDERLAY["node-1"][of]
        for source in (node_2, node_2.container("c2")):
            assert seen_as(source, FLOATING[of]) == UNDERLAY["node-2"][of]


def test_it_moves_with_the_endpoint_and_goes_when_it_is_taken(floated: Lab) -> None:
    before = addresses(floated, "c1")
    floated.host("node-2").must("container", ["ip", "netns", "add", "m1"])
    said = weft(floated, "node-2", "endpoint", "move", "c1", "m1")
    assert said.returncode == 0, said.stderr
    assert addresses(floated, "c1") == before
    m1 = floated.host("node-2").container("m1")
    for of in (0, 1):
        took = until(lambda of=of: via(floated, of) == UNDERLAY["node-2"][of], 10, "the route to node-2 at the router")
        note(f"moved: the router has the new way {took:.2f} s after the command has ended")
        with PeerServer(m1):
            assert seen_as(outside(floated), FLOATING[of]) == OUTSIDE[of]
        with PeerServer(outside(floated)):
            assert seen_as(m1, OUTSIDE[of]) == FLOATING[of]
    # Taken by an agent of another node than its own.
    said = weft(floated, "node-1", "endpoint", "unfloat", "c1", *FLOATING)
    assert said.stdout == "c1 of prod on node-2: floating none\n", said.stderr
    for of in (0, 1):
        until(lambda of=of: via(floated, of) is None, 10, "the route withdrawn")
        assert not ping(outside(floated), FLOATING[of], wait=1).ok
        with PeerServer(outside(floated)):
            assert seen_as(m1, OUTSIDE[of]) == UNDERLAY["node-2"][of]
    said = weft(floated, "node-2", "ipam", "check")
    assert said.returncode == 0, said.stdout + said.stderr


def test_what_cannot_be_is_refused_in_a_line(floated: Lab) -> None:
    for address, complaint in (
        ("197.19.1.1", "is in 197.19.0.0/16 of network prod"),
        (UNDERLAY["node-2"][0], "is the address of node node-2"),
        ("224.0.0.1", "is a multicast address"),
        ("nonsense", "nonsense"),
    ):
        said = weft(floated, "node-1", "endpoint", "float", "c2", address)
        assert said.returncode == 1 and complaint in said.stderr and said.stderr.count("\n") == 1, said.stderr
