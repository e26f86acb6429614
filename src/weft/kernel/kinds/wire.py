"""The compact bulk path: routes, neighbours, FDB entries and addresses as the kernel's messages, and back.

Hosts have tens of thousands of these, so here is nothing but struct, inet_pton(3) and loops. A decoder gets the offset
of a message's body and its end, and the names of the namespace's devices by ifindex; None is "not ours".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from socket import inet_ntop, inet_pton

from weft.hoststate import PROTO, Address, FdbEntry, Neighbour, Route
from weft.hoststate.connected import Connected, ConnectedType
from weft.hoststate.paths import ALL, RouteType
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, attributes

_RTMSG = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")
_IFADDRMSG = struct.Struct("=BBBBI")
_RTA = struct.Struct("=HH")
_RTA32 = struct.Struct("=HHI")
_U32 = struct.Struct("=I")
_VIA6 = struct.Struct("=HHH16sxx")

_TYPES: dict[RouteType, int] = {
    "unicast": u.RTN_UNICAST,
    "blackhole": u.RTN_BLACKHOLE,
    "unreachable": u.RTN_UNREACHABLE,
    "throw": u.RTN_THROW,
}
_TYPE_NAMES: dict[int, RouteType] = {number: name for name, number in _TYPES.items()}
_SCOPES = {"global": 0, "link": u.RT_SCOPE_LINK, "host": u.RT_SCOPE_HOST}
_SCOPE_NAMES = {number: name for name, number in _SCOPES.items()}
_ANY = {u.AF_INET: "0.0.0.0", u.AF_INET6: "::"}

NEW = u.NLM_F_REQUEST | u.NLM_F_CREATE | u.NLM_F_EXCL
REPLACE = u.NLM_F_REQUEST | u.NLM_F_CREATE | u.NLM_F_REPLACE
APPEND = u.NLM_F_REQUEST | u.NLM_F_CREATE | u.NLM_F_APPEND
PLAIN = u.NLM_F_REQUEST

Names = Mapping[int, str]


def _rta(kind: int, payload: bytes) -> bytes:
    """Of payloads whose length is a multiple of four: no padding."""
    return _RTA.pack(4 + len(payload), kind) + payload


# -- routes ------------------------------------------------------------------------------------------------------------


def encode_route(route: Route, index: int, kind: int, flags: int) -> Message:
    """`index`: of the route's device; 0 where it has none."""
    prefix, _, length = route.prefix.partition("/")
    family = u.AF_INET6 if ":" in prefix else u.AF_INET
    table = route.table
    parts = [
        _RTMSG.pack(
            family,
            int(length),
            0,
            0,
            table if table < 256 else 0,
            route.proto,
            _SCOPES[route.scope],
            _TYPES[route.type],
            u.RTNH_F_ONLINK if route.onlink else 0,
        ),
        _rta(u.RTA_DST, inet_pton(family, prefix)),
        _RTA32.pack(8, u.RTA_TABLE, table),
    ]
    if route.metric:
        parts.append(_RTA32.pack(8, u.RTA_PRIORITY, route.metric))
    if via := route.via:
        if family == u.AF_INET and ":" in via:  # RFC 5549: a v6 next hop for a v4 prefix
            parts.append(_VIA6.pack(22, u.RTA_VIA, u.AF_INET6, inet_pton(u.AF_INET6, via)))
        else:
            parts.append(_rta(u.RTA_GATEWAY, inet_pton(family, via)))
    if index and route.type == "unicast":
        parts.append(_RTA32.pack(8, u.RTA_OIF, index))
    if route.src:
        parts.append(_rta(u.RTA_PREFSRC, inet_pton(family, route.src)))
    return Message(kind, flags, b"".join(parts))


