"""What comes in from other hosts, whatever it is: taken or counted, and never the end of the process."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import forge
from weft.tunnel import counters, table
from weft.tunnel.counters import INWARD, RECEIVED
from weft.tunnel.packet import PLAIN, VNET
from weft.tunnel.packets import Inward as Receiving

PEER, STRANGER = "192.0.2.2", "192.0.2.9"
HERE, THERE = "10.1.1.5", "10.1.2.7"
TABLE = """tunnel local 192.0.2.1 port 8285 mtu 1472
prefix 10.1.1.0/24 here
prefix fd00:1:0:1::/64 here
prefix 10.1.2.0/24 192.0.2.2
prefix fd00:1:0:2::/64 192.0.2.2
"""


class Device:
    """In place of a TUN device: a socket that keeps what is written apart."""

    def __init__(self, path: Path) -> None:
        path.write_text(TABLE)
        self.mine, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.theirs.setblocking(False)
        self.worker = Receiving(path, self.mine.fileno(), self.mine)
        self._path = path

    def take(self, *datagrams: bytes, host: str = PEER, port: int = 8285) -> list[bytes]:
        """What is written, with its virtio-net header. Datagrams are gathered as by the kernel: of one size but the last."""
        whole = memoryview(bytearray(PLAIN + b"".join(datagrams)))
        self.worker.take(whole, len(datagrams[0]), host, port)
        return list(self._written())

    def _written(self) -> Iterator[bytes]:
        while True:
            try:
                yield self.theirs.recv(1 << 17)
            except BlockingIOError:
                return

    def counts(self) -> dict[str, int]:
        return {name: n for name, n in counters.read(table.beside(self._path, table.COUNTERS)).items() if n}


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    found = Device(tmp_path / "weft.udp1")
    yield found
    found.mine.close()
    found.theirs.close()


def datagram(source: str = THERE, to: str = HERE, octets: int = 100, **about: int) -> bytes:
    return forge.ip4(source, to, forge.UDP, forge.udp(1, 2, bytes(octets)), **about)


def test_a_packet_of_a_peers_container_comes_in(device: Device) -> None:
    (written,) = device.take(datagram())
    assert written[:10] == PLAIN
    assert written[10:18] == datagram()[:8] and written[18] == 63 and written[22:] == datagram()[12:]
    assert device.counts() == {RECEIVED[0]: 1, RECEIVED[1]: len(datagram())}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (datagram(source="10.1.3.1"), "source not the sender's"),
        (datagram(source=HERE), "source not the sender's"),
        (datagram(to="10.1.2.8"), "destination not here"),
        (datagram(to="10.1.255.255"), "destination not here"),
        (datagram() + b"x", "malformed"),
        (datagram()[:-1], "malformed"),
        (b"", "malformed"),
        (b"\x45", "malformed"),
        (bytes(65_507), "malformed"),
        (b"\x60" + bytes(39), "destination not here"),
    ],
)
def test_what_is_dropped_is_counted_by_its_reason(device: Device, data: bytes, reason: str) -> None:
    assert device.take(data) == []
    if data[:1] == b"\x60":
        reason = "source not the sender's"
    assert device.counts() == {reason: 1}


def test_what_comes_from_elsewhere_is_dropped(device: Device) -> None:
    assert device.take(datagram(), host=STRANGER) == []
    assert device.take(datagram(), datagram(), port=8286) == []
    assert device.counts() == {"sender unknown": 3}


def test_addresses_that_were_let_in_before_excuse_nothing_else(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.worker, "tell", lambda *_: None)  # of this machine's network nothing is asked
    assert len(device.take(datagram())) == 1
    for data, reason in (
        (datagram() + b"x", "malformed"),
        (datagram()[:8] + b"\1" + datagram()[9:], "time to live exceeded on arrival"),
        (datagram(source="10.1.3.1"), "source not the sender's"),
    ):
        assert device.take(data) == []
        assert device.counts()[reason] == 1


def test_options_and_fragments_come_in_as_they_are(device: Device) -> None:
    for data in (
        forge.ip4(THERE, HERE, forge.UDP, bytes(100), options=b"\x94\x04\0\0"),
        datagram(fragment=0x2000),
        datagram(fragment=0x00B9),
    ):
        (written,) = device.take(data)
        assert written[:10] == PLAIN and written[22:] == data[12:]


def test_a_stranger_among_a_burst_costs_itself_only(device: Device) -> None:
    """All of one size, as a hostile peer would have them joined."""
    good, foreign = datagram(), datagram(source="10.1.9.9")
    written = device.take(good, foreign, good, good)
    assert sum((VNET.unpack_from(each)[3] and 2) or 1 for each in written) + 1 == 4
    assert device.counts()["source not the sender's"] == 1
    assert device.counts()[RECEIVED[0]] == 3


def test_a_peer_that_moves_is_known_at_its_new_address(device: Device, tmp_path: Path) -> None:
    (tmp_path / "weft.udp1").write_text(TABLE.replace(PEER, "192.0.2.3"))
    device.worker.reread()
    assert device.take(datagram(), host=PEER) == []
    assert len(device.take(datagram(), host="192.0.2.3")) == 1


def test_a_table_that_cannot_be_read_changes_nothing(device: Device, tmp_path: Path) -> None:
    for text in ("", "rubbish", TABLE + "prefix 10.1.3.0/24", TABLE + "prefix 10.1.3.0/99 192.0.2.3\n"):
        (tmp_path / "weft.udp1").write_text(text)
        device.worker.reread()
        assert len(device.take(datagram())) == 1


pieces = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([datagram(), datagram(source="10.1.9.9"), datagram(to="10.1.2.9"), datagram(octets=99)]),
    st.builds(
        lambda data, at, value: data[:at] + bytes([value]) + data[at + 1 :],
        st.sampled_from([datagram(), forge.ip4(THERE, HERE, forge.TCP, forge.tcp(1, 2, bytes(90)))]),
        st.integers(0, 60),
        st.integers(0, 255),
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pieces, min_size=1, max_size=6), st.integers(1, 200))
def test_whatever_comes_is_taken_or_counted(device: Device, data: list[bytes], size: int) -> None:
    """Cut anywhere: nothing is lost from the account, and nothing foreign comes in."""
    before = device.counts()
    whole = b"".join(data)
    device.worker.take(memoryview(bytearray(PLAIN + whole)), size, PEER, 8285)
    after = device.counts()
    counted = {name: after.get(name, 0) - before.get(name, 0) for name in (RECEIVED[0], *INWARD)}
    assert sum(counted.values()) == max(1, -(-len(whole) // size))
    for written in device._written():
        assert written[10] >> 4 != 4 or (written[22:25], written[26:29]) == (b"\x0a\x01\x02", b"\x0a\x01\x01")


def test_counters_outlive_who_counts(tmp_path: Path) -> None:
    for expected in (1, 2):
        opened = counters.opened(tmp_path / "c")
        opened[0] += 1
        assert counters.read(tmp_path / "c")["sent packets"] == expected
        opened.release()
    (tmp_path / "c").write_bytes(b"of another version")
    assert set(counters.read(tmp_path / "c").values()) == {0}
    assert len(counters.opened(tmp_path / "c")) == len(counters.NAMES)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o600


def test_counters_on_a_full_disk_end_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    opened = counters.opened(tmp_path / "c")
    opened[0] += 1
    assert counters.read(tmp_path / "c")["sent packets"] == 0
