"""The pump itself, with a kernel, and a peer of some lines of Python that speaks as Flannel's does."""

from __future__ import annotations

import os
import re
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import forge
from support.namespaces import Home, Namespace
from support.waiting import until
from weft.tunnel import counters, device, table

ME, PEER, PORT, DEV = "192.0.2.1", "192.0.2.2", 8285, "weft.udp8285"
HERE, THERE = "10.1.1.1", "10.1.2.7"
TABLE = table.Table(ME, PORT, 1472, {"10.1.1.0/24": table.HERE, "10.1.2.0/24": PEER})


class Host:
    """The test's own namespace, with a TUN device and the pump; `peer`: a socket in another one, at the peer's address."""

    def __init__(self, netns: Home, other: Namespace, folder: Path) -> None:
        self.netns, self.folder = netns, folder
        for line in (
            f"ip link add eth0 type veth peer name eth0 netns {other.path}",
            f"ip addr add {ME}/24 dev eth0",
            "ip link set eth0 up",
            f"ip addr add {HERE}/32 dev lo",
        ):
            netns.sh(line)
        other.sh(f"ip addr add {PEER}/24 dev eth0")
        other.sh("ip link set eth0 up")
        self.make_device()
        table.write(folder / DEV, TABLE)
        with other.entered():
            self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.settimeout(0.5)
        self.peer.bind((PEER, PORT))
        self.pump = subprocess.Popen([sys.executable, "-m", "weft.tunnel", str(folder)])

    def make_device(self) -> None:
        with device_of(DEV):
            self.netns.sh(f"ip link set {DEV} mtu 1472 up")
            self.netns.sh(f"ip addr add 10.1.1.0/32 dev {DEV}")
            self.netns.sh(f"ip route add 10.1.0.0/16 dev {DEV} src {HERE}")

    def counts(self) -> dict[str, int]:
        return counters.read(table.beside(self.folder / DEV, table.COUNTERS))

    def answered(self) -> bool:
        """Whether a ping of the peer's container is answered, by a bare packet from the same port."""
        while select.select([self.peer], [], [], 0)[0]:  # answers to what was asked before
            self.peer.recv(2000)
        self.peer.sendto(forge.ip4(THERE, HERE, forge.ICMP, echo()), (ME, PORT))
        try:
            while True:
                data, sender = self.peer.recvfrom(2000)
                if data[9] == forge.ICMP and data[20] == 0:
                    assert sender == (ME, PORT)
                    assert forge.checksum(data[:20]) == forge.checksum(data[20:]) == 0
                    assert data[8] == 63, "one hop, the pump"
                    return True
        except TimeoutError:
            return False


def echo(octets: int = 56) -> bytes:
    whole = b"\x08\0\0\0\0\x07\0\x01" + bytes(octets)
    return whole[:2] + forge.checksum(whole).to_bytes(2, "big") + whole[4:]


@contextmanager
def device_of(name: str) -> Iterator[None]:
    """A persistent TUN device; its descriptor is closed with the block."""
    fd = device.attach(name)
    try:
        device.persist(fd)
        yield
    finally:
        os.close(fd)


@pytest.fixture
def host(netns: Home, tmp_path: Path) -> Iterator[Host]:
    found = Host(netns, netns.new(), tmp_path)
    try:
        until(found.answered, 10, "the pump")
        yield found
    finally:
        found.pump.kill()
        found.pump.wait()
        found.peer.close()


def test_a_datagram_is_a_packet_and_nothing_else_both_ways(host: Host) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HERE, 5000))
        sock.sendto(b"hello", (THERE, 6000))
        until(lambda: host.peer.recv(2000).endswith(b"hello"), 5, "the datagram")
        sock.settimeout(5)
        body = forge.udp(6000, 5000, b"and back")
        host.peer.sendto(forge.ip4(THERE, HERE, forge.UDP, body), (ME, PORT))
        assert sock.recvfrom(100) == (b"and back", (THERE, 6000))


