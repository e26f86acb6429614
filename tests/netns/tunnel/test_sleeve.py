"""Frames between three hosts, each with its pump: A, B and C on one switch, which can keep A and C apart."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import forge
from support.namespaces import Home, Namespace, home
from support.waiting import until
from weft.tunnel import counters, device, frame, sleeve, table
from weft.tunnel.sleeve import ALL, Place, Sleeve, Station

NUMBERS = {"a": 1, "b": 2, "c": 3}
DEV, NETWORK, PORT, MTU = "weft.slv7", 7, 6783, 1376
KEY, OTHER = b"k" * 32, b"o" * 32
DATAGRAMS = 2000
"""For how many a key is used."""
MIB = 1 << 20
ETH_P_ALL = 3


def mac(name: str) -> str:
    return f"02:00:00:00:00:0{NUMBERS[name]}"


def underlay(name: str) -> str:
    return f"192.0.2.{NUMBERS[name]}"


def inside(name: str, family: int = 4) -> str:
    return f"10.9.0.{NUMBERS[name]}" if family == 4 else f"fd09::{NUMBERS[name]}"


class Host:
    """A host in a namespace of its own. Its TAP device has addresses itself, as a container behind a bridge would."""

    def __init__(self, name: str, space: Namespace, folder: Path) -> None:
        self.name, self.space, self.folder = name, space, folder
        self.pump: subprocess.Popen[bytes] | None = None
        space.sh(f"ip addr add {underlay(name)}/24 dev eth0")
        space.sh("ip link set eth0 up")
        self.make(DEV)
        space.sh(f"ip addr add {inside(name)}/24 dev {DEV}")
        space.sh(f"ip addr add {inside(name, 6)}/64 dev {DEV} nodad")
        self.places = {number: Place(underlay(other)) for other, number in NUMBERS.items() if other != name}

    def make(self, dev: str) -> None:
        with self.space.entered():
            fd = device.attach(dev, device.IFF_TAP)
            device.persist(fd)
            os.close(fd)
        self.space.sh(f"ip link set {dev} address {mac(self.name)} mtu {MTU} up")

    def write(self, dev: str = DEV, network: int = NETWORK, *, encrypted: bool = False, key: bytes = KEY) -> None:
        others = [name for name in NUMBERS if name != self.name]
        stations = {mac(name): (Station(NUMBERS[name]),) for name in NUMBERS}
        many = {ALL: tuple(Station(NUMBERS[name]) for name in others)}
        found = Sleeve(network, NUMBERS[self.name], underlay(self.name), PORT, MTU, encrypted, stations | many)
        self.put(self.places)
        if encrypted:
            sleeve.give_key(self.folder, key)
        table.put(self.folder / dev, sleeve.lines(found))

    def put(self, places: Mapping[int, Place]) -> None:
        self.places = dict(places)
        table.put(self.folder / sleeve.HOSTS, [sleeve.host(*each) for each in self.places.items()])

    def start(self) -> None:
        environment = {**os.environ, "WEFT_SLEEVE_DATAGRAMS": str(DATAGRAMS)}
        with self.space.entered():
            self.pump = subprocess.Popen([sys.executable, "-m", "weft.tunnel", str(self.folder)], env=environment)

    def stop(self) -> None:
        if self.pump is not None:
            self.pump.kill()
            self.pump.wait()
            self.pump = None

    def counts(self, name: str = DEV) -> dict[str, int]:
        return counters.read(table.beside(self.folder / name, table.COUNTERS))

    def reaches(self, other: str, family: int = 4, octets: int = 56) -> bool:
        words = ["ping", "-c1", "-W1", "-q", "-M", "do", "-s", str(octets), inside(other, family)]
        return " 0% packet loss" in self.space.run(*words, check=False)

    @contextmanager
    def wire(self, dev: str = "eth0") -> Iterator[socket.socket]:
        """Frames of a device, from now on."""
        with self.space.entered():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with raw:
            raw.setsockopt(socket.SOL_SOCKET, 33, 32 * MIB)  # SO_RCVBUFFORCE
            raw.bind((dev, ETH_P_ALL))
            yield raw

    def send(self, datagram: bytes, to: str, address: str = "", port: int = PORT) -> None:
        """From the pump's own port, as whoever can forge addresses does."""
        udp = forge.udp(port, PORT, datagram)
        with self.space.entered():
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with raw:
            raw.sendto(forge.ip4(address or underlay(self.name), underlay(to), forge.UDP, udp), (underlay(to), 0))


