"""What takes a short way in a lab is seen by all that looks: status, flows, metrics, traces; and a packet that is watched does
not take it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path as Folder
from typing import Any

import pytest

from support.answering import serving
from support.reach import Container, client, make_network, run, weft
from support.services import spread
from support.talk import HELD, Held, Path, Server
from support.waiting import until
from weft.api.live import WatchRequest
from weft.hoststate.firewall import WATCHED
from weft.kernel.host import fastpath
from weft.kernel.kinds import bpf_names
from weft.lab import Lab

NETWORKS = {"flat": "routed", "tunnel": "vxlan", "wide": "overlay"}
WITH = ("node-1", "node-2")


@pytest.fixture(scope="module")
def held(lab: Lab) -> Iterator[dict[str, tuple[Held, Container, Container]]]:
    """An open connection in each network, from node-1 to node-2."""
    if not client(lab, "node-1").status().means:
        pytest.skip("the kernel has no means for the fast path")
    found = {}
    with ExitStack() as ends:
        for number, (name, driver) in enumerate(NETWORKS.items(), 71):
            make_network(lab, name, driver, f"10.{number}.0.0/16", f"fd{number}::/48")
            one, two = (run(lab, host, f"{name}-{host[-1]}", name) for host in WITH)
            server = ends.enter_context(closing(Server(_ns(lab, two))))
            path = Path(name, _ns(lab, one), server, two.address(4))
            found[name] = ends.enter_context(closing(path.held(HELD[0]))), one, two
        yield found


def _ns(lab: Lab, who: Container) -> str:
    return f"/proc/{lab.host(who.host).holder.pid}/root/run/netns/{who.name}"


def talk(open: Held, times: int = 20) -> None:
    for _ in range(times):
        assert open.passes(seconds=5)


def counts(lab: Lab, host: str, network: str) -> list[fastpath.Count]:
    """Of a network in each namespace there, as the programs' maps say at this moment."""
    run = Folder(f"/proc/{lab.host(host).holder.pid}/root/run/weft")
    return [fastpath.counts(ns, run).get(network, fastpath.Count()) for ns in bpf_names.namespaces(run)]


def counted(lab: Lab, host: str, network: str) -> int:
    """Packets of a network that programs passed on there."""
    return sum(each.packets for each in counts(lab, host, network))


def entered(lab: Lab, network: str) -> int:
    """How often programs of node-1 were told how packets of it go on."""
    return sum(each.entered for each in counts(lab, "node-1", network))


def risen(lab: Lab, open: Held, network: str) -> bool:
    before = counted(lab, "node-1", network)
    talk(open)
    return counted(lab, "node-1", network) > before


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("host", WITH)
def test_status_counts_by_network(lab: Lab, held: Any, host: str, network: str) -> None:
    until(lambda: risen(lab, held[network][0], network), 30, f"packets of {network} that were passed on")
    now = counted(lab, host, network)

    def told() -> bool:
        return sum(each.packets for each in client(lab, host).status().fast if each.network == network) >= now > 0

    until(told, 30, f"what {host} passed on of {network}, in its status")
    shown = weft(lab, host, "status").stdout.partition("FAST PATH")[2].splitlines()
    assert [line.split()[0] for line in shown if line.startswith(network)] == [network]


@pytest.mark.parametrize("network", ["flat", "tunnel"])
def test_flows_are_marked_in_both_directions(lab: Lab, held: Any, network: str) -> None:
    """Of what conntrack knows: what is switched in an overlay it does not. There is no other connection yet."""
    open, one, _ = held[network]

    def marked() -> bool:
        talk(open)
        (flow,) = (f for f in client(lab, "node-1").flows(endpoint=f"node-1/{one.name}").flows if f.protocol == "tcp")
        return flow.short_ways == ("sent", "answered")

    until(marked, 30, f"a mark at the connection in {network}")
    assert "SHORT WAY" in weft(lab, "node-1", "flows").stdout


