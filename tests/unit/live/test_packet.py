"""Whatever a marked packet is inside of, its token tells where it begins."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from weft.live.packet import Form, Mark, form

TOKEN = bytes.fromhex("5e0d7a1c00ff1122")
UDP, TCP, ICMP = Mark(TOKEN, "udp", 4, 40_000), Mark(TOKEN, "tcp", 4, 40_000), Mark(TOKEN, "icmp", 4, 7)
UDP6, ICMP6 = Mark(TOKEN, "udp", 6, 40_000), Mark(TOKEN, "icmp", 6, 7)


def ip(protocol: int, source: str, target: str, rest: bytes) -> bytes:
    packed = ip_address(source).packed + ip_address(target).packed
    if ":" in source:
        return struct.pack("!IHBB", 6 << 28, len(rest), protocol, 64) + packed + rest
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(rest), 0, 0, 64, protocol, 0) + packed + rest


def udp(sport: int, dport: int, rest: bytes = TOKEN) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(rest), 0) + rest


def echo(kind: int) -> bytes:
    return struct.pack("!BBHHH", kind, 0, 0, 7, 1) + TOKEN


PLAIN = ip(17, "10.0.0.1", "10.0.0.2", udp(40_000, 53))
PLAIN6 = ip(17, "fd00::1", "fd00::2", udp(40_000, 53))
SYN = ip(6, "10.0.0.1", "10.0.0.2", struct.pack("!HHIIBBHHH", 40_000, 80, 0, 0, 0x50, 2, 0, 0, 0) + TOKEN)
IN_VXLAN = b"\x08" + bytes(7) + bytes(14)
UNREACHABLE = struct.pack("!BBHI", 3, 3, 0, 0)
UNREACHABLE6 = struct.pack("!BBHI", 1, 4, 0, 0)


def vxlan(inner: bytes, source: str = "192.168.1.1", target: str = "192.168.1.2") -> bytes:
    return ip(17, source, target, udp(5555, 8472, IN_VXLAN + inner))


@pytest.mark.parametrize(
    ("head", "mark", "expected"),
    [
        (PLAIN, UDP, Form(what="probe", addresses="10.0.0.1:40000 > 10.0.0.2:53")),
        (PLAIN6, UDP6, Form(what="probe", addresses="[fd00::1]:40000 > [fd00::2]:53")),
        (SYN, TCP, Form(what="probe", addresses="10.0.0.1:40000 > 10.0.0.2:80")),
        (ip(1, "10.0.0.1", "10.0.0.2", echo(8)), ICMP, Form(what="probe", addresses="10.0.0.1 > 10.0.0.2")),
        (ip(1, "10.0.0.2", "10.0.0.1", echo(0)), ICMP, Form(what="answer", addresses="10.0.0.2 > 10.0.0.1")),
        (ip(58, "fd00::2", "fd00::1", echo(129)), ICMP6, Form(what="answer", addresses="fd00::2 > fd00::1")),
        (
            ip(17, "10.0.0.2", "10.0.0.1", udp(53, 40_000)),
            UDP,
            Form(what="answer", addresses="10.0.0.2:53 > 10.0.0.1:40000"),
        ),
        (
            vxlan(PLAIN),
            UDP,
            Form(
                what="probe",
                addresses="10.0.0.1:40000 > 10.0.0.2:53",
                tunnel="UDP 192.168.1.1 > 192.168.1.2:8472",
            ),
        ),
        (
            vxlan(PLAIN6, "fd01::1", "fd01::2"),
            UDP6,
            Form(what="probe", addresses="[fd00::1]:40000 > [fd00::2]:53", tunnel="UDP fd01::1 > [fd01::2]:8472"),
        ),
        (
            ip(4, "192.168.1.1", "192.168.1.2", PLAIN),
            UDP,
            Form(what="probe", addresses="10.0.0.1:40000 > 10.0.0.2:53", tunnel="IPIP 192.168.1.1 > 192.168.1.2"),
        ),
        (
            ip(1, "10.0.0.254", "10.0.0.1", UNREACHABLE + PLAIN),
            UDP,
            Form(what="error", addresses="10.0.0.254 > 10.0.0.1, about 10.0.0.1:40000 > 10.0.0.2:53"),
        ),
        (
            ip(58, "fd00::fe", "fd00::1", UNREACHABLE6 + PLAIN6),
            UDP6,
            Form(what="error", addresses="fd00::fe > fd00::1, about [fd00::1]:40000 > [fd00::2]:53"),
        ),
        (
            vxlan(ip(1, "10.0.0.2", "10.0.0.1", UNREACHABLE + PLAIN), "192.168.1.2", "192.168.1.1"),
            UDP,
            Form(
                what="error",
                addresses="10.0.0.2 > 10.0.0.1, about 10.0.0.1:40000 > 10.0.0.2:53",
                tunnel="UDP 192.168.1.2 > 192.168.1.1:8472",
            ),
        ),
        (
            ip(50, "192.168.1.1", "192.168.1.2", bytes(60)),
            UDP,
            Form(what="probe", addresses="ESP 192.168.1.1 > 192.168.1.2"),
        ),
        (b"", UDP, Form(what="probe", addresses="not IP")),
        (TOKEN * 16, UDP, Form(what="probe", addresses="not IP")),
        (PLAIN[:12], UDP, Form(what="probe", addresses="not IP")),
    ],
)
def test_what_it_is(head: bytes, mark: Mark, expected: Form) -> None:
    assert form(head[:128], mark) == expected


@pytest.mark.parametrize(
    "head", [PLAIN, PLAIN6, SYN, vxlan(PLAIN), vxlan(ip(1, "10.0.0.2", "10.0.0.1", UNREACHABLE + PLAIN))]
)
@pytest.mark.parametrize("mark", [UDP, TCP, ICMP, UDP6])
def test_no_octets_are_too_few(head: bytes, mark: Mark) -> None:
    for length in range(len(head)):
        form(head[:length], mark)
        form(head[length:], mark)