class Hosts(dict[str, Host]):
    """By name, and the switch's ports of the same names."""

    def __init__(self, switch: Home, folder: Path) -> None:
        self.switch = switch
        switch.sh("ip link add switch type bridge")
        switch.sh("ip link set switch up")
        for name in NUMBERS:
            space = switch.new()
            switch.sh(f"ip link add name {name} type veth peer name eth0 netns {space.path}")
            switch.sh(f"ip link set dev {name} master switch up")
            (folder / name).mkdir()
            self[name] = Host(name, space, folder / name)

    def keep_apart(self, *names: str) -> None:
        for name in names:
            self.switch.sh(f"bridge link set dev {name} isolated on")

    def up(self, *, encrypted: bool = False) -> tuple[Host, Host, Host]:
        """All as in the beginning, and all reach all."""
        for name, host in self.items():
            self.switch.sh(f"bridge link set dev {name} isolated off")
            host.places = {number: Place(underlay(other)) for other, number in NUMBERS.items() if other != name}
            (host.folder / sleeve.KEY).unlink(missing_ok=True)
            host.write(encrypted=encrypted)
            if host.pump is None:
                host.start()
        a, b, c = self.values()
        until(lambda: a.reaches("b") and b.reaches("c") and c.reaches("a"), 15, "the pumps")
        return a, b, c


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with home() as switch:
        found = Hosts(switch, tmp_path_factory.mktemp("hosts"))
        yield found
        for host in found.values():
            host.stop()


def transfer(source: Host, target: Host, octets: int, family: int = 4, meanwhile: Callable[[], object] = int) -> None:
    """They arrive as they were sent."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with target.space.entered():
        server = socket.create_server((inside(target.name, family), 0), family=kind)
    got = bytearray()

    def take() -> None:
        with server.accept()[0] as taken:
            while data := taken.recv(MIB):
                got.extend(data)

    thread = threading.Thread(target=take)
    thread.start()
    block = bytes(i * i >> 5 & 255 for i in range(1 << 16))
    with source.space.entered():
        sock = socket.socket(kind, socket.SOCK_STREAM)
    with sock, server:
        sock.settimeout(20)
        sock.connect((inside(target.name, family), server.getsockname()[1]))
        for number in range(octets >> 16):
            sock.sendall(block)
            if number == octets >> 17:
                meanwhile()
        sock.shutdown(socket.SHUT_WR)
        thread.join(30)
    assert got == block * (octets >> 16)


def drained(raw: socket.socket) -> list[bytes]:
    found = []
    raw.setblocking(False)
    try:
        while True:
            found.append(raw.recv(1 << 16))
    except BlockingIOError:
        return found


def datagrams(raw: socket.socket) -> list[bytes]:
    """Those of the sleeve's port that passed."""
    whole = (data for data in drained(raw) if data[12:14] == b"\x08\0" and data[23] == forge.UDP)
    return [data[42:] for data in whole if data[34:38] == PORT.to_bytes(2, "big") * 2]


# -- in clear ----------------------------------------------------------------------------------------------------------


def test_hosts_share_a_link(hosts: Hosts) -> None:
    a, b, _c = hosts.up()
    assert a.reaches("b", 6)
    assert a.reaches("c", octets=MTU - 28)
    for source, target, family in ((a, b, 4), (b, a, 6)):
        transfer(source, target, 16 * MIB, family)
    assert a.counts()["received octets"] > 16 * MIB
    assert not {name for host in hosts.values() for name in counters.DROPS if host.counts()[name]}


def test_what_is_for_many_gets_to_all(hosts: Hosts) -> None:
    a, b, c = hosts.up()
    with b.wire(DEV) as one, c.wire(DEV) as other, a.space.entered():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind((inside("a"), 0))
            sock.sendto(b"to all", ("10.9.0.255", 9))
        for raw in (one, other):
            until(lambda raw=raw: any(data.endswith(b"to all") for data in drained(raw)), 5, "the broadcast")


def test_a_path_that_carries_less_is_told_to_the_sender(hosts: Hosts) -> None:
    a, _b, _c = hosts.up()
    a.space.sh(f"ip route add {underlay('b')}/32 dev eth0 mtu 1300")
    fits = 1300 - 28 - frame.HEAD.size - frame.ETHERNET
    said = a.space.run("ping", "-c2", "-i.2", "-W1", "-Mdo", "-s1340", inside("b"), check=False)
    assert re.search(rf"mtu ?= ?{fits}", said), said
    a.put({2: Place(underlay("b")), 3: Place(underlay("c"), mtu=1290)})
    for address in (inside("c"), inside("c", 6)):
        words = ["ping", "-c1", "-W1", "-Mdo", "-s1320", address]
        until(lambda w=words: (a.space.run(*w, check=False), known(a, w[-1]))[1] == 1290, 5, "1290 to be told")
    transfer(a, hosts["c"], MIB)
    with a.wire() as raw:
        words = ["ping", "-c1", "-W1", "-q", "-Mdont", "-s1340", inside("c")]
        assert " 0% packet loss" in a.space.run(*words)
        sent = [len(data) for data in datagrams(raw) if data[2:6] == b"\0\1\0\3"]
        assert len(sent) > 1 and max(sent) <= frame.HEAD.size + frame.ETHERNET + 1290, "in fragments"
    a.space.sh(f"ip route del {underlay('b')}/32")
    a.space.sh("ip route flush cache")


