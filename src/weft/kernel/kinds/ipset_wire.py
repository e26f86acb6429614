"""Sets of addresses as messages of ipset (nfnetlink, linux/netfilter/ipset/ip_set.h). Pure."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

from weft.base.errors import Invalid
from weft.base.net import Family
from weft.hoststate import Ipset, IpsetElement
from weft.hoststate.ipset import MAXELEM
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, attr, attributes
from weft.kernel.plumbing.nfnl import NFGENMSG

_AF: dict[Family, socket.AddressFamily] = {4: socket.AF_INET, 6: socket.AF_INET6}
_FAMILIES: dict[int, Family] = {u.AF_INET: 4, u.AF_INET6: 6}
_IP_ATTR: dict[Family, int] = {4: u.IPSET_ATTR_IPADDR_IPV4, 6: u.IPSET_ATTR_IPADDR_IPV6}
_BITS: dict[Family, int] = {4: 32, 6: 128}
_REVISIONS = {"hash:ip": 0, "hash:net": 0, "hash:ip,port": 1}
"""The first that takes all that Weft's elements have (SCTP: 1), so that old kernels take it as well."""
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_NESTED, _NET = u.NLA_F_NESTED, u.NLA_F_NET_BYTEORDER
_VERSION = attr(u.IPSET_ATTR_PROTOCOL, bytes([u.IPSET_PROTOCOL]))


def kind(command: int) -> int:
    return u.NFNL_SUBSYS_IPSET << 8 | command


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def head(name: str, family: int = 0) -> bytes:
    """How a message begins that is about this set, "" for none."""
    about = attr(u.IPSET_ATTR_SETNAME, _text(name)) if name else b""
    return NFGENMSG.pack(family, 0, 0) + _VERSION + about


def _write(command: int, body: bytes) -> Message:
    """Adding what is there, and removing what is not, is no error."""
    return Message(kind(command), u.NLM_F_REQUEST, body)


# -- sets --------------------------------------------------------------------------------------------------------------


def create(obj: Ipset, name: str = "") -> Message:
    """`name`: another one than its own. Raises Invalid."""
    if obj.type not in _REVISIONS:
        raise Invalid(f"Weft makes no set of type {obj.type}")
    options = attr(_NET | u.IPSET_ATTR_MAXELEM, struct.pack(">I", MAXELEM))
    body = (
        head(name or obj.name, _AF[obj.family])
        + attr(u.IPSET_ATTR_TYPENAME, _text(obj.type))
        + attr(u.IPSET_ATTR_REVISION, bytes([_REVISIONS[obj.type]]))
        + attr(u.IPSET_ATTR_FAMILY, bytes([_AF[obj.family]]))
        + attr(_NESTED | u.IPSET_ATTR_DATA, options)
    )
    return _write(u.IPSET_CMD_CREATE, body)


def destroy(name: str) -> Message:
    return _write(u.IPSET_CMD_DESTROY, head(name))


def swap(name: str, other: str) -> Message:
    return _write(u.IPSET_CMD_SWAP, head(name) + attr(u.IPSET_ATTR_SETNAME2, _text(other)))


def rename(name: str, other: str) -> Message:
    return _write(u.IPSET_CMD_RENAME, head(name) + attr(u.IPSET_ATTR_SETNAME2, _text(other)))


def listing(name: str = "", flags: int = 0) -> bytes:
    """The body of the request for a set, or for all."""
    return head(name) + (attr(_NET | u.IPSET_ATTR_FLAGS, struct.pack(">I", flags)) if flags else b"")


def set_name(data: bytes, start: int, end: int) -> str:
    found = attributes(data, start + NFGENMSG.size, end)
    return found.get(u.IPSET_ATTR_SETNAME, b"").rstrip(b"\0").decode(errors="replace")


def size(body: bytes) -> bytes:
    """A set's name and type, and how many elements it has: the beginning of the first message about it."""
    found = attributes(body, NFGENMSG.size, len(body))
    options = found.get(u.IPSET_ATTR_DATA, b"")
    count = attributes(options, 0, len(options)).get(u.IPSET_ATTR_ELEMENTS, b"")
    return found.get(u.IPSET_ATTR_SETNAME, b"") + found.get(u.IPSET_ATTR_TYPENAME, b"") + count


