"""What devices of a namespace have counted: one netlink dump (struct rtnl_link_stats64 of linux/if_link.h)."""

from __future__ import annotations

import struct
import sys

import msgspec

from weft.api.topology import LinkCounters
from weft.hoststate.links import OWNER
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, attributes, open_socket

_IFINFOMSG = struct.Struct("=BxHiII")
_STATS = struct.Struct("=8Q")
"""Packets received and sent, octets of these, errors, packets dropped: the first of many more."""
_LOWER_UP = 0x10000


def traffic(uplink: str) -> dict[str, LinkCounters]:
    """Of Weft's devices in the calling thread's namespace, and of `uplink`, by name. Blocking. Raises Failed."""
    netlink = Netlink(open_socket())
    try:
        found = dict(netlink.dump(u.RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0), _decode))
    finally:
        netlink.close()
    ours = {name: link for name, link in found.items() if link.mark == OWNER or link.mark.startswith(OWNER + ":")}
    if uplink in found:
        ours[uplink] = msgspec.structs.replace(found[uplink], uplink=True)
    return ours


def _decode(data: bytes, start: int, end: int) -> tuple[str, LinkCounters] | None:
    family, _type, _index, flags, _change = _IFINFOMSG.unpack_from(data, start)
    if family != u.AF_UNSPEC:
        return None
    found = attributes(data, start + _IFINFOMSG.size, end)
    info = found.get(u.IFLA_LINKINFO, b"")
    stats = _STATS.unpack_from(found.get(u.IFLA_STATS64, bytes(_STATS.size)))
    received, sent, received_octets, sent_octets, *errors_and_drops = stats
    return _text(found[u.IFLA_IFNAME]), LinkCounters(
        kind=_text(attributes(info, 0, len(info)).get(u.IFLA_INFO_KIND, b"")),
        mark=_text(found.get(u.IFLA_IFALIAS, b"")),
        mtu=int.from_bytes(found.get(u.IFLA_MTU, b""), sys.byteorder),
        up=bool(flags & u.IFF_UP),
        carrier=bool(flags & _LOWER_UP),
        received=received,
        received_octets=received_octets,
        sent=sent,
        sent_octets=sent_octets,
        errors=sum(errors_and_drops[:2]),
        dropped=sum(errors_and_drops[2:]),
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
