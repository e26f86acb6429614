"""Driver neutron-routes with hosts in two subnets of one router: packets by that router's extra routes and through ports that
check addresses, what happens when somebody takes these away, and when Neutron is away. At the end the checks that every driver
has to pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from support.conformance import CHECKS, Case, Check, build, line
from support.neutron_router import Cloud, cloud
from support.neutron_server import NeutronServer
from support.openstack_hosts import neutron_error
from support.reach import (
    NODES,
    OUTSIDE,
    UNDERLAY,
    Container,
    PeerServer,
    client,
    converged,
    make_network,
    ping,
    refused,
    run_everywhere,
    seen_as,
    shown,
    weft,
)
from support.waiting import until
from weft.lab import matrix
from weft.model import Network

PREFIXES = ("40.15.0.0/16", "fd40:15::/48")
RESYNC = 5


@pytest.fixture(scope="module")
def openstack(
    lab_base: str, neutron_server: NeutronServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("openstack")
    with (
        pytest.MonkeyPatch.context() as environment,
        cloud("neutron-routes", neutron_server, directory, environment, resync=RESYNC) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def both(openstack: Cloud) -> list[Container]:
    """A network of both families, and a container on each node."""
    network = Network(name="both", driver="neutron-routes", subnets=tuple(map(ip_network, PREFIXES)))
    client(openstack.lab, "node-1").create_network(network)
    until(lambda: len(openstack.hosts.routes()) == 8, 90, "each host to find out what it is, and to write")
    converged(openstack.lab)
    return run_everywhere(openstack.lab, "both")


def expected(containers: list[Container]) -> dict[str, set[str]]:
    return {c.subnet(family): {UNDERLAY[c.host][family]} for c in containers for family in (4, 6)}


def test_each_reaches_each_by_the_router(openstack: Cloud, both: list[Container]) -> None:
    until(lambda: openstack.hosts.routes() == expected(both), 30, lambda: str(openstack.hosts.routes()))
    for c in both:
        assert sorted(openstack.hosts.pairs(c.host)) == sorted(c.subnet(family) for family in (4, 6))
    until(lambda: ping(both[0].inside, both[3].address(6), wait=1).ok, 10, "the router to follow")
    pings = matrix.measure(matrix.containers(openstack.lab, "both"))
    assert len(pings) == 24 and [f"{p.source} {p.address}" for p in pings if not p.ok] == []
    assert ping(both[0].inside, both[1].address(4), "-M", "do", "-s", str(1500 - 28)).ttl == 61
    found = {r["dst"]: r.get("gateway", r["dev"]) for r in shown(openstack.lab.host("node-1"), "ip -j route")}
    assert found == {"default": "192.168.1.1", "192.168.1.0/24": "eth0", both[0].subnet(4): "weft-both"}
    assert client(openstack.lab, "node-1").network("both").options["router"] == openstack.hosts.router


def test_a_trace_goes_by_the_router(openstack: Cloud, both: list[Container]) -> None:
    ends = [f"{c.host}/{c.name}" for c in (both[0], both[3])]
    done = weft(openstack.lab, "node-1", "trace", *ends)
    assert f"{openstack.hosts.router}: {both[3].subnet(4)} to {UNDERLAY['node-4'][4]}" in done.stdout
    assert done.returncode == 0 and "the way back: delivered" in done.stdout


def test_the_way_out_is_masqueraded(openstack: Cloud, both: list[Container]) -> None:
    with PeerServer(openstack.lab.host("outside")):
        assert seen_as(both[3].inside, OUTSIDE[4]) == UNDERLAY["node-4"][4]
    with PeerServer(both[0].inside):
        assert seen_as(both[3].inside, both[0].address(4)) == both[3].address(4)


def test_a_route_that_is_deleted_comes_back_and_is_told(openstack: Cloud, both: list[Container]) -> None:
    lost, hop = both[1].subnet(4), UNDERLAY["node-2"][4]
    before = client(openstack.lab, "node-2").status().repairs
    openstack.hosts.drop_route(lost, hop)
    until(lambda: lost in openstack.hosts.routes(), RESYNC + 15, "the route")
    until(lambda: ping(both[0].inside, both[1].address(4), wait=1).ok, 5, "the router to follow")
    status = client(openstack.lab, "node-2").status()
    assert status.repairs > before and f"router-route {lost} {hop}" in status.last_repair


def test_another_next_hop_is_taken_away(openstack: Cloud, both: list[Container]) -> None:
    """Somebody's route to node-2's containers by node-3: half of the packets would go there."""
    wrong = both[1].subnet(4), UNDERLAY["node-3"][4]
    openstack.hosts.add_route(*wrong)
    until(lambda: openstack.hosts.routes() == expected(both), RESYNC + 15, lambda: str(openstack.hosts.routes()))


def test_a_pair_that_is_removed_comes_back(openstack: Cloud, both: list[Container]) -> None:
    """The user's own stays."""
    mine = sorted(both[1].subnet(family) for family in (4, 6))
    openstack.hosts.set_pairs("node-2", "10.99.0.0/16")
    until(lambda: not ping(both[0].inside, both[1].address(4), wait=1).ok, 5, "the port to drop")
    wanted = sorted([*mine, "10.99.0.0/16"])
    until(lambda: sorted(openstack.hosts.pairs("node-2")) == wanted, RESYNC + 15, "the pairs")
    until(lambda: ping(both[0].inside, both[1].address(4), wait=1).ok, 5, "the port to follow")


