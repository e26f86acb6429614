"""Limits of bandwidth in the reference lab: what gets through, of every data path; what they outlast; what is left of them.

What is compared with a limit is the payload of one TCP connection over some seconds' worth of data. Headers take 5 % of a
limit; what a bucket holds at first adds 1 % to these amounts.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.labs import eventually
from support.rate import throughput
from support.reach import Container, client, make_network
from support.waiting import note, until
from weft.api import types as t
from weft.lab import Lab
from weft.model import Bandwidth

LIMIT = 20_000_000
AMOUNT = 4_000_000
"""Octets: 1.6 seconds' worth."""
BOTH = Bandwidth(ingress=LIMIT, egress=LIMIT)
DRIVERS = {"vxlan": "10.1.0.0/16", "host-gw": "10.2.0.0/16", "bridge": "10.3.0.0/16", "overlay": "10.4.0.0/16"}


def limited(source: Container, target: Container) -> bool:
    return obeys(lambda: between(source, target, AMOUNT), LIMIT, 0.8)


def obeys(measured: Callable[[], float], limit: float, least: float) -> bool:
    """Whether what gets through is never above the limit, and reaches this share of it. A machine with other things to do
    may hold a connection up; what a limit makes of it shows in one of five."""
    for _ in range(5):
        rate = measured()
        if not least * limit <= rate <= 1.1 * limit:
            note(f"{rate:.0f} bit/s with a limit of {limit}")
        if rate >= least * limit:
            return rate <= 1.1 * limit
    return False


def container(lab: Lab, name: str, network: str, host: str, bandwidth: Bandwidth | None = None) -> Container:
    node = lab.host(host)
    node.run(["ip", "netns", "add", name], check=True)
    request = t.Attach(target=name, network=network, bandwidth=bandwidth)
    return Container(name, host, lab.inside(f"{host}/{name}"), client(lab, host).attach(request))


def between(one: Container, other: Container, octets: int) -> float:
    return throughput(one.inside, other.inside, other.address(4), octets)


def qdiscs(lab: Lab, host: str = "node-1", ns: str = "") -> list[dict[str, Any]]:
    """The token buckets."""
    words = ["tc", *(["-n", ns] if ns else []), "-j", "qdisc", "show"]
    return [q for q in json.loads(lab.host(host).run(words, check=True).stdout) if q["kind"] == "tbf"]


def queues(lab: Lab, host: str = "node-1") -> list[str]:
    shown = lab.host(host).run(["ip", "-j", "link", "show", "type", "ifb"], check=True).stdout
    return [link["ifname"] for link in json.loads(shown)]


@pytest.fixture(scope="module")
def networks(lab: Lab) -> Iterator[Lab]:
    for number, (driver, subnet) in enumerate(DRIVERS.items(), 1):
        make_network(lab, driver, driver, subnet, **({"vni": str(number)} if driver == "vxlan" else {}))
    yield lab


@pytest.fixture(scope="module")
def slow(networks: Lab) -> Container:
    return container(networks, "slow", "vxlan", "node-1", BOTH)


@pytest.fixture(scope="module")
def fast(networks: Lab) -> Container:
    return container(networks, "fast", "vxlan", "node-2")


# ------------------------------------------------------------------------------------------------ what gets through


@pytest.mark.parametrize("driver", DRIVERS)
def test_either_way(networks: Lab, driver: str) -> None:
    """To a container of another host, but for the driver that knows one host alone."""
    elsewhere = "node-1" if driver == "bridge" else "node-2"
    before = queues(networks), qdiscs(networks)
    one = container(networks, f"a-{driver}", driver, "node-1", BOTH)
    other = container(networks, f"b-{driver}", driver, elsewhere)
    assert limited(one, other) and limited(other, one)
    for each in (one, other):
        client(networks, each.host).detach(each.name)
    assert (queues(networks), qdiscs(networks)) == before


def test_one_way_only(networks: Lab, fast: Container) -> None:
    sends = container(networks, "sends", "vxlan", "node-1", Bandwidth(egress=LIMIT))
    gets = container(networks, "gets", "vxlan", "node-1", Bandwidth(ingress=LIMIT, ingress_burst=100_000))
    assert limited(sends, fast) and limited(fast, gets)
    assert between(fast, sends, 40_000_000) > 4 * LIMIT
    assert between(gets, fast, 40_000_000) > 4 * LIMIT
    for name in ("sends", "gets"):
        client(networks, "node-1").detach(name)


def test_the_way_out_of_an_overlay(networks: Lab) -> None:
    """The second interface has the same limits."""
    one = container(networks, "out", "overlay", "node-1", BOTH)
    outside = networks.host("outside")
    assert obeys(lambda: throughput(one.inside, outside, "203.0.113.10", AMOUNT), LIMIT, 0.8)
    client(networks, "node-1").detach("out")


