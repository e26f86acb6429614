"""`weft agent purge` leaves a host as it was before Weft, and whatever is somebody else's as it is."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from support.cluster import NODES, Cluster, cluster, populate
from support.snapshot import difference, snapshot
from support.waiting import until

FOREIGN = """
set -e
iptables -P FORWARD DROP
iptables -A FORWARD -s 172.30.0.0/16 -j ACCEPT
iptables -t nat -A POSTROUTING -s 172.30.0.0/16 -j MASQUERADE
ip6tables -A INPUT -p udp --dport 9999 -j DROP
nft add table inet mine
nft add chain inet mine forward '{ type filter hook forward priority 10; }'
nft add rule inet mine forward ip daddr 10.41.99.0/24 counter accept
ip link add br-mine type bridge
ip link set br-mine up alias "not weft's"
ip addr add 172.30.0.1/16 dev br-mine
ip route add 10.41.0.0/16 via 192.168.1.1 metric 99
ip route add 10.41.200.0/24 via 192.168.1.1
ip route add 10.99.0.0/24 via 192.168.1.1 proto 88
ip -6 route add fd41:0:0:ffff::/64 via fd00:192:168:1::1
ip neigh add 192.168.1.200 lladdr 02:00:00:00:00:99 dev eth0
ip rule add from 172.30.0.0/16 table 77
ip route add default via 192.168.1.1 table 77
echo 2 >/proc/sys/net/ipv4/conf/eth0/rp_filter
"""
_SYSCTLS = "cd /proc/sys/net; grep -rs . ipv4 ipv6 | grep -v 'stable_secret\\|fib_multipath_hash_seed'"


def sysctls(weft: Cluster, host: str) -> set[str]:
    return set(weft.sh(host, _SYSCTLS).splitlines())


@pytest.mark.parametrize("plant", [FOREIGN, "iptables -S >/dev/null"], ids=["others' things", "fresh host"])
def test_purge(tmp_path: Path, plant: str) -> None:
    with cluster(tmp_path, store="sqlite", agents=False) as weft:
        host = weft.lab.host("node-1")
        weft.sh("node-1", plant)
        before, values = snapshot(host), sysctls(weft, "node-1")
        weft.mend()
        populate(weft)
        during = snapshot(host)
        assert any("weft.1" in line for line in during), "there was something to remove"
        changed = {line for line in before - during if not line.startswith(("sysctl", "nft rule"))}
        assert changed == set(), "what is not ours is left alone (a rule's place in its chain is another now)"
        weft.end("node-1", signal.SIGTERM)
        assert difference(during, snapshot(host)) == "", "stopping leaves the data plane"

        status, said = weft.weft("node-1", "agent", "purge", "--yes")
        assert status == 0, said
        assert "removed link weft.1" in " ".join(said.split())
        assert difference(before, snapshot(host)) == ""
        assert sorted(values ^ sysctls(weft, "node-1")) == []
        for container in ("vx1", "hg1"):
            assert "eth0" not in weft.sh("node-1", f"ip -n {container} -o link")
            assert weft.sh("node-1", f"ip netns exec {container} nft list ruleset").strip() == ""
            assert weft.sh("node-1", "ls -A /etc/netns 2>/dev/null || :").strip() == ""
        assert weft.weft("node-1", "agent", "purge", "--yes") == (0, "nothing here is Weft's\n")

        for name in NODES:
            weft.lab.agent(name).start()
        weft.settled()
        until(lambda: snapshot(host) == during, 10, lambda: f"all of it again:\n{difference(during, snapshot(host))}")
