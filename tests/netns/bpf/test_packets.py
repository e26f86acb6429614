"""The programs of the fast path at devices: what packets do that they repeat, and what they do not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from support import forge
from support.fast_lab import GATEWAY_MAC, Flow, Kind, Lab, flow, lab
from support.namespaces import Home, home
from support.waiting import until

KINDS: tuple[Kind, ...] = ("routed", "bridged")
UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
_HOPS = {"routed": {"ab": 1, "ac": 2}, "bridged": {"ab": 0, "ac": 0}}
_SO_MARK = 36


@pytest.fixture(scope="module")
def labs() -> Iterator[dict[Kind, Lab]]:
    with home() as netns, lab(netns, "routed") as routed, lab(netns, "bridged") as bridged:
        yield {"routed": routed, "bridged": bridged}


@pytest.fixture(params=KINDS)
def either(labs: dict[Kind, Lab], request: pytest.FixtureRequest) -> Lab:
    return labs[request.param]


@pytest.fixture
def routed(labs: dict[Kind, Lab]) -> Lab:
    return labs["routed"]


def _open(lab: Lab, talk: Flow, family: int) -> None:
    """The flow is known to all programs on its way, in both directions."""

    def known() -> bool:
        before = lab.repeated()
        return talk.exchange() and talk.exchange() and lab.repeated() >= before + 4

    until(known, 5, lambda: f"what is repeated: {lab.entries(family)}")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", [UDP, TCP])
@pytest.mark.parametrize("names", ["ab", "ac"])
def test_what_was_allowed_is_repeated_until_the_next_generation(
    either: Lab, names: str, kind: socket.SocketKind, family: int
) -> None:
    with flow(either, names, family, kind) as talk:
        _open(either, talk, family)
        with either.denied():
            assert talk.exchange(), "rules were asked that have to be asked again after a while only"
            either.next_generation()
            assert not talk.send(talk.client, talk.server)
            assert not talk.send(talk.server, talk.client)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("names", ["ab", "ac"])
def test_what_goes_for_two_addresses_goes_for_all_their_packets(either: Lab, names: str, family: int) -> None:
    with either.bypassed(), flow(either, names, family, UDP) as talk:
        _open(either, talk, family)
        with either.denied():
            with flow(either, names, family, TCP) as begun:
                assert begun.exchange()
            either.next_generation()
            assert not talk.exchange()
    with flow(either, names, family, UDP) as talk:
        _open(either, talk, family)


@pytest.mark.parametrize("names", ["ab", "ac"])
@pytest.mark.parametrize("family", [4, 6])
def test_each_hop_is_counted(either: Lab, names: str, family: int) -> None:
    option = (socket.IPPROTO_IP, 12, socket.IP_TTL)  # IP_RECVTTL
    if family == 6:
        option = (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, socket.IPV6_HOPLIMIT)
    level, want, kind = option
    with flow(either, names, family, UDP) as talk:
        talk.server.setsockopt(level, want, 1)
        _open(either, talk, family)
        with either.denied():
            talk.client.send(b"x")
            _, ancillary, _, _ = talk.server.recvmsg(16, 64)
            assert [struct.unpack("=i", data)[0] for _, found, data in ancillary if found == kind] == [
                64 - _HOPS[either.kind][names]
            ]


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_is_not_believed_that_comes_by_another_device(either: Lab, family: int) -> None:
    """Container b sends what a would send, octet by octet, while a's own packets go on."""
    with flow(either, "ac", family, UDP) as talk:
        _open(either, talk, family)
        with either.denied():
            a, b, c = (either.containers[name] for name in "abc")
            to = c.mac if either.kind == "bridged" else GATEWAY_MAC
            kind, body = _forged(a.address(family), c.address(family), talk.ports)
            before = either.repeated()
            for sender, gets_there in ((b, False), (a, True)):
                with sender.ns.entered():
                    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                with raw:
                    raw.bind(("eth0", 0))
                    for source in (a.mac, sender.mac):
                        raw.send(forge.frame(to, source, kind, body))
                if gets_there:
                    talk.server.settimeout(5)
                    assert talk.server.recv(16) == b"forged"
                    assert either.repeated() == before + 4
                else:
                    assert talk.exchange()
                    before += 4
                    assert either.repeated() == before


def _forged(source: str, to: str, ports: tuple[int, int]) -> tuple[int, bytes]:
    """A datagram with a checksum, which IPv6 wants."""
    bare = forge.udp(*ports, b"forged")
    pseudo = b"".join(ip_address(text).packed for text in (source, to)) + struct.pack("!II", len(bare), forge.UDP)
    return forge.ip(source, to, forge.UDP, bare[:6] + struct.pack("!H", forge.checksum(pseudo + bare)) + bare[8:])


def test_a_tag_of_a_vlan_takes_the_ordinary_way(either: Lab) -> None:
    with flow(either, "ac", 4, UDP) as talk:
        _open(either, talk, 4)
        with either.denied():
            a, c = either.containers["a"], either.containers["c"]
            to = c.mac if either.kind == "bridged" else GATEWAY_MAC
            kind, body = forge.ip(a.address(4), c.address(4), forge.UDP, forge.udp(*talk.ports, b"tagged"))
            with a.ns.entered():
                raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            before = either.repeated()
            with raw:
                raw.bind(("eth0", 0))
                raw.send(forge.frame(to, a.mac, kind, body, tags="81000064"))
            assert talk.exchange()
            assert either.repeated() == before + 4


