"""Driver aws-vpc in a VPC of two subnets: packets between hosts by the VPC's tables alone, and what happens when these, the
API, or the credentials are not as they should be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.reach import (
    NODES,
    OUTSIDE,
    Container,
    PeerServer,
    client,
    make_network,
    ping,
    refused,
    run_everywhere,
    shown,
    weft,
)
from support.vpc import Cloud, cloud
from support.waiting import until
from weft.lab import matrix

PREFIX = "40.15.0.0/16"
SETTLING = 10.0
"""Seconds for which a target believes its own word instead of a reading (`weft.targets.aws.LIMITS`)."""


@pytest.fixture(scope="module")
def ec2(lab_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("aws")
    with pytest.MonkeyPatch.context() as environment, cloud("aws-vpc", directory, environment) as found:
        yield found


@pytest.fixture(scope="module")
def both(ec2: Cloud) -> list[Container]:
    """A network whose nodes write to all tables that they use, of both families, and a container on each."""
    make_network(ec2.lab, "both", "aws-vpc", PREFIX, "fd40:15::/48", route_table_ids="auto")
    return run_everywhere(ec2.lab, "both")


def problems(ec2: Cloud, host: str, network: str) -> dict[str, str]:
    """By peer, from `weft status`."""
    found = json.loads(weft(ec2.lab, host, "status", "-o", "json").stdout)
    return {p["peer"]: p["text"] for p in found["problems"] if p["network"] == network}


def test_each_reaches_each_by_the_tables(ec2: Cloud, both: list[Container]) -> None:
    enis = {c.host: ec2.vpc.instances[c.host].interface for c in both}
    expected = {c.subnet(family): enis[c.host] for c in both for family in (4, 6)}
    until(lambda: ec2.vpc.routes("a") == expected == ec2.vpc.routes("b"), 30, lambda: str(ec2.vpc.routes("b")))
    assert not any(ec2.vpc.checked(node) for node in NODES)
    until(lambda: ping(both[0].inside, both[3].address(6)).ok, 10, "the router to follow")
    pings = matrix.measure(matrix.containers(ec2.lab, "both"))
    assert len(pings) == 24 and [f"{p.source} {p.address}" for p in pings if not p.ok] == []
    assert ping(both[0].inside, both[1].address(4), "-M", "do", "-s", str(1500 - 28)).ttl == 61


def test_hosts_have_no_routes_to_each_other(ec2: Cloud, both: list[Container]) -> None:
    found = {r["dst"]: r.get("gateway", r["dev"]) for r in shown(ec2.lab.host("node-1"), "ip -j route")}
    assert found == {"default": "192.168.1.1", "192.168.1.0/24": "eth0", both[0].subnet(4): "weft-both"}


def test_a_trace_goes_by_the_tables(ec2: Cloud, both: list[Container]) -> None:
    for source, target, segment in ((both[0], both[3], "a"), (both[3], both[0], "b")):
        ends = [f"{c.host}/{c.name}" for c in (source, target)]
        done = weft(ec2.lab, "node-1", "trace", *ends)
        eni = ec2.vpc.instances[target.host].interface
        assert f"{ec2.vpc.tables[segment]}: {target.subnet(4)} to {eni}" in done.stdout
        assert done.returncode == 0 and "the way back: delivered" in done.stdout


def test_the_way_out_is_masqueraded_and_between_containers_it_is_not(ec2: Cloud, both: list[Container]) -> None:
    ask = [
        "python3",
        "-c",
        "import socket,sys; print(socket.create_connection((sys.argv[1], 7001), 5).recv(99).decode())",
    ]
    with PeerServer(ec2.lab.host("outside")):
        assert both[3].inside.run([*ask, OUTSIDE[4]], check=True).stdout.strip() == "192.168.0.33"
    with PeerServer(both[0].inside):
        assert both[3].inside.run([*ask, both[0].address(4)], check=True).stdout.strip() == both[3].address(4)


def test_a_route_that_is_deleted_comes_back_and_is_told(ec2: Cloud, both: list[Container]) -> None:
    table, lost = ec2.vpc.tables["a"], both[1].subnet(4)
    before = client(ec2.lab, "node-2").status().repairs
    ec2.vpc.client.delete_route(RouteTableId=table, DestinationCidrBlock=lost)
    until(lambda: not ping(both[0].inside, both[1].address(4), wait=1).ok, 5, "the router to follow")
    until(lambda: lost in ec2.vpc.routes("a"), SETTLING + 10, "the route")
    until(lambda: ping(both[0].inside, both[1].address(4), wait=1).ok, 5, "the router to follow")
    status = client(ec2.lab, "node-2").status()
    assert status.repairs > before and f"vpc-route {table} {lost}" in status.last_repair


@pytest.mark.parametrize("why", ["not permitted", "full"])
def test_what_ec2_refuses_is_told_with_the_command_that_is_missing(ec2: Cloud, both: list[Container], why: str) -> None:
    table, lost = ec2.vpc.tables["b"], both[2].subnet(4)
    ec2.strict.forbidden, ec2.strict.limit = ({"CreateRoute"}, 50) if why == "not permitted" else (set(), 1)
    said = {"not permitted": "the credentials do not permit ec2:CreateRoute", "full": "the route table is full"}[why]
    try:
        ec2.vpc.client.delete_route(RouteTableId=table, DestinationCidrBlock=lost)
        agent = client(ec2.lab, "node-3")
        until(lambda: said in str(agent.status().troubles), SETTLING + 10, "it to be told")
        command = (
            f"aws ec2 create-route --route-table-id {table} --destination-cidr-block {lost} --network-interface-id"
        )
        assert [line for line in agent.plan().commands if line.startswith(command)]
        assert not client(ec2.lab, "node-1").status().troubles, "it is that node's trouble alone"
    finally:
        ec2.strict.forbidden, ec2.strict.limit = set(), 50
    until(lambda: lost in ec2.vpc.routes("b"), 30, "the route")


def test_a_check_that_is_switched_on_again_is_switched_off(ec2: Cloud, both: list[Container]) -> None:
    interface = ec2.vpc.instances["node-2"].interface
    ec2.vpc.client.modify_network_interface_attribute(NetworkInterfaceId=interface, SourceDestCheck={"Value": True})
    until(lambda: not ping(both[0].inside, both[1].address(4), wait=1).ok, 5, "the router to drop")
    until(lambda: not ec2.vpc.checked("node-2"), SETTLING + 10, "it to be noticed")
    until(lambda: ping(both[0].inside, both[1].address(4), wait=1).ok, 5, "the router to follow")


def test_packets_go_on_while_the_api_is_away(ec2: Cloud, both: list[Container]) -> None:
    ec2.strict.away = True
    try:
        until(lambda: client(ec2.lab, "node-1").status().state == "degraded", 30, "it to be told")
        told = " ".join(x.reason for x in client(ec2.lab, "node-1").status().troubles)
        assert "EC2 cannot be reached" in told
        for other in both[1:]:
            assert ping(both[0].inside, other.address(4)).ok
        lost = both[2].subnet(4)
        ec2.vpc.client.delete_route(RouteTableId=ec2.vpc.tables["b"], DestinationCidrBlock=lost)
    finally:
        ec2.strict.away = False
    until(lambda: lost in ec2.vpc.routes("b"), 60, "the route that was deleted meanwhile")
    until(lambda: all(client(ec2.lab, n).status().state == "converged" for n in NODES), 60, "all to be well")


def test_credentials_that_expire_and_come_back(ec2: Cloud, both: list[Container]) -> None:
    ec2.strict.expired = True
    try:
        until(lambda: client(ec2.lab, "node-4").status().troubles, 30, "it to be told")
        assert "may have expired" in client(ec2.lab, "node-4").status().troubles[0].reason
        assert ping(both[3].inside, both[0].address(4)).ok
    finally:
        ec2.strict.expired = False
    until(lambda: client(ec2.lab, "node-4").status().state == "converged", 60, "it to be well")


def test_with_one_table_the_way_back_is_missing_and_told_by_both(ec2: Cloud, both: list[Container]) -> None:
    a, b = ec2.vpc.tables["a"], ec2.vpc.tables["b"]
    make_network(ec2.lab, "one", "aws-vpc", "40.16.0.0/16", route_table_ids=a)
    near, far = (c for c in run_everywhere(ec2.lab, "one", ("node-1", "node-4")))
    until(lambda: {near.subnet(4), far.subnet(4)} <= set(ec2.vpc.routes("a")), 30, "routes")
    way = f"make the network with -O route-table-ids={','.join(sorted((a, b)))}, or with -O route-table-ids=auto"
    lacks = f"{near.subnet(4)} of node-1 is not in {b}, which node-4 uses"
    subnets = {name: one.subnet for name, one in ec2.vpc.instances.items()}
    assert problems(ec2, "node-1", "one") == {
        "node-4": f"node-4 is in {subnets['node-4']}, the way back is missing: {lacks}; {way}"
    }
    assert problems(ec2, "node-4", "one")["node-1"] == (
        f"node-1 is in {subnets['node-1']}, the way there is missing: {lacks}; {way}"
    )
    assert not ping(near.inside, far.address(4), wait=1).ok
    assert not ping(far.inside, near.address(4), wait=1).ok
    weft(ec2.lab, "node-1", "network", "rm", "one", "--force")
    until(lambda: not [d for d in ec2.vpc.routes("a") if d.startswith("40.16.")], 30, "its routes to go")


def test_with_the_default_it_is_missing_both_ways_and_with_two_tables_it_works(
    ec2: Cloud, both: list[Container]
) -> None:
    make_network(ec2.lab, "own", "aws-vpc", "40.17.0.0/16")
    assert "the way there and back is missing" in problems(ec2, "node-1", "own")["node-4"]
    make_network(
        ec2.lab, "two", "aws-vpc", "40.18.0.0/16", route_table_ids=f"{ec2.vpc.tables['b']},{ec2.vpc.tables['a']}"
    )
    near, far = run_everywhere(ec2.lab, "two", ("node-1", "node-4"))
    assert problems(ec2, "node-1", "two") == {} == problems(ec2, "node-4", "two")
    until(
        lambda: ping(near.inside, far.address(4), wait=1).ok and ping(far.inside, near.address(4), wait=1).ok, 30, "it"
    )
    for name in ("own", "two"):
        weft(ec2.lab, "node-1", "network", "rm", name, "--force")


def test_what_cannot_be_is_refused_in_plain_words(ec2: Cloud, both: list[Container]) -> None:
    create = "network create x --driver aws-vpc --subnet"
    assert refused(ec2.lab, f"{create} 192.168.128.0/17") == (
        "network x: 192.168.128.0/17 overlaps the VPC's own 192.168.0.0/16, which its route tables keep for themselves: "
        "choose a prefix outside of it"
    )
    assert refused(ec2.lab, f"{create} 40.20.0.0/16 -O vpc-id=vpc-0a1b2c").startswith(
        f"network x: node-1 is in {ec2.vpc.id}, and network x in vpc-0a1b2c: a VPC's routes end at its own interfaces"
    )
    assert refused(ec2.lab, f"{create} 40.20.0.0/16 -O route-table-ids=main") == (
        "route-table-ids=main is not the id of a route table: write it like rtb-0a1b2c, or auto"
    )


def test_the_doctor_names_what_is_not_permitted(ec2: Cloud, both: list[Container]) -> None:
    ec2.strict.forbidden = {"ReplaceRoute"}
    try:
        found = json.loads(weft(ec2.lab, "node-1", "doctor", "-o", "json").stdout)
    finally:
        ec2.strict.forbidden = set()
    told = {f["check"]: f["result"] for f in found if f["check"].startswith("permission")}
    assert told["permission ec2:ReplaceRoute"] == "error" and len(told) == 6
    assert [check for check, result in told.items() if result != "ok"] == ["permission ec2:ReplaceRoute"]


def test_a_killed_agent_changes_nothing_when_it_comes_back(ec2: Cloud, both: list[Container]) -> None:
    before = ec2.vpc.routes("a"), ec2.vpc.routes("b")
    agent = ec2.lab.agent("node-3")
    agent.end(9)
    ec2.strict.forget()
    agent.start()
    agent.wait_ready(60)
    until(lambda: client(ec2.lab, "node-3").status().state == "converged", 30, "it to be well")
    until(lambda: "ModifyNetworkInterfaceAttribute" in ec2.strict.made(), 30, "it to look")
    assert not {"CreateRoute", "ReplaceRoute", "DeleteRoute"} & set(ec2.strict.made())
    assert (ec2.vpc.routes("a"), ec2.vpc.routes("b")) == before


@pytest.mark.slow
def test_a_lease_that_ends_takes_its_route_along(ec2: Cloud, both: list[Container]) -> None:
    """node-4's agent is gone for good, and its instance ended: first nothing but a blackhole, then nothing."""
    gone = both[3].subnet(4)
    ec2.lab.agent("node-4").end(9)
    ec2.vpc.client.terminate_instances(InstanceIds=[ec2.vpc.instances["node-4"].id])
    ec2.lab.link("node-4", up=False)
    until(lambda: weft(ec2.lab, "node-2", "node", "rm", "node-4").returncode == 0, 60, "node-4 to count as silent")
    assert gone in ec2.vpc.routes("a")
    until(lambda: gone not in ec2.vpc.routes("a"), 75, "the lowest live node to sweep")
    assert both[1].subnet(4) in ec2.vpc.routes("a")
