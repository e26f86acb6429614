"""The stand-in for flanneld by itself: two of them reach each other as two flannelds do, by each of its backends.

What a cluster with Weft's nodes in it does is told of by test_flannel_mixed; this says that the other side of it is right."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.capture import Capture
from support.flannel_hosts import Flannel, Plain, Registry
from support.flanneld import pump
from support.reach import OUTSIDE, UNDERLAY, PeerServer, ping, seen_as, shown
from support.waiting import until
from weft.lab import Lab

BACKENDS = {
    "vxlan": ("40.15.0.0/16", 1450, 62),
    "host-gw": ("40.16.0.0/16", 1500, 62),
    "udp": ("40.17.0.0/16", 1472, 60),
}
"""Network, MTU, TTL that a container sees of another host's."""
HOSTS = ("node-2", "node-3")


@dataclass(frozen=True)
class Pair:
    hosts: tuple[Flannel, ...]
    containers: tuple[Plain, ...]


@pytest.fixture(scope="module")
def lab(lab_base: str) -> Iterator[Lab]:
    """The reference lab without agents."""
    with Lab.up(name="standin", agents=False) as lab:
        yield lab


@pytest.fixture(scope="module")
def registry(lab: Lab) -> Registry:
    return Registry.up(lab)


def prefix(kind: str) -> str:
    return f"/{kind}/network"


@pytest.fixture(scope="module")
def pairs(lab: Lab, registry: Registry) -> dict[str, Pair]:
    """For each backend a flanneld on two hosts, with a container behind it."""
    found = {}
    for kind, (network, _, _) in BACKENDS.items():
        registry.configure(prefix(kind), Network=network, Backend={"Type": kind})
        hosts = tuple(Flannel(lab, name, registry, prefix(kind), kind).start() for name in HOSTS)
        found[kind] = Pair(hosts, tuple(host.container(f"{kind}-{host.name}") for host in hosts))
    return found


@pytest.mark.parametrize("kind", BACKENDS)
def test_they_reach_each_other(pairs: dict[str, Pair], kind: str) -> None:
    one, two = pairs[kind].containers
    _, mtu, ttl = BACKENDS[kind]
    until(lambda: ping(one.inside, two.address(4), wait=1).ok, 20, "the other's lease")
    for source, target in ((one, two), (two, one)):
        assert ping(source.inside, target.address(4)).ttl == ttl
        assert ping(source.inside, target.address(4), "-M", "do", "-s", str(mtu - 28)).ok
        assert "message too long" in ping(source.inside, target.address(4), "-M", "do", "-s", str(mtu - 27)).text
    host, base = pairs[kind].hosts[0], str(pairs[kind].hosts[0].subnet.network_address)
    with PeerServer(two.inside):
        assert seen_as(one.inside, two.address(4)) == one.address(4)
        assert seen_as(host.host, two.address(4)) == (host.public_ip if kind == "host-gw" else base)


@pytest.mark.parametrize("kind", BACKENDS)
def test_the_registry_says_so(registry: Registry, pairs: dict[str, Pair], kind: str) -> None:
    for host in pairs[kind].hosts:
        name = f"{host.subnet.network_address}-24"
        value = registry.leases(prefix(kind))[name]
        number, left = registry.etcd_lease(prefix(kind), name)
        assert number and 86_000 < left <= 86_400
        assert value.pop("PublicIP") == UNDERLAY[host.name][4] and value.pop("PublicIPv6") is None
        if kind == "vxlan":
            (link,) = shown(host.host, "ip -j link show dev flannel.1")
            assert value.pop("BackendData") == {"VNI": 1, "VtepMAC": link["address"]}
        assert value == ({} if kind == "udp" else {"BackendType": kind})


def test_datagrams_are_bare_packets(lab: Lab, pairs: dict[str, Pair], tmp_path: Path) -> None:
    one, two = pairs["udp"].containers
    with Capture(lab.host("node-2"), tmp_path) as capture:
        assert ping(one.inside, two.address(4)).ok
    found = [p for p in capture.packets if "8285" in p["udp.dstport"]]
    assert [(p["udp.srcport"], p["udp.dstport"], p["udp.length"]) for p in found] == [
        (("8285",), ("8285",), ("92",))
    ] * 2