def known(host: Host, address: str) -> int:
    """The MTU of the path, as the kernel knows it."""
    found = re.search(r"mtu (\d+)", host.space.run("ip", "route", "get", address))
    return int(found[1]) if found else 0


def test_a_relay_passes_on_what_two_hosts_cannot_tell_each_other(hosts: Hosts) -> None:
    a, b, c = hosts.up()
    hosts.keep_apart("a", "c")
    assert not a.reaches("c")
    a.put({2: Place(underlay("b")), 3: Place(underlay("c"), via=2)})
    c.put({2: Place(underlay("b")), 1: Place(underlay("a"), via=2)})
    until(lambda: a.reaches("c"), 5, "the relay")
    transfer(a, c, 4 * MIB)
    assert b.counts(sleeve.HOSTS)["sent octets"] > 4 * MIB
    for places, reason in (
        ({3: Place(underlay("c"))}, "sender unknown"),
        ({1: Place(underlay("a")), 3: Place(underlay("c"), via=1)}, "not to be passed on"),
    ):
        b.put(places)
        until(lambda r=reason: not a.reaches("c") and b.counts(sleeve.HOSTS)[r], 5, reason)


def test_what_others_may_not_say(hosts: Hosts) -> None:
    a, b, c = hosts.up()

    def ethernet(source: str) -> bytes:
        return bytes.fromhex((mac("b") + source).replace(":", "")) + b"\x88\xb5" + bytes(46)

    def about(source: int, to: int = 2, network: int = NETWORK, hops: int = frame.HOPS) -> bytes:
        return frame.head(source, to, network, frame.CLEAR, hops)

    for datagram, name, reason in (
        (about(1) + ethernet(mac("a")), sleeve.HOSTS, "sender unknown"),
        (about(9) + ethernet(mac("a")), sleeve.HOSTS, "sender unknown"),
        (about(3, network=8) + ethernet(mac("c")), sleeve.HOSTS, "destination not here"),
        (about(3, to=1, hops=1) + ethernet(mac("c")), sleeve.HOSTS, "not to be passed on"),
        (about(3, to=9) + ethernet(mac("c")), sleeve.HOSTS, "not to be passed on"),
        (b"\2" + about(3)[1:] + ethernet(mac("c")), sleeve.HOSTS, "malformed"),
        (b"", sleeve.HOSTS, "malformed"),
        (about(3) + b"short", DEV, "malformed"),
        (about(3) + ethernet(mac("a")), DEV, "source not the sender's"),
        (about(3) + ethernet(mac("b")), DEV, "source not the sender's"),
        (frame.head(3, 2, 0, frame.HELLO) + bytes(60), sleeve.HOSTS, "of another secret"),
    ):
        before = b.counts(name)[reason]
        c.send(datagram, "b")
        until(lambda n=name, r=reason, v=before: b.counts(n)[r] == v + 1, 5, f"{reason}: {datagram.hex()}")
    taken = b.counts()["received packets"]
    c.send(about(3) + ethernet(mac("c")), "b", port=PORT + 1)
    c.send(about(3) + ethernet("02:00:00:00:00:99"), "b")
    until(lambda: b.counts()["received packets"] == taken + 1, 5, "a station that nobody knows")
    assert a.reaches("b")


def test_networks_come_and_go_and_others_do_not_notice(hosts: Hosts) -> None:
    a, b, _c = hosts.up()
    assert a.pump
    workers = workers_of(a.pump.pid)
    words = [word for pid in workers.split() for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]
    assert len(workers.split()) == 2 and str(a.folder) not in words, "the agent takes none of them for the pump itself"
    for host in (a, b):
        host.make("weft.slv8")
        host.space.sh(f"ip addr add 10.8.0.{NUMBERS[host.name]}/24 dev weft.slv8")
        host.write("weft.slv8", 8)
    until(lambda: "1 received" in a.space.run(*["ping", "-c1", "-W1", "10.8.0.2"], check=False), 5, "the other network")
    for host in (a, b):
        (host.folder / "weft.slv8").unlink()
    until(lambda: not list(a.folder.glob("*slv8*")), 5, "the end of the other network")
    assert a.reaches("b")
    assert workers_of(a.pump.pid) == workers


