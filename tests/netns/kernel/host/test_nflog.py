"""What rules send to a group of NFLOG arrives as who, whom and what; what does not arrive is counted."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from support.namespaces import Home
from support.waiting import until
from weft.base.errors import Conflict, NotFound
from weft.kernel.host.nflog import Ear, Heard, packet

GROUP = 22342
RULES = f"""
table inet t {{
    chain c {{
        type filter hook output priority 0;
        udp dport 7 log group {GROUP} prefix "pi-00:3"
        meta l4proto {{ icmp, ipv6-icmp }} log group {GROUP} prefix "icmp"
    }}
}}
"""


@pytest.fixture
def ear(netns: Home) -> Iterator[Ear]:
    netns.run("nft", "-f", "-", stdin=RULES)
    found = Ear(GROUP)
    yield found
    found.close()


def heard(ear: Ear, number: int) -> list[Heard]:
    found: list[Heard] = []
    until(lambda: found.extend(ear.read(100)) or len(found) >= number, 5, f"{number} packets to be told of")
    return found


def send(address: str, times: int = 1) -> int:
    """Datagrams to port 7; the port that they are from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for _ in range(times):
            sock.sendto(b"x", (address, 7))
        return int(sock.getsockname()[1])


def test_packets_come_with_prefix_addresses_and_ports(ear: Ear) -> None:
    port = send("127.0.0.1")
    (told, *_icmp) = heard(ear, 1)
    local = ip_address("127.0.0.1")
    assert told == Heard(prefix="pi-00:3", source=local, target=local, protocol=17, sport=port, dport=7)


def test_of_icmp_come_type_and_code(netns: Home, ear: Ear) -> None:
    netns.run("ping", "-c1", "-W1", "127.0.0.1")
    netns.run("ping", "-c1", "-W1", "::1")
    found = [(told.protocol, told.kind, told.code) for told in heard(ear, 4)]
    assert [x for x in found if x[1] in (8, 0, 128, 129)] == [(1, 8, 0), (1, 0, 0), (58, 128, 0), (58, 129, 0)]


def test_one_program_can_listen_to_a_group(netns: Home, ear: Ear) -> None:
    with pytest.raises(Conflict, match=f"another program listens to group {GROUP}"):
        Ear(GROUP)
    elsewhere = netns.new()
    other = Ear(GROUP, elsewhere.path)
    other.close()
    with pytest.raises(NotFound):
        Ear(GROUP, "/nonexistent")


def test_what_does_not_arrive_is_counted(netns: Home) -> None:
    netns.run("nft", "-f", "-", stdin=RULES)
    ear = Ear(GROUP, rcvbuf=4096)
    try:
        send("127.0.0.1", 3000)
        found = 0

        def all_known() -> bool:
            nonlocal found
            send("127.0.0.1")  # whose number tells how many there were before
            found += len(ear.read(5000))
            return found > 0 and ear.lost + found >= 3000

        until(all_known, 5, lambda: f"all to be known: {found} told of, {ear.lost} lost")
        assert ear.lost > 0
    finally:
        ear.close()


def test_no_more_is_read_than_asked_for(ear: Ear) -> None:
    send("127.0.0.1", 300)
    until(lambda: 0 < len(ear.read(1)) <= 60, 5, "some packets")


V6 = bytes((0x60, 0, 0, 0, 0, 0, 0, 64)) + bytes(15) + b"\1" + bytes(15) + b"\2"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", None),
        (b"\x45" + bytes(10), None),
        (b"\x75" + bytes(40), None),
        (V6[:30], None),
        (bytes((0x45, 0, 0, 0, 0, 0, 0, 9, 64, 17)) + bytes(10) + b"abcd", (17, None)),  # not the first fragment
        (bytes((0x46, 0, 0, 0, 0, 0, 0, 0, 64, 6)) + bytes(14) + struct.pack(">HH", 1, 80), (6, 80)),  # with an option
        (bytes((0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6)) + bytes(10) + b"ab", (6, None)),  # cut off
        (V6[:6] + b"\0" + V6[7:] + bytes((6, 0)) + bytes(6) + struct.pack(">HH", 1, 443), (6, 443)),
        (V6[:6] + b"," + V6[7:] + bytes((17, 0, 0, 1)) + bytes(4) + struct.pack(">HH", 1, 53), (17, 53)),
        (V6[:6] + b"," + V6[7:] + bytes((17, 0, 0, 8)) + bytes(4) + struct.pack(">HH", 1, 53), (17, None)),
        (V6[:6] + b"\0" + V6[7:] + bytes((0, 255)) * 60, (0, None)),
    ],
)
def test_headers_of_all_forms_are_read(data: bytes, expected: tuple[int, int | None] | None) -> None:
    found = packet("p", data)
    assert (None if found is None else (found.protocol, found.dport)) == expected
