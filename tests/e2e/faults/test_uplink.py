"""The uplink goes and comes back, or the node's address changes: everything follows by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from support.cluster import NODES, PATHS, Cluster, cluster, populate
from support.snapshot import difference, snapshot
from support.traffic import Traffic
from support.waiting import note, until

ALL = (*PATHS, ("node-1/dr1", "node-2/dr2", 4), ("node-2/dr2", "node-1/dr1", 6))
LONG_ENOUGH = 6.0
"""Seconds down: delays between attempts have grown to several seconds by then."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("uplink")) as made:
        populate(made)
        made.network("dr")
        for number in (1, 2):
            made.container(f"node-{number}", f"dr{number}", "dr")
        yield made


@pytest.fixture
def weft(reference: Cluster) -> Cluster:
    reference.mend()
    return reference


@pytest.mark.parametrize(("seconds", "cable"), [(0.0, False), (LONG_ENOUGH, False), (2.0, True)])
def test_down_and_up(weft: Cluster, traffic: Callable[..., Traffic], seconds: float, cable: bool) -> None:
    host = weft.lab.host("node-1")
    before = snapshot(host)
    with traffic(weft, *ALL) as running:
        weft.lab.link("node-1", False, cable=cable)
        down = time.monotonic()
        until(lambda: time.monotonic() >= down + seconds, seconds + 1, "the uplink's return")
        weft.lab.link("node-1", True, cable=cable)
        took = until(lambda: snapshot(host) == before, 10, lambda: f"everything:\n{difference(before, snapshot(host))}")
        flowing = running.flows(40)
        weft.settled()
    what = "cable pulled" if cable else "down"
    note(f"uplink {what} for {seconds:g} s: objects back after {took * 1000:.0f} ms, all traffic after {flowing:.1f} s")
    assert took < 4


def test_the_nodes_address_changes(weft: Cluster, traffic: Callable[..., Traffic]) -> None:
    new = "192.168.1.77"
    with traffic(weft, *ALL) as running:
        weft.sh(
            "node-2",
            f"ip addr add {new}/24 dev eth0; ip addr del 192.168.1.254/24 dev eth0; ip addr replace {new}/24 dev eth0; "
            "ip route replace default via 192.168.1.1",
        )
        start = time.monotonic()
        until(lambda: str(weft.client("node-1").node("node-2").addresses[0].ip) == new, 15, "the node's record")
        recorded = time.monotonic() - start

        def followed() -> bool:
            peer = weft.sh(
                "node-1", "bridge fdb show dev weft.1; bridge fdb show dev weft.3; ip -4 route show proto 87"
            )
            own = weft.sh(
                "node-2", "ip -d link show weft.1; ip -d link show weft.3; :"
            )  # while it is remade there is none
            return "192.168.1.254" not in peer and peer.count(new) == 3 and own.count(f"local {new} ") == 2

        until(
            followed,
            10,
            lambda: (
                weft.sh("node-1", "bridge fdb show; ip -4 route show proto 87")
                + weft.sh("node-2", "ip -d link; ip -4 route")
            ),
        )
        followed_after = time.monotonic() - start
        flowing = running.flows(40)
        weft.settled()
        assert {str(a) for a in weft.status("node-3").peers[1].addresses} == {new, "fd00:192:168:1::254"}
    note(
        f"address changed: record after {recorded:.2f} s, peers and own devices after {followed_after:.2f} s, "
        f"all traffic after {time.monotonic() - start:.1f} s ({flowing:.1f})"
    )


def test_mtu_of_the_uplink_changes(weft: Cluster) -> None:
    """New containers, bridges and tunnels follow."""
    for host in NODES:
        weft.sh(host, "ip link set eth0 mtu 1400")
    until(
        lambda: all("mtu 1350" in weft.sh(host, "ip link show weft.1; ip link show weft-vx") for host in NODES),
        10,
        "a smaller tunnel MTU",
    )
    weft.settled()
    assert "mtu 1350" in weft.sh("node-1", "ip -n vx1 link show eth0")
    for host in NODES:
        weft.sh(host, "ip link set eth0 mtu 1500")
    until(lambda: "mtu 1450" in weft.sh("node-1", "ip link show weft.1"), 10, "the MTU of before")
    weft.settled()
