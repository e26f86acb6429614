"""A marked packet is watched by Debian's kernel (6.1) as by a newer one, which knows more reasons: where it ends, and why."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from support.namespaces import Home
from support.overlay import Overlay, overlay
from support.waiting import until
from weft.api.live import PacketSeen, RuleSeen
from weft.kernel.live.probe import Packet, send
from weft.kernel.live.watch import Watch


@pytest.fixture
def there(netns: Home) -> Iterator[Overlay]:
    with overlay() as found:
        yield found


def go(there: Overlay, target: str, protocol: str) -> tuple[str, tuple[PacketSeen, ...], tuple[RuleSeen, ...]]:
    token, address = secrets.token_bytes(8), ip_address(target)
    watch = Watch(token, protocol, address.version, there.names, tuple(there.names))
    try:
        assert watch.unseen == []
        origin = there.containers[1].path
        sent = send(
            origin, Packet(target=address, protocol=protocol, token=token, port=98), 20 if protocol == "tcp" else 1
        )
        until(lambda: any(p.point == "drop" for p in watch.packets()), 60, lambda: f"a drop; {watch.packets()}")
        return sent.answer, watch.packets(), watch.rules()
    finally:
        watch.close()


def test_drops_are_seen_with_reason_function_and_rule(there: Overlay) -> None:
    """One test for all, since a machine that is emulated makes its namespaces slowly."""
    answer, packets, _ = go(there, "10.9.0.2", "tcp")
    drops = [(p.place, p.reason, p.function) for p in packets if p.point == "drop"]
    assert (answer, drops) == ("refused", [("c2", "NO_SOCKET", "tcp_v4_rcv")])
    way = [(p.place, p.device) for p in packets if p.point == "out" and p.device != "br0"]
    assert way[:4] == [("c1", "eth0"), ("host1", "vx0"), ("host1", "u0"), ("host2", "v0")]

    there.hosts[2].sh("ip link set vx0 down")
    _, packets, _ = go(there, "10.9.0.2", "udp")
    assert ("host2", "NO_SOCKET") in [(p.place, p.reason) for p in packets if p.point == "drop"]
    there.hosts[2].sh("ip link set vx0 up")

    table = "table inet t { chain f { type filter hook forward priority 0; udp dport 98 drop; }; }"
    there.hosts[1].run("nft", "-f", "-", stdin=table)
    _, packets, rules = go(there, "192.168.7.2", "udp")
    assert ("host1", "NETFILTER_DROP") in [(p.place, p.reason) for p in packets if p.point == "drop"]
    assert [(r.chain, r.verdict, r.text) for r in rules] == [("f", "drop", "udp dport 98 drop")]
    there.hosts[1].sh("nft delete table inet t")

    _, packets, _ = go(there, "10.77.0.1", "udp")
    assert [p.function for p in packets if p.point == "drop" and p.place == "host1"] == ["ip_error"]
