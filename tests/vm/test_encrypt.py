"""Tunnels of an encrypted network on the wire, by WireGuard and by ESP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from support.namespaces import home
from support.routed import listening, ping, protocols
from support.secured import PORT, SECRET, Pair, pair
from weft.kernel.plumbing import uapi as u
from weft.mesh.keys import HostKeys
from weft.mesh.rotation import draw, prepare, tell
from weft.mesh.secret import Secret

UDP, ESP = 17, 50
CIPHERS = ["wireguard", "esp"]
MARK = b"nobody on the wire is to read this"


@pytest.fixture(scope="module")
def made(modules: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with home() as found, pair(found, tmp_path_factory.mktemp("pair")) as hosts:
        yield hosts


@pytest.fixture(scope="module", params=CIPHERS)
def hosts(request: pytest.FixtureRequest, made: Pair) -> Pair:
    """The same two with each: they change from one to the other."""
    made.use(request.param)
    return made


def cipher(hosts: Pair) -> str:
    return hosts.one.node.ciphers[0]


def send(hosts: Pair, text: bytes, port: int = 7000) -> None:
    with hosts.c1.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(text, (hosts.to, port))


def counted(hosts: Pair, name: str) -> int:
    """One of the numbers by which the kernel of `two` counts what it refused of ESP."""
    found = dict(line.split() for line in hosts.two.ns.run("cat", "/proc/net/xfrm_stat").splitlines())
    return int(found[name])


def test_what_is_on_the_wire_is_encrypted(hosts: Pair) -> None:
    assert ping(hosts.c1, hosts.to)
    with hosts.heard_in_c2(7000) as heard, listening(hosts.router, "p-node-2") as wire:
        send(hosts, MARK)
        assert heard.recv(99) == MARK
        frames = wire.frames()
    between = [f for f in frames if f[12:14] == b"\x08\x00" and f[30:34] == bytes((192, 168, 1, 254))]
    assert between and not [f for f in between if MARK in f]
    assert {number for number, _ in protocols(between)} == {UDP if cipher(hosts) == "wireguard" else ESP}
    assert PORT not in {int.from_bytes(f[36:38], "big") for f in between if f[23] == UDP}


def test_a_whole_packet_fits(hosts: Pair) -> None:
    """As large as the network's MTU says, and in one piece on the wire."""
    mtu = 1500 - 50 - 60
    with listening(hosts.router, "p-node-2") as wire:
        assert ping(hosts.c1, hosts.to, "-M", "do", "-s", str(mtu - 28))
        between = [f for f in wire.frames() if f[12:14] == b"\x08\x00"]
    assert not [f for f in between if int.from_bytes(f[20:22], "big") & 0x3FFF]
    assert not ping(hosts.c1, hosts.to, "-M", "do", "-s", str(mtu - 27))


def test_what_is_in_the_clear_is_not_taken(hosts: Pair) -> None:
    """The same packet is, where the two trust the wire: so it is well made."""
    with hosts.heard_in_c2(7001) as heard:
        hosts.inject(hosts.forged(7001, b"in the clear"))
        send(hosts, MARK, 7001)
        assert heard.recv(99) == MARK  # by then the other one would have been there
        hosts.hear("192.168.1.0/24")
        hosts.inject(hosts.forged(7001, b"trusted"))
        assert heard.recv(99) == b"trusted"
        hosts.begin_anew()
        hosts.inject(hosts.forged(7001, b"in the clear"))
        send(hosts, MARK, 7001)
        assert heard.recv(99) == MARK


def test_nothing_leaves_in_the_clear_whatever_is_taken_away(hosts: Pair) -> None:
    """By somebody, until the agent sees it."""
    lines = ["ip link del wg-weft"] if cipher(hosts) == "wireguard" else ["ip xfrm state flush"]
    with listening(hosts.router, "p-node-2") as wire:
        for line in lines:
            hosts.one.ns.sh(line)
        for _ in range(3):
            send(hosts, MARK)
        assert not [f for f in wire.frames() if MARK in f]
    if cipher(hosts) == "wireguard":
        hosts.one.converge()
    else:
        with hosts.one.ns.entered():
            (failure,) = hosts.one.reconciler.resync().failures
        assert "never made a second time" in failure.reason and hosts.one.keys.used_twice
        hosts.begin_anew()
    assert any(ping(hosts.c1, hosts.to) for _ in range(5))


