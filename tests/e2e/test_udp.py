"""Driver udp, as an operator and the wire see it: the device, the pump, datagrams, and what is refused."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import forge
from support.capture import Capture
from support.reach import NODES, UNDERLAY, Container, client, make_network, ping, run_everywhere, shown, weft
from support.waiting import until
from weft.lab import Lab, matrix
from weft.lab.inside import Inside
from weft.tunnel import counters

PREFIXES = {"blue": ("10.1.0.0/16", "fd00:1::/48"), "sixth": ("10.3.0.0/16", "fd00:3::/48")}
PORT = {"blue": 8285, "sixth": 8286}
DEVICE = {name: f"weft.udp{port}" for name, port in PORT.items()}


@pytest.fixture(scope="module")
def networks(lab: Lab) -> Iterator[dict[str, list[Container]]]:
    """`blue` with the defaults, dual stack; `sixth` over the v6 underlay. In each a container on every node."""
    make_network(lab, "blue", "udp", *PREFIXES["blue"])
    make_network(lab, "sixth", "udp", *PREFIXES["sixth"], underlay="ipv6")
    yield {name: run_everywhere(lab, name) for name in PREFIXES}


def folder(lab: Lab, host: str) -> Path:
    return lab.host(host).own / "run-weft/tunnel"


def counted(lab: Lab, host: str, network: str = "blue") -> dict[str, int]:
    return counters.read(folder(lab, host) / f".{DEVICE[network]}.counters")


def pump(lab: Lab, host: str) -> int:
    """Its process id, as the host sees it."""
    return int((lab.host(host).own / "run-weft/tunnel.pid").read_text())


# ------------------------------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize("name", PREFIXES)
def test_the_device_has_the_whole_network(lab: Lab, networks: dict[str, list[Container]], name: str) -> None:
    host, dev, mine = lab.host("node-1"), DEVICE[name], networks[name][0]
    (link,) = shown(host, f"ip -j -d addr show dev {dev}")
    assert link["linkinfo"]["info_kind"] == "tun"
    assert link["linkinfo"]["info_data"]["type"] == "tun" and link["linkinfo"]["info_data"]["persist"]
    assert (link["mtu"], link["ifalias"]) == (1472 if name == "blue" else 1452, f"weft:network/{name}")
    bases = {f"{mine.subnet(4).partition('/')[0]}/32", f"{mine.subnet(6).partition('/')[0]}/128"}
    assert {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == "global"} == bases
    for family, prefix in zip((4, 6), PREFIXES[name], strict=True):
        found = shown(host, f"ip -j -{family} route show dev {dev} proto 87")
        assert [(route["dst"], "gateway" in route) for route in found] == [(prefix, False)]
    (inside,) = shown(mine.inside, "ip -j link show dev eth0")
    assert inside["mtu"] == link["mtu"]


def test_the_pumps_table_says_where_each_subnet_is(lab: Lab, networks: dict[str, list[Container]]) -> None:
    mine, *others = networks["blue"]
    first, *lines = (folder(lab, "node-1") / DEVICE["blue"]).read_text().splitlines()
    assert first == "tunnel local 192.168.1.68 port 8285 mtu 1472"
    expected = [f"prefix {mine.subnet(family)} here" for family in (4, 6)]
    expected += [f"prefix {o.subnet(family)} {UNDERLAY[o.host][4]}" for o in others for family in (4, 6)]
    assert sorted(lines) == sorted(expected)


def test_two_networks_have_two_ports(lab: Lab, networks: dict[str, list[Container]]) -> None:
    found = {network.name: network.options.get("port") for network in client(lab, "node-2").networks()}
    assert found == PORT
    taken = weft(
        lab, "node-1", "network", "create", "x", "--driver", "udp", "--subnet", "10.9.0.0/16", "-O", "port=8286"
    )
    assert taken.returncode == 1
    assert "port 8286 is taken by network sixth" in taken.stderr


# ----------------------------------------------------------------------------------------------- who reaches whom


def test_all_reach_all(lab: Lab, networks: dict[str, list[Container]]) -> None:
    for name in PREFIXES:
        pings = matrix.measure(matrix.containers(lab, name))
        assert len(pings) == 12 * len(PREFIXES[name])
        assert [f"{p.source} {p.address}" for p in pings if not p.ok] == []


@pytest.mark.parametrize("name", PREFIXES)
@pytest.mark.parametrize("family", [4, 6])
def test_hosts_and_pumps_are_four_routers(networks: dict[str, list[Container]], name: str, family: int) -> None:
    """As with Flannel."""
    mine, *others = networks[name]
    assert [ping(mine.inside, other.address(family)).ttl for other in others] == [60, 60, 60]


def test_a_host_reaches_containers_everywhere(lab: Lab, networks: dict[str, list[Container]]) -> None:
    for other in networks["blue"]:
        for family in (4, 6):
            assert ping(lab.host("node-1"), other.address(family)).ok, f"{other.name} over IPv{family}"


def test_an_address_that_nobody_holds_is_refused_at_once(lab: Lab, networks: dict[str, list[Container]]) -> None:
    before = counted(lab, "node-1")["no host holds the destination"]
    assert "Destination Net Unreachable" in ping(networks["blue"][0].inside, "10.1.255.254", wait=20).text
    assert "No route" in ping(networks["blue"][0].inside, "fd00:1:0:ffff::2", wait=20).text
    assert counted(lab, "node-1")["no host holds the destination"] == before + 2


@pytest.mark.parametrize("family", [4, 6])
def test_a_pump_tells_whose_time_to_live_is_over(networks: dict[str, list[Container]], family: int) -> None:
    """The first router is the host, the second its pump, the third the other pump, the fourth that host."""
    mine, other = networks["blue"][:2]
    bases = [c.subnet(family).partition("/")[0] for c in (mine, other)]
    for ttl, router in ((2, bases[0]), (3, bases[1])):
        said = ping(mine.inside, other.address(family), "-t", str(ttl)).text
        assert re.search(rf"From {router} .*(Time to live|Hop limit)|From {router}.*exceeded", said), said


@pytest.mark.parametrize("family", [4, 6])
def test_what_fits_goes_in_one_piece_and_nothing_larger(networks: dict[str, list[Container]], family: int) -> None:
    mine, other = networks["blue"][0], networks["blue"][3]
    head = 28 if family == 4 else 48
    assert ping(mine.inside, other.address(family), "-M", "do", "-s", str(1472 - head)).ok
    assert not ping(mine.inside, other.address(family), "-M", "do", "-s", str(1472 - head + 1)).ok
    assert ping(mine.inside, other.address(family), "-s", "3000").ok, "in fragments"


# ----------------------------------------------------------------------------------------------------- on the wire

_SERVE = """
import hashlib, socket, sys
with socket.create_server(("::", 7100), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    found = hashlib.sha256()
    while data := connection.recv(1 << 20):
        found.update(data)
    connection.sendall(found.hexdigest().encode())
"""
_SEND = """
import hashlib, socket, sys
size = int(sys.argv[2])
block = bytes(i * i % 251 for i in range(65537))
found = hashlib.sha256()
with socket.create_connection((sys.argv[1], 7100), timeout=30) as connection:
    while size > 0:
        connection.sendall(block[:size])
        found.update(block[:size])
        size -= len(block)
    connection.shutdown(socket.SHUT_WR)
    print(connection.recv(100).decode() == found.hexdigest())
"""


def transfer(source: Inside, target: Container, family: int, octets: int) -> bool:
    """Whether the same arrives as was sent."""
    server = target.inside.popen([sys.executable, "-c", _SERVE])
    try:
        assert server.stdout is not None and server.stdout.readline() == "listening\n"
        sent = source.run([sys.executable, "-c", _SEND, target.address(family), str(octets)], timeout=60)
    finally:
        server.kill()
        server.communicate(timeout=10)
    return sent.stdout == "True\n"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", PREFIXES)
def test_a_transfer_arrives_as_it_was_sent(
    lab: Lab, networks: dict[str, list[Container]], name: str, family: int
) -> None:
    mine, other = networks[name][:2]
    before = counted(lab, "node-2", name)
    assert transfer(mine.inside, other, family, 20_000_000)
    after = counted(lab, "node-2", name)
    assert after["received octets"] - before["received octets"] > 20_000_000
    assert {reason: after[reason] - before[reason] for reason in counters.INWARD} == dict.fromkeys(counters.INWARD, 0)


def payloads(file: Path, port: int) -> list[bytes]:
    """What datagrams to and from this port carry."""
    words = ["tshark", "-n", "-r", str(file), "-Y", f"udp.srcport=={port} && udp.dstport=={port}", "-T", "fields"]
    done = subprocess.run([*words, "-e", "udp.payload"], capture_output=True, text=True, check=True, timeout=60)
    return [bytes.fromhex(line) for line in done.stdout.split()]


def judged(folder: Path, packets: list[bytes]) -> list[list[str]]:
    """By tshark, as bare IP packets: what its experts say of each, and the state of its checksums (1: good)."""
    file = folder / "bare.pcap"
    records = [struct.pack("=IIII", 0, 0, len(p), len(p)) + p for p in packets]
    file.write_bytes(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101) + b"".join(records))
    checks = [word for name in ("ip", "tcp", "udp") for word in ("-o", f"{name}.check_checksum:TRUE")]
    fields = [
        "_ws.malformed",
        "ip.checksum.status",
        "tcp.checksum.status",
        "icmp.checksum.status",
        "icmpv6.checksum.status",
    ]
    words = ["tshark", "-n", "-r", str(file), *checks, "-T", "fields", *(w for f in fields for w in ("-e", f))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("family", [4, 6])
def test_datagrams_are_bare_packets_with_true_checksums(
    lab: Lab, networks: dict[str, list[Container]], tmp_path: Path, family: int
) -> None:
    """Captured where the kernel has made datagrams of what it was given at once."""
    mine, other = networks["blue"][:2]
    for host in NODES[:2]:
        lab.host(host).must("offload", ["ethtool", "-K", "eth0", "tx-udp-segmentation", "off", "gro", "off"])
    with Capture(lab.host("node-1"), tmp_path, octets=2048):
        assert transfer(mine.inside, other, family, 100_000)
        assert ping(mine.inside, other.address(family)).ok
    found = payloads(tmp_path / "node-1.pcap", 8285)
    assert len(found) > 70
    assert {one[0] >> 4 for one in found} == {family}
    assert max(map(len, found)) == 1472
    lengths = [
        int.from_bytes(one[2:4], "big") if family == 4 else 40 + int.from_bytes(one[4:6], "big") for one in found
    ]
    assert lengths == [len(one) for one in found], "one packet in each"
    verdicts = judged(tmp_path, found)
    assert len(verdicts) == len(found)
    for malformed, ip, tcp, icmp, icmp6 in verdicts:
        assert malformed == ""
        assert ip == ("1" if family == 4 else "")
        assert (tcp, icmp, icmp6).count("1") == 1, "the checksum inside"


# ---------------------------------------------------------------------------------------------------- what is refused

_FORGE = """
import socket, sys
local, remote, port, data = sys.argv[1:]
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
sock.bind((local, 0))
body = bytes.fromhex(data)
head = int(port).to_bytes(2, "big") * 2 + (8 + len(body)).to_bytes(2, "big") + bytes(2)
sock.sendto(head + body, (remote, 0))
"""


def forged(lab: Lab, host: Inside, local: str, data: bytes, to: str = "node-1") -> None:
    """A datagram to a node's pump as its peers' pumps send it."""
    host.must("forge", [sys.executable, "-c", _FORGE, local, UNDERLAY[to][4], "8285", data.hex()])


def test_a_known_host_sends_only_what_is_its_own_and_only_to_what_is_here(
    lab: Lab, networks: dict[str, list[Container]]
) -> None:
    target, peer, third = (c.address(4) for c in networks["blue"][:3])

    def packet(source: str, to: str, **about: int) -> bytes:
        return forge.ip4(source, to, forge.UDP, forge.udp(1, 2, b"x"), **about)

    cases = {
        "source not the sender's": [packet(third, target), packet("8.8.8.8", target)],
        "destination not here": [packet(peer, third), packet(peer, "192.168.1.1"), packet(peer, peer)],
        "malformed": [
            b"",
            b"x",
            b"\x45",
            bytes(100),
            packet(peer, target)[:-1],
            packet(peer, target) + b"x",
            b"\x60" * 30,
        ],
        "time to live exceeded on arrival": [packet(peer, target)[:8] + b"\1" + packet(peer, target)[9:]],
    }
    for reason, datagrams in cases.items():
        before = counted(lab, "node-1")
        for data in datagrams:
            forged(lab, lab.host("node-2"), UNDERLAY["node-2"][4], data)
        counts_up(lab, reason, before[reason] + len(datagrams))
        assert counted(lab, "node-1")["received packets"] == before["received packets"]


def counts_up(lab: Lab, reason: str, to: int) -> None:
    until(lambda: counted(lab, "node-1")[reason] == to, 5, lambda: f"{reason}: {counted(lab, 'node-1')[reason]}")


def test_a_stranger_is_not_heard(lab: Lab, networks: dict[str, list[Container]]) -> None:
    """The firewall drops what comes from no host with a lease: the pump does not even count it."""
    target, peer = (c.address(4) for c in networks["blue"][:2])
    data = forge.ip4(peer, target, forge.UDP, forge.udp(1, 2, b"x"))
    before, dropped = counted(lab, "node-1"), refused_by_rules(lab)
    (address,) = [a["local"] for a in shown(lab.host("outside"), "ip -j -4 addr show dev eth0")[0]["addr_info"]]
    forged(lab, lab.host("outside"), address, data)
    until(lambda: refused_by_rules(lab) == dropped + 1, 5, "the rule's counter")
    assert counted(lab, "node-1") == before


def refused_by_rules(lab: Lab) -> int:
    said = lab.host("node-1").must("rules", ["nft", "list", "chain", "inet", "weft", "udp-tunnels"])
    match = re.search(r"counter packets (\d+)", said)
    assert match
    return int(match[1])


def test_a_container_sends_nothing_into_a_tunnel(lab: Lab, networks: dict[str, list[Container]]) -> None:
    """Neither to its own host nor, as its host, to another one."""
    mine, other = networks["blue"][:2]
    data = forge.ip4(other.address(4), mine.address(4), forge.UDP, forge.udp(1, 2, b"x"))
    before = [counted(lab, host) for host in NODES[:2]]
    for node in NODES[:2]:
        forged(lab, mine.inside, mine.address(4), data, to=node)
    assert ping(mine.inside, UNDERLAY["node-2"][4]).ok  # by now the others have arrived
    assert [counted(lab, host) for host in NODES[:2]] == before


# --------------------------------------------------------------------------------------------------- what goes on


def lost_while(source: Container, target: Container, event: Callable[[], object]) -> list[int]:
    """Numbers of pings, a hundred a second, that had no answer."""
    process = source.inside.popen(["ping", "-n", "-i", "0.01", "-c", "300", "-W", "1", target.address(4)])
    assert process.stdout is not None
    first = [process.stdout.readline() for _ in range(3)]
    event()
    out, _ = process.communicate(timeout=30)
    answered = {int(n) for n in re.findall(r"icmp_seq=(\d+) ttl", "".join(first) + out)}
    return sorted(set(range(1, 301)) - answered)


def test_a_pump_that_is_killed_is_back_within_a_second(lab: Lab, networks: dict[str, list[Container]]) -> None:
    mine, other = networks["blue"][:2]
    first = pump(lab, "node-2")
    lost = lost_while(mine, other, lambda: lab.host("node-2").must("kill", ["kill", "-9", str(first)]))
    assert pump(lab, "node-2") != first
    assert 0 < len(lost) < 100
    assert lost[-1] - lost[0] < 100


def test_a_direction_that_is_killed_is_back_and_loses_next_to_nothing(
    lab: Lab, networks: dict[str, list[Container]]
) -> None:
    """The device and the socket stay open meanwhile, and keep what comes."""
    mine, other = networks["blue"][:2]
    first = pump(lab, "node-2")
    children = lab.host("node-2").must("ps", ["ps", "-ww", "--ppid", str(first), "-o", "pid=,args="]).splitlines()
    receiving = next(line.split()[0] for line in children if " receive " in line and DEVICE["blue"] in line)
    lost = lost_while(mine, other, lambda: lab.host("node-2").must("kill", ["kill", "-9", receiving]))
    assert pump(lab, "node-2") == first
    assert len(lost) <= 5


def test_the_pump_goes_on_without_the_agent_and_is_found_again(lab: Lab, networks: dict[str, list[Container]]) -> None:
    """A table that somebody spoils meanwhile is mended."""
    mine, other = networks["blue"][:2]
    first, file = pump(lab, "node-1"), folder(lab, "node-1") / DEVICE["blue"]
    before = file.read_text()
    lab.agent("node-1").end(signal.SIGKILL)
    assert ping(mine.inside, other.address(4)).ok
    file.write_text(before.replace(UNDERLAY["node-2"][4], UNDERLAY["node-3"][4]))
    until(lambda: not ping(mine.inside, other.address(4), wait=1).ok, 5, "the pump to go by it")
    lab.agent("node-1").start()
    lab.agent("node-1").wait_ready()
    until(lambda: ping(mine.inside, other.address(4), wait=1).ok, 20, "the agent")
    assert sorted(file.read_text().splitlines()) == sorted(before.splitlines())
    assert pump(lab, "node-1") == first


def test_status_and_metrics_tell_of_the_tunnel(lab: Lab, networks: dict[str, list[Container]]) -> None:
    mine, other = networks["blue"][:2]
    ping(mine.inside, "10.1.255.254")
    assert ping(mine.inside, other.address(4)).ok
    expected = counted(lab, "node-1")
    found = next(t for t in client(lab, "node-1").status().tunnels if t.device == DEVICE["blue"])
    assert (found.sent, found.received) == (expected["sent packets"], expected["received packets"])
    assert found.dropped["no host holds the destination"] >= 1 and found.trouble == ""
    shown_to_users = weft(lab, "node-1", "status").stdout
    assert f"{DEVICE['blue']}" in shown_to_users and "no host holds the destination" in shown_to_users
    text = lab.host("node-1").must(
        "metrics", ["curl", "-s", "--unix-socket", "/run/weft/weft.sock", "http://w/metrics"]
    )
    wanted = f'weft_tunnel_packets_total{{device="{DEVICE["blue"]}",direction="received"}} {float(found.received)}'
    assert wanted in text
    assert 'reason="no host holds the destination"' in text


def test_doctor_takes_the_pump_for_no_stranger(lab: Lab, networks: dict[str, list[Container]]) -> None:
    found = {f.check: f for f in client(lab, "node-1").doctor()}
    assert found["port 8285"].result == found["kernel: tun"].result == "ok"


def test_what_is_left_when_networks_go(lab: Lab, networks: dict[str, list[Container]]) -> None:
    """Last of this module."""
    for name, containers in networks.items():
        for container in containers:
            lab.rm(container.host, container.name)
        client(lab, "node-1").remove_network(name)
    for host in NODES:
        until(lambda host=host: not (lab.host(host).own / "run-weft/tunnel.pid").exists(), 20, f"{host}'s pump")  # type: ignore[misc]
        assert list(folder(lab, host).iterdir()) == []
        assert shown(lab.host(host), "ip -j link show type tun") in ([], [{}])