def test_udp_says_what_no_host_has(lab: Lab, pairs: dict[str, Pair], tmp_path: Path) -> None:
    """But not of a ping. The kernel hears it from an address of its own and drops it: senders run into their time-outs."""
    one, _ = pairs["udp"].containers
    with Capture(lab.host("node-2"), tmp_path, "flannel0", "40.17.255.8") as capture:
        assert not ping(one.inside, "40.17.255.9", wait=1).ok
        one.inside.must("a datagram", ["bash", "-c", "echo lost >/dev/udp/40.17.255.9/7"])
    (told,) = [p for p in capture.packets if p["icmp.type"] == ("3",)]
    base = str(pairs["udp"].hosts[0].subnet.network_address)
    assert (told["icmp.code"], told["ip.src"][0], told["ip.ttl"][0]) == (("0",), base, "8")
    assert (told["ip.dst"], told["udp.dstport"]) == ((one.address(4), "40.17.255.9"), ("7",))


def test_headers_that_the_pump_writes_add_up() -> None:
    """Also where taking one away from the TTL carries over."""
    for first in range(0, 0x10000, 0x55):
        header = struct.pack("!BBHHHBBH", 0x45, 0, 28, first, 0, 2, 17, 0) + bytes((40, 17, 1, 2, 40, 17, 2, 2))
        packet = header[:10] + pump.checksum(header).to_bytes(2) + header[12:] + bytes(8)
        fewer = pump.less_ttl(packet)
        assert fewer is not None and fewer[8] == 1 and pump.checksum(fewer[:20]) == 0
        assert pump.less_ttl(fewer) is None
        told = pump.unreachable(packet, 0x28110100)
        assert told is not None and pump.checksum(told[:20]) == pump.checksum(told[20:]) == 0 and told[28:] == packet


def test_the_way_out_is_masqueraded(lab: Lab, pairs: dict[str, Pair]) -> None:
    with PeerServer(lab.host("outside")):
        for pair in pairs.values():
            assert seen_as(pair.containers[0].inside, OUTSIDE[4]) == UNDERLAY["node-2"][4]


def test_a_lease_is_kept_taken_over_and_revoked(registry: Registry, pairs: dict[str, Pair]) -> None:
    mine, other = pairs["vxlan"].hosts
    name = f"{mine.subnet.network_address}-24"
    before, (number, _) = mine.subnet, registry.etcd_lease(prefix("vxlan"), name)
    mine.renew()
    assert registry.etcd_lease(prefix("vxlan"), name)[0] != number
    mine.kill()
    assert ping(pairs["vxlan"].containers[0].inside, pairs["vxlan"].containers[1].address(4)).ok, "its devices stay"
    mine.start()
    assert mine.subnet == before
    registry.delete(f"{prefix('vxlan')}/subnets/{name}")
    until(lambda: not mine.alive, 20, "the end of a flanneld whose lease is gone")
    assert "revoked" in mine.said()
    until(lambda: str(before) not in other.host.must("routes", ["ip", "route"]), 20, "the end of its route")
    mine.start()  # the same again: it is in subnet.env, and free
    assert mine.subnet == before
    until(
        lambda: ping(pairs["vxlan"].containers[0].inside, pairs["vxlan"].containers[1].address(4), wait=1).ok, 20, "it"
    )


def test_what_was_missed_is_read_again(lab: Lab, registry: Registry, pairs: dict[str, Pair]) -> None:
    """While etcd is away nothing changes; what it says when it is back, and has forgotten how it came to that, is done."""
    _, other = pairs["host-gw"].hosts
    one, two = pairs["host-gw"].containers
    value = '{"PublicIP":"192.168.1.68","PublicIPv6":null,"BackendType":"host-gw"}'
    stopped = [p for pair in pairs.values() for h in pair.hosts if (p := h.process)]
    registry.stop()
    assert ping(one.inside, two.address(4)).ok
    registry.start()
    registry.put(f"{prefix('host-gw')}/subnets/40.16.200.0-24", value)
    registry.put(f"{prefix('host-gw')}/subnets/not-a-subnet", value)
    registry.compact()
    until(lambda: "40.16.200.0/24 via 192.168.1.68" in other.host.must("routes", ["ip", "route"]), 20, "the new host")
    assert all(process.alive for process in stopped)
