"""Super-packets: what is cut is what a network card would send, and what is joined again is what it was."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.tunnel import checksum, icmp, packet
from weft.tunnel.cut import cut, finish
from weft.tunnel.join import joined
from weft.tunnel.packet import VNET

ADDRESSES = {4: ("10.1.2.3", "10.1.4.5"), 6: ("fd00:1:0:2::3", "fd00:1:0:4::5")}
SYN, FIN, PSH, ACK, CWR = 0x02, 0x01, 0x08, 0x10, 0x80


def words(data: bytes) -> int:
    """The Internet checksum as RFC 1071 has it, word by word: by another way than the code's."""
    total = 0
    for (word,) in struct.iter_unpack(">H", data + bytes(len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ends(version: int) -> bytes:
    return b"".join(ip_address(a).packed for a in ADDRESSES[version])


def ip(version: int, protocol: int, content: bytes, *, ident: int = 7, ttl: int = 64, flags: int = 0x4000) -> bytes:
    if version == 6:
        return struct.pack(">IHBB", 6 << 28, len(content), protocol, ttl) + ends(6) + content
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(content), ident, flags, ttl, protocol, 0) + ends(4)
    return head[:10] + struct.pack(">H", 0xFFFF - words(head)) + head[12:] + content


def pseudo(version: int, protocol: int, length: int) -> bytes:
    return ends(version) + struct.pack(">HH", protocol, length)


def tcp(
    version: int, payload: bytes, *, sequence: int = 1, flags: int = ACK, options: bytes = b"", **about: int
) -> bytes:
    doff = 5 + len(options) // 4
    head = struct.pack(">HHIIBBHHH", 40000, 80, sequence, 99, doff << 4, flags, 512, 0, 0) + options
    check = 0xFFFF - words(pseudo(version, 6, len(head) + len(payload)) + head + payload)
    return ip(version, 6, head[:16] + struct.pack(">H", check) + head[18:] + payload, **about)


def udp(version: int, payload: bytes, **about: int) -> bytes:
    head = struct.pack(">HHHH", 5000, 6000, 8 + len(payload), 0)
    check = 0xFFFF - words(pseudo(version, 17, len(head) + len(payload)) + head + payload)
    return ip(version, 17, head[:6] + struct.pack(">H", check or 0xFFFF) + payload, **about)


def assert_valid(one: bytes) -> None:
    """Lengths and all checksums."""
    version = one[0] >> 4
    head = 20 if version == 4 else 40
    assert packet.length(memoryview(one)) == len(one)
    if version == 4:
        assert words(one[:20]) == 0xFFFF
    protocol = one[9] if version == 4 else one[6]
    assert words(pseudo(version, protocol, len(one) - head) + one[head:]) == 0xFFFF


def halfway(whole: bytes, *, is_tcp: bool) -> memoryview:
    """As the kernel gives it: in place of the checksum the pseudo header's sum."""
    version = whole[0] >> 4
    l4 = 20 if version == 4 else 40
    found = bytearray(whole)
    at = l4 + (16 if is_tcp else 6)
    found[at : at + 2] = struct.pack(">H", words(pseudo(version, 6 if is_tcp else 17, len(whole) - l4)))
    return memoryview(found)


def pieces(super_packet: memoryview, size: int, *, is_tcp: bool) -> list[bytes]:
    l4 = 20 if super_packet[0] >> 4 == 4 else 40
    found = cut(super_packet, l4, size, tcp=is_tcp)
    return [bytes(header) + bytes(payload) for header, payload in zip(found[::2], found[1::2], strict=True)]


versions = st.sampled_from([4, 6])
payloads = st.builds(
    lambda seed, n: bytes((seed + i * i) & 255 for i in range(n)), st.integers(0, 255), st.integers(1, 9000)
)


@given(versions, payloads, st.integers(1, 3000), st.integers(0, 2**32 - 1), st.integers(0, 65535), st.booleans())
def test_what_is_cut_is_whole_packets_of_the_flow(
    version: int, payload: bytes, size: int, sequence: int, ident: int, stamped: bool
) -> None:
    options = b"\1\1\x08\x0a" + bytes(range(8)) if stamped else b""
    about = {"ident": ident} if version == 4 else {}
    whole = tcp(version, payload, sequence=sequence, flags=ACK | PSH | FIN | CWR, options=options, **about)
    found = pieces(halfway(whole, is_tcp=True), size, is_tcp=True)
    head = (20 if version == 4 else 40) + 20 + len(options)
    for number, one in enumerate(found):
        assert_valid(one)
        tcp_at = head - 20 - len(options)
        flags = one[tcp_at + 13]
        assert bool(flags & (FIN | PSH)) == (number == len(found) - 1)
        assert bool(flags & CWR) == (number == 0)
        assert int.from_bytes(one[tcp_at + 4 : tcp_at + 8], "big") == (sequence + number * size) % 2**32
        if version == 4:
            assert int.from_bytes(one[4:6], "big") == (ident + number) % 65536
    assert b"".join(one[head:] for one in found) == payload
    assert {len(one) - head for one in found[:-1]} <= {size}


@given(versions, payloads, st.integers(1, 3000))
def test_datagrams_are_cut_as_well(version: int, payload: bytes, size: int) -> None:
    head = (20 if version == 4 else 40) + 8
    found = pieces(halfway(udp(version, payload), is_tcp=False), size, is_tcp=False)
    for one in found:
        assert_valid(one)
        assert int.from_bytes(one[head - 4 : head - 2], "big") == len(one) - head + 8
    assert b"".join(one[head:] for one in found) == payload


@given(versions, payloads)
def test_what_is_not_cut_gets_its_checksum(version: int, payload: bytes) -> None:
    for whole, offset, is_tcp in ((tcp(version, payload), 16, True), (udp(version, payload), 6, False)):
        found = halfway(whole, is_tcp=is_tcp)
        finish(found, 20 if version == 4 else 40, offset)
        assert_valid(bytes(found))
        assert bytes(found) == whole


@given(versions, payloads, st.integers(500, 3000), st.booleans(), st.sampled_from([ACK, ACK | PSH]))
def test_what_was_cut_is_joined_to_what_it_was(
    version: int, payload: bytes, size: int, is_tcp: bool, flags: int
) -> None:
    whole = tcp(version, payload, flags=flags) if is_tcp else udp(version, payload)
    found = [memoryview(one) for one in pieces(halfway(whole, is_tcp=is_tcp), size, is_tcp=is_tcp)]
    burst = joined(found, 0)
    if len(found) == 1:
        assert burst is None
        return
    assert burst is not None
    assert len(burst.payload) == len(found)
    assert bytes(burst.header) + b"".join(burst.payload) == bytes(halfway(whole, is_tcp=is_tcp))
    flag, gso, head, mss, start, offset = VNET.unpack(burst.vnet)
    l4 = 20 if version == 4 else 40
    assert (flag, mss, start) == (1, size, l4)
    assert (gso, head, offset) == (({4: 1, 6: 4}[version], l4 + 20, 16) if is_tcp else (5, l4 + 8, 6))


def run_of(*packets: bytes) -> int:
    """How many of them are joined."""
    burst = joined([memoryview(p) for p in packets], 0)
    return 1 if burst is None else len(burst.payload)


def test_only_what_follows_in_the_flow_is_joined() -> None:
    def segment(number: int, size: int = 100, **about: int) -> bytes:
        return tcp(4, bytes(size), sequence=1 + 100 * number, **about)

    assert run_of(segment(0), segment(1), segment(2)) == 3
    assert run_of(segment(0), segment(2)) == 1, "one is missing"
    assert run_of(segment(1), segment(0)) == 1, "out of order"
    assert run_of(segment(0), segment(1, 40), segment(2)) == 2, "a short one is the last"
    assert run_of(segment(0), segment(1, 140)) == 1, "a longer one"
    assert run_of(segment(0), segment(1, flags=ACK | PSH), segment(2)) == 2, "one that is pushed is the last"
    assert run_of(segment(0, flags=ACK | PSH), segment(1)) == 1
    assert run_of(segment(0), segment(1, flags=ACK | FIN)) == 1
    assert run_of(segment(0, flags=SYN), segment(1)) == 1
    assert run_of(segment(0), segment(1, ttl=63)) == 1
    assert run_of(segment(0), udp(4, bytes(112))) == 1, "another flow"


def test_fragments_options_and_wrong_headers_are_not_joined() -> None:
    def altered(at: int, value: int) -> bytes:
        found = bytearray(tcp(4, bytes(100)))
        found[at] = value
        return bytes(found)

    follower = tcp(4, bytes(100), sequence=101)
    assert run_of(tcp(4, bytes(100)), follower) == 2
    for at, value in ((0, 0x46), (6, 0x20), (7, 1), (11, 0)):
        assert run_of(altered(at, value), follower) == 1


def test_a_super_packet_has_no_more_than_65535_octets() -> None:
    found = [tcp(4, bytes(1432), sequence=1 + 1432 * n) for n in range(60)]
    assert run_of(*found) == 45
    assert 20 + 20 + 45 * 1432 <= 65535 < 20 + 20 + 46 * 1432


@given(st.binary(max_size=200))
def test_rubbish_has_no_length_and_is_never_joined_with_anything(data: bytes) -> None:
    found = memoryview(data)
    assert packet.length(found) in range(65_576)
    if packet.length(found) == len(found) and len(found):
        joined([found, found], 0)
        icmp.may_be_told(found)


@pytest.mark.parametrize("version", [4, 6])
def test_a_hop_takes_one_from_the_ttl(version: int) -> None:
    for ttl in (2, 64, 255):
        found = bytearray(tcp(version, b"x", ttl=ttl))
        assert packet.lives_on(memoryview(found), version)
        packet.pass_on(memoryview(found), version)
        assert found[8 if version == 4 else 7] == ttl - 1
        assert_valid(bytes(found))
    assert not packet.lives_on(memoryview(bytearray(tcp(version, b"x", ttl=1))), version)


@given(st.integers(0, 65535))
def test_a_hop_keeps_the_checksum_right(ident: int) -> None:
    found = bytearray(tcp(4, b"x", ident=ident))
    packet.pass_on(memoryview(found), 4)
    assert words(bytes(found[:20])) == 0xFFFF


@given(st.integers(1, 5000), st.integers(68, 1500), st.sampled_from([0, 0x2000, 0x00B9, 0x20B9]))
def test_fragments_are_the_packet_again(octets: int, mtu: int, place: int) -> None:
    whole = ip(4, 17, bytes(n * n & 255 for n in range(octets)), flags=place)
    found = list(packet.fragments(memoryview(whole), mtu))
    together = b""
    for one in found:
        assert packet.length(memoryview(one)) == len(one) <= mtu and words(one[:20]) == 0xFFFF
        at = int.from_bytes(one[6:8], "big")
        assert (at & 0x1FFF) * 8 == (place & 0x1FFF) * 8 + len(together)
        assert bool(at & 0x2000) == (one is not found[-1] or bool(place & 0x2000))
        assert one[:2] + one[4:6] + one[8:10] + one[12:20] == whole[:2] + whole[4:6] + whole[8:10] + whole[12:20]
        together += one[20:]
    assert together == whole[20:]


def test_who_is_told_of_a_dropped_packet() -> None:
    def told(one: bytes) -> bool:
        return icmp.may_be_told(memoryview(one))

    assert told(udp(4, b"x")) and told(udp(6, b"x"))
    assert told(ip(4, 1, b"\x08\0\0\0")), "a ping"
    assert told(ip(6, 58, b"\x80\0\0\0")), "a ping"
    assert not told(ip(4, 1, b"\x03\0\0\0")), "an error"
    assert not told(ip(6, 58, b"\x01\0\0\0")), "an error"
    assert not told(ip(4, 17, bytes(8), flags=0x00B9)), "a later fragment"
    assert not told(ip(4, 1, b"")), "nothing to tell it by"


def test_what_is_quoted() -> None:
    long = memoryview(udp(4, bytes(500)))
    assert icmp.message(icmp.NO_ROUTE[4], long) == b"\3\0\0\0\0\0\0\0" + bytes(long[:28])
    assert icmp.message(icmp.TOO_BIG[4], long, 1400) == b"\3\4\0\0\0\0\x05\x78" + bytes(long[:28])
    assert icmp.message(icmp.TOO_BIG[6], memoryview(udp(6, bytes(2000))), 1400)[:8] == b"\2\0\0\0\0\0\x05\x78"
    assert len(icmp.message(icmp.NO_ROUTE[6], memoryview(udp(6, bytes(2000))))) == 1240


@pytest.mark.parametrize("numpy", [True, False])
def test_sums_of_payloads_with_numpy_and_without(numpy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if numpy:
        pytest.importorskip("numpy")
    else:
        monkeypatch.setattr(checksum, "adder", lambda: None)
    data = bytes(i * i * 7 >> 3 & 255 for i in range(20_000))
    for size in (1, 7, 1418, 1420, 1432, 19_999, 30_000):
        for begin in range(3):  # payloads begin anywhere
            payload = memoryview(data)[begin:]
            found = checksum.sums(payload, size)
            expected = [words(bytes(payload[at : at + size])) for at in range(0, len(payload), size)]
            assert [one % 65535 for one in found] == [one % 65535 for one in expected]
