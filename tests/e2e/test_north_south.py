"""In and out of container networks: masquerade, internal networks, and other people's firewalls."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.reach import (
    NODES,
    OUTSIDE,
    UNDERLAY,
    Container,
    PeerServer,
    make_network,
    ping,
    run,
    run_everywhere,
    seen_as,
    shown,
)
from support.waiting import until
from weft.lab import Lab
from weft.lab.inside import Inside

PREFIXES = {
    "over": ("10.1.0.0/16", "fd00:1::/48"),
    "flat": ("10.2.0.0/16", "fd00:2::/48"),
    "inner": ("10.3.0.0/16", "fd00:3::/48"),
}
Networks = dict[str, list[Container]]


@pytest.fixture(scope="module")
def networks(lab: Lab) -> Networks:
    """`over` by vxlan, `flat` by host-gw on segment a, `inner` by vxlan and internal."""
    make_network(lab, "over", "vxlan", *PREFIXES["over"], reach="flat")
    make_network(lab, "flat", "host-gw", *PREFIXES["flat"], reach="over")
    make_network(lab, "inner", "vxlan", *PREFIXES["inner"], internal=True, vni="2")
    return {name: run_everywhere(lab, name, NODES[:3] if name == "flat" else NODES) for name in PREFIXES}


# ------------------------------------------------------------------------------------------------------ masquerade


@pytest.mark.parametrize("family", [4, 6])
def test_between_networks_neither(networks: Networks, family: int) -> None:
    """Also from one network to another, over hosts."""
    source, target = networks["flat"][0], networks["over"][1]
    with PeerServer(target.inside):
        assert seen_as(source.inside, target.address(family)) == source.address(family)


# -------------------------------------------------------------------------------------------------------- internal


@pytest.mark.parametrize("family", [4, 6])
def test_an_internal_network_has_no_default_route(networks: Networks, family: int) -> None:
    for container in networks["inner"]:
        routes = [r for r in shown(container.inside, f"ip -j -{family} route") if not r["dst"].startswith("fe80:")]
        assert {(r["dst"], r.get("gateway", "")) for r in routes} == {
            (container.subnet(family), ""),
            (PREFIXES["inner"][family == 6], container.gateway(family)),
        }
        assert "unreachable" in ping(container.inside, OUTSIDE[family]).text.lower()


@pytest.mark.parametrize("family", [4, 6])
def test_inside_it_all_reach_all(networks: Networks, family: int) -> None:
    mine, *others = networks["inner"]
    assert [ping(mine.inside, other.address(family)).ttl for other in others] == [62, 62, 62]


@pytest.fixture
def forced(lab: Lab, networks: Networks) -> Iterator[tuple[Container, Container]]:
    """Two of node-1's containers, of `inner` and of `over`, each with routes to everywhere; the router has routes to both,
    by way of node-1. So what is between them and the rest are rules, not the want of a route."""
    closed, open_ = networks["inner"][0], networks["over"][0]
    undo: list[tuple[Inside, str]] = []

    def route(inside: Inside, family: int, what: str) -> None:
        inside.must("route", f"ip -{family} route add {what}".split())
        undo.append((inside, f"ip -{family} route del {what}"))

    try:
        for family, whole in ((4, "0.0.0.0/1"), (6, "2000::/3")):
            # Not a default route, which would be put right in time.
            route(closed.inside, family, f"{whole} via {closed.gateway(family)}")
            for container in (closed, open_):
                route(lab.host("router"), family, f"{container.subnet(family)} via {UNDERLAY['node-1'][family]}")
        route(closed.inside, 4, f"128.0.0.0/1 via {closed.gateway(4)}")
        route(closed.inside, 6, f"fc00::/7 via {closed.gateway(6)}")
        yield closed, open_
    finally:
        for inside, command in undo:
            inside.must("route", command.split())


@pytest.mark.parametrize("family", [4, 6])
def test_not_even_with_a_route_is_there_a_way_out_of_it_or_in(
    lab: Lab, networks: Networks, forced: tuple[Container, Container], family: int
) -> None:
    closed, open_ = forced
    router, other = lab.host("router"), networks["over"][1]
    assert ping(router, open_.address(family)).ok, "in, were it not internal"
    assert ping(other.inside, open_.address(family)).ok
    tries = [(source, closed.address(family)) for source in (router, open_.inside, other.inside)]
    targets = (OUTSIDE[family], open_.address(family), other.address(family), UNDERLAY["node-2"][family])
    tries += [(closed.inside, target) for target in targets]
    with ThreadPoolExecutor(len(tries)) as pool:
        pongs = list(pool.map(lambda one: ping(*one, wait=1), tries))
    assert [(source.name, target) for (source, target), pong in zip(tries, pongs, strict=True) if pong.ok] == []


# --------------------------------------------------------------------------------- iptables -P FORWARD DROP, as Docker

IPTABLES = [
    pytest.param(family, backend, marks=pytest.mark.skipif(not shutil.which(f"iptables-{backend}"), reason="missing"))
    for backend in ("nft", "legacy")
    for family in (4, 6)
]


def program(family: int, backend: str) -> str:
    return f"{'iptables' if family == 4 else 'ip6tables'}-{backend}"


def flush(inside: Inside, family: int, backend: str) -> None:
    inside.must("policy", [program(family, backend), "-P", "FORWARD", "ACCEPT"])


@pytest.mark.parametrize(("family", "backend"), IPTABLES)
def test_forward_drop_set_afterwards(lab: Lab, networks: Networks, family: int, backend: str) -> None:
    """On both ends of the way, and on it."""
    near, far = networks["over"][0], networks["over"][3]
    hosts = [lab.host(near.host), lab.host(far.host)]
    try:
        for host in hosts:
            host.must("policy", [program(family, backend), "-P", "FORWARD", "DROP"])
        until(lambda: ping(near.inside, far.address(family), wait=1).ok, 20, "the other container")
        assert ping(near.inside, OUTSIDE[family]).ok
        assert ping(networks["flat"][0].inside, networks["flat"][1].address(family)).ok
        # What is not ours still meets the policy.
        rules = hosts[0].must("rules", [f"{program(family, backend)}-save", "-t", "filter"])
        assert ":FORWARD DROP" in rules
    finally:
        for host in hosts:
            flush(host, family, backend)


@pytest.mark.parametrize(("family", "backend"), IPTABLES)
def test_forward_drop_set_before_the_network_is_made(lab: Lab, networks: Networks, family: int, backend: str) -> None:
    hosts = [lab.host(name) for name in ("node-2", "node-3")]
    name = f"late{family}{backend}"
    octet = 20 + family + (backend == "legacy")
    try:
        for host in hosts:
            host.must("policy", [program(family, backend), "-P", "FORWARD", "DROP"])
        make_network(lab, name, "host-gw", f"10.{octet}.0.0/16", f"fd00:{octet}::/48")
        one, two = (run(lab, host.name, f"{name}-{host.name[-1]}", name) for host in hosts)
        until(lambda: ping(one.inside, two.address(family), wait=1).ok, 20, "the other container")
        assert ping(one.inside, OUTSIDE[family]).ok
    finally:
        for host in hosts:
            flush(host, family, backend)


def test_tunnel_packets_are_not_connection_tracked(lab: Lab, networks: Networks) -> None:
    for container in networks["over"][1:]:
        assert ping(networks["over"][0].inside, container.address(4)).ok
    for name in ("node-1", "node-4"):
        host = lab.host(name)
        assert "icmp" in host.must("conntrack", ["conntrack", "-L"]), "connections are tracked here"
        assert host.must("conntrack", ["conntrack", "-L", "-p", "udp", "--dport", "8472"]).strip() == ""
