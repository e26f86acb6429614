"""What is encoded is decoded as it was: the messages that make objects have the same layout as those that show them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from weft.hoststate import Address, FdbEntry, Neighbour, Route, route
from weft.hoststate.paths import RouteType
from weft.kernel.kinds import wire
from weft.kernel.plumbing import uapi as u

NAMES = {7: "weft.1"}
v4 = st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)))
v6 = st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number)))
# inet_ntop(3) and the ipaddress module differ on IPv4-mapped addresses, which no prefix of ours is.
v6 = v6.filter(lambda text: int(IPv6Address(text)) >> 48 and int(IPv6Address(text)) >> 32 != 0xFFFF)
macs = st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":"))
u32 = st.integers(1, 2**32 - 1)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    address, length = draw(st.sampled_from([(v4, 32), (v6, 128)]))
    kind = draw(st.sampled_from(get_args(RouteType)))
    forwarding = kind == "unicast"
    return route(
        f"{draw(address)}/{draw(st.integers(0, length))}",
        dev="weft.1" if forwarding else "",
        via=draw(st.just("") | address) if forwarding else "",
        onlink=draw(st.booleans()) and forwarding,
        metric=draw(st.just(0) | u32),
        type=kind,
        src=draw(st.just("") | address) if forwarding else "",
        table=draw(st.sampled_from([254, 100, 1000, 2**32 - 1])),
        ns=draw(st.sampled_from(["", "/run/netns/c"])),
    )


@given(routes())
def test_routes(obj: Route) -> None:
    message = wire.encode_route(obj, 7, u.RTM_NEWROUTE, wire.NEW)
    found = wire.decode_route(message.body, 0, len(message.body), NAMES | {0: ""}, obj.ns)
    if obj.type != "unicast":  # v6: the kernel adds "dev lo"
        assert found is not None and found.dev == ""
        found = Route(**{name: getattr(found, name) for name in found.__struct_fields__} | {"dev": obj.dev})
    assert found == obj


def test_a_v4_route_by_a_v6_next_hop() -> None:
    obj = route("10.1.0.0/16", via="fd00::1", dev="weft.1")
    message = wire.encode_route(obj, 7, u.RTM_NEWROUTE, wire.NEW)
    assert wire.decode_route(message.body, 0, len(message.body), NAMES, "") == obj


@given(v4 | v6, macs)
def test_neighbours(address: str, mac: str) -> None:
    obj = Neighbour(address=address, lladdr=mac, dev="weft.1")
    message = wire.encode_neighbour(obj, 7, u.RTM_NEWNEIGH, wire.NEW)
    assert len(message.body) % 4 == 0
    assert wire.decode_neighbour(message.body, 0, len(message.body), NAMES, "") == obj


@given(v4 | v6, macs)
def test_fdb_entries(address: str, mac: str) -> None:
    obj = FdbEntry(lladdr=mac, dst=address, dev="weft.1")
    message = wire.encode_fdb(obj, 7, u.RTM_NEWNEIGH, wire.NEW)
    assert wire.decode_fdb(message.body, 0, len(message.body), NAMES, "") == obj
    assert wire.decode_fdb(message.body, 0, len(message.body), {8: "eth0"}, "") is None


@given(v4 | v6, st.integers(0, 32))
def test_addresses(address: str, length: int) -> None:
    obj = Address(address=f"{address}/{length}", dev="weft.1")
    message = wire.encode_address(obj, 7, u.RTM_NEWADDR, wire.NEW)
    assert wire.decode_address(message.body, 0, len(message.body), NAMES, "") == obj


def test_what_is_not_ours_is_not_decoded() -> None:
    theirs = Route(prefix="10.1.0.0/16", dev="weft.1", proto=4)
    message = wire.encode_route(theirs, 7, u.RTM_NEWROUTE, wire.NEW)
    assert wire.decode_route(message.body, 0, len(message.body), NAMES, "") is None
    assert wire.decode_route(message.body, 0, len(message.body), NAMES, "", proto=None) == theirs
    neighbour = Neighbour(address="10.1.0.1", lladdr="02:00:00:00:00:01", dev="weft.1", proto=4)
    message = wire.encode_neighbour(neighbour, 7, u.RTM_NEWNEIGH, wire.NEW)
    assert wire.decode_neighbour(message.body, 0, len(message.body), NAMES, "") is None
