"""What an encrypted vxlan network carries, by Weft and wired by hand: the ratio only, for the machine is emulated.

`./dev test vm -- -m figures -rP` shows it.

By hand it is a VXLAN between addresses inside a WireGuard tunnel, as is usual, and one under policies of ESP.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from statistics import median

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from support.iperf import throughput
from support.namespaces import Home, Namespace
from support.secured import pair
from weft.hoststate import WireguardPeer
from weft.kernel.kinds import wireguard, wireguard_wire
from weft.mesh.keys import public_of

ROUNDS, MIB = 3, 4
MTU = 1390


def by_hand(router: Namespace, host: Namespace, container: Namespace, number: int) -> None:
    """A host with the address 192.168.1.NUMBER, and its container 10.74.NUMBER.2; no tunnel as yet."""
    port = f"p-hand{number}"
    host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", router.path)
    router.sh(f"ip link set {port} master seg-a up")
    host.run(
        "ip", "link", "add", "near", "mtu", f"{MTU}", "type", "veth", "peer", "name", "eth0", "netns", container.path
    )
    container.sh("ip link set eth0 up")
    container.sh(f"ip addr add 10.74.{number}.2/24 dev eth0")
    container.sh(f"ip route add default via 10.74.{number}.1")
    host.sh("ip link set eth0 up")
    host.sh("ip link set near up")
    host.sh(f"ip addr add 192.168.1.{number}/24 dev eth0")
    host.sh(f"ip addr add 10.74.{number}.1/24 dev near")
    host.sh("sysctl -qw net.ipv4.ip_forward=1")


def tunnel(host: Namespace, number: int, local: str, remote: str) -> None:
    host.sh(f"ip link add hand type vxlan id 87 local {local} remote {remote} dstport 8474")
    host.sh(f"ip link set hand mtu {MTU} up")
    host.sh(f"ip addr add 10.75.0.{number}/24 dev hand")
    host.sh(f"ip route add 10.74.{171 - number}.0/24 via 10.75.0.{171 - number}")


def wired_by_wireguard(ends: dict[int, Namespace]) -> None:
    keys = {number: X25519PrivateKey.generate().private_bytes_raw() for number in ends}
    shared = secrets.token_bytes(32)
    for number, host in ends.items():
        other = 171 - number
        host.sh("ip link add wg0 type wireguard")
        peer = WireguardPeer(
            dev="wg0",
            public=public_of(keys[other]),
            endpoint=f"192.168.1.{other}",
            port=5182,
            allowed=(f"10.76.0.{other}/32",),
        )
        with host.entered():
            messages = lambda netlink, family: netlink.batch_or_raise(  # noqa: E731
                [wireguard_wire.end(family, "wg0", 5182, keys[number]), wireguard_wire.peer(family, peer, shared)]  # noqa: B023
            )
            wireguard.with_family("", messages)
        host.sh("ip link set wg0 mtu 1440 up")
        host.sh(f"ip addr add 10.76.0.{number}/24 dev wg0")
        tunnel(host, number, f"10.76.0.{number}", f"10.76.0.{other}")


def wired_by_esp(ends: dict[int, Namespace]) -> None:
    keys = {number: f"0x{secrets.token_hex(36)}" for number in ends}
    for number, host in ends.items():
        other = 171 - number
        for sender, receiver in ((number, other), (other, number)):
            way = f"src 192.168.1.{sender} dst 192.168.1.{receiver}"
            how = "mode transport reqid 5 replay-window 1024 flag esn aead rfc4106(gcm(aes))"
            host.sh(f"ip xfrm state add {way} proto esp spi {sender} {how} {keys[sender]} 128")
            direction = "out" if sender == number else "in"
            demand = f"tmpl {way} proto esp mode transport reqid 5"
            host.sh(f"ip xfrm policy add {way} proto udp dport 8474 dir {direction} {demand}")
        tunnel(host, number, f"192.168.1.{number}", f"192.168.1.{other}")


WIRED = {"wireguard": wired_by_wireguard, "esp": wired_by_esp}


@pytest.mark.figures
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cipher", WIRED)
def test_beside_what_is_wired_by_hand(netns: Home, tmp_path: Path, cipher: str) -> None:
    with pair(netns, tmp_path) as hosts:
        hosts.use(cipher)
        ends, inside = {n: netns.new() for n in (85, 86)}, {n: netns.new() for n in (85, 86)}
        for number, host in ends.items():
            by_hand(hosts.router, host, inside[number], number)
        WIRED[cipher](ends)
        ways = {"weft": (hosts.c1, hosts.c2, hosts.to), "by hand": (inside[85], inside[86], "10.74.86.2")}
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS + 1):
            for name in sorted(ways, reverse=number % 2 == 1):
                speed = throughput(*ways[name], MIB)
                if number:  # the first warms up
                    found[name].append(speed)
    each = sorted(a / b for a, b in zip(found["weft"], found["by hand"], strict=True))
    spread = f"{median(each):.3f} ({each[0]:.2f} to {each[-1]:.2f})"
    sys.stdout.write(f"vxlan by {cipher}, Weft's to by hand: {spread}, {ROUNDS} rounds\n")
    assert all(len(speeds) == ROUNDS and min(speeds) > 0 for speeds in found.values()), "all of it arrived, each time"
