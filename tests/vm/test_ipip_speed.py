"""What IPIP carries, by Weft and wired by hand: the ratio only, for the machine is emulated.

`./dev test vm -- -m figures -rP` shows it.

Three pairs on one segment: containers behind Weft's tunnel, containers behind one that is wired with ip(8), hosts without.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from support import lab
from support.iperf import throughput
from support.namespaces import Home, Namespace
from support.routed import Host, Router

MIB, ROUNDS = 8, 5


def by_hand(home: Home, router: Router, number: int) -> tuple[Namespace, Namespace]:
    """A host with the address 192.168.1.NUMBER, and its container 10.74.NUMBER.2."""
    host, container = home.new(), home.new()
    port = f"p-hand{number}"
    host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", router.ns.path)
    router.ns.sh(f"ip link set {port} master seg-a up")
    host.run(
        "ip", "link", "add", "near", "mtu", "1480", "type", "veth", "peer", "name", "eth0", "netns", container.path
    )
    container.sh("ip link set eth0 mtu 1480 up")
    container.sh(f"ip addr add 10.74.{number}.2/32 dev eth0")
    container.sh("ip route add 169.254.1.1 dev eth0 scope link")
    container.sh("ip route add default via 169.254.1.1")
    host.sh("ip link set eth0 up")
    host.sh("ip link set near up")
    host.sh(f"ip addr add 192.168.1.{number}/24 dev eth0")
    host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.near.proxy_arp=1 net.ipv4.neigh.near.proxy_delay=0")
    host.sh("ip route add 169.254.1.1/32 dev lo")
    host.sh(f"ip route add 10.74.{number}.2/32 dev near scope link")
    host.sh(f"ip link add hand type ipip local 192.168.1.{number}")
    host.sh("ip link set hand mtu 1480 up")
    other = 171 - number
    host.sh(f"ip route add 10.74.{other}.0/26 via 192.168.1.{other} dev hand onlink src 192.168.1.{number}")
    return host, container


@pytest.mark.figures
def test_beside_what_is_wired_by_hand(netns: Home, tmp_path: Path) -> None:
    router = Router(netns)
    net = lab.network("routed", options={"encap": "ipip", "masquerade": False})
    with ExitStack() as stack:
        one, two = (Host(netns, router, name, net, tmp_path / name) for name in ("node-1", "node-2"))
        for host, other in ((one, two), (two, one)):
            stack.callback(host.close)
            host.attach("c", 2)
            host.knows(other)
            host.converge()
        (first, here), (second, there) = (by_hand(netns, router, number) for number in (85, 86))
        pairs = {
            "weft": (one.containers["c"], two.containers["c"], two.addresses()[0]),
            "by hand": (here, there, "10.74.86.2"),
            "hosts": (first, second, "192.168.1.86"),
        }
        found: dict[str, list[float]] = {name: [] for name in pairs}
        for number in range(ROUNDS + 1):
            for name in sorted(pairs, reverse=number % 2 == 1):
                speed = throughput(*pairs[name], MIB)
                if number:  # the first warms up
                    found[name].append(speed)
    for other in ("by hand", "hosts"):
        each = sorted(a / b for a, b in zip(found["weft"], found[other], strict=True))
        spread = f"{median(each):.3f} ({each[0]:.2f} to {each[-1]:.2f})"
        sys.stdout.write(f"IPIP, Weft's to {other}: {spread}, {ROUNDS} rounds\n")
    assert all(len(speeds) == ROUNDS and min(speeds) > 0 for speeds in found.values()), "all of it arrived, each time"
