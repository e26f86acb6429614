"""What a service is made of at one place."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support import lab
from weft.base.net import parse_address
from weft.compile import services
from weft.datapaths import _services
from weft.datapaths._services import SLOTS
from weft.datapaths._virtual import Backend, Face, Virtual
from weft.datapaths.registry import DRIVERS
from weft.hoststate import Address, BridgeFilter, Neighbour, NftChain, NftElement, NftSet, Object, Route, Sysctl
from weft.model import Network
from weft.model.codec import convert

VIPS = parse_address("10.1.250.1"), parse_address("fd00:1::250")


def backend(number: int, *, here: bool = False, takes: bool = True) -> Backend:
    addresses = parse_address(f"10.1.0.{number}"), parse_address(f"fd00:1::{number}")
    return Backend(addresses=addresses, mac=f"02:42:00:00:00:{number:02x}", here=here, takes=takes)


def virtual(*backends: Backend, protocol: str = "tcp", sticky: bool = False) -> Virtual:
    face = Face(protocol=protocol, port=80, backends=tuple((one, 8080) for one in backends))
    return Virtual(addresses=VIPS, sticky=sticky, faces=(face,), backends=backends)


def objects(driver: str, service: Virtual) -> list[Object]:
    network = convert(Network, {"name": "blue", "driver": driver, "subnets": ["10.1.0.0/16", "fd00:1::/48"]})
    site = lab.site(network, lab.node("node-1"))
    balancer = DRIVERS[driver].balancer(site)
    assert balancer is not None
    return [*services.common(site, balancer), *services.answer(site, balancer, service)]


def elements(found: list[Object], name: str) -> dict[str, str]:
    return {o.value: o.to for o in found if isinstance(o, NftElement) and o.set == name}


def of(kind: Any, found: list[Object]) -> list[Any]:
    return [obj for obj in found if isinstance(obj, kind)]


def test_every_driver_translates_in_one_namespace() -> None:
    for driver in (name for name, used in DRIVERS.items() if used.passed and not used.addresses.made_elsewhere):
        found = objects(driver, virtual(backend(2, here=True), backend(3)))
        spaces = {obj.ns for obj in found}
        assert len(spaces) == 1, driver
        names = {obj.key for obj in of((NftSet, NftChain), found)}
        assert all(element.holder in names for element in of(NftElement, found))
        verdicts = [element for element in of(NftElement, found) if element.to.startswith("goto ")]
        goals = {("nft-chain", *element.key[1:3], element.to.removeprefix("goto ")) for element in verdicts}
        assert goals and goals <= names


def test_members_that_take_connections_have_a_number_each() -> None:
    found = objects("vxlan", virtual(backend(2), backend(3, takes=False), backend(4)))
    assert elements(found, "members-tcp4") == {
        "10.1.250.1 . 80 . 0": "10.1.0.2 . 8080",
        "10.1.250.1 . 80 . 1": "10.1.0.4 . 8080",
    }
    assert elements(found, "services6") == {"fd00:1::250 . tcp . 80": "goto spread-tcp-2"}
    assert len(elements(found, "held4")) == 3  # who takes none keeps those that it has
    assert elements(found, "pinged4") == {"10.1.250.1 . 1": "10.1.0.2"}


def test_what_has_no_end_moves_at_once() -> None:
    found = objects("vxlan", virtual(backend(2), backend(3, takes=False), protocol="udp"))
    assert set(elements(found, "held4")) == {"10.1.250.1 . udp . 80 . 10.1.0.2 . 8080"}


def test_without_members_there_is_only_the_address() -> None:
    found = objects("vxlan", virtual(backend(2, takes=False)))
    assert elements(found, "virtual4") and not elements(found, "services4") and not elements(found, "pinged4")


def test_more_members_than_chains_that_are_always_there() -> None:
    chains = {chain.name for chain in of(NftChain, objects("vxlan", virtual(*map(backend, range(2, 22)))))}
    assert "spread-tcp-20" in chains and "spread-tcp-8" in chains and "spread-tcp-9" not in chains


def test_the_way_to_the_address() -> None:
    """By a route where the host translates; where the network has a namespace of its own, by a bridge that has it."""
    routed = objects("vxlan", virtual(backend(2)))
    assert {(r.prefix, r.dev) for r in of(Route, routed)} == {
        ("10.1.250.1/32", "weft-blue"),
        ("fd00:1::250/128", "weft-blue"),
    }
    assert not of((Address, Neighbour, Sysctl), routed)
    carried = objects("overlay", virtual(backend(2)))
    assert {a.address for a in of(Address, carried)} == {"10.1.250.1/32", "fd00:1::250/128"}
    assert {r.prefix for r in of(Route, carried)} == {"10.1.0.0/16", "fd00:1::/48"}
    assert {s.name for s in of(Sysctl, carried)} == {"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}
    assert {n.address for n in of(Neighbour, carried)} == {"10.1.0.2", "fd00:1::2"}


def test_bridges_show_their_packets_where_a_member_answers_by_one() -> None:
    wanted = {("vxlan", True): True, ("vxlan", False): False, ("overlay", False): True, ("routed", True): False}
    for (driver, here), shown in wanted.items():
        assert bool(of(BridgeFilter, objects(driver, virtual(backend(2, here=here))))) is shown, (driver, here)


@given(st.sets(st.integers(2, 200), min_size=1, max_size=SLOTS), st.data())
def test_slots_are_shared_and_stay(numbers: set[int], data: st.DataObject) -> None:
    """Nobody has more than a share, and who stays keeps most of its slots when another one goes: fewer than a third move even
    where a share is two slots, and so what one gives up is passed on by several."""
    takers = [f"10.1.0.{number} . 8080" for number in sorted(numbers)]
    slots = _services.shared(takers)
    share = -(-SLOTS // len(takers))
    assert len(slots) == SLOTS and set(slots) <= set(takers) and max(Counter(slots).values()) <= share
    assert slots == _services.shared(takers[::-1])
    gone = data.draw(st.sampled_from(takers))
    rest = [taker for taker in takers if taker != gone]
    after = _services.shared(rest)
    moved = [old for old, new in zip(slots, after, strict=bool(rest)) if old not in (new, gone)]
    assert len(moved) <= SLOTS // 3


def test_a_client_has_one_member_for_all_ports() -> None:
    by_port = [_services.shared([f"10.1.0.{n} . {port}" for n in (2, 3, 4)]) for port in (8080, 8443)]
    assert [one.split(" ")[0] for one in by_port[0]] == [one.split(" ")[0] for one in by_port[1]]


def test_affinity() -> None:
    found = objects("routed", virtual(backend(2), backend(3), sticky=True))
    for fam, proto in product((4, 6), ("tcp",)):
        assert len(elements(found, f"members-{proto}{fam}")) == SLOTS
        assert set(elements(found, f"services{fam}").values()) == {f"goto sticky-{proto}"}