def decode_set(body: bytes, ns: str) -> Ipset | None:
    """Of the first message about a set. One that has not the options of ours is of no type of ours."""
    found = attributes(body, NFGENMSG.size, len(body))
    family = _FAMILIES.get(found.get(u.IPSET_ATTR_FAMILY, b"\0")[0])
    if u.IPSET_ATTR_TYPENAME not in found or family is None:
        return None
    name, type_ = (found[k].rstrip(b"\0").decode() for k in (u.IPSET_ATTR_SETNAME, u.IPSET_ATTR_TYPENAME))
    options = found.get(u.IPSET_ATTR_DATA, b"")
    return Ipset(name=name, type=type_ + _strange(attributes(options, 0, len(options))), family=family, ns=ns)


def _strange(options: dict[int, bytes]) -> str:
    most = int.from_bytes(options.get(u.IPSET_ATTR_MAXELEM, b""), "big")
    other = u.IPSET_ATTR_TIMEOUT in options or any(options.get(u.IPSET_ATTR_CADT_FLAGS, b""))
    return (f" maxelem {most}" if most < MAXELEM else "") + (" with options" if other else "")


# -- elements ----------------------------------------------------------------------------------------------------------

Encode = Callable[[IpsetElement, int], Message]
"""Given an element of ours and the command. Raises Invalid."""


def encoder(obj: Ipset, name: str = "") -> Encode:
    """For the elements of this set; `name`: of the set that they are put into instead."""
    family, start = obj.family, head(name or obj.name, _AF[obj.family])
    address = _IP_ATTR[family]

    def encode(element: IpsetElement, command: int) -> Message:
        where, _, port = element.value.partition(",")
        ip, _, length = where.partition("/")
        try:
            data = attr(_NESTED | u.IPSET_ATTR_IP, attr(_NET | address, socket.inet_pton(_AF[family], ip)))
            if length:
                data += attr(u.IPSET_ATTR_CIDR, bytes([int(length)]))
            if port:
                protocol, _, number = port.partition(":")
                data += attr(_NET | u.IPSET_ATTR_PORT, struct.pack(">H", int(number)))
                data += attr(u.IPSET_ATTR_PROTO, bytes([_PROTOCOLS[protocol]]))
        except (OSError, ValueError, KeyError, struct.error):
            raise Invalid(f"{obj.type} of IPv{family} takes no element {element.value!r}") from None
        return _write(command, start + attr(_NESTED | u.IPSET_ATTR_DATA, data))

    return encode


def values(body: bytes, family: Family) -> Iterator[str]:
    """The elements in one message about a set of this family."""
    listed = attributes(body, NFGENMSG.size, len(body)).get(u.IPSET_ATTR_ADT, b"")
    at, size_of = 0, struct.Struct("=HH").unpack_from
    while at + 4 <= len(listed):
        size = size_of(listed, at)[0]
        if size < 4:
            return
        yield _value(attributes(listed, at + 4, at + size), family)
        at += (size + 3) & ~3


def _value(found: dict[int, bytes], family: Family) -> str:
    address = found.get(u.IPSET_ATTR_IP, b"")[4:]
    text = socket.inet_ntop(_AF[family], address) if len(address) == _BITS[family] // 8 else "?"
    length = found.get(u.IPSET_ATTR_CIDR, b"\xff")[0]
    if length < _BITS[family]:
        text += f"/{length}"
    if u.IPSET_ATTR_PORT in found:
        protocol = found.get(u.IPSET_ATTR_PROTO, b"\0")[0]
        port = int.from_bytes(found[u.IPSET_ATTR_PORT], "big")
        text += f",{_PROTOCOL_NAMES.get(protocol, protocol)}:{port}"
    if any(found.get(u.IPSET_ATTR_CADT_FLAGS, b"")):
        text += " nomatch"
    return text
