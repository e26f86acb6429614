"""Where frames go and come from; frames cut and joined as packets are; what senders of frames are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import forge
from weft.tunnel import frame, icmp
from weft.tunnel.cut import cut
from weft.tunnel.frame import CLEAR, ETHERNET, HEAD, SEALED
from weft.tunnel.join import joined
from weft.tunnel.packet import VNET
from weft.tunnel.sleeve import ALL, Place, Sleeve, Station
from weft.tunnel.stations import Hosts, Stations

ME, NEAR, FAR, BEHIND = 1, 2, 3, 4
PLACES = {
    NEAR: Place("192.0.2.2"),
    FAR: Place("198.51.100.3", via=NEAR, mtu=1300),
    BEHIND: Place("203.0.113.4", via=9),
}
X, Y, Z, MINE, UNKNOWN = (bytes.fromhex(f"02000000000{n}") for n in range(1, 6))


def text(mac: bytes) -> str:
    return mac.hex(":")


TABLE = Sleeve(
    7,
    ME,
    "192.0.2.1",
    6783,
    1376,
    False,
    {
        text(X): (Station(NEAR),),
        text(Y): (Station(FAR),),
        text(Z): (Station(FAR, direct=True),),
        text(MINE): (Station(ME),),
        ALL: (Station(NEAR), Station(FAR), Station(BEHIND)),
    },
)


def test_where_frames_go() -> None:
    found = Stations(TABLE, Hosts(PLACES))

    def ways(mac: bytes) -> list[tuple[int, str, int]]:
        return [(way.number, way.remote, way.mtu) for way in found.find(mac)]

    assert ways(X) == [(NEAR, "192.0.2.2", 0)]
    assert ways(Y) == [(FAR, "192.0.2.2", 1300)]
    assert ways(Z) == [(FAR, "198.51.100.3", 0)], "straight, and as large as the underlay carries"
    assert ways(MINE) == []
    assert ways(UNKNOWN) == ways(b"\xff" * 6) == [(NEAR, "192.0.2.2", 0), (FAR, "192.0.2.2", 1300)]
    assert HEAD.unpack(found.find(Y)[0].head) == (1, frame.HOPS, ME, FAR, 7 << 8 | CLEAR)
    sealed = Stations(TABLE._replace(encrypted=True), Hosts(PLACES)).find(Y)[0]
    assert (sealed.head[9], sealed.head[1], sealed.quiet[1]) == (SEALED, frame.HOPS, 0)
    assert found.places == {X: NEAR, Y: FAR, Z: FAR, MINE: ME}


def test_who_may_send_and_what_is_passed_on() -> None:
    hosts = Hosts(PLACES)
    assert hosts.sent(NEAR, "192.0.2.2", straight=True)
    assert hosts.sent(FAR, "198.51.100.3", straight=True)
    assert not hosts.sent(FAR, "192.0.2.2", straight=True)
    assert hosts.sent(FAR, "192.0.2.2"), "it was passed on"
    assert not hosts.sent(FAR, "192.0.2.99")
    assert not hosts.sent(9, "192.0.2.2")
    assert hosts.onward(NEAR) == "192.0.2.2"
    assert hosts.onward(FAR) == hosts.onward(BEHIND) == hosts.onward(9) == "", "only to whom is reached straight"


def test_places_that_are_no_addresses_are_refused() -> None:
    with pytest.raises(ValueError, match="'nowhere' is no address"):
        Hosts({NEAR: Place("nowhere")})


def ethernet(content: bytes, kind: int = 0x0800) -> bytes:
    return X + MINE + kind.to_bytes(2, "big") + content


def of_a_flow(payload: bytes) -> bytes:
    """With some checksum: the underlay has verified what comes, so this one is made anew."""
    head = forge.udp(5, 6, payload)
    return ethernet(forge.ip4("10.0.0.1", "10.0.0.2", forge.UDP, head[:6] + b"\x12\x34" + payload))


@given(st.integers(2, 30), st.integers(1, 1400), st.sampled_from([0, HEAD.size]))
def test_frames_of_a_flow_are_joined_and_cut_again(count: int, size: int, outer: int) -> None:
    ahead = frame.head(NEAR, ME, 7, CLEAR) * bool(outer)
    payloads = [bytes((n, n * 7 & 255)) * size for n in range(count)]
    burst = joined([memoryview(ahead + of_a_flow(each)) for each in payloads], 0, l3=outer + ETHERNET, outer=outer)
    assert burst is not None
    assert VNET.unpack(burst.vnet) == (1, 5, ETHERNET + 28, 2 * size, ETHERNET + 20, 6)
    whole = memoryview(bytes(burst.header) + b"".join(burst.payload))
    parts = cut(whole[ETHERNET:], 20, 2 * size, tcp=False, ahead=ahead + bytes(whole[:ETHERNET]))
    assert [bytes(payload) for payload in parts[1::2]] == payloads[: len(parts) // 2]
    for header in parts[::2]:
        assert bytes(header[: outer + ETHERNET]) == ahead + ethernet(b"")
        assert forge.checksum(bytes(header[outer + ETHERNET : outer + ETHERNET + 20])) == 0


def test_only_frames_of_the_same_stations_are_joined() -> None:
    one = of_a_flow(bytes(99))
    for other, count in ((one, 2), (Y + one[6:], 0), (one[:6] + Y + one[12:], 0)):
        burst = joined([memoryview(one), memoryview(other)], 0, l3=ETHERNET)
        assert (len(burst.payload) if burst else 0) == count


def test_what_is_in_a_frame() -> None:
    packet = forge.ip4("10.0.0.1", "10.0.0.2", forge.UDP, forge.udp(5, 6, b"x"))
    padded = ethernet(packet + bytes(30))
    tagged = X + Y + b"\x81\0\0\7\x08\0" + packet
    assert bytes(frame.packet(memoryview(padded))) == packet == bytes(frame.packet(memoryview(tagged)))
    for none in (ethernet(packet, 0x0806), ethernet(packet[:-1]), X + Y, b"", X + Y + b"\x81\0\0\7\x08\6" + packet):
        assert not frame.packet(memoryview(none))


@pytest.mark.parametrize("version", [4, 6])
def test_a_sender_is_told_what_fits_by_whom_it_sent_to(version: int) -> None:
    if version == 4:
        about = forge.ip4("10.0.0.1", "10.0.0.2", forge.UDP, bytes(1400))
    else:
        about = b"\x60\0\0\0\x05\x78\x11\x40" + bytes(15) + b"\1" + bytes(15) + b"\2" + bytes(1400)
    found = icmp.answer(icmp.TOO_BIG, memoryview(about), 1300)
    header = 20 if version == 4 else 40
    ends = (about[16:20] + about[12:16]) if version == 4 else (about[24:40] + about[8:24])
    assert ends in found[:header]
    assert found[header : header + 2] == bytes(icmp.TOO_BIG[version])
    assert int.from_bytes(found[header + 4 : header + 8], "big") == 1300
    pseudo = b"" if version == 4 else ends + (len(found) - 40).to_bytes(4, "big") + bytes((0, 0, 0, 58))
    assert forge.checksum(pseudo + found[header:]) == 0
    assert version == 6 or forge.checksum(found[:20]) == 0