@pytest.mark.parametrize("network", NETWORKS)
def test_a_trace_says_where_it_is_short(lab: Lab, held: Any, network: str) -> None:
    _, one, two = held[network]
    done = weft(lab, "node-1", "trace", one.name, two.name, "--port", str(HELD[0]), "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    for way, hosts in (("there", WITH), ("back", WITH[::-1])):
        assert [short["host"] for short in found[way]["short"]] == list(hosts), found[way]["short"]
    weft(lab, "node-1", "network", "set", network, "-O", "offload=off")
    try:
        again = weft(lab, "node-1", "trace", one.name, two.name, "--port", str(HELD[0]), "-o", "json")
        ways = json.loads(again.stdout)
        assert [ways[way].get("short", []) for way in ("there", "back")] == [[], []]
        assert ways["there"]["outcome"]["ending"] == "delivered"
    finally:
        weft(lab, "node-1", "network", "set", network, "-O", "offload=on")


@pytest.mark.parametrize("network", NETWORKS)
def test_who_is_watched_takes_the_ordinary_way(lab: Lab, held: Any, network: str) -> None:
    open, one, two = held[network]
    until(lambda: risen(lab, open, network), 30, f"packets of {network} that node-1 passed on")
    agent = client(lab, "node-1")
    watch = agent.start_watch(
        WatchRequest(token="5e0d7a1c00ff1133", aside=(one.address(4), two.address(4)), seconds=30)
    )
    try:
        assert not risen(lab, open, network)
    finally:
        agent.end_watch(watch.id)
    until(lambda: risen(lab, open, network), 30, f"packets of {network} that node-1 passed on")


def test_a_trace_with_a_packet_leaves_nothing_aside(lab: Lab, held: Any) -> None:
    _, one, two = held["tunnel"]
    done = weft(lab, "node-1", "trace", one.name, two.name, "--port", str(HELD[0]), "--live", "-o", "json")
    live = json.loads(done.stdout)["live"]
    assert (done.returncode, live["end"], live["agrees"], live["unseen"]) == (0, "answered", True, [])
    for host in WITH:
        sets = lab.host(host).run(["nft", "list", "set", "inet", "weft", WATCHED[4]], check=True).stdout
        assert "elements" not in sets


def test_metrics_have_the_same(lab: Lab, held: Any) -> None:
    talk(held["flat"][0])
    text = lab.host("node-1").run(
        ["curl", "-s", "--unix-socket", "/run/weft/weft.sock", "http://weft/metrics"], check=True
    )
    found = {line.split("{")[0] for line in text.stdout.splitlines() if line.startswith("weft_fast_")}
    assert found == {"weft_fast_packets_total", "weft_fast_octets_total", "weft_fast_entered_total", "weft_fast_flows"}


def missed(lab: Lab) -> dict[str, str]:
    """By device what a doctor of node-1 says of its programs."""
    found = json.loads(weft(lab, "node-1", "doctor", "-o", "json").stdout)
    wrong = [each["detail"] for each in found if each.get("fault") == "fast-path-missing"]
    return {text.split()[0]: text for text in wrong}


def test_a_doctor_misses_no_program(lab: Lab, held: Any) -> None:
    assert missed(lab) == {}
    found = json.loads(weft(lab, "node-1", "doctor", "-o", "json").stdout)
    assert next(each for each in found if each["check"] == "fast path")["result"] == "ok"


def test_a_doctor_names_devices_whose_programs_were_taken_away(lab: Lab, held: Any) -> None:
    """While no agent runs, which would put them back. What takes the ordinary way for that is not lost."""
    open, host = held["flat"][0], lab.host("node-1")
    until(lambda: risen(lab, open, "flat"), 30, "packets that node-1 passed on")
    lab.agent("node-1").end(signal.SIGKILL)
    try:
        words = "cd /run/weft/bpf/host/links && ls -1 *-ingress && rm *-ingress"
        taken = host.must("harm", ["sh", "-c", words]).split()
        until(lambda: not risen(lab, open, "flat"), 30, "the ordinary way")
        wrong = missed(lab)
        assert {f"{bpf_names.name(device)}-ingress" for device in wrong} == set(taken) >= {"eth0-ingress"}
        assert "no program of Weft's at ingress: its packets take the ordinary way" in wrong["eth0"]
    finally:
        lab.agent("node-1").start()
        lab.agent("node-1").wait_ready()
    until(lambda: risen(lab, open, "flat"), 30, "packets that node-1 passes on again")
    assert missed(lab) == {}


@pytest.mark.parametrize("network", NETWORKS)
def test_of_connections_with_few_packets_few_are_kept(lab: Lab, held: Any, network: str) -> None:
    """Each has some packets in both directions that could be."""
    _, one, two = held[network]
    before = entered(lab, network)
    with serving(two.inside, two.name, "tcp/8100"):
        found = spread(one.inside, two.address(4), 8100, 300)
    assert found.by[two.name] == 300, found.failed
    assert 0 < entered(lab, network) - before < 300
