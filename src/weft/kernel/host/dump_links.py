"""What only a trace asks of links: flags and VLANs of a bridge's ports, and IPv4's switches of each device."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping

import msgspec

from weft.api.dump import BridgeDump, ConfDump, PortDump, VlanDump
from weft.base.attributes import each
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, attributes

_AF_BRIDGE = 7
_IFINFOMSG = struct.Struct("=BxHiII")
_VLAN_INFO = struct.Struct("=HH")
_SKIP_STATS, _VLANS = 1 << 3, 1 << 1
"""RTEXT_FILTER_SKIP_STATS, RTEXT_FILTER_BRVLAN."""
_BRIDGE_VLAN_INFO = 2
_PVID, _UNTAGGED, _RANGE_BEGIN, _RANGE_END = 2, 4, 8, 16
"""BRIDGE_VLAN_INFO_… (linux/if_bridge.h)."""
_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
_HAIRPIN, _LEARNING, _FLOOD, _SUPPRESS, _ISOLATED, _LOCKED = 4, 8, 9, 32, 33, 39
"""IFLA_BRPORT_… (linux/if_link.h)."""
_STP, _FILTERING, _NF_CALL = 5, 7, {4: 36, 6: 37}
"""IFLA_BR_…"""
_INET_CONF = 1
_RP_FILTER, _ARP_IGNORE, _ACCEPT_LOCAL, _VALID_MARK, _SHARED, _ROUTE_LOCALNET = 8, 19, 23, 24, 25, 26
"""IPV4_DEVCONF_… (linux/ip.h): places in the array, from 1."""


class Details(msgspec.Struct, frozen=True):
    port: PortDump | None = None
    bridge: BridgeDump | None = None
    conf: ConfDump = ConfDump()
    type: int = 1


NOTHING = Details()


def details(netlink: Netlink, sysctls: Mapping[str, str]) -> dict[int, Details]:
    """By ifindex. `sysctls`: with those of conf/all, which add to a device's own."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _ext(_SKIP_STATS)
    found = dict(netlink.dump(u.RTM_GETLINK, body, lambda d, s, e: _decode(d, s, e, sysctls)))
    if not any(one.bridge is not None and one.bridge.filtering for one in found.values()):
        return found
    of_vlans = _IFINFOMSG.pack(_AF_BRIDGE, 0, 0, 0, 0) + _ext(_VLANS)
    for index, vlans in netlink.dump(u.RTM_GETLINK, of_vlans, _decode_vlans):
        one = found.get(index, NOTHING)
        if one.port is not None:
            found[index] = msgspec.structs.replace(one, port=msgspec.structs.replace(one.port, vlans=vlans))
        elif one.bridge is not None:
            found[index] = msgspec.structs.replace(one, bridge=msgspec.structs.replace(one.bridge, vlans=vlans))
    return found


def _ext(mask: int) -> bytes:
    return struct.pack("=HHI", 8, u.IFLA_EXT_MASK, mask)


def _decode(data: bytes, start: int, end: int, sysctls: Mapping[str, str]) -> tuple[int, Details]:
    _family, kind, index, _flags, _change = _IFINFOMSG.unpack_from(data, start)
    found = attributes(data, start + 16, end)
    info = _nested(found.get(u.IFLA_LINKINFO))
    is_port = _text(info.get(u.IFLA_INFO_SLAVE_KIND)) == "bridge"
    is_bridge = _text(info.get(u.IFLA_INFO_KIND)) == "bridge"
    return index, Details(
        port=_port(_nested(info.get(u.IFLA_INFO_SLAVE_DATA))) if is_port else None,
        bridge=_bridge(_nested(info.get(u.IFLA_INFO_DATA))) if is_bridge else None,
        conf=_conf(_nested(_nested(found.get(u.IFLA_AF_SPEC)).get(u.AF_INET)).get(_INET_CONF, b""), sysctls),
        type=kind,
    )


def _port(found: Mapping[int, bytes]) -> PortDump:
    state = _number(found.get(1), 3)
    return PortDump(
        state=_STATES[state] if state < len(_STATES) else str(state),
        isolated=_true(found, _ISOLATED),
        hairpin=_true(found, _HAIRPIN),
        learning=_true(found, _LEARNING, default=True),
        flood=_true(found, _FLOOD, default=True),
        suppress=_true(found, _SUPPRESS),
        locked=_true(found, _LOCKED),
    )


def _bridge(found: Mapping[int, bytes]) -> BridgeDump:
    return BridgeDump(
        filtering=_true(found, _FILTERING),
        stp=_number(found.get(_STP)) != 0,
        nf_call=tuple(family for family, kind in _NF_CALL.items() if _true(found, kind)),
    )


def _conf(values: bytes, sysctls: Mapping[str, str]) -> ConfDump:
    """One array of numbers. Of rp_filter the greater of the device's and conf/all's holds, of the others either."""

    def own(place: int) -> int:
        return _number(values[4 * place - 4 : 4 * place])

    def everywhere(name: str) -> int:
        return int(sysctls.get(f"net.ipv4.conf.all.{name}", "0"))

    return ConfDump(
        rp_filter=max(own(_RP_FILTER), everywhere("rp_filter")),
        accept_local=bool(own(_ACCEPT_LOCAL) or everywhere("accept_local")),
        route_localnet=bool(own(_ROUTE_LOCALNET) or everywhere("route_localnet")),
        valid_mark=bool(own(_VALID_MARK) or everywhere("src_valid_mark")),
        shared=bool(own(_SHARED)),
    )


def _decode_vlans(data: bytes, start: int, end: int) -> tuple[int, tuple[VlanDump, ...]]:
    index = _IFINFOMSG.unpack_from(data, start)[2]
    spec = attributes(data, start + 16, end).get(u.IFLA_AF_SPEC, b"")
    return index, tuple(_vlans(spec))


def _vlans(spec: bytes) -> Iterator[VlanDump]:
    """A range is told by its first and its last one."""
    first = 0
    for kind, value in each(spec):
        if kind != _BRIDGE_VLAN_INFO:
            continue
        flags, vid = _VLAN_INFO.unpack(value)
        if flags & _RANGE_BEGIN:
            first = vid
            continue
        for number in range(first if flags & _RANGE_END else vid, vid + 1):
            yield VlanDump(vid=number, pvid=bool(flags & _PVID), untagged=bool(flags & _UNTAGGED))


def _nested(data: bytes | None) -> dict[int, bytes]:
    return attributes(data, 0, len(data)) if data else {}


def _true(found: Mapping[int, bytes], kind: int, *, default: bool = False) -> bool:
    return _number(found.get(kind), int(default)) != 0


def _number(data: bytes | None, default: int = 0) -> int:
    return int.from_bytes(data, sys.byteorder) if data else default


def _text(data: bytes | None) -> str:
    return (data or b"").rstrip(b"\0").decode(errors="replace")
