"""What the routing mesh and the ports that lead to services are made of on a host."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from support import lab
from weft.base.errors import Invalid
from weft.base.net import parse_address
from weft.datapaths import _entries, _routing_mesh, _tunnel
from weft.datapaths._entries import Entry, Place
from weft.datapaths.driver import Host, Problem, Reached
from weft.hoststate import Address, FdbEntry, Link, Neighbour, NftChain, NftElement, NftSet, Route, RoutingRule
from weft.model.ports import PublishedPort

HOST = Host(node=lab.node("node-1"))
PORT = PublishedPort(host_port=8080, container_port=80)


def of(kind: Any, found: list[Any]) -> list[Any]:
    return [obj for obj in found if isinstance(obj, kind)]


def elements(found: list[Any], name: str) -> dict[str, str]:
    return {o.value: o.to for o in found if isinstance(o, NftElement) and o.set == name}


# -- the way -----------------------------------------------------------------------------------------------------------


def test_the_device_and_its_addresses() -> None:
    found = list(_routing_mesh.device(HOST, 1))
    (link,) = of(Link, found)
    assert (link.name, link.mtu, link.type.local, link.alias) == ("weft_mesh", 1450, "192.168.1.68", "weft:mesh")
    assert [a.address for a in of(Address, found)] == ["169.254.200.1/32", "fd57:4546:544d::1/128"]
    assert elements(found, "cluster4") == {"169.254.200.0/22": ""}, "nobody is masqueraded on this way"
    made = {chain.key for chain in of(NftChain, found)}
    assert set(link.guards) <= made, "the rules stand before the device"


@pytest.mark.parametrize(("families", "mtu", "local"), [((6,), 1430, "fd01:a::68"), ((4,), 1450, "192.168.1.68")])
def test_the_underlay_is_whatever_the_host_has(families: tuple[int, ...], mtu: int, local: str) -> None:
    (link,) = of(Link, list(_routing_mesh.device(Host(node=lab.node("node-1", families)), 1)))
    assert (link.mtu, link.type.local) == (mtu, local)


def test_a_small_mtu_leaves_ipv6_out() -> None:
    host = Host(node=lab.node("node-1", mtu=1300))
    found = [*_routing_mesh.device(host, 1), *_routing_mesh.peer(host, lab.node("node-2", number=2))]
    assert not [obj for obj in of(Address | Neighbour, found) if ":" in obj.address]
    assert {rule.family for rule in of(RoutingRule, found)} == {4}


def test_what_leads_to_another_host_and_back() -> None:
    found = list(_routing_mesh.peer(HOST, lab.node("node-2", number=1023)))
    (entry,) = of(FdbEntry, found)
    assert (entry.lladdr, entry.dst) == (_routing_mesh.mac("node-2"), "192.168.1.254")
    assert {n.address: n.lladdr for n in of(Neighbour, found)} == dict.fromkeys(
        ("169.254.203.255", "fd57:4546:544d::3ff"), entry.lladdr
    )
    assert {(r.table, r.via) for r in of(Route, found)} == {(88023, n.address) for n in of(Neighbour, found)}
    rules = of(RoutingRule, found)
    assert {(r.table, r.mark, r.mask) for r in rules} == {(88023, 0x7FE00000, 0x7FE00000)}
    assert elements(found, "mesh-from") == {entry.lladdr: "goto mesh-by-1023"}
    assert elements(found, "mesh-back") == {"0x7fe00000": "goto mesh-by-1023"}
    assert elements(found, "mesh-self4") == {"192.168.1.254 . 169.254.203.255": ""}


def test_numbers_have_marks_that_are_no_others() -> None:
    marks = {_routing_mesh.mark(number) for number in range(1, 1024)}
    assert len(marks) == 1023 and 0 not in marks
    assert all(mark & ~_routing_mesh.MASK == 0 for mark in marks)
    assert _routing_mesh.MASK & 0x100000 == 0, "the bit of connections that policy cut off"


def test_a_peer_of_another_underlay_is_told_of() -> None:
    (problem,) = _routing_mesh.peer(HOST, lab.node("node-2", (6,), number=2))
    assert isinstance(problem, Problem) and "node-2 has no IPv4 address on eth0" in problem.text


def test_no_network_has_the_meshs_vni_and_port() -> None:
    with pytest.raises(Invalid, match="is the routing mesh's"):
        _tunnel.check(_tunnel.MESH_VNI, _tunnel.MESH_PORT)
    _tunnel.check(_tunnel.MESH_VNI, 4789)


# -- the ports ---------------------------------------------------------------------------------------------------------


def here(id: str, number: int, *, takes: bool = True) -> Place:
    targets = parse_address(f"10.1.0.{number}"), parse_address(f"fd00:1::{number}")
    reached = Reached(dev="weft-blue", targets=targets, subnets=())
    return Place(id=id, takes=takes, reached=reached, ports={("tcp", 80): 8000, ("udp", 80): 8000})


def there(id: str, number: int, *, takes: bool = True) -> Place:
    return Place(id=id, takes=takes, number=number, families=(4, 6))


def entries(*places: Place, port: PublishedPort = PORT, **more: Any) -> list[Any]:
    return list(_entries.entries(Entry(published=(port,), places=places, number=1, **more)))


def test_all_that_is_named_is_there() -> None:
    found = [
        *entries(here("a", 2), there("b", 2)),
        *_routing_mesh.device(HOST, 1),
        *_routing_mesh.peer(HOST, lab.node("node-2", number=2)),
    ]
    names = {obj.key for obj in of((NftSet, NftChain), found)}
    assert all(element.holder in names for element in of(NftElement, found))
    assert all(chain.sets <= names and chain.jumps <= names for chain in of(NftChain, found))
    verdicts = [e for e in of(NftElement, found) if e.to.startswith("goto ")]
    assert {("nft-chain", *e.key[1:3], e.to.removeprefix("goto ")) for e in verdicts} <= names


def test_members_of_this_host_come_first() -> None:
    found = entries(here("a", 2), here("b", 3), there("c", 2))
    assert elements(found, "entries4") == {"tcp . 8080": "goto enter-tcp-2"}
    assert elements(found, "entered-tcp4") == {"8080 . 0": "10.1.0.2 . 8000", "8080 . 1": "10.1.0.3 . 8000"}


def test_wherever_they_are_each_member_counts_once() -> None:
    found = entries(here("a", 2), there("b", 2), there("c", 2), near=False)
    assert sorted(elements(found, "entered-tcp4").values()) == ["10.1.0.2 . 8000", *["169.254.200.2 . 8080"] * 2]
    found = entries(there("b", 2), there("c", 2), there("d", 3), there("e", 3))
    assert sorted(elements(found, "entered-tcp4").values()) == ["169.254.200.2 . 8080", "169.254.200.3 . 8080"]


def test_what_comes_by_the_mesh_stays_here() -> None:
    found = entries(here("a", 2), there("b", 2), near=False)
    assert elements(found, "entered-tcp-at4") == {"169.254.200.1 . 8080 . 0": "10.1.0.2 . 8000"}
    assert elements(entries(there("b", 2)), "entries-at4") == {}, "and is refused where there is no member"


def test_without_members_the_port_is_refused_and_connections_go_on() -> None:
    found = entries(here("a", 2, takes=False), there("b", 2, takes=False))
    assert elements(found, "entries4") == {} and elements(found, "entry-ports4") == {"tcp . 8080": ""}
    assert elements(found, "held-entries4") == {
        "tcp . 8080 . 10.1.0.2 . 8000": "",
        "tcp . 8080 . 169.254.200.2 . 8080": "",
    }


def test_udp_of_who_takes_nothing_more_ends() -> None:
    port = msgspec.structs.replace(PORT, protocol="udp")
    assert elements(entries(here("a", 2, takes=False), port=port), "held-entries4") == {}


def test_at_one_address_only() -> None:
    found = entries(here("a", 2), port=msgspec.structs.replace(PORT, host_ip=parse_address("192.168.1.68")))
    assert elements(found, "entries4") == {} == elements(found, "entries-at6")
    assert set(elements(found, "entries-at4")) == {"192.168.1.68 . tcp . 8080", "169.254.200.1 . tcp . 8080"}


def test_a_client_keeps_its_member_on_all_hosts() -> None:
    by_host = [
        entries(here("a", 2), here("b", 3), sticky=True),
        entries(there("a", 5), there("b", 6), sticky=True),
    ]
    first, second = (list(elements(found, "entered-tcp4").values()) for found in by_host)
    assert len(first) == 60 and first.count("10.1.0.2 . 8000") == 30
    assert [to == "10.1.0.2 . 8000" for to in first] == [to == "169.254.200.5 . 8080" for to in second]
