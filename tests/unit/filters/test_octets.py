"""Packets have the headers that a kernel would take: lengths and checksums are right, and the headers are found again."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from weft.filters.headers import IP, IPV6, headers
from weft.filters.model import Tuple
from weft.filters.octets import checksum, packet

PAIRS = [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("protocol", [6, 17, 1, 58])
@pytest.mark.parametrize("size", [0, 101, 1400])
def test_lengths_and_checksums(pair: tuple[str, str], protocol: int, size: int) -> None:
    src, dst = (ip_address(text) for text in pair)
    octets = packet(Tuple(protocol, src, dst, 40000, 80), size=size)
    found = headers(octets, IP if src.version == 4 else IPV6)
    carried = octets[found.transport :]
    assert found.protocol == protocol
    if src.version == 4:
        assert checksum(octets[:20]) == 0
        assert int.from_bytes(octets[2:4], "big") == len(octets)
    else:
        assert int.from_bytes(octets[4:6], "big") == len(carried)
    pseudo = src.packed + dst.packed + len(carried).to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    assert checksum((b"" if protocol == 1 else pseudo) + carried) == 0
    if size:
        assert len(octets) == size


def test_what_a_transport_header_carries() -> None:
    src, dst = ip_address("10.0.0.1"), ip_address("10.0.0.2")
    tcp, udp = (packet(Tuple(number, src, dst, 1, 2), size=60) for number in (6, 17))
    assert headers(tcp, IP).inner(tcp) == 60
    assert headers(udp, IP).inner(udp) == 28


def test_extensions_of_ipv6_are_passed_over() -> None:
    plain = packet(Tuple(17, ip_address("fd00::1"), ip_address("fd00::2"), 1, 2))
    octets = plain[:6] + bytes([0]) + plain[7:40] + bytes([17, 0, 1, 4, 0, 0, 0, 0]) + plain[40:]
    found = headers(octets, IPV6)
    assert (found.protocol, found.transport, found.extensions) == (17, 48, ((0, 40),))


@pytest.mark.parametrize(("pair", "segment"), [(PAIRS[0], 1460), (PAIRS[1], 1440)])
def test_a_syn_has_the_options_that_rules_ask_for(pair: tuple[str, str], segment: int) -> None:
    src, dst = (ip_address(text) for text in pair)
    octets = packet(Tuple(6, src, dst, 1, 2))
    carried = octets[headers(octets, IP if src.version == 4 else IPV6).transport :]
    assert (len(carried), carried[12] >> 4) == (40, 10)
    assert carried[20:24] == bytes([2, 4]) + segment.to_bytes(2, "big")
    assert len(packet(Tuple(6, src, dst, 1, 2), flags=16)) == len(octets) - 20  # not a SYN: no options
