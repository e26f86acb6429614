"""All sets of ipset in the calling thread's namespace, of whatever type, with their members as ipset(8) writes them
(linux/netfilter/ipset/ip_set.h). The number that rules call a set by is told from protocol 7 on (Linux 4.20)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from weft.api.dump import IpsetDump
from weft.base.errors import Failed
from weft.kernel.kinds.ipset import there
from weft.kernel.kinds.ipset_wire import kind
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, Refused, attr, attributes, open_socket
from weft.kernel.plumbing.nfnl import NFGENMSG

_PROTOCOL = 7
_INDEX = 11
_MARK, _NETMASK = 10, 20
_ETHER, _NAME, _IP2, _CIDR2, _IFACE = 17, 18, 20, 21, 23
_PHYSDEV, _NOMATCH = 2, 4
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite"}


def sets() -> tuple[IpsetDump, ...]:
    """Nothing where the module is not loaded: to ask would load it. Raises Failed."""
    if not there():
        return ()
    netlink = Netlink(open_socket(u.NETLINK_NETFILTER))
    body = NFGENMSG.pack(0, 0, 0) + attr(u.IPSET_ATTR_PROTOCOL, bytes([_PROTOCOL]))
    try:
        answers = netlink.dump(kind(u.IPSET_CMD_LIST), body, lambda data, start, end: data[start:end])
    except Refused as refused:
        raise Failed(f"sets of ipset cannot be read: {refused.text}") from None
    finally:
        netlink.close()
    return tuple(_joined(answers))


def _joined(answers: list[bytes]) -> Iterator[IpsetDump]:
    """A long set comes in several messages, of which the first alone says what it is."""
    heads: dict[str, tuple[int, str, int, int]] = {}
    members: dict[str, list[str]] = {}
    for body in answers:
        found = attributes(body, NFGENMSG.size, len(body))
        name = _text(found.get(u.IPSET_ATTR_SETNAME, b""))
        if u.IPSET_ATTR_TYPENAME in found:
            options = found.get(u.IPSET_ATTR_DATA, b"")
            netmask = attributes(options, 0, len(options)).get(_NETMASK, b"\0")[0]
            index = int.from_bytes(found.get(_INDEX, b"\xff\xff"), "big")
            family = 6 if found.get(u.IPSET_ATTR_FAMILY) == bytes([u.AF_INET6]) else 4
            heads[name] = index, _text(found[u.IPSET_ATTR_TYPENAME]), family, netmask
        if name in heads:
            members.setdefault(name, []).extend(_members(found.get(u.IPSET_ATTR_ADT, b""), heads[name][1]))
    for name, (index, type_, family, netmask) in heads.items():
        yield IpsetDump(
            index=index, name=name, type=type_, family=family, netmask=netmask, members=tuple(members.get(name, ()))
        )


def _members(listed: bytes, type_: str) -> Iterator[str]:
    fields = type_.partition(":")[2].split(",")
    at = 0
    while at + 4 <= len(listed):
        size = struct.unpack_from("=H", listed, at)[0]
        if size < 4:
            return
        yield _member(attributes(listed, at + 4, at + size), fields)
        at += (size + 3) & ~3


def _member(found: dict[int, bytes], fields: list[str]) -> str:
    seen: set[str] = set()
    words: list[str] = []
    for field in fields:
        again = field in ("ip", "net") and bool(seen & {"ip", "net"})
        words.append(_field(field, found, again=again))
        seen.add(field)
    flags = int.from_bytes(found.get(u.IPSET_ATTR_CADT_FLAGS, b"\0"), "big")
    return ",".join(words) + (" nomatch" if flags & _NOMATCH else "")


def _field(field: str, found: dict[int, bytes], *, again: bool) -> str:
    match field:
        case "ip" | "net":
            at = _address(found.get(_IP2 if again else u.IPSET_ATTR_IP, b""))
            length = found.get(_CIDR2 if again else u.IPSET_ATTR_CIDR)
            return f"{at}/{length[0]}" if length and length[0] != (128 if ":" in at else 32) else at
        case "port":
            number = int.from_bytes(found.get(u.IPSET_ATTR_PORT, b""), "big")
            protocol = found.get(u.IPSET_ATTR_PROTO, b"\0")[0]
            name = _PROTOCOLS.get(protocol, str(protocol) if protocol else "")
            port = f"{number >> 8}/{number & 255}" if protocol in (1, 58) else str(number)
            return f"{name}:{port}" if name else port
        case "mac":
            return found.get(_ETHER, b"").hex(":").upper()
        case "mark":
            return f"0x{int.from_bytes(found.get(_MARK, b''), 'big'):08x}"
        case "iface":
            flags = int.from_bytes(found.get(u.IPSET_ATTR_CADT_FLAGS, b"\0"), "big")
            return f"{'physdev:' if flags & _PHYSDEV else ''}{_text(found.get(_IFACE, b''))}"
    return _text(found.get(_NAME, b""))


def _address(data: bytes) -> str:
    """Nested in an attribute that tells the family."""
    inner = data[4:]
    if len(inner) not in (4, 16):
        return "?"
    return socket.inet_ntop(socket.AF_INET if len(inner) == 4 else socket.AF_INET6, inner)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
