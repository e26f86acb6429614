"""How much may flow through a container's interface: token buckets behind its other end, where it cannot remove them.

To the container: what the host's end of the veth sends is what the container gets, so a bucket at that end's root limits
it. From the container: what the host's end receives has no queue to wait in, so every frame is redirected, before anything
else looks at it, to a device that consists of nothing but a queue (ifb(4)); a bucket at that one's root lets it go on, and
it comes back to the host's end as if it had just been received: bridge, rules and routes see nothing of the detour.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.hoststate import HOST, Ifb, Link, Object, Qdisc, Redirect
from weft.model import Bandwidth

LEAST_FILL, LEAST_WAIT = 32 * 1024, 64 * 1024
"""Octets that a bucket holds, and that may wait for it, at least. TCP hands over up to 64 KiB as one packet, and a bucket
that holds less cuts it up first. Where the queue is too short for the pieces, many are lost at once, and TCP waits for its
timer."""
FILL, WAIT = 0.010, 0.100
"""Seconds' worth of octets at higher rates. With these TCP gets 96 % of the rate (docs/bandwidth.md); with a quarter of WAIT
it at times fell to 65 %."""

FRAME = 14 + 4
"""Octets of a frame beside its packet: Ethernet header, VLAN tag."""
LARGEST = 2**32 - 1
"""Octets of what the kernel takes for a queue's limit."""
LONGEST = 270.0
"""Seconds: the kernel counts the time in which a bucket fills in 2^32 ticks of 64 ns."""


def limits(bandwidth: Bandwidth | None, name: str, *, mtu: int, mark: str, ns: str = HOST) -> Iterator[Object]:
    """Behind the host's end `name` of a veth, in `ns`."""
    if bandwidth is None:
        return
    if bandwidth.ingress is not None:
        yield bucket(name, bandwidth.ingress, bandwidth.ingress_burst, mtu=mtu, ns=ns)
    if bandwidth.egress is not None:
        detour = queue_name(name)
        yield Link(name=detour, type=Ifb(), mtu=mtu, alias=mark, ns=ns)
        yield bucket(detour, bandwidth.egress, bandwidth.egress_burst, mtu=mtu, ns=ns)
        yield Redirect(dev=name, to=detour, ns=ns)


def bucket(dev: str, rate: int, burst: int | None, *, mtu: int, ns: str) -> Qdisc:
    """A bucket that holds less than one packet would never let one pass."""
    most = int(rate * LONGEST / 8)
    octets = max(int(rate * FILL / 8), LEAST_FILL) if burst is None else burst
    holds = max(min(octets, most), mtu + FRAME)
    waits = max(int(rate * WAIT / 8), LEAST_WAIT)
    return Qdisc(dev=dev, rate=rate - rate % 8, burst=holds, limit=min(holds + waits, LARGEST), ns=ns)


def queue_name(name: str) -> str:
    """Of a host's end weftHEX, or weftgHEX; neither begins so."""
    return f"weftq{name[4:14]}"
