"""A real Prometheus that scrapes a lab: rules and dashboard ask for what there is, and what goes wrong rings."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from support.cluster import NODES, Cluster, settings
from support.prometheus import Prometheus, prometheus
from support.reach import UNDERLAY
from support.waiting import until
from tools.dashboard import ROWS, Query
from weft.api import services as s
from weft.api import types as t
from weft.lab import Lab
from weft.model import Network
from weft.services.health import parse as health
from weft.services.model import parse_port

PORT = 9473
PATIENCE = 60
"""Seconds."""
BETWEEN = "[1m]"


@pytest.fixture(scope="module")
def watched(lab_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Prometheus]]:
    folder = tmp_path_factory.mktemp("watched")
    command = settings(folder, metrics=f"0.0.0.0:{PORT}", presence_ttl=4.0, resync=5.0)
    with Lab.up(name="watched", store="etcd", command=command) as lab:
        c = Cluster(lab)
        c.settled()
        targets = [f"{UNDERLAY[node][4]}:{PORT}" for node in NODES]
        with prometheus(lab.host("node-1"), targets, folder) as found:
            until(lambda: len(found.query("weft_info")) == len(NODES), PATIENCE, "all are scraped")
            yield c, found


def _rings(found: Prometheus, alert: str, *nodes: str) -> None:
    wanted = {UNDERLAY[node][4] for node in nodes} or {""}
    until(lambda: found.firing().get(alert, set()) >= wanted, PATIENCE, lambda: f"{alert} {wanted}: {found.firing()}")


def _silent(found: Prometheus) -> None:
    until(lambda: not found.firing(), PATIENCE, lambda: f"silence: {found.firing()}")


def test_nothing_rings_where_all_is_well(watched: tuple[Cluster, Prometheus]) -> None:
    c, found = watched
    c.network("vx")
    c.sh("node-1", "ip netns add quiet")
    c.client("node-1").attach(t.Attach(target="quiet", network="vx"))
    rules = found.ask("rules")["groups"][0]["rules"]
    until(lambda: all(r["evaluationTime"] > 0 for r in found.ask("rules")["groups"][0]["rules"]), PATIENCE, "rules")
    assert len(rules) >= 12 and {rule["health"] for rule in rules} <= {"ok", "unknown"}
    _silent(found)


def test_each_panel_asks_what_can_be_answered(watched: tuple[Cluster, Prometheus]) -> None:
    """While containers talk, so that something takes the fast path, where the kernel has means for it."""
    c, found = watched
    c.sh("node-2", "ip netns add loud")
    (to,) = (a for a in c.client("node-2").attach(t.Attach(target="loud", network="vx")).addresses if a.version == 4)
    missing = {"Objects that cannot be made", "Refused by policy", "Members of services", "Connections to services"}
    missing |= {"Ways to other hosts", "Packets that a program carries"}
    if not c.status("node-1").means:
        missing |= {panel.title for row in ROWS if row.title == "The fast path" for panel in row.panels}

    def empty() -> set[str]:
        c.sh("node-1", f"ip netns exec quiet bash -c 'for n in {{1..20}}; do echo >/dev/udp/{to.ip}/9; done'")
        return {panel.title for row in ROWS for panel in row.panels if not all(map(answered, panel.queries))}

    def answered(query: Query) -> object:
        return found.query(query.expression.replace("$instance", ".*").replace("[$__rate_interval]", BETWEEN))

    until(lambda: empty() <= missing, PATIENCE, lambda: f"answers to {empty() - missing}")


def test_an_agent_that_is_dead_rings(watched: tuple[Cluster, Prometheus]) -> None:
    c, found = watched
    c.end("node-3")
    _rings(found, "WeftAgentDown", "node-3")
    _rings(found, "WeftNodesMissing")
    c.start("node-3")
    c.settled()
    _silent(found)


def test_what_a_host_cannot_have_rings(watched: tuple[Cluster, Prometheus]) -> None:
    c, found = watched
    wanted = Network(name="flat", driver="host-gw", subnets=(ip_network("10.99.0.0/16"),))
    c.client("node-1").create_network(wanted)
    _rings(found, "WeftProblems", "node-1", "node-4")
    _rings(found, "WeftUnhealthy", "node-1")
    [one] = [
        r for r in found.query("weft_problems{network='flat'} > 0") if UNDERLAY["node-4"][4] in r["metric"]["instance"]
    ]
    assert int(one["value"][1]) == len([p for p in c.status("node-4").problems if p.network == "flat"])
    c.client("node-1").remove_network("flat")
    _silent(found)


def test_a_service_without_a_member_that_answers_rings(watched: tuple[Cluster, Prometheus]) -> None:
    c, found = watched
    check = health("tcp:80", interval=1.0, timeout=0.5, rise=1, fall=1)
    wish = s.CreateService(name="front", network="vx", ports=(parse_port("80"),), members=("quiet",), health=check)
    c.client("node-1").create_service(wish)
    _rings(found, "WeftServiceDown")
    c.client("node-1").remove_service("vx/front")
    _silent(found)


def test_who_undoes_what_weft_makes_rings(watched: tuple[Cluster, Prometheus]) -> None:
    c, found = watched
    first = before = c.metric("node-2", "weft_repairs_total")
    while before < first + 25:
        c.sh("node-2", "ip route flush proto 87")
        until(lambda b=before: c.metric("node-2", "weft_repairs_total") > b, PATIENCE, "repairs")  # type: ignore[misc]
        before = c.metric("node-2", "weft_repairs_total")
    _rings(found, "WeftDrift", "node-2")


def test_a_store_that_is_away_rings(watched: tuple[Cluster, Prometheus]) -> None:
    c, found = watched
    etcd = c.lab.need_etcd()
    etcd.end(signal.SIGKILL)
    _rings(found, "WeftStoreAway", *NODES)
    etcd.start()
    etcd.wait_ready()
    c.settled()
    until(lambda: "WeftStoreAway" not in found.firing(), PATIENCE, lambda: str(found.firing()))
