"""Each kind of object: made, read back equal, seen by ip(8) and bridge(8), changed, removed; all of it twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from support.namespaces import Namespace
from weft.hoststate import Address, FdbEntry, Link, Neighbour, Object, Route, Tap, Vxlan, route
from weft.reconcile.protocol import Create, Remove

MAC = "02:00:00:00:00:02"


def look(bench: Any, *command: str) -> dict[str, Any]:
    found = bench.netns.json(*command)
    assert len(found) == 1, found
    return dict(found[0])


def test_bridge(bench: Any, bridge: Link) -> None:
    bench.made(bridge)
    assert bench.converged(), bench.difference()
    seen = look(bench, "ip", "-j", "-d", "link", "show", "weft-n")
    assert seen["linkinfo"]["info_kind"] == "bridge"
    assert seen["linkinfo"]["info_data"]["stp_state"] == 0
    assert (seen["mtu"], seen["address"], seen["ifalias"]) == (1450, "02:11:22:33:44:55", "weft:network/n")
    assert "UP" in seen["flags"]


def test_vxlan_is_what_ip_makes_of_the_same_words(bench: Any, vtep: Link) -> None:
    bench.made(vtep)
    assert bench.converged(), bench.difference()
    ours = look(bench, "ip", "-j", "-d", "link", "show", "weft.1")
    bench.remove(vtep)
    by_hand = "link add weft.1 address 02:11:22:33:44:66 mtu 1450 alias weft:network/n type vxlan id 1"
    bench.netns.run("ip", *by_hand.split(), *["local", "192.168.1.68", "dev", "eth0", "dstport", "8472", "nolearning"])
    bench.netns.run("ip", "link", "set", "weft.1", "up", "alias", "weft:network/n")
    theirs = look(bench, "ip", "-j", "-d", "link", "show", "weft.1")
    assert {key: ours[key] for key in ours if key != "ifindex"} == {
        key: theirs[key] for key in theirs if key != "ifindex"
    }
    assert bench.converged() is False  # it is not desired any more, and yet ours by its alias
    assert bench.read().objects == {vtep.key: vtep}


def test_vxlan_over_v6(bench: Any, vtep: Link) -> None:
    link = msgspec.structs.replace(vtep, mtu=1430, type=msgspec.structs.replace(vtep.type, local="fd00:a::68"))
    bench.made(link)
    assert bench.converged(), bench.difference()
    assert look(bench, "ip", "-j", "-d", "link", "show", "weft.1")["linkinfo"]["info_data"]["local6"] == "fd00:a::68"


def test_veth_into_a_container(bench: Any, bridge: Link, pair: tuple[Link, Link], container: Namespace) -> None:
    bench.made(bridge, *pair)
    assert bench.converged(), bench.difference()
    host = look(bench, "ip", "-j", "-d", "link", "show", "vh1")
    assert (host["master"], host["mtu"], host["ifalias"]) == ("weft-n", 1450, "weft:endpoint/n/a")
    assert "LOWER_UP" in host["flags"]
    inner = container.json("ip", "-j", "-d", "link", "show", "eth0")[0]
    assert (inner["address"], inner["mtu"], inner["ifalias"]) == ("02:11:22:33:44:77", 1450, "weft:endpoint/n/a")


def test_a_tap_device_is_a_port_and_stays(bench: Any, bridge: Link) -> None:
    tap = Link(name="weft.slv7", type=Tap(), mtu=1450, master="weft-n", isolated=True, learning=False)
    bench.made(bridge, tap)
    assert bench.converged(), bench.difference()
    seen = look(bench, "ip", "-j", "-d", "link", "show", "weft.slv7")
    assert (seen["linkinfo"]["info_data"]["type"], seen["linkinfo"]["info_data"]["persist"]) == ("tap", True)
    assert seen["linkinfo"]["info_slave_data"]["isolated"] is True
    assert (seen["master"], seen["mtu"], seen["ifalias"]) == ("weft-n", 1450, "weft")
    bench.netns.sh("ip tuntap add dev tap9 mode tap")  # a virtual machine's
    assert bench.converged(), bench.difference()
    assert bench.remove(tap) == []
    assert [link["ifname"] for link in bench.netns.json("ip", "-j", "link", "show", "type", "tun")] == ["tap9"]


def test_order_within_a_call_does_not_matter_to_links(bench: Any, bridge: Link, pair: tuple[Link, Link]) -> None:
    host, inner = pair
    bench.made(inner, host, bridge)
    assert bench.converged(), bench.difference()


def test_what_is_left_open_compares_equal(bench: Any, bridge: Link) -> None:
    link = Link(name="weft-n", type=bridge.type)
    bench.made(link)
    assert bench.converged()
    bench.netns.run("ip", "link", "set", "weft-n", "mtu", "1300")
    assert bench.converged()


@pytest.mark.parametrize(
    ("command", "field"),
    [("mtu 1300", "mtu"), ("address 02:99:00:00:00:01", "mac"), ("down", "up"), ("alias weft:other", "alias")],
)
def test_a_changed_link_is_seen_and_put_right(bench: Any, bridge: Link, command: str, field: str) -> None:
    bench.made(bridge)
    bench.netns.run("ip", "link", "set", "weft-n", *command.split())
    found = bench.read().objects[bridge.key]
    assert getattr(found, field) != getattr(bridge, field)
    assert bench.change(found, bridge) == []
    assert bench.converged(), bench.difference()


def test_a_port_goes_back_to_its_bridge(bench: Any, bridge: Link, pair: tuple[Link, Link]) -> None:
    bench.made(bridge, *pair)
    bench.netns.run("ip", "link", "set", "vh1", "nomaster")
    found = bench.read().objects[pair[0].key]
    assert found.master == ""
    assert bench.change(found, pair[0]) == []
    assert bench.converged(), bench.difference()


def test_an_unmarked_end_of_our_veth_is_ours(bench: Any, bridge: Link, pair: tuple[Link, Link]) -> None:
    host, inner = pair
    bench.made(bridge, host)  # and here we were killed
    bench.desired[inner.key] = inner
    reading = bench.read()
    found = reading.objects[inner.key]
    assert found.alias == "" and inner.key not in reading.foreign
    assert bench.change(found, inner) == []
    assert bench.converged(), bench.difference()


BULK: list[tuple[Object, Object | None]] = [
    (Address(address="10.1.1.1/24", dev="weft.1"), None),
    (Address(address="fd00:1::1/64", dev="weft.1"), None),
    (Address(address="10.1.1.0/32", dev="weft.1"), None),
    (
        Neighbour(address="10.1.2.0", lladdr=MAC, dev="weft.1"),
        Neighbour(address="10.1.2.0", lladdr="02:00:00:00:00:03", dev="weft.1"),
    ),
    (Neighbour(address="fd00:2::", lladdr=MAC, dev="weft.1"), None),
    (
        FdbEntry(lladdr=MAC, dst="192.168.1.254", dev="weft.1"),
        FdbEntry(lladdr=MAC, dst="192.168.1.245", dev="weft.1"),
    ),
    (
        route("10.1.2.0/24", via="10.1.2.0", dev="weft.1", onlink=True),
        route("10.1.2.0/24", via="192.168.1.254", dev="eth0"),
    ),
    (route("10.9.0.0/16", dev="weft.1", metric=7, src="192.168.1.68"), None),
    (route("10.1.0.0/16", type="unreachable", metric=4_000_000_000), None),
    (route("10.1.0.0/16", type="blackhole"), route("10.1.0.0/16", type="throw")),
    (route("10.1.0.0/16", dev="weft.1", table=1000), None),
    (route("0.0.0.0/0", dev="weft.1", table=100), None),
    (route("10.6.0.0/16", via="fd00:a::1", dev="eth0"), None),
    (
        route("fd00:2::/64", via="fd00:2::", dev="weft.1", onlink=True),
        route("fd00:2::/64", via="fd00:a::254", dev="eth0"),
    ),
    (route("fd00:1::/48", type="unreachable", metric=4_000_000_000), None),
    (route("fd00:7::/48", type="blackhole"), route("fd00:7::/48", dev="eth0")),
    (route("::/0", dev="weft.1", table=100, metric=5), None),
]


@pytest.mark.parametrize(("first", "second"), BULK, ids=lambda obj: obj.key[-2] if obj else "")
def test_bulk_objects(bench: Any, vtep: Link, first: Object, second: Object | None) -> None:
    bench.made(vtep, first)
    assert bench.converged(), bench.difference()
    assert bench.read().objects == bench.read().objects
    if second is not None:
        assert bench.change(first, second) == []
        assert bench.converged(), bench.difference()
    last = second or first
    assert bench.remove(last) == []
    assert bench.converged(), bench.difference()
    assert bench.remove(last) == []


def test_ip_shows_the_three_entries_of_a_peer(bench: Any, vtep: Link) -> None:
    bench.made(
        vtep,
        Neighbour(address="10.1.2.0", lladdr=MAC, dev="weft.1"),
        FdbEntry(lladdr=MAC, dst="192.168.1.254", dev="weft.1"),
        route("10.1.2.0/24", via="10.1.2.0", dev="weft.1", onlink=True),
    )
    found = look(bench, "ip", "-j", "route", "show", "proto", "87")
    assert (found["dst"], found["gateway"], found["dev"]) == ("10.1.2.0/24", "10.1.2.0", "weft.1")
    assert "onlink" in found["flags"]
    neighbour = look(bench, "ip", "-j", "neigh", "show", "dev", "weft.1")
    assert (neighbour["dst"], neighbour["lladdr"], neighbour["state"]) == ("10.1.2.0", MAC, ["PERMANENT"])
    entry = look(bench, "bridge", "-j", "fdb", "show", "dev", "weft.1")
    assert (entry["mac"], entry["dst"], entry["state"], entry["flags"]) == (MAC, "192.168.1.254", "permanent", ["self"])


def test_addresses_are_as_ip_would_make_them(bench: Any, bridge: Link) -> None:
    bench.made(bridge, Address(address="10.1.1.1/24", dev="weft-n"), Address(address="fd00:1::1/64", dev="weft-n"))
    info = look(bench, "ip", "-j", "addr", "show", "dev", "weft-n", "scope", "global")["addr_info"]
    v4, v6 = info
    assert (v4["local"], v4["prefixlen"], "broadcast" in v4) == ("10.1.1.1", 24, False)
    assert (v6["local"], v6["prefixlen"], v6.get("tentative", False), v6["nodad"]) == ("fd00:1::1", 64, False, True)


def test_an_entry_that_the_kernel_learnt_gives_way(bench: Any, vtep: Link) -> None:
    bench.made(vtep)
    bench.netns.sh("ip neigh add 10.1.2.0 lladdr 02:00:00:00:00:99 dev weft.1 nud stale")
    assert bench.create(Neighbour(address="10.1.2.0", lladdr=MAC, dev="weft.1")) == []
    assert bench.converged(), bench.difference()


def test_all_is_gone_after_removal(bench: Any, bridge: Link, vtep: Link, pair: tuple[Link, Link]) -> None:
    before = bench.netns.run("ip", "-4", "addr")
    objects = [bridge, vtep, *pair, Address(address="10.1.1.1/24", dev="weft-n"), route("10.1.2.0/24", dev="weft-n")]
    bench.made(*objects)
    assert bench.remove(*reversed(objects)) == []
    assert bench.read("", pair[1].ns).objects == {}
    assert bench.netns.run("ip", "-4", "addr") == before


def test_route_with_no_device_is_one_failure(bench: Any, uplink: str) -> None:
    good = route("10.1.0.0/16", dev="eth0")
    (failure,) = bench.create(Route(prefix="10.2.0.0/16", dev="weft-x"), good)
    assert failure.reason == "route 10.2.0.0/16: there is no device weft-x"
    assert bench.read().objects == {good.key: good}


def test_a_device_made_anew_in_one_call(bench: Any, vtep: Link) -> None:
    """What the planner does for another VNI: what stood on the device goes with it, and is made again."""
    peer = route("10.1.2.0/24", via="10.1.2.0", dev="weft.1", onlink=True)
    bench.made(vtep, peer)
    new = msgspec.structs.replace(vtep, type=Vxlan(2, 8472, "192.168.1.68", "eth0"))
    (failure,) = bench.change(vtep, new)
    assert "cannot be changed in place" in failure.reason
    assert bench.kernel.apply([Remove(vtep), Create(new), Create(peer)]) == []
    assert bench.converged(), bench.difference()
