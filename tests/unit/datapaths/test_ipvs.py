"""Services whose connections IPVS spreads: what is wanted of the kernel."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from support import lab
from weft.base.errors import Invalid
from weft.compile import services
from weft.datapaths._ipvs import mark_of
from weft.datapaths._virtual import Backend, Face, Virtual
from weft.datapaths.driver import Problem
from weft.datapaths.registry import DRIVERS, parse_options
from weft.hoststate import Address, Ipvs, IpvsDestination, IpvsService, NftChain, NftElement, Object

VIPS = ip_address("40.15.255.1"), ip_address("fd40:15::ffff:1")
NET = lab.network("overlay", (4, 6), options={"vni": 300, "balancer": "ipvs"})
SITE = lab.site(NET, lab.node("node-1"))


def backend(number: int, *, takes: bool = True) -> Backend:
    addresses = ip_address(f"40.15.0.{number}"), ip_address(f"fd40:15::{number}")
    return Backend(addresses=addresses, mac=f"02:42:00:00:00:0{number}", here=number == 2, takes=takes)


def wanted(*faces: Face, sticky: bool = False) -> list[Object]:
    balancer = DRIVERS["overlay"].balancer(SITE)
    assert balancer is not None
    backends = tuple({b: None for face in faces for b, _ in face.backends})
    virtual = Virtual(addresses=VIPS, sticky=sticky, faces=faces, backends=backends)
    return [*services.common(SITE, balancer), *services.answer(SITE, balancer, virtual)]


def face(port: int, *backends: tuple[Backend, int], protocol: str = "tcp") -> Face:
    return Face(protocol=protocol, port=port, backends=backends)


def destinations(found: Iterable[Object]) -> dict[tuple[str, int], int]:
    return {(o.address, o.port): o.weight for o in found if isinstance(o, IpvsDestination)}


def test_each_port_has_a_mark_and_a_service_of_each_family() -> None:
    found = wanted(face(80, (backend(2), 8080)), face(53, (backend(2), 53), protocol="udp"))
    marks = {o.mark: (o.family, o.scheduler) for o in found if isinstance(o, IpvsService)}
    assert marks == {
        mark_of(vip, protocol, port): (vip.version, "rr")
        for vip in VIPS
        for protocol, port in (("tcp", 80), ("udp", 53))
    }
    elements = {o.value: o.to for o in found if isinstance(o, NftElement) and o.set.startswith("services")}
    assert elements[f"{VIPS[0]} . tcp . 80"] == f"goto ipvs-{mark_of(VIPS[0], 'tcp', 80)}"
    chains = {o.name for o in found if isinstance(o, NftChain)}
    assert {to.removeprefix("goto ") for to in elements.values()} <= chains
    assert next(o for o in found if isinstance(o, Ipvs)).established == 432_000
    assert {o.address for o in found if isinstance(o, Address)} == {f"{VIPS[0]}/32", f"{VIPS[1]}/128"}


def test_a_destination_says_the_members_port_where_it_is_another() -> None:
    found = destinations(wanted(face(80, (backend(2), 80), (backend(3), 8080))))
    assert found == {(f"40.15.0.{n}", port): 1 for n, port in ((2, 0), (3, 8080))} | {
        (f"fd40:15::{n}", port): 1 for n, port in ((2, 0), (3, 8080))
    }


def test_who_takes_no_connections_keeps_its_own_where_they_have_an_end() -> None:
    leaving = backend(3, takes=False)
    tcp = destinations(wanted(face(80, (backend(2), 80), (leaving, 80))))
    udp = destinations(wanted(face(53, (backend(2), 53), (leaving, 53), protocol="udp")))
    assert tcp["40.15.0.3", 0] == 0 and tcp["40.15.0.2", 0] == 1
    assert ("40.15.0.3", 0) not in udp


def test_without_a_member_that_takes_connections_nothing_is_marked() -> None:
    found = wanted(face(80, (backend(3, takes=False), 80)), face(81))
    assert not [o for o in found if isinstance(o, NftElement) and o.set.startswith("services")]
    assert destinations(found) == {("40.15.0.3", 0): 0, ("fd40:15::3", 0): 0}


def test_affinity_is_the_schedulers() -> None:
    found = wanted(face(80, (backend(2), 80)), sticky=True)
    assert {o.scheduler for o in found if isinstance(o, IpvsService)} == {"mh"}


def test_marks_are_the_same_everywhere_and_all_different() -> None:
    marks = {mark_of(ip_address(f"10.0.0.{n}"), p, port) for n in range(50) for p in ("tcp", "udp") for port in (1, 80)}
    assert len(marks) == 200 and all(0 < mark < 1 << 31 for mark in marks)
    assert mark_of(VIPS[0], "tcp", 80) == 1_829_425_154


@pytest.mark.parametrize("driver", sorted(DRIVERS.keys() - {"overlay"}))
def test_other_drivers_refuse_it(driver: str) -> None:
    with pytest.raises(Invalid, match=f"driver {driver} has no option 'balancer': it takes "):
        parse_options(lab.network(driver, options={"balancer": "ipvs"}))


def test_a_host_whose_kernel_has_none_says_so() -> None:
    site = lab.site(NET, lab.node("node-1"), lacking=frozenset({"ip_vs"}))
    (problem,) = [found for found in DRIVERS["overlay"].network(site) if isinstance(found, Problem)]
    assert problem.text == (
        "the kernel of node-1 has no ip_vs, which balancer=ipvs needs: load the module there (modprobe ip_vs), or make "
        "network blue without -O balancer=ipvs"
    )
    plain = lab.site(lab.network("overlay", options={"vni": 300}), lab.node("node-1"), lacking=frozenset({"ip_vs"}))
    assert not [found for found in DRIVERS["overlay"].network(plain) if isinstance(found, Problem)]
