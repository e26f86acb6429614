"""Driver neutron-routes: which router leads to a host, what is written to it, and who cannot take part."""

from __future__ import annotations

import msgspec
import pytest

from support import lab
from weft.datapaths.driver import Learnt, Problem, Site
from weft.datapaths.registry import driver, parse_options
from weft.hoststate import Route
from weft.hoststate.cloud import AddressPair, RouterRoute
from weft.model.network import OptionValue

ROUTES = driver("neutron-routes")


def learnt(name: str = "node-1", **facts: str) -> dict[str, Learnt]:
    return {"openstack": Learnt({**lab.targets(name)["openstack"].facts, **facts})}


def site(me: str = "node-1", families: tuple[int, ...] = (4, 6), **options: OptionValue) -> Site:
    return lab.site(lab.network("neutron-routes", families, options=options), lab.node(me))


def refusal(here: Site, **facts: str) -> str:
    host = msgspec.structs.replace(here.host, targets=learnt(**facts))
    return ROUTES.refusal(host, here.network, here.options)


def test_a_host_leads_to_its_own_subnets_and_its_port_takes_them() -> None:
    here = site()
    found = list(ROUTES.network(here))
    assert [(o.place, o.destination, o.next_hop) for o in found if isinstance(o, RouterRoute)] == [
        ("router-1", "40.15.43.0/24", "192.168.1.68"),
        ("router-1", "fd40:15:0:43::/64", "fd01:a::68"),
    ]
    assert [(o.place, o.prefix) for o in found if isinstance(o, AddressPair)] == [
        ("port-1", "40.15.43.0/24"),
        ("port-1", "fd40:15:0:43::/64"),
    ]
    assert ROUTES.table(here.lease) == "router-1"


def test_a_port_without_security_needs_no_pairs() -> None:
    here = site()
    lease = msgspec.structs.replace(here.lease, data={**here.lease.data, "port-security": "off"})
    found = list(ROUTES.network(msgspec.structs.replace(here, lease=lease)))
    assert not [o for o in found if isinstance(o, AddressPair)] and [o for o in found if isinstance(o, RouterRoute)]


@pytest.mark.parametrize("direct", [False, True])
def test_there_are_routes_on_the_host_only_to_neighbours_and_if_asked_for(direct: bool) -> None:
    here = site(direct=direct, families=(4,))
    nodes = [lab.node(name) for name in ("node-2", "node-4")]
    found = [o for node in nodes for o in ROUTES.peer(here, node, lab.lease(here.network, node))]
    assert [(o.prefix, o.via) for o in [*found, *ROUTES.network(here)] if isinstance(o, Route)] == (
        [("40.15.26.0/24", "192.168.1.254")] if direct else []
    )
    assert not [o for o in found if isinstance(o, RouterRoute | Problem)]


def test_a_host_without_an_address_of_a_family_is_told_so() -> None:
    here = site()
    host = msgspec.structs.replace(here.host, node=lab.node("node-1", (4,)))
    found = list(ROUTES.network(msgspec.structs.replace(here, host=host)))
    assert [o.destination for o in found if isinstance(o, RouterRoute)] == ["40.15.43.0/24"]
    [told] = [p.text for p in found if isinstance(p, Problem)]
    assert told.startswith("node-1 has no IPv6 address on eth0: the router cannot lead fd40:15:0:43::/64 to it")


def test_a_peer_that_has_not_told_its_port() -> None:
    here = site()
    lease = msgspec.structs.replace(lab.lease(here.network, lab.node("node-2")), data={})
    [told] = [p.text for p in ROUTES.peer(here, lab.node("node-2"), lease) if isinstance(p, Problem)]
    assert told == "node-2 has not told its port in Neutron: nothing leads to it; restart its agent"


@pytest.mark.parametrize(
    ("router", "facts", "text"),
    [
        ("", {}, ""),
        ("router-1", {}, ""),
        ("", {"routers": "r1 r2", "gateway": "r2"}, ""),
        ("r1", {"routers": "r1 r2", "gateway": "r2"}, ""),
        ("", {"routers": "r1", "gateway": ""}, ""),
        ("", {"routers": "r1 r2", "gateway": ""},
         "several routers join the subnet of node-1, and none is its gateway: name one with -O router=ID: r1, r2"),
        ("r9", {}, "router r9 does not join the subnet of node-1: those that do are router-1; add it there (openstack router "
         "add subnet)"),
        ("r9", {"routers": "", "gateway": ""},
         "router r9 does not join the subnet of node-1: none does; add it there (openstack router add subnet)"),
        ("", {"routers": "", "gateway": ""},
         "no router of Neutron's joins the subnet of node-1: add it to one (openstack router add subnet)"),
        ("", {"routers": "", "gateway": "", "hidden": "r3"},
         "router r3 joins the subnet of node-1, but the credentials do not show it: use those of its own project"),
        ("r3", {"hidden": "r3"},
         "router r3 joins the subnet of node-1, but the credentials do not show it: use those of its own project"),
        ("", {"subnets": "40.15.7.0/24"},
         "40.15.0.0/16 overlaps 40.15.7.0/24, a subnet that the router joins itself: choose a prefix outside of it"),
    ],
)  # fmt: skip
def test_who_cannot_take_part(router: str, facts: dict[str, str], text: str) -> None:
    assert refusal(site(router=router), **facts) == text


def test_what_is_not_known_of_a_host_is_told() -> None:
    here = site()
    host = msgspec.structs.replace(here.host, targets={"openstack": Learnt(why="no port in Neutron has 192.168.1.68")})
    why = "what node-1 is in OpenStack is not known: no port in Neutron has 192.168.1.68"
    assert ROUTES.refusal(host, here.network, here.options) == why
    bare = msgspec.structs.replace(here, host=host, lease=msgspec.structs.replace(here.lease, data={}))
    assert [p.text for p in ROUTES.network(bare) if isinstance(p, Problem)] == [why]


def test_the_router_is_the_gateway_of_the_host_where_the_network_is_made() -> None:
    here = site()
    host = msgspec.structs.replace(here.host, targets=learnt(routers="r1 r2", gateway="r2"))
    assert ROUTES.fixed["router"](host) == "r2"
    assert ROUTES.lease_data(host, here.network, parse_options(here.network))["router"] == "r2"
    named = parse_options(lab.network("neutron-routes", options={"router": "r1"}))
    assert ROUTES.lease_data(host, here.network, named) == {"router": "r1", "port": "port-1", "port-security": "on"}
