"""Packets for rules: a flow's first packet at a hook, as `weft.filters` is shown it."""

from __future__ import annotations

from ipaddress import ip_address

from weft.filters.model import Connection, Device, Seen, Tuple
from weft.filters.octets import packet

PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58}
EtherType = {4: 0x0800, 6: 0x86DD}


def flow(text: str) -> Tuple:
    """ "tcp 10.0.0.1 10.0.0.2 80", the source's port 40000."""
    protocol, src, dst, *port = text.split()
    return Tuple(PROTOCOLS[protocol], ip_address(src), ip_address(dst), 40000, int(port[0]) if port else 0)


def seen(text: str, *, iif: str = "eth0", oif: str = "eth1", mark: int = 0, state: str = "new", size: int = 0) -> Seen:
    """The flow's first packet on its way from one device to the other; "" for none."""
    what = flow(text)
    return Seen(
        octets=packet(what, size=size),
        protocol=EtherType[what.src.version],
        iif=Device(name=iif, index=2, kind="veth") if iif else None,
        oif=Device(name=oif, index=3, kind="veth") if oif else None,
        mark=mark,
        connection=Connection(state=state, original=what, answer=what.turned()),  # type: ignore[arg-type]
    )