def test_it_stays_when_the_agent_is_started_again(hosts: Pair) -> None:
    for host in (hosts.one, hosts.two):
        host.restart()
        assert host.converge().ops == ()
    assert ping(hosts.c1, hosts.to)


def test_what_was_seen_before_or_is_changed_is_not_taken(hosts: Pair) -> None:
    if cipher(hosts) != "esp":
        pytest.skip("WireGuard keeps no count of it")
    before = counted(hosts, "XfrmInStateSeqError"), counted(hosts, "XfrmInStateProtoError")
    with hosts.heard_in_c2(7002) as heard, listening(hosts.router, "p-node-2") as wire:
        send(hosts, MARK, 7002)
        assert heard.recv(99) == MARK
        (packet,) = [f[14:] for f in wire.frames() if f[12:14] == b"\x08\x00" and f[23] == ESP]
        hosts.inject(packet)
        later = packet[:24] + (int.from_bytes(packet[24:28], "big") + 500).to_bytes(4, "big") + packet[28:]
        hosts.inject(later[:-20] + bytes((later[-20] ^ 1,)) + later[-19:])
        send(hosts, b"and one more", 7002)
        assert heard.recv(99) == b"and one more"
    assert counted(hosts, "XfrmInStateSeqError") == before[0] + 1
    assert counted(hosts, "XfrmInStateProtoError") == before[1] + 1


def test_keys_change_under_a_stream_without_loss(hosts: Pair) -> None:
    """Step by step, as agents do it; what arrives is counted, whatever the order in which the two go."""
    if cipher(hosts) != "esp":
        pytest.skip("WireGuard changes its keys by itself")
    done, sent = threading.Event(), 0

    def stream() -> None:
        nonlocal sent
        with hosts.c1.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not done.wait(0.01):
                sender.sendto(sent.to_bytes(4, "big"), (hosts.to, 7003))
                sent += 1

    with hosts.heard_in_c2(7003) as heard:
        # Nothing is read meanwhile, and on a slow machine that takes long: more than others may have at most.
        heard.setsockopt(socket.SOL_SOCKET, u.SO_RCVBUFFORCE, 16 << 20)
        sender = threading.Thread(target=stream)
        sender.start()
        try:
            keys = _spis(hosts)
            for _ in range(3):
                hosts.two.tell(prepare(hosts.two.drawn, draw()))
                hosts.two.hears(hosts.one)
                hosts.two.tell(tell(hosts.two.drawn, 0.0))
                hosts.one.hears(hosts.two)
                hosts.two.hears(hosts.one)
            assert not keys & _spis(hosts)
        finally:
            done.set()
            sender.join()
        assert sorted(set(range(sent)) - set(_numbers(heard, sent))) == []


def _numbers(heard: socket.socket, most: int) -> Iterator[int]:
    """Of what arrived, until no more comes."""
    with suppress(TimeoutError):
        for _ in range(most):
            yield int.from_bytes(heard.recv(4), "big")


def _spis(hosts: Pair) -> set[str]:
    """By which `one` sends."""
    lines = hosts.one.ns.run("ip", "xfrm", "state").split("src ")
    return {line.split("spi ")[1].split()[0] for line in lines if line.startswith("192.168.1.68 ")}


def test_with_another_secret_nothing_passes(hosts: Pair) -> None:
    for secret, passes in ((b"another secret than the first", False), (SECRET, True)):
        hosts.two.keys = HostKeys(Secret(secret), hosts.two.run / "wireguard.key", hosts.two.run / "esp", "boot")
        hosts.two.restart()
        if cipher(hosts) == "wireguard":  # what was agreed on before would go on for three minutes
            for host in (hosts.one, hosts.two):
                host.ns.sh("ip link del wg-weft")
        hosts.begin_anew()
        with listening(hosts.router, "p-node-2") as wire:
            assert any(ping(hosts.c1, hosts.to) for _ in range(5 if passes else 1)) == passes
            assert not [f for f in wire.frames() if f[23] == UDP and int.from_bytes(f[36:38], "big") == PORT]


def test_all_of_it_goes_with_the_network(made: Pair) -> None:
    for host in (made.one, made.two):
        for source in list(host.union.sources):
            host.want(source, None)
        host.converge()
        assert "wg-weft" not in host.ns.run("ip", "link")
        assert host.ns.run("ip", "xfrm", "state") + host.ns.run("ip", "xfrm", "policy") == ""
        assert "8473" not in host.ns.run("ip", "rule")