def decode_route(data: bytes, start: int, end: int, names: Names, ns: str, proto: int | None = PROTO) -> Route | None:
    """`proto`: whose routes; None for everybody's (whose types and scopes are among ours)."""
    family, length, _src, _tos, table, protocol, scope, kind, flags = _RTMSG.unpack_from(data, start)
    if (proto is not None and protocol != proto) or flags & u.RTM_F_CLONED or kind not in _TYPE_NAMES:
        return None
    dst, via, dev, src, metric = _ANY[family], "", "", "", 0
    start += 12
    while start < end:
        size, rta = _RTA.unpack_from(data, start)
        if rta == 1:  # RTA_DST; numbers, since a name looked up in a module costs as much as the comparison
            dst = inet_ntop(family, data[start + 4 : start + size])
        elif rta == 4:  # RTA_OIF
            dev = names.get(_U32.unpack_from(data, start + 4)[0], "")
        elif rta == 5:  # RTA_GATEWAY
            via = inet_ntop(family, data[start + 4 : start + size])
        elif rta == 15:  # RTA_TABLE
            table = _U32.unpack_from(data, start + 4)[0]
        elif rta == 6:  # RTA_PRIORITY
            metric = _U32.unpack_from(data, start + 4)[0]
        elif rta == 7:  # RTA_PREFSRC
            src = inet_ntop(family, data[start + 4 : start + size])
        elif rta == 18:  # RTA_VIA: family, address
            via = inet_ntop(u.AF_INET6, data[start + 6 : start + 22])
        start += (size + 3) & ~3
    return Route(
        prefix=f"{dst}/{length}",
        dev=dev,
        via=via,
        onlink=flags & 4 != 0,
        metric=metric,
        type=_TYPE_NAMES[kind],
        scope=_SCOPE_NAMES.get(scope, "global"),  # type: ignore[arg-type] # its values are the Literal's
        src=src,
        table=table,
        proto=protocol,
        ns=ns,
    )


def route_filter(family: int, proto: int = PROTO, table: int = 0) -> bytes:
    """The body of a dump request of which the kernel itself leaves out what does not match (NETLINK_GET_STRICT_CHK)."""
    return _RTMSG.pack(family, 0, 0, 0, table, proto, 0, 0, 0)


# -- neighbours --------------------------------------------------------------------------------------------------------


def encode_neighbour(entry: Neighbour, index: int, kind: int, flags: int) -> Message:
    family = u.AF_INET6 if ":" in entry.address else u.AF_INET
    body = (
        _NDMSG.pack(family, index, u.NUD_PERMANENT, 0, 0)
        + _rta(u.NDA_DST, inet_pton(family, entry.address))
        + _mac(entry.lladdr)
        + b"\x05\0\x0c\0%c\0\0\0" % entry.proto  # NDA_PROTOCOL, one octet
    )
    return Message(kind, flags, body)


def decode_neighbour(data: bytes, start: int, end: int, names: Names, ns: str) -> Neighbour | None:
    family, index, state, _flags, _type = _NDMSG.unpack_from(data, start)
    if not state & u.NUD_PERMANENT or family not in _ANY:
        return None
    dst = lladdr = b""
    protocol = 0
    start += 12
    while start < end:
        size, nda = _RTA.unpack_from(data, start)
        if nda == 1:  # NDA_DST
            dst = data[start + 4 : start + size]
        elif nda == 2:  # NDA_LLADDR
            lladdr = data[start + 4 : start + size]
        elif nda == 12:  # NDA_PROTOCOL
            protocol = data[start + 4]
        start += (size + 3) & ~3
    if protocol != PROTO:
        return None
    return Neighbour(address=inet_ntop(family, dst), lladdr=lladdr.hex(":"), dev=names.get(index, ""), ns=ns)


def neighbour_filter(family: int) -> bytes:
    return _NDMSG.pack(family, 0, 0, 0, 0)


# -- FDB ---------------------------------------------------------------------------------------------------------------