@pytest.mark.parametrize("family", [4, 6])
def test_hosts_still_answer_for_a_packet_whose_hops_are_used_up(routed: Lab, family: int) -> None:
    with flow(routed, "ac", family, UDP) as talk:
        _open(routed, talk, family)
        level, name = (
            (socket.IPPROTO_IP, socket.IP_TTL) if family == 4 else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
        )
        _tell_of_errors(talk.client, family)
        for hops in (1, 2):
            talk.client.setsockopt(level, name, hops)
            talk.client.send(b"x")
            until(lambda: _error(talk.client), 2, f"an answer of host {hops}")


def _tell_of_errors(client: socket.socket, family: int) -> None:
    level, name = (socket.IPPROTO_IP, 11) if family == 4 else (socket.IPPROTO_IPV6, 25)
    client.setsockopt(level, name, 1)  # IP_RECVERR, IPV6_RECVERR


def _error(client: socket.socket) -> bool:
    try:
        return bool(client.recvmsg(64, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


@pytest.mark.parametrize("family", [4, 6])
def test_hosts_still_say_how_long_a_packet_may_be(netns: Home, family: int) -> None:
    with lab(netns, "routed", mtu=1400) as narrow, flow(narrow, "ac", family, UDP) as talk:
        level, name = (socket.IPPROTO_IP, 10) if family == 4 else (socket.IPPROTO_IPV6, 23)
        talk.client.setsockopt(level, name, 2)  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: IP_PMTUDISC_DO
        _open(narrow, talk, family)

        def told() -> bool:
            try:
                talk.client.send(bytes(1440))
            except OSError:
                return True
            return False

        until(told, 2, "a datagram to be too long")
        until(talk.exchange, 2, "datagrams that are not")


def test_marks_of_the_hosts_own_sockets_mean_nothing(routed: Lab) -> None:
    host, c = routed.hosts[1], routed.containers["c"]
    with host.ns.entered():
        own = socket.socket(socket.AF_INET, UDP)
    with c.ns.entered():
        server = socket.socket(socket.AF_INET, UDP)
    with own, server:
        server.bind((c.address(4), 7001))
        server.settimeout(5)
        own.setsockopt(socket.SOL_SOCKET, _SO_MARK, 0x40000)
        before = host.entries(4)
        for _ in range(3):
            own.sendto(b"x", server.getsockname())
            assert server.recv(1) == b"x"
        assert host.entries(4) == before


def test_a_mark_that_a_container_sets_ends_at_its_veth(routed: Lab) -> None:
    """Nothing answers, so no rule has said that the flow is open."""
    a, c = routed.containers["a"], routed.containers["c"]
    with a.ns.entered():
        client = socket.socket(socket.AF_INET, UDP)
    with c.ns.entered():
        server = socket.socket(socket.AF_INET, UDP)
    with client, server:
        server.bind((c.address(4), 7001))
        server.settimeout(5)
        client.setsockopt(socket.SOL_SOCKET, _SO_MARK, 0xC0000)
        before = routed.entries(4)
        for _ in range(3):
            client.sendto(b"x", server.getsockname())
            assert server.recv(1) == b"x"
        assert routed.entries(4) == before


def test_long_streams_go_on_as_they_are(either: Lab) -> None:
    """Segments are put together and taken apart below and above the programs."""
    with flow(either, "ac", 4, TCP) as talk:
        _open(either, talk, 4)
        with either.denied():
            before, sent, got = either.repeated(), os.urandom(1 << 20), b""
            talk.client.settimeout(5)
            talk.server.settimeout(5)
            while len(got) < len(sent):
                talk.client.send(sent[len(got) : len(got) + 65536])
                wanted = min(len(got) + 65536, len(sent))
                while len(got) < wanted:
                    got += talk.server.recv(65536)
            assert got == sent
            assert either.repeated() > before + 32


@contextlib.contextmanager
def _tunnel(lab: Lab) -> Iterator[int]:
    """A device of host 1 whose packets have no Ethernet header, with the programs; whatever it carries, this process reads and
    writes. A file descriptor."""
    host = lab.hosts[1]
    with host.ns.entered():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tunnel", 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
    try:
        host.ns.run(
            *("ip", "-batch", "-"),
            stdin="link set dev tunnel up\nroute add 10.9.0.0/24 dev tunnel\nroute add fd00:9::/64 dev tunnel\n",
        )
        with host.ns.entered():
            host.programs.attach(socket.if_nametoindex("tunnel"), ether=False)
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("family", [4, 6])
def test_packets_without_an_ethernet_header_are_repeated_too(routed: Lab, family: int) -> None:
    a, other = routed.containers["a"], {4: "10.9.0.5", 6: "fd00:9::5"}[family]
    with a.ns.entered():
        client = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, UDP)
    with client, _tunnel(routed) as tunnel:
        client.bind((a.address(family), 0))
        client.connect((other, 7000))
        client.settimeout(0.3)

        def exchange() -> bool:
            client.send(b"asked")
            until(lambda: _read(tunnel, b"asked", family), 2, "a packet in the tunnel")
            os.write(tunnel, _forged(other, a.address(family), (7000, client.getsockname()[1]))[1])
            with contextlib.suppress(TimeoutError):
                return client.recv(16) == b"forged"
            return False

        def known() -> bool:
            before = routed.repeated()
            return exchange() and routed.repeated() >= before + 2

        until(known, 5, "a flow that is known in both directions")
        with routed.denied():
            assert exchange()


def _read(tunnel: int, payload: bytes, family: int) -> bool:
    """Other packets, as those of multicast, are passed over."""
    with contextlib.suppress(BlockingIOError):
        while packet := os.read(tunnel, 2048):
            if packet.endswith(payload):
                assert (packet[0] >> 4, packet[8] if family == 4 else packet[7]) == (family, 63)
                return True
    return False
