"""Many containers at once: all reachable, none with another's address, none left over."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle

import pytest

from support.reach import NODES, client, make_network, namespaces, ping, run, shown
from support.waiting import until
from weft.api import types as t
from weft.base.errors import Exhausted, NotFound
from weft.lab import Lab

AT_ONCE = 16
"""Requests under way."""
PAIRS = 300

# Reads lines "NAMESPACE ADDRESS", pings each, prints the lines of those that do not answer. One packet may get lost: all
# namespaces of a machine share its table of neighbours (1,024 by default), and when it is full, the kernel drops.
_PING = """
xargs -P 8 -n 2 bash -c '
for _ in 1 2 3; do nsenter --net=/run/netns/$0 ping -n -q -c 1 -W 5 "$1" >/dev/null 2>&1 && exit; done; echo "$0 $1"'
"""


@dataclass(frozen=True)
class Place:
    """A namespace on a host."""

    host: str
    name: str


def attach(lab: Lab, places: Sequence[Place], network: str) -> list[t.EndpointInfo]:
    """All at once."""

    def one(place: Place) -> t.EndpointInfo:
        return client(lab, place.host).attach(t.Attach(target=place.name, network=network))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, places))


def detach(lab: Lab, places: Sequence[Place], network: str = "") -> list[int]:
    """All at once; how many endpoints each detach removed."""

    def one(place: Place) -> int:
        with contextlib.suppress(NotFound):
            return len(client(lab, place.host).detach(place.name, network).what)
        return 0

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, places))


def addresses(endpoints: Sequence[t.EndpointInfo]) -> list[str]:
    return [str(a.ip) for e in endpoints for a in e.addresses]


def host_ends(lab: Lab) -> list[str]:
    """The host's ends of all containers' links."""
    return [
        link["ifname"]
        for node in NODES
        for link in shown(lab.host(node), "ip -j link show type veth")
        if link.get("ifalias", "").startswith("weft:")
    ]


@pytest.fixture(scope="module")
def places(lab: Lab) -> list[Place]:
    """200 namespaces, 50 on each node, in turn."""
    for node in NODES:
        namespaces(lab.host(node), [f"n{number}" for number in range(50)])
    return [Place(node, f"n{number}") for number in range(50) for node in NODES]


@pytest.fixture(scope="module")
def crowd(lab: Lab, places: list[Place]) -> Iterator[list[t.EndpointInfo]]:
    """All of them in a network of two families."""
    make_network(lab, "crowd", "vxlan", "10.1.0.0/16", "fd00:1::/48", reach="wide")
    endpoints = attach(lab, places, "crowd")
    yield endpoints
    detach(lab, places)


def test_all_addresses_are_distinct(crowd: list[t.EndpointInfo]) -> None:
    assert [a for a, count in Counter(addresses(crowd)).items() if count > 1] == []
    assert len(addresses(crowd)) == 400
    for endpoint in crowd:
        assert len({a.network for e in crowd if e.node == endpoint.node for a in e.addresses}) == 2


def test_random_pairs_are_reachable(lab: Lab, crowd: list[t.EndpointInfo]) -> None:
    """Both families, in and across hosts."""
    chosen = random.Random(8472)
    lines: dict[str, list[str]] = {node: [] for node in NODES}
    for family, _ in zip(cycle((4, 6)), range(PAIRS), strict=False):
        source, target = chosen.sample(crowd, 2)
        address = next(a.ip for a in target.addresses if a.version == family)
        lines[source.node].append(f"{source.container} {address}")
    for node in NODES:
        done = lab.host(node).run(["bash", "-c", _PING], input="\n".join(lines[node]), timeout=100)
        assert (done.stdout, done.stderr) == ("", ""), node


def test_a_hundred_leave_and_come_back_at_once(lab: Lab, places: list[Place], crowd: list[t.EndpointInfo]) -> None:
    """On four nodes, then on one. Nobody gets an address that somebody has, or just had."""
    for some in (places[:100], [p for p in places if p.host == "node-1"]):
        before = {e.id: set(e.addresses) for e in client(lab, "node-1").endpoints(network="crowd")}
        assert detach(lab, some) == [1] * len(some)
        assert detach(lab, some) == [0] * len(some)
        again = attach(lab, some, "crowd")
        left = [e for e in client(lab, "node-1").endpoints(network="crowd") if e.id not in {a.id for a in again}]
        assert len(left) == 200 - len(some)
        found = Counter(addresses([*left, *again]))
        assert len(found) == 400 and max(found.values()) == 1
        gone = set().union(*(before[e.id] for e in again))
        assert not gone & {a for e in again for a in e.addresses}


def test_attaching_again_at_once_is_the_same(lab: Lab, crowd: list[t.EndpointInfo], places: list[Place]) -> None:
    """Also from several sides at a time."""
    place = places[0]
    assert len({e.id for e in attach(lab, [place] * 20, "crowd")}) == 1
    assert len([e for e in client(lab, place.host).endpoints(node=place.host) if e.container == place.name]) == 1


@pytest.mark.parametrize("family", [4, 6])
def test_the_largest_packet_passes_and_one_octet_more_is_answered(
    lab: Lab, crowd: list[t.EndpointInfo], family: int
) -> None:
    """The container's own interface refuses it; what comes from where more fits, its gateway answers by ICMP."""
    far, mine = (client(lab, node).endpoints(network="crowd", node=node)[0] for node in ("node-2", "node-1"))
    address = str(next(a.ip for a in far.addresses if a.version == family))
    headers = 28 if family == 4 else 48
    inside = lab.host("node-1").container(mine.container)
    assert ping(inside, address, "-M", "do", "-s", str(1450 - headers)).ttl == 62
    assert "mtu" in (text := ping(inside, address, "-M", "do", "-s", str(1451 - headers)).text.lower()), text
    assert "1450" in text and "too long" in text

    wide = run(lab, "node-1", f"wide{family}", _wide(lab))
    assert ping(wide.inside, address, "-M", "do", "-s", str(1450 - headers)).ttl == 62
    text = ping(wide.inside, address, "-M", "do", "-s", str(1451 - headers)).text
    assert wide.gateway(family) in text and "1450" in text
    assert ("Frag needed and DF set" if family == 4 else "Packet too big") in text


