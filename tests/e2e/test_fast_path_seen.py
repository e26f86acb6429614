"""What takes a short way in a lab is seen by all that looks: status, flows, metrics, traces; and a packet that is watched does
not take it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from support.reach import Container, client, make_network, run, weft
from support.talk import HELD, Held, Path, Server
from support.waiting import until
from weft.hoststate.firewall import WATCHED
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


def passed_on(lab: Lab, host: str, network: str) -> int:
    return sum(each.packets for each in client(lab, host).status().fast if each.network == network)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("host", WITH)
def test_status_counts_by_network(lab: Lab, held: Any, host: str, network: str) -> None:
    before = passed_on(lab, host, network)

    def risen() -> bool:
        talk(held[network][0])
        return passed_on(lab, host, network) > before

    until(risen, 30, f"packets of {network} that {host} passed on")
    shown = weft(lab, host, "status").stdout.partition("FAST PATH")[2].splitlines()
    assert [line.split()[0] for line in shown if line.startswith(network)] == [network]


@pytest.mark.parametrize("network", ["flat", "tunnel"])
def test_flows_are_marked_in_both_directions(lab: Lab, held: Any, network: str) -> None:
    """Of what conntrack knows: what is switched in an overlay it does not."""
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


@pytest.mark.parametrize("network", ["flat", "tunnel"])
def test_a_packet_that_is_watched_does_not_take_it(lab: Lab, held: Any, network: str) -> None:
    """While one is, the addresses are in the sets; afterwards they are not."""
    _, one, two = held[network]
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