@pytest.mark.parametrize("rate", [1_000_000, 10_000_000, 100_000_000])
def test_tcp_reaches_the_limit(networks: Lab, fast: Container, rate: int) -> None:
    one = container(networks, f"r{rate}", "vxlan", "node-1", Bandwidth(ingress=rate, egress=rate))
    octets = max(rate // 8 * 2, 500_000)
    assert obeys(lambda: between(one, fast, octets), rate, 0.9)
    assert obeys(lambda: between(fast, one, octets), rate, 0.9)
    client(networks, "node-1").detach(one.name)


# ----------------------------------------------------------------------------------------------- the command, and tc


def test_as_users_ask_for_it(networks: Lab) -> None:
    node = networks.host("node-1")
    node.run(["ip", "netns", "add", "asked"], check=True)

    def weft(*words: str) -> Any:
        return node.run([*networks.weft, *words], timeout=60)

    label = ("--label", "weft.bandwidth/ingress=100mbit", "--label", "weft.bandwidth/egress=7mbit")
    done = weft("attach", "asked", "--network", "vxlan", "--egress", "50mbit", "--egress-burst", "70000", *label)
    assert done.stdout.endswith(", ingress 100mbit, egress 50mbit (burst 70000)\n"), done.stderr
    assert "ingress 100mbit, egress 50mbit (burst 70000)" in weft("endpoint", "show", "asked").stdout
    asked = client(networks, "node-1").endpoint("asked").host_interface
    rates = {q["dev"]: q["options"]["rate"] * 8 for q in qdiscs(networks)}
    assert (rates[asked], rates[f"weftq{asked[4:14]}"]) == (100_000_000, 50_000_000)
    again = weft("attach", "asked", "--network", "vxlan", "--ingress", "1mbit")
    assert again.stdout.endswith(", ingress 1mbit, egress 50mbit (burst 70000)\n"), again.stderr
    rates = {q["dev"]: q["options"]["rate"] * 8 for q in qdiscs(networks)}
    assert (rates[asked], rates[f"weftq{asked[4:14]}"]) == (1_000_000, 50_000_000)
    assert weft("plan").stdout == ""
    weft("detach", "asked")
    bad = weft("attach", "asked", "--network", "vxlan", "--ingress", "1bit")
    assert (bad.returncode, bad.stderr) == (
        1,
        "weft: ingress 1 bit/s: a limit is from 1kbit to 1tbit; leave it out for none\n",
    )
    assert "kernel: ifb" in {found["check"] for found in json.loads(weft("doctor", "-o", "json").stdout)}


# ------------------------------------------------------------------------------------------------- what they outlast


def test_a_killed_agent_leaves_them_and_the_next_one_changes_nothing(
    networks: Lab, slow: Container, fast: Container
) -> None:
    agent, before = networks.agent("node-1"), qdiscs(networks)
    agent.end(signal.SIGKILL)
    assert limited(slow, fast) and limited(fast, slow)
    agent.start()
    agent.wait_ready()
    until(lambda: client(networks, "node-1").status().state == "converged", 20, "the agent")
    assert qdiscs(networks) == before
    assert client(networks, "node-1").plan().commands == ()
    assert client(networks, "node-1").status().repairs == 0


@pytest.mark.parametrize(
    "command",
    [
        "tc qdisc del dev {dev} root",
        "tc qdisc change dev {dev} root handle 5746: tbf rate 1gbit burst 99999 limit 999999",
        "tc qdisc del dev {dev} ingress",
        "tc filter del dev {dev} ingress",
        "tc qdisc del dev {queue} root",
        "ip link set {queue} down",
        "ip link del {queue}",
    ],
)
def test_what_is_taken_away_by_hand_comes_back(networks: Lab, slow: Container, fast: Container, command: str) -> None:
    node, dev = networks.host("node-1"), slow.endpoint.host_interface

    def shown() -> list[str]:
        words = f"tc qdisc show; tc filter show dev {dev} ingress; ip -br link show type ifb up | cut -c -20"
        told = node.run(["bash", "-ec", words], check=True).stdout
        return sorted(line for line in told.splitlines() if "index" not in line)  # which numbers an action

    before = shown()
    node.run(command.format(dev=dev, queue=queues(networks)[0]).split(), check=True)
    assert eventually(lambda: shown() == before, 2), shown()
    assert limited(slow, fast) and limited(fast, slow)
    until(lambda: client(networks, "node-1").plan().commands == (), 5, "an empty plan")


def test_nothing_is_left(networks: Lab, slow: Container) -> None:
    client(networks, "node-1").detach("slow")
    assert queues(networks) == [] and qdiscs(networks) == []