def encode_fdb(entry: FdbEntry, index: int, kind: int, flags: int) -> Message:
    if entry.bridge:
        own = _NDMSG.pack(u.AF_BRIDGE, index, u.NUD_NOARP, u.NTF_MASTER | u.NTF_STICKY, 0)
        return Message(kind, flags, own + _mac(entry.lladdr))
    if entry.lladdr == ALL and flags != PLAIN:
        flags = APPEND
    family = u.AF_INET6 if ":" in entry.dst else u.AF_INET
    body = (
        _NDMSG.pack(u.AF_BRIDGE, index, u.NUD_PERMANENT | u.NUD_NOARP, u.NTF_SELF, 0)
        + _mac(entry.lladdr)
        + _rta(u.NDA_DST, inet_pton(family, entry.dst))
    )
    return Message(kind, flags, body)


def decode_fdb(data: bytes, start: int, end: int, names: Names, ns: str) -> FdbEntry | None:
    """Entries of the device's own table (NTF_SELF) with a VTEP, and sticky ones of a bridge's. Names: of our devices only,
    since these carry no mark."""
    _family, index, state, flags, _type = _NDMSG.unpack_from(data, start)
    dev = names.get(index)
    if dev is None:
        return None
    if not flags & u.NTF_SELF:
        return _decode_bridged(attributes(data, start + 12, end), dev, state, flags, names, ns)
    if not state & u.NUD_PERMANENT:
        return None
    dst = lladdr = b""
    start += 12
    while start < end:
        size, nda = _RTA.unpack_from(data, start)
        if nda == 1:  # NDA_DST
            dst = data[start + 4 : start + size]
        elif nda == 2:  # NDA_LLADDR
            lladdr = data[start + 4 : start + size]
        start += (size + 3) & ~3
    if not dst:
        return None
    return FdbEntry(lladdr=lladdr.hex(":"), dst=inet_ntop(_FAMILY[len(dst)], dst), dev=dev, ns=ns)


def _decode_bridged(
    found: Mapping[int, bytes], dev: str, state: int, flags: int, names: Names, ns: str
) -> FdbEntry | None:
    """A bridge has each entry once more for each VLAN of the port; those come and go with it."""
    if state != u.NUD_NOARP or not flags & u.NTF_STICKY or u.NDA_VLAN in found or u.NDA_MASTER not in found:
        return None
    bridge = names.get(_U32.unpack(found[u.NDA_MASTER])[0])
    return FdbEntry(lladdr=found[u.NDA_LLADDR].hex(":"), dev=dev, bridge=bridge, ns=ns) if bridge else None


_FAMILY = {4: u.AF_INET, 16: u.AF_INET6}


def fdb_filter(index: int) -> bytes:
    return _NDMSG.pack(u.AF_BRIDGE, index, 0, 0, 0)


def fdb_filter_of_bridge(index: int) -> bytes:
    """The table of the bridge with this ifindex, and what its ports have themselves."""
    return fdb_filter(0) + _RTA32.pack(8, u.NDA_MASTER, index)


def _mac(text: str) -> bytes:
    return b"\x0a\0\x02\0" + bytes.fromhex(text.replace(":", "")) + b"\0\0"  # NDA_LLADDR, six octets


# -- addresses ---------------------------------------------------------------------------------------------------------


def encode_address(address: Address, index: int, kind: int, flags: int) -> Message:
    text, _, length = address.address.partition("/")
    family = u.AF_INET6 if ":" in text else u.AF_INET
    packed = inet_pton(family, text)
    scope = u.RT_SCOPE_HOST if family == u.AF_INET and packed[0] == 127 else 0
    body = _IFADDRMSG.pack(family, int(length), 0, scope, index)
    body += _rta(u.IFA_LOCAL, packed) + _rta(u.IFA_ADDRESS, packed)
    if family == u.AF_INET6:
        body += _RTA32.pack(8, u.IFA_FLAGS, u.IFA_F_NODAD)
    return Message(kind, flags, body + b"\x05\0\x0b\0%c\0\0\0" % address.proto)  # IFA_PROTO, one octet


