"""Frames of a device, and of the one that comes in its place."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from support.namespaces import Home, Namespace
from weft.paths.frames import Frames
from weft.paths.probe import ETHERTYPE

MACS = "02:00:00:00:00:01", "02:00:00:00:00:02"
PEER = bytes.fromhex(MACS[1].replace(":", ""))


@pytest.fixture
def wire(netns: Home) -> Iterator[tuple[Namespace, Frames, Frames]]:
    ns = netns.new()
    a, b = Frames("left", MACS[0]), Frames("right", MACS[1])
    yield ns, a, b
    for frames in (a, b):
        frames.end(lambda _: None)


def make(ns: Namespace) -> None:
    ns.sh(f"ip link add left address {MACS[0]} type veth peer name right address {MACS[1]}")
    for name in ("left", "right"):
        ns.sh(f"ip link set {name} up")


def look(ns: Namespace, *found: Frames) -> list[socket.socket]:
    opened: list[socket.socket] = []
    with ns.entered():
        for frames in found:
            frames.look(opened.append, lambda _: None)
    return opened


def heard(sock: socket.socket, frames: Frames) -> list[bytes]:
    assert select.select([sock], [], [], 5)[0]
    return [data[:5] for data in frames.received()]


def test_devices_come_and_go(wire: tuple[Namespace, Frames, Frames]) -> None:
    ns, a, b = wire
    assert look(ns, a, b) == []
    a.send(PEER, b"lost!")
    make(ns)
    _, first = look(ns, a, b)
    a.send(PEER, b"first" + bytes(60))
    assert heard(first, b) == [b"first"]
    assert look(ns, a, b) == [], "they are the same"
    a.send(PEER, bytes(9000))  # larger than the device takes
    ns.sh("ip link del left")
    a.send(PEER, b"lost!")
    assert list(b.received()) == []
    assert look(ns, a, b) == []
    make(ns)
    _, again = look(ns, a, b)
    a.send(PEER, b"again" + bytes(60))
    assert heard(again, b) == [b"again"]


def test_nothing_else_is_heard(wire: tuple[Namespace, Frames, Frames]) -> None:
    ns, a, b = wire
    make(ns)
    _, sock = look(ns, a, b)
    with ns.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as other:
        other.bind(("left", 0))
        other.send(PEER + bytes(6) + (ETHERTYPE + 1).to_bytes(2, "big") + bytes(60))
    a.send(PEER, b"probe" + bytes(60))
    assert heard(sock, b) == [b"probe"]
