"""Driver routed: addresses away from their block: moved, wished for elsewhere, borrowed; two networks over one pool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from support.bgp import bird_routes, established
from support.reach import (
    NODES,
    UNDERLAY,
    Container,
    client,
    make_network,
    namespaces,
    ping,
    run,
    run_everywhere,
    shown,
    weft,
)
from support.traffic import Pair, Ping
from support.waiting import note, until
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted
from weft.lab import Lab

POOLS = ("197.19.0.0/16", "fd80:24e2:f998:72d6::/64")
SECOND = 1.0


@pytest.fixture(scope="module")
def prod(lab: Lab) -> Iterator[list[Container]]:
    make_network(lab, "prod", "routed", *POOLS, encap="vxlan-cross-subnet")
    found = run_everywhere(lab, "prod")
    established(lab, NODES, 6)
    until(lambda: all(len(bird_routes(lab.host(h), f)) == 3 for h in NODES[:3] for f in (4, 6)), 20, "BGP's routes")
    yield found


def way(lab: Lab, host: str, address: str) -> tuple[str, str, str] | None:
    """(next hop or "", device, protocol) of the host's route to this address alone."""
    family = ip_address(address).version
    found = shown(lab.host(host), f"ip -j -{family} route show exact {address}/{32 if family == 4 else 128}")
    return next(((r.get("gateway", ""), r["dev"], r["protocol"]) for r in found), None)


def alone(lab: Lab, address: str) -> dict[str, tuple[str, str, str]]:
    """By host, where there is one."""
    return {host: found for host in NODES if (found := way(lab, host, address))}


def audit(lab: Lab) -> tuple[t.Fault, ...]:
    return client(lab, "node-3").check_ipam(t.CheckIpam()).faults


@pytest.mark.parametrize("family", [4, 6])
def test_a_moved_address_answers_at_its_new_host_within_a_second_and_so_back_home(
    lab: Lab, prod: list[Container], tmp_path: Path, family: int
) -> None:
    guest, home = run(lab, "node-1", f"guest-{family}", "prod"), f"new-home-{family}"
    address = guest.address(family)
    namespaces(lab.host("node-2"), [home])
    before = alone(lab, address)
    assert before == {"node-1": ("", guest.endpoint.host_interface, "87")}
    flows = [Ping(Pair(c.inside, guest.inside, address), tmp_path / c.name) for c in (prod[0], *prod[2:])]
    gaps = []
    try:
        until(lambda: all(flow.answered_after(0) for flow in flows), 10, "answers")
        for host, target in (("node-2", home), ("node-1", guest.name)):
            numbers = [flow.latest() for flow in flows]
            done = weft(lab, host, "endpoint", "move", guest.name, target)
            assert done.returncode == 0, done
            took = until(
                lambda numbers=numbers: all(f.answered_after(n) for f, n in zip(flows, numbers, strict=True)),
                10,
                f"answers from {host}",
            )
            gaps.append(max(flow.loss(since).gap for flow, since in zip(flows, numbers, strict=True)))
            if host == "node-2":
                _moved(lab, address, family, home)
                assert {ping(c.inside, address).ttl for c in prod[2:]} == {62}
            else:
                gone = until(lambda: alone(lab, address) == before, SECOND, lambda: f"{alone(lab, address)}")
                note(f"v{family}: its own routes are gone {took + gone:.2f} s after it came home")
    finally:
        for flow in flows:
            flow.end()
    note(f"v{family}: silent for {gaps[0]:.3f} s as it went, {gaps[1]:.3f} s as it came home")
    assert max(gaps) < SECOND
    assert audit(lab) == ()
    lab.host("node-2").must("end", ["ip", "netns", "del", home])
    lab.rm("node-1", guest.name)


def _moved(lab: Lab, address: str, family: int, home: str) -> None:
    """It has a route of its own on every host: BGP's on the segment, the tunnel's behind the router."""
    endpoint = client(lab, "node-2").endpoint(address)
    assert (endpoint.node, endpoint.container) == ("node-2", home)
    until(lambda: set(alone(lab, address)) == set(NODES), SECOND, lambda: f"routes to it alone: {alone(lab, address)}")
    found = alone(lab, address)
    assert found["node-2"] == ("", endpoint.host_interface, "87")
    for host in ("node-1", "node-3"):
        assert found[host] == (UNDERLAY["node-2"][family], "eth0", "bird")
    assert found["node-4"][1:] == ("weft.4096", "87")


def test_the_same_wish_on_another_host(lab: Lab, prod: list[Container]) -> None:
    guest = run(lab, "node-1", "guest", "prod")
    wishes = [str(a.ip) for a in guest.endpoint.addresses]
    lab.rm("node-1", "guest")
    lab.run("node-4", "guest", network="prod", ip=wishes)
    for address in wishes:
        until(lambda a=address: set(alone(lab, a)) == set(NODES), SECOND, lambda a=address: f"{alone(lab, a)}")
        assert all(ping(c.inside, address).ok for c in prod)
    lab.rm("node-4", "guest")
    for address in wishes:
        until(lambda a=address: not alone(lab, a), SECOND, lambda a=address: f"no route: {alone(lab, a)}")
    lab.run("node-1", "guest", network="prod", ip=wishes)
    assert set(alone(lab, wishes[0])) == {"node-1"}
    assert all(ping(c.inside, address).ok for c in prod for address in wishes)
    lab.rm("node-1", "guest")


