"""Whatever of ours is removed or changed by hand on a host is back within a second, and connections go on.

The figures are printed at the end; the assertions are as generous as a busy machine needs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import pytest

from support.cluster import PATHS, Cluster, cluster, populate
from support.snapshot import Snapshot, difference, snapshot
from support.traffic import Traffic
from support.waiting import note, until

GENEROUS = 4.0
"""Seconds. The goal is 1."""

_NAMES = """
set -e
veth=$(ip -j link | jq -r '.[] | select(.ifalias == "weft:endpoint/vx/vx1") | .ifname')
peer=$(ip -4 neigh show dev weft.1 nud permanent | head -1 | cut -d' ' -f1)
"""
_FDB = "set -- $(bridge fdb show dev weft.1 | grep dst | head -1)"

CASES = {
    "route over the tunnel": "ip route del $(ip -4 route show proto 87 dev weft.1 | head -1) dev weft.1",
    "v6 route over the tunnel": "ip -6 route del $(ip -6 route show proto 87 dev weft.1 | head -1) dev weft.1",
    "route to a host": "ip route del $(ip -4 route show proto 87 dev eth0 | head -1) dev eth0",
    "route of last resort": "ip route del unreachable 10.41.0.0/16 metric 4000000000",
    "all routes": "ip -4 route flush proto 87; ip -6 route flush proto 87",
    "route to elsewhere": "ip route change $(ip -4 route show proto 87 dev eth0 | cut -d' ' -f1 | head -1) dev eth0 "
    "via 192.168.1.77 proto 87",
    "neighbour": "ip neigh del $peer dev weft.1",
    "neighbour changed": "ip neigh replace $peer lladdr 02:00:00:00:00:01 dev weft.1 nud permanent",
    "FDB entry": f"{_FDB}; bridge fdb del $1 dev weft.1 dst $3 self",
    "FDB entry changed": f"{_FDB}; bridge fdb replace $1 dev weft.1 dst 192.168.1.78 self permanent",
    "bridge's address": "ip addr del $(ip -j -4 addr show weft-vx | jq -r '.[0].addr_info[0].local')/24 dev weft-vx",
    "bridge's v6 address": "ip -6 addr flush dev weft-vx scope global",
    "tunnel's address": "ip -4 addr flush dev weft.1",
    "tunnel device": "ip link del weft.1",
    "bridge": "ip link del weft-vx",
    "bridge of host-gw": "ip link del weft-hg",
    "host's end of a veth": "ip link del $veth",
    "container's end of a veth": "ip -n vx1 link del eth0",
    "container's address": "ip -n vx1 -4 addr flush dev eth0",
    "container's v6 address": "ip -n vx1 -6 addr flush dev eth0 scope global",
    "container's route": "ip -n vx1 route del default",
    "container's v6 route": "ip -n vx1 -6 route del default",
    "container's device down": "ip -n vx1 link set eth0 down",
    "container's MTU": "ip -n vx1 link set eth0 mtu 1300",
    "container's MAC": "ip -n vx1 link set eth0 address 02:00:00:00:00:02",
    "nft rules": "nft flush table inet weft",
    "nft table": "nft delete table inet weft",
    "whole ruleset": "nft flush ruleset; iptables -P FORWARD DROP; ip6tables -P FORWARD DROP",
    "nft rule": "nft delete rule inet weft postrouting handle "
    "$(nft -a list chain inet weft postrouting | grep -m1 masquerade | grep -o '[0-9]*$')",
    "nft rule of somebody's in our table": "nft insert rule inet weft postrouting counter",
    "nft set's element": "nft delete element inet weft cluster4 '{ 10.41.0.0/16 }'",
    "iptables jump": "iptables -D FORWARD -j WEFT-FORWARD",
    "iptables rules": "iptables -F WEFT-FORWARD",
    "ip6tables jump": "ip6tables -D FORWARD -j WEFT-FORWARD",
    "v4 forwarding": "echo 0 >/proc/sys/net/ipv4/ip_forward",
    "v6 forwarding": "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
    "alias": "ip link set weft-hg alias weft:network/other",
    "MTU of the tunnel": "ip link set weft.1 mtu 1400",
    "MTU of a bridge": "ip link set weft-hg mtu 1400",
    "MAC of the tunnel": "ip link set weft.1 address 02:00:00:00:00:03",
    "tunnel down": "ip link set weft.1 down",
    "bridge down": "ip link set weft-vx down",
    "veth down": "ip link set $veth down",
    "veth out of its bridge": "ip link set $veth nomaster",
}

Times = dict[str, tuple[float, float]]
"""What → (seconds until all is as before, longest gap between two answers to a ping)."""


@pytest.fixture(scope="module")
def weft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("deleted"), agents=False, store="sqlite") as made:
        made.sh("node-1", "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
        made.mend()
        populate(made)
        yield made


@pytest.fixture(scope="module")
def running(weft: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """The same connections through all of it."""
    with Traffic(tmp_path_factory.mktemp("traffic"), [weft.pair(*path) for path in PATHS]) as traffic:
        yield traffic


@pytest.fixture(autouse=True)
def _peace(weft: Cluster) -> None:
    """Something that is put right five times within two minutes is left alone for a while: an agent that has just been
    started has not counted yet."""
    if weft.status("node-1").repairs > 5:
        weft.end("node-1")
        weft.start("node-1")
        weft.settled(["node-1"])


@pytest.fixture(scope="module")
def times() -> Iterator[Times]:
    measured: Times = {}
    yield measured
    if measured:
        back = [seconds for seconds, _ in measured.values()]
        note(f"{'deleted or changed':40} back after   longest silence")
        for what, (seconds, gap) in sorted(measured.items(), key=lambda item: item[1]):
            note(f"{what:40} {seconds * 1000:7.0f} ms   {gap * 1000:7.0f} ms")
        note(f"{'median, longest':40} {statistics.median(back) * 1000:7.0f} ms   {max(back) * 1000:7.0f} ms")


@pytest.mark.parametrize("what", CASES)
def test_is_back(weft: Cluster, running: Traffic, times: Times, what: str) -> None:
    _try(weft, running, times, what, _NAMES + CASES[what])


def _try(weft: Cluster, running: Traffic, times: Times, what: str, script: str) -> None:
    before, mark = _look(weft), running.mark()
    weft.sh("node-1", script)

    def missing() -> str:
        return difference(before, _look(weft))

    took = until(lambda: not missing(), GENEROUS, lambda: f"{what}:\n{missing()}\n{weft.unsettled('node-1')}")
    running.flows()
    times[what] = took, max(loss.gap for loss in running.losses(mark))
    weft.settled(["node-1"])


def _look(weft: Cluster) -> Snapshot:
    """node-1 and its container in vx, where all the removing is done."""
    inside = {f"container: {line}" for line in snapshot(weft.inside("node-1/vx1"), rules=False)}
    return snapshot(weft.lab.host("node-1")) | inside


def test_everything_at_once(weft: Cluster, running: Traffic, times: Times) -> None:
    ours = "ip -j link | jq -r '.[] | select(.ifname | startswith(\"weft\")) | .ifname'"
    _try(
        weft,
        running,
        times,
        "everything at once",
        f"for dev in $({ours}); do ip link del $dev 2>/dev/null; done;"
        "ip -4 route flush proto 87; ip -6 route flush proto 87; nft delete table inet weft;"
        "iptables -F; ip6tables -F; iptables -X WEFT-FORWARD; ip6tables -X WEFT-FORWARD;"
        "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
    )
