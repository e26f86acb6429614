"""Driver aws-vpc: who takes part, which tables a host writes to, and what is told of ways that are missing."""

from __future__ import annotations

import msgspec
import pytest

from support import lab
from weft.base.errors import Invalid
from weft.datapaths.driver import Learnt, Problem, Site
from weft.datapaths.registry import driver, parse_options
from weft.hoststate import Route
from weft.hoststate.cloud import VpcInterface, VpcRoute
from weft.model import Lease

AWS = driver("aws-vpc")


def site(tables: str = "", me: str = "node-1", **facts: object) -> Site:
    return lab.site(lab.network("aws-vpc", options={"route-table-ids": tables}), lab.node(me), **facts)


def towards(here: Site, name: str, **data: str) -> tuple[set[VpcRoute], list[str]]:
    """What this host writes for another one, and what is told about it."""
    lease = lab.lease(here.network, lab.node(name))
    lease = msgspec.structs.replace(lease, data={**lease.data, **data})
    found = list(AWS.peer(here, lab.node(name), lease))
    return {o for o in found if isinstance(o, VpcRoute)}, [p.text for p in found if isinstance(p, Problem)]


def written(here: Site) -> set[str]:
    return {o.table for o in AWS.network(here) if isinstance(o, VpcRoute)}


@pytest.mark.parametrize(("tables", "own"), [("", {"rtb-a"}), ("auto", {"rtb-a"}), ("rtb-b,rtb-c", {"rtb-b", "rtb-c"})])
def test_the_tables_a_host_writes_to(tables: str, own: set[str]) -> None:
    here = site(tables)
    assert written(here) == own
    routes, _ = towards(here, "node-4")
    assert {r.table for r in routes} == ({"rtb-b"} if tables == "auto" else set())
    assert all((r.interface, r.destination, r.place) == ("eni-1", "40.15.43.0/24", "vpc-1") for r in routes)


def test_there_are_no_routes_on_the_host_and_nothing_ends_there() -> None:
    here = site("auto")
    found = [*AWS.network(here), *AWS.peer(here, lab.node("node-4"), lab.lease(here.network, lab.node("node-4")))]
    assert not [o for o in found if isinstance(o, Route)]
    assert [o.place for o in found if isinstance(o, VpcInterface)] == ["eni-1"]


@pytest.mark.parametrize(
    ("tables", "name", "missing"),
    [
        ("", "node-2", ""),
        ("", "node-4", "there and back"),
        ("rtb-a", "node-4", "back"),
        ("rtb-b", "node-4", "there"),
        ("rtb-a,rtb-b", "node-4", ""),
        ("auto", "node-4", ""),
    ],
)
def test_the_way_that_is_missing(tables: str, name: str, missing: str) -> None:
    _, told = towards(site(tables), name)
    assert [line.partition(" is missing")[0] for line in told] == (
        [f"node-4 is in subnet-b, the way {missing}"] if missing else []
    )
    assert all("-O route-table-ids=rtb-a,rtb-b, or with -O route-table-ids=auto" in line for line in told)


def test_both_ends_tell_of_the_same_route() -> None:
    _, near = towards(site("rtb-a"), "node-4")
    _, far = towards(site("rtb-a", "node-4"), "node-1")
    lacks = "40.15.43.0/24 of node-1 is not in rtb-b, which node-4 uses"
    assert lacks in near[0] and "the way back is missing" in near[0]
    assert lacks in far[0] and "the way there is missing" in far[0]


def test_a_host_of_another_vpc_is_refused_and_a_lease_of_one_told() -> None:
    net = lab.network("aws-vpc", options={"vpc-id": "vpc-2"})
    here = lab.site(net, lab.node("node-1"))
    assert AWS.refusal(here.host, net, here.options) == (
        "node-1 is in vpc-1, and network blue in vpc-2: a VPC's routes end at its own interfaces; use driver vxlan between VPCs"
    )
    routes, [told] = towards(site("auto"), "node-4", vpc="vpc-2")
    assert not routes and told.startswith("node-4 is in vpc-2, and this host in vpc-1")


@pytest.mark.parametrize("subnet", ["192.168.200.0/22", "192.168.0.0/16", "192.0.0.0/8"])
def test_a_network_in_the_vpcs_own_prefix_is_refused(subnet: str) -> None:
    net = lab.network("aws-vpc")
    net = msgspec.structs.replace(net, subnets=(type(net.subnets[0])(subnet),))
    host = lab.site(lab.network("aws-vpc"), lab.node("node-1")).host
    assert AWS.refusal(host, net, parse_options(net)) == (
        f"{subnet} overlaps the VPC's own 192.168.0.0/16, which its route tables keep for themselves: choose a prefix outside "
        "of it"
    )


def test_a_host_that_is_not_known_in_ec2_is_refused_and_says_why() -> None:
    here = site(targets={"aws": Learnt(why="no metadata service answers")})
    assert AWS.refusal(here.host, here.network, here.options) == (
        "what node-1 is in EC2 is not known: no metadata service answers"
    )


def test_a_lease_keeps_its_routes_while_nothing_is_known_of_the_host() -> None:
    assert written(site("auto", targets={"aws": Learnt(why="the metadata service is away")})) == {"rtb-a"}


def test_a_lease_that_tells_nothing_is_told_of() -> None:
    here = site("auto")
    bare = Lease(network="blue", node="node-4", subnets=lab.lease(here.network, lab.node("node-4")).subnets)
    told = [p.text for p in AWS.peer(here, lab.node("node-4"), bare) if isinstance(p, Problem)]
    assert told == ["node-4 has not told its interface in the VPC: nothing leads to it; restart its agent"]


@pytest.mark.parametrize("text", ["rtb-1 rtb-2", "main", "rtb-", "auto,rtb-1"])
def test_what_is_no_table(text: str) -> None:
    with pytest.raises(Invalid, match="is not the id of a route table"):
        site(text)