def test_a_move_that_cannot_be_changes_nothing(lab: Lab, prod: list[Container]) -> None:
    before = client(lab, "node-1").endpoints()
    for words, says in (("prod-1 prod-2", "prod-2"), ("nobody prod-2", "no endpoint nobody"), ("prod-1 gone", "gone")):
        done = weft(lab, "node-2", "endpoint", "move", *words.split())
        assert done.returncode != 0 and says in done.stderr and done.stderr.count("\n") == 1, done
    assert client(lab, "node-1").endpoints() == before
    assert ping(prod[2].inside, prod[0].address(4)).ok


# -------------------------------------------------------------------------------------------------------- borrowing


def test_where_blocks_run_out_addresses_are_borrowed_and_routed_alone(lab: Lab, prod: list[Container]) -> None:
    """Four blocks of four, one for each node; node-1 has four containers, and then more."""
    make_network(lab, "tiny", "routed", "10.71.0.0/28", block_size="30", encap="vxlan-cross-subnet", vni="7")
    mates = run_everywhere(lab, "tiny")
    more = [run(lab, "node-1", f"more-{number}", "tiny") for number in range(5)]
    (held,) = [lease for lease in client(lab, "node-1").network("tiny").leases if lease.node == "node-1"]
    (block,) = held.subnets
    outside = [c for c in more if ip_address(c.address(4)) not in block]
    assert [c.name for c in outside] == ["more-3", "more-4"]
    for borrower in outside:
        address = borrower.address(4)
        took = until(lambda a=address: set(alone(lab, a)) == set(NODES), 5, lambda a=address: f"{alone(lab, a)}")
        note(f"a borrowed address is routed everywhere {took:.2f} s after attach")
        found = alone(lab, address)
        assert found["node-2"] == found["node-3"] == (UNDERLAY["node-1"][4], "eth0", "bird")
        assert found["node-4"] == (UNDERLAY["node-1"][4], "weft.7", "87")
        assert all(ping(mate.inside, address).ok for mate in mates)
    shown_to_us = json.loads(weft(lab, "node-1", "ipam", "show", "tiny", "-o", "json").stdout)
    assert sum(b["borrowed"] for n in shown_to_us for b in n["blocks"]) == 2
    for borrower in outside:
        lab.rm("node-1", borrower.name)
        address = borrower.address(4)
        until(lambda a=address: not alone(lab, a), 5, "its route to be gone")
    assert audit(lab) == ()
    for mate in (*mates, *more[:3]):
        lab.rm(mate.host, mate.name)
    client(lab, "node-1").remove_network("tiny")


def test_unless_that_is_forbidden(lab: Lab, prod: list[Container]) -> None:
    make_network(lab, "strict", "routed", "10.72.0.0/29", block_size="30", strict_affinity="true")
    full = [run(lab, host, f"s{n}", "strict") for host in ("node-1", "node-2") for n in range(4)]
    namespaces(lab.host("node-1"), ["fifth"])
    with pytest.raises(Exhausted, match=r"strict-affinity forbids borrowing: .*`weft pool add strict CIDR`"):
        client(lab, "node-1").attach(t.Attach(target="fifth", network="strict"))
    done = weft(lab, "node-1", "pool", "add", "strict", "10.73.0.0/24")
    assert done.returncode == 0, done
    until(lambda: len(client(lab, "node-1").network("strict").subnets) == 2, 5, "the pool")
    made = client(lab, "node-1").attach(t.Attach(target="fifth", network="strict"))
    assert made.addresses[0].ip in ip_network("10.73.0.0/24")
    until(lambda: ping(full[-1].inside, str(made.addresses[0].ip), wait=1).ok, 5, "it to be reached")
    client(lab, "node-1").detach("fifth")
    lab.host("node-1").must("end", ["ip", "netns", "del", "fifth"])
    for container in full:
        lab.rm(container.host, container.name)
    client(lab, "node-1").remove_network("strict")


# ------------------------------------------------------------------------------------------- networks over one pool


def test_two_networks_over_one_pool(lab: Lab, prod: list[Container]) -> None:
    done = weft(lab, "node-1", "network", "create", "dev", "--driver", "routed", "-O", "share=prod")
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: all("dev" in {n.name for n in client(lab, h).networks()} for h in NODES), 5, "dev everywhere")
    leases = {lease.node: lease.subnets for lease in client(lab, "node-1").network("prod").leases}
    mine, near, far = (run(lab, host, f"dev-{host[-1]}", "dev") for host in ("node-1", "node-2", "node-4"))
    assert {e.network for e in (mine.endpoint, far.endpoint)} == {"dev"}
    assert {lease.node: lease.subnets for lease in client(lab, "node-1").network("prod").leases} == leases
    for container in (mine, near, far):
        for a in container.endpoint.addresses:
            assert any(a.ip in block for block in leases[container.host]), "side by side in one block"
    assert all(ping(mine.inside, other.address(f)).ttl == 62 for other in (near, far) for f in (4, 6))
    with pytest.raises(Conflict, match="network prod is shared by dev: remove that first"):
        client(lab, "node-1").remove_network("prod", force=True)
    for container in (mine, near, far):
        lab.rm(container.host, container.name)
    client(lab, "node-1").remove_network("dev")
    assert ping(prod[0].inside, prod[3].address(4)).ok