def _wide(lab: Lab) -> str:
    """A network whose packets may have 1500 octets."""
    if "wide" not in {n.name for n in client(lab, "node-1").networks()}:
        make_network(lab, "wide", "host-gw", "10.2.0.0/16", "fd00:2::/48", reach="crowd")
    return "wide"


# ---------------------------------------------------------------------------------- exhaustion; nothing is left over


def test_a_subnet_fills_up_and_can_be_had_again(lab: Lab, crowd: list[t.EndpointInfo], places: list[Place]) -> None:
    """Of a /28, 13 are for containers. Twenty ask for one at once."""
    make_network(lab, "tight", "host-gw", "10.3.0.0/16", node_prefix="28")
    some = [p for p in places if p.host == "node-2"][:20]
    (subnet,) = client(lab, "node-2").node("node-2").subnets["tight"]
    full = (
        f"no address is left in node-2's subnet {subnet}: of 13 for containers 13 are in use and 0 reserved: "
        "detach some, or make a network with larger node subnets (-O node-prefix)"
    )

    def one(place: Place) -> str:
        try:
            return addresses([client(lab, place.host).attach(t.Attach(target=place.name, network="tight"))])[0]
        except Exhausted as error:
            return str(error)

    for _ in range(2):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(one, some))
        assert answers.count(full) == 7
        assert len({a for a in answers if a != full}) == 13
        held = {e.container for e in client(lab, "node-2").endpoints(network="tight")}
        assert held == {p.name for p, answer in zip(some, answers, strict=True) if answer != full}
        first, *_ = (p for p in some if p.name in held)
        last, *_ = (p for p in some if p.name not in held)
        freed = answers[some.index(first)]
        assert detach(lab, [first], "tight") == [1]
        assert one(last) == freed, "the only one that is free"
        detach(lab, some, "tight")
        assert client(lab, "node-2").endpoints(network="tight") == ()


def test_nothing_is_left_over(lab: Lab, crowd: list[t.EndpointInfo], places: list[Place]) -> None:
    """After all containers have left at once: no device, no record; and the agents had nothing to mend."""
    wide = [Place("node-1", name) for name in ("wide4", "wide6") if name in lab.host("node-1").containers()]
    assert sum(detach(lab, [*places, *wide])) == 200 + len(wide)
    assert host_ends(lab) == []
    assert client(lab, "node-1").endpoints() == ()
    for node in NODES:
        until(lambda node=node: client(lab, node).status().state == "converged", 30, node)  # type: ignore[misc]
        assert client(lab, node).status().troubles == ()
        assert client(lab, node).plan().commands == ()
    some = [Place("node-1", f"n{number}") for number in range(3)]
    assert len(addresses(attach(lab, some, "crowd"))) == 6
    for place in some:
        links = {link["ifname"] for link in shown(lab.host("node-1"), f"ip -n {place.name} -j link")}
        assert links == {"lo", "eth0"}