def decode_address(data: bytes, start: int, end: int, names: Names, ns: str) -> Address | None:
    found = decode_any_address(data, start, end, names, ns)
    return found[0] if found[0].proto == PROTO else None


def decode_any_address(data: bytes, start: int, end: int, names: Names, ns: str) -> tuple[Address, int]:
    """With its IFA_F_ flags, whosever it is."""
    family, length, flags, _scope, index = _IFADDRMSG.unpack_from(data, start)
    address, local, protocol = b"", b"", 0
    start += 8
    while start < end:
        size, ifa = _RTA.unpack_from(data, start)
        if ifa == 1:  # IFA_ADDRESS
            address = data[start + 4 : start + size]
        elif ifa == 2:  # IFA_LOCAL: there where the two differ, and always in v4
            local = data[start + 4 : start + size]
        elif ifa == 8:  # IFA_FLAGS
            flags = _U32.unpack_from(data, start + 4)[0]
        elif ifa == 11:  # IFA_PROTO
            protocol = data[start + 4]
        start += (size + 3) & ~3
    text = f"{inet_ntop(family, local or address)}/{length}"
    return Address(address=text, dev=names.get(index, ""), proto=protocol, ns=ns), flags


def made_at(data: bytes, start: int, end: int) -> float:
    """When an address was made, in seconds of CLOCK_MONOTONIC (ifa_cacheinfo.cstamp, in hundredths)."""
    found = attributes(data, start + 8, end).get(u.IFA_CACHEINFO)
    return _U32.unpack_from(found, 8)[0] / 100 if found else 0.0


def address_filter(family: int = u.AF_UNSPEC) -> bytes:
    return _IFADDRMSG.pack(family, 0, 0, 0, 0)


def encode_connected(address: Address, route: Connected, index: int) -> Message:
    """A route that the kernel itself had made of a v4 address, exactly as it makes it: so it also goes with the address."""
    prefix, _, length = route.prefix.partition("/")
    scope = u.RT_SCOPE_HOST if route.type == "local" else u.RT_SCOPE_LINK
    kind = _CONNECTED[route.type]
    body = _RTMSG.pack(u.AF_INET, int(length), 0, 0, route.table, u.RTPROT_KERNEL, scope, kind, 0)
    body += _rta(u.RTA_DST, inet_pton(u.AF_INET, prefix)) + _RTA32.pack(8, u.RTA_OIF, index)
    body += _rta(u.RTA_PREFSRC, inet_pton(u.AF_INET, address.address.partition("/")[0]))
    return Message(u.RTM_NEWROUTE, APPEND, body)


def decode_connected(data: bytes, start: int, end: int, names: Names) -> tuple[str, Connected] | None:
    """The device and the route, of the kernel's own routes to addresses, subnets and multicast."""
    family, length, _src, _tos, table, protocol, _scope, kind, _flags = _RTMSG.unpack_from(data, start)
    if protocol != u.RTPROT_KERNEL or kind not in _CONNECTED_NAMES:
        return None
    found = attributes(data, start + 12, end)
    dev = names.get(_U32.unpack(found[u.RTA_OIF])[0]) if u.RTA_OIF in found else None
    if dev is None:
        return None
    dst = inet_ntop(family, found[u.RTA_DST]) if u.RTA_DST in found else _ANY[family]
    return dev, Connected(table, f"{dst}/{length}", _CONNECTED_NAMES[kind])


_CONNECTED: dict[ConnectedType, int] = {
    "unicast": u.RTN_UNICAST,
    "local": u.RTN_LOCAL,
    "broadcast": u.RTN_BROADCAST,
    "multicast": u.RTN_MULTICAST,
}
_CONNECTED_NAMES: dict[int, ConnectedType] = {number: name for name, number in _CONNECTED.items()}