def test_a_path_that_carries_less_is_told_as_a_router_would(host: Host) -> None:
    host.netns.sh(f"ip route add {PEER}/32 dev eth0 mtu 1300")
    said = host.netns.run("ping", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1400", THERE, check=False)
    assert re.search(r"[Ff]rag needed.*mtu = 1272|mtu ?= ?1272", said), said
    assert host.counts()["larger than the path's MTU"] == 1
    with socket.socket(
        socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW
    ) as raw:  # to one of whom nothing is known yet
        raw.sendto(forge.ip4(HERE, "10.1.2.8", forge.UDP, forge.udp(1, 2, bytes(1400))), ("10.1.2.8", 0))
    until(lambda: host.peer.recv(2000)[28:] == bytes(1400), 5, "a packet that may be cut, in fragments")


def test_a_device_that_was_removed_and_made_again_is_taken(host: Host) -> None:
    host.netns.sh(f"ip link del {DEV}")
    until(lambda: table.beside(host.folder / DEV, table.TROUBLE).exists(), 5, "the trouble to be told")
    host.make_device()
    until(host.answered, 10, "the pump")
    until(lambda: not table.beside(host.folder / DEV, table.TROUBLE).exists(), 5, "no trouble")


def test_a_port_that_somebody_has_is_waited_for(host: Host) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((ME, 8299))
        table.write(host.folder / DEV, TABLE._replace(port=8299))
        told = table.beside(host.folder / DEV, table.TROUBLE)
        until(lambda: told.exists() and "in use" in told.read_text(), 5, "the trouble to be told")
    until(lambda: not told.exists(), 5, "no trouble")


def test_nothing_is_left_behind_when_a_table_goes(host: Host) -> None:
    (host.folder / DEV).unlink()
    until(lambda: list(host.folder.iterdir()) == [], 5, lambda: f"{list(host.folder.iterdir())}")
    assert not host.answered()


def test_what_a_program_puts_into_the_device_costs_nothing(host: Host) -> None:
    """No IP packet at all; and one of a family that the network has not, whose sender cannot be told."""
    workers = workers_of(host.pump.pid)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as raw:
        alien = b"\x60\0\0\0\0\x08\x11\x40" + bytes([0xFE, 0x80, *[1] * 14] * 2) + forge.udp(1, 2, b"")
        before = host.counts()["no host holds the destination"]
        multicast = alien[:24] + b"\xff\x02" + alien[26:]  # as the host's own kernel sends: nobody misses it
        raw.sendto(multicast, (DEV, 0x86DD))
        for data in (b"\0" * 30, b"\x45", b"\x4f" + bytes(19), b"\x60" + bytes(10), b"\xff" * 100, alien):
            raw.sendto(data, (DEV, 0x0800 if data is not alien else 0x86DD))
    until(lambda: host.counts()["no host holds the destination"] >= before + 6, 5, "all to be counted")
    assert host.answered()
    assert host.counts()["no host holds the destination"] == before + 6
    assert workers_of(host.pump.pid) == workers


def test_a_table_that_cannot_be_read_costs_its_own_tunnel_nothing_and_no_other(host: Host) -> None:
    other = host.folder / "weft.udp1"
    for first, why in (
        (f"tunnel local {ME} port 99999 mtu 1472", "port 99999 is outside 1 to 65535"),
        ("tunnel local nowhere port 1 mtu 1472", "'nowhere' is no address"),
        (f"tunnel local {ME} port 1 mtu 1472\nprefix 10.1.9.0/33 {PEER}", "'10.1.9.0/33' is no prefix"),
    ):
        for path in (other, host.folder / DEV):
            path.write_text(f"{first}\n")
            told = table.beside(path, table.TROUBLE)
            until(lambda told=told, why=why: told.exists() and told.read_text() == why, 5, "the trouble to be told")
    (host.folder / "folder").mkdir()
    assert host.answered()
    assert host.pump.poll() is None
    other.unlink()
    table.write(host.folder / DEV, TABLE)
    until(lambda: not list(host.folder.glob(".*.trouble")), 5, "no trouble")


def test_a_pump_whose_folder_is_removed_ends(host: Host) -> None:
    """Of one that is made in its place it would hear nothing: the agent starts another pump."""
    shutil.rmtree(host.folder, ignore_errors=True)  # the pump itself takes away what is beside a table that went
    host.folder.mkdir()
    assert host.pump.wait(5) == 1


def workers_of(pump: int) -> str:
    return Path(f"/proc/{pump}/task/{pump}/children").read_text()