def test_packets_go_on_while_neutron_is_away(openstack: Cloud, both: list[Container]) -> None:
    openstack.proxy.away = True
    try:
        until(lambda: client(openstack.lab, "node-1").status().state == "degraded", 40, "it to be told")
        told = " ".join(x.reason for x in client(openstack.lab, "node-1").status().troubles)
        assert "OpenStack does not answer" in told
        for other in both[1:]:
            assert ping(both[0].inside, other.address(4)).ok
        openstack.hosts.drop_route(both[2].subnet(4), UNDERLAY["node-3"][4])
    finally:
        openstack.proxy.away = False
    until(lambda: openstack.hosts.routes() == expected(both), 60, "the route that was deleted meanwhile")
    until(lambda: all(client(openstack.lab, n).status().state == "converged" for n in NODES), 60, "all to be well")


def test_a_full_router_is_that_nodes_trouble(openstack: Cloud, both: list[Container]) -> None:
    full = neutron_error("RoutesExhausted", "The number of routes exceeds the maximum 30.")
    openstack.proxy.refuse["add_extraroutes"] = (400, full, {})
    lost = both[3].subnet(4)
    try:
        openstack.hosts.drop_route(lost, UNDERLAY["node-4"][4])
        until(lambda: client(openstack.lab, "node-4").status().troubles, RESYNC + 15, "it to be told")
        [told] = client(openstack.lab, "node-4").status().troubles
        assert "the router has all the extra routes that it may have: have max_routes raised" in told.reason
        assert not client(openstack.lab, "node-1").status().troubles
    finally:
        openstack.proxy.well()
    until(lambda: lost in openstack.hosts.routes(), 60, "the route")
    until(lambda: all(client(openstack.lab, n).status().state == "converged" for n in NODES), 60, "all to be well")


def test_what_cannot_be_is_refused_in_plain_words(openstack: Cloud, both: list[Container]) -> None:
    create = "network create x --driver neutron-routes --subnet"
    assert refused(openstack.lab, f"{create} 192.168.0.0/17") == (
        "network x: 192.168.0.0/17 overlaps 192.168.0.0/24, a subnet that the router joins itself: choose a prefix "
        "outside of it"
    )
    assert refused(openstack.lab, f"{create} 40.20.0.0/16 -O router=r9") == (
        f"network x: router r9 does not join the subnet of node-1: those that do are {openstack.hosts.router}; add it there "
        "(openstack router add subnet)"
    )


def test_the_plan_and_the_doctor(openstack: Cloud, both: list[Container]) -> None:
    assert weft(openstack.lab, "node-1", "plan").stdout == ""
    found = {f["check"]: f["result"] for f in json.loads(weft(openstack.lab, "node-1", "doctor", "-o", "json").stdout)}
    assert found[f"extra routes of router {openstack.hosts.router}"] == "ok"
    assert found["security groups, from 40.15.0.0/16"] == "warning", "the fake cloud's default group lets nothing in"


def test_a_killed_agent_changes_nothing_when_it_comes_back(openstack: Cloud, both: list[Container]) -> None:
    agent = openstack.lab.agent("node-3")
    agent.end(9)
    openstack.proxy.calls.clear()
    agent.start()
    agent.wait_ready(60)
    until(lambda: client(openstack.lab, "node-3").status().state == "converged", 30, "it to be well")
    until(lambda: f"/ports/{openstack.hosts.ports['node-3']}" in " ".join(openstack.proxy.calls), 30, "it to look")
    assert not openstack.proxy.made()
    assert openstack.hosts.routes() == expected(both)


def test_neighbours_reach_each_other_directly_if_asked_for(openstack: Cloud, both: list[Container]) -> None:
    make_network(openstack.lab, "near", "neutron-routes", "40.16.0.0/16", direct="true")
    one, two, far = run_everywhere(openstack.lab, "near", ("node-1", "node-2", "node-4"))
    until(lambda: ping(one.inside, far.address(4), wait=1).ok, 15, "the router to follow")
    assert (ping(one.inside, two.address(4)).ttl, ping(one.inside, far.address(4)).ttl) == (62, 61)
    weft(openstack.lab, "node-1", "network", "rm", "near", "--force")
    until(lambda: openstack.hosts.routes() == expected(both), 30, "its routes to go")
    until(lambda: len(openstack.hosts.pairs("node-1")) == 2, 30, "its pairs to go")


@pytest.fixture(scope="module")
def case(openstack: Cloud, both: list[Container]) -> Case:
    """After all else: it looks whether anything is left on a host."""
    weft(openstack.lab, "node-1", "network", "rm", "both", "--force")
    until(lambda: not openstack.hosts.routes() and not openstack.hosts.pairs("node-1"), 30, "all to go")
    converged(openstack.lab)
    return build(openstack.lab, line("neutron-routes"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(case: Case, check: Check) -> None:
    check(case)