def workers_of(pump: int) -> str:
    return Path(f"/proc/{pump}/task/{pump}/children").read_text()


# -- encrypted ---------------------------------------------------------------------------------------------------------


def test_nobody_between_reads_or_repeats_or_alters_anything(hosts: Hosts) -> None:
    a, b, c = hosts.up(encrypted=True)
    text = b"what nobody is to read"
    with a.wire() as raw, b.wire(DEV) as there, a.space.entered():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((inside("a"), 0))
            sock.sendto(text, (inside("b"), 9))
        until(lambda: any(data.endswith(text) for data in drained(there)), 5, "what was sent")
        passed = datagrams(raw)
        sealed = [data for data in passed if data[9] == frame.SEALED and len(data) == 10 + 36 + 14 + 28 + len(text)]
    assert passed and not any(text in data or data[9] == frame.CLEAR for data in passed)
    unseen = sealed[0][:27] + b"\xee" + sealed[0][28:]
    for one, expected in (
        (sealed[0], "replayed"),
        (sealed[0][:-1] + bytes([sealed[0][-1] ^ 1]), "replayed"),
        (unseen, "forged"),
        (sealed[0][:17] + b"\xee" + sealed[0][18:], "forged"),
        (frame.head(1, 2, 7, frame.CLEAR) + bytes(60), "clear"),
    ):
        name = DEV if expected == "clear" else sleeve.HOSTS
        before, taken = b.counts(name)[expected], b.counts()["received packets"]
        a.send(one, "b")
        until(lambda n=name, e=expected, v=before: b.counts(n)[e] == v + 1, 5, expected)
        assert b.counts()["received packets"] == taken
    b.stop()
    b.start()
    until(lambda: a.reaches("b"), 10, "the pump that was started again")
    with b.wire(DEV) as there:
        a.send(sealed[0], "b")
        until(lambda: b.counts(sleeve.HOSTS)["sealed for an earlier start"] >= 1, 5, "what was recorded to be refused")
        assert not any(text in data for data in drained(there))
    transfer(a, b, 4 * MIB)
    transfer(b, c, MIB, 6)


def test_another_key_opens_nothing(hosts: Hosts) -> None:
    a, b, _c = hosts.up(encrypted=True)
    (b.folder / sleeve.KEY).unlink()
    b.write(encrypted=True, key=OTHER)
    for host in (a, b):
        host.stop()
        host.start()
    taken = b.counts()["received packets"]
    for one, other in ((a, b), (b, a)):
        until(
            lambda o=one, t=other: o.reaches(t.name) or t.counts(sleeve.HOSTS)["of another secret"],
            10,
            "a question that says nothing",
        )
    assert not a.reaches("b") and b.counts()["received packets"] == taken
    until(lambda: a.reaches("c"), 5, "a host with the same key")


def test_keys_change_under_a_stream_and_nothing_is_lost(hosts: Hosts) -> None:
    """Each is for two thousand datagrams; and a new key of all keys comes, to one host before the other."""
    a, b, _c = hosts.up(encrypted=True)
    dropped = [drops(host) for host in (a, b)]

    def renew() -> None:
        for host in (a, b):
            host.write(encrypted=True, key=OTHER)

    transfer(a, b, 32 * MIB, meanwhile=renew)
    with a.wire() as raw:
        assert a.reaches("b")
        keys = [int.from_bytes(data[22:26], "big") for data in datagrams(raw) if data[2:6] == b"\0\1\0\2"]
    assert keys[-1] > 32 * MIB // 1400 // DATAGRAMS
    assert [drops(host) for host in (a, b)] == dropped
    (b.folder / sleeve.KEY).write_text(f"{OTHER.hex()}\n")
    until(lambda: b.reaches("a") and a.reaches("b"), 10, "both by the new key")


def drops(host: Host) -> dict[str, int]:
    """But for what one asks by a secret that the other does not have yet."""
    reasons = [why for why in counters.DROPS if why != "of another secret"]
    return {f"{name} {why}": host.counts(name)[why] for name in (DEV, sleeve.HOSTS) for why in reasons}


def test_a_relay_reads_nothing(hosts: Hosts) -> None:
    a, b, c = hosts.up(encrypted=True)
    hosts.keep_apart("a", "c")
    a.put({2: Place(underlay("b")), 3: Place(underlay("c"), via=2)})
    c.put({2: Place(underlay("b")), 1: Place(underlay("a"), via=2)})
    (b.folder / DEV).unlink()  # a relay needs to be in no network; here for another one
    b.make("weft.slv0")
    b.write("weft.slv0", 0)
    until(lambda: a.reaches("c"), 10, "the relay")
    transfer(a, c, 2 * MIB)
    assert b.counts(sleeve.HOSTS)["sent octets"] > 2 * MIB
