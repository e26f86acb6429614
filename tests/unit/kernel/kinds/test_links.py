from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from weft.hoststate import Bridge, Ipip, Link, Veth, Vxlan
from weft.kernel.plumbing import links
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device, Surroundings
from weft.kernel.plumbing.netlink import HEADER, attr, attributes, messages

INDEXES = {"eth0": 2, "weft-n": 3}
AROUND = Surroundings(INDEXES.__getitem__)


def device(link: Link, around: Surroundings = AROUND) -> Device:
    body = links.create(link, around).body
    found = links.decode(body, 0, len(body))
    assert found is not None
    return found


@given(st.integers(1, 2**24 - 1), st.integers(1, 65535), st.sampled_from(["192.168.1.68", "fd00::68"]), st.booleans())
def test_vxlan(vni: int, port: int, local: str, learning: bool) -> None:
    vxlan = Vxlan(vni, port, local, "eth0", learning)
    found = device(Link(name="weft.1", type=vxlan, mtu=1450, mac="02:00:00:00:00:01", master="weft-n"))
    assert found.vxlan == msgspec.structs.replace(vxlan, dev="")
    assert (found.lower, found.master, found.mtu, found.mac) == (2, 3, 1450, "02:00:00:00:00:01")


@given(st.sampled_from(["", "192.168.0.33"]), st.integers(0, 255), st.booleans(), st.integers(0, 2**32 - 1))
def test_ipip(remote: str, ttl: int, pmtudisc: bool, group: int) -> None:
    ipip = Ipip("192.168.1.68", remote, ttl, pmtudisc)
    found = device(Link(name="weft.ipip", type=ipip, mtu=1480, group=group))
    assert (found.ipip, found.vxlan, found.lower, found.group) == (ipip, None, 0, group)


def test_a_veth_tells_its_other_end_at_birth() -> None:
    peer = Link(name="eth0", type=Veth("vh1", "", primary=False), mtu=1400, mac="02:00:00:00:00:07", ns="/x")
    body = links.create(Link(name="vh1", type=Veth("eth0", "/x")), Surroundings(INDEXES.__getitem__, 9, peer)).body
    info = attributes(body, 16, len(body))[u.IFLA_LINKINFO]
    data = attributes(info, 0, len(info))[u.IFLA_INFO_DATA]
    other = attributes(data, 0, len(data))[u.VETH_INFO_PEER]
    found = attributes(other, 16, len(other))
    assert found[u.IFLA_IFNAME] == b"eth0\0" and found[u.IFLA_NET_NS_FD] == b"\x09\0\0\0"
    assert found[u.IFLA_ADDRESS] == bytes.fromhex("020000000007")


def test_a_change_says_only_what_differs() -> None:
    old = Link(name="weft-n", type=Bridge(), mtu=1500, mac="02:00:00:00:00:01")
    assert links.change(3, old, old, AROUND) is None
    assert links.change(3, old, msgspec.structs.replace(old, mtu=None, mac=None), AROUND) is None
    message = links.change(3, old, msgspec.structs.replace(old, mtu=1450), AROUND)
    assert message is not None and set(attributes(message.body, 16, len(message.body))) == {u.IFLA_MTU}


@given(st.lists(st.tuples(st.integers(1, 100), st.binary(max_size=9)), unique_by=lambda pair: pair[0]))
def test_attributes(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(attr(kind, payload) for kind, payload in pairs)
    assert attributes(data, 0, len(data)) == dict(pairs)


@given(st.binary(max_size=64))
def test_nonsense_does_not_hang(data: bytes) -> None:
    attributes(data, 0, len(data))
    assert len(list(messages(data))) <= 4


def test_messages_of_a_datagram() -> None:
    data = HEADER.pack(18, 1, 2, 3, 4) + b"ab\0\0" + HEADER.pack(16, 5, 6, 7, 8)
    assert list(messages(data)) == [(1, 2, 0, 18), (5, 6, 20, 36)]
