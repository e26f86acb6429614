"""IPVS as generic netlink messages (linux/ip_vs.h)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from socket import inet_ntop

from weft.base.net import Family
from weft.hoststate import Ipvs, IpvsDestination, IpvsService
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.genl import HEAD
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, attr, attributes

_U16, _U32, _FLAGS = struct.Struct("=H"), struct.Struct("=I"), struct.Struct("=II")
_PORT = struct.Struct("!H")
_AF: dict[Family, int] = {4: u.AF_INET, 6: u.AF_INET6}
_METHODS = {0: "masquerading", 1: "local", 2: "tunnelling", 3: "routing", 4: "bypass"}


def ask(command: int, content: bytes = b"") -> bytes:
    return HEAD.pack(command, u.IPVS_GENL_VERSION, 0) + content


def message(family: int, command: int, content: bytes) -> Message:
    return Message(family, u.NLM_F_REQUEST, ask(command, content))


def settings(obj: Ipvs) -> bytes:
    values = {
        u.IPVS_CMD_ATTR_TIMEOUT_TCP: obj.established,
        u.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN: obj.closing,
        u.IPVS_CMD_ATTR_TIMEOUT_UDP: obj.udp,
    }
    return b"".join(attr(kind, _U32.pack(value)) for kind, value in values.items())


def service(obj: IpvsService) -> bytes:
    """`mh` is asked to take another destination where the client's own one gets no new connections. The mask of addresses that
    are the same client's is a whole address: in IPv6 it is told as the prefix's length."""
    flags = u.IP_VS_SVC_F_SCHED1 if obj.scheduler == "mh" else 0
    flags |= u.IP_VS_SVC_F_PERSISTENT if obj.persistent else 0
    content = _named(obj.family, obj.mark)
    content += attr(u.IPVS_SVC_ATTR_SCHED_NAME, obj.scheduler.encode() + b"\0")
    content += attr(u.IPVS_SVC_ATTR_FLAGS, _FLAGS.pack(flags, 0xFFFFFFFF))
    content += attr(u.IPVS_SVC_ATTR_TIMEOUT, _U32.pack(obj.persistent))
    content += attr(u.IPVS_SVC_ATTR_NETMASK, _U32.pack(128 if obj.family == 6 else 0xFFFFFFFF))
    return _nest(u.IPVS_CMD_ATTR_SERVICE, content)


def name_of(family: Family, mark: int) -> bytes:
    """A service, to be removed or asked about."""
    return _nest(u.IPVS_CMD_ATTR_SERVICE, _named(family, mark))


def destination(obj: IpvsDestination) -> bytes:
    address = ip_address(obj.address).packed
    content = attr(u.IPVS_DEST_ATTR_ADDR, address.ljust(16, b"\0")) + attr(u.IPVS_DEST_ATTR_PORT, _PORT.pack(obj.port))
    values = {
        u.IPVS_DEST_ATTR_FWD_METHOD: u.IP_VS_CONN_F_MASQ,
        u.IPVS_DEST_ATTR_WEIGHT: obj.weight,
        u.IPVS_DEST_ATTR_U_THRESH: 0,
        u.IPVS_DEST_ATTR_L_THRESH: 0,
    }
    content += b"".join(attr(kind, _U32.pack(value)) for kind, value in values.items())
    content += attr(u.IPVS_DEST_ATTR_ADDR_FAMILY, _U16.pack(_AF[obj.family]))
    return name_of(obj.family, obj.mark) + _nest(u.IPVS_CMD_ATTR_DEST, content)


def read(netlink: Netlink, family: int, ns: str) -> Iterator[Ipvs | IpvsService | IpvsDestination]:
    """What a namespace has, its settings without sysctls first. Raises Refused, Failed."""
    answer = netlink.request(family, 0, ask(u.IPVS_CMD_GET_CONFIG))
    found = attributes(answer, HEAD.size, len(answer))
    yield Ipvs(
        established=_number(found[u.IPVS_CMD_ATTR_TIMEOUT_TCP]),
        closing=_number(found[u.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN]),
        udp=_number(found[u.IPVS_CMD_ATTR_TIMEOUT_UDP]),
        ns=ns,
    )

    def decode(data: bytes, start: int, end: int) -> IpvsService | None:
        return decode_service(attributes(data, start + HEAD.size, end)[u.IPVS_CMD_ATTR_SERVICE], ns)

    for of in netlink.dump(family, ask(u.IPVS_CMD_GET_SERVICE), decode):
        yield of
        yield from _destinations(netlink, family, of)


def _destinations(netlink: Netlink, family: int, of: IpvsService) -> list[IpvsDestination]:
    def decode(data: bytes, start: int, end: int) -> IpvsDestination:
        return decode_destination(attributes(data, start + HEAD.size, end)[u.IPVS_CMD_ATTR_DEST], of)

    try:
        return netlink.dump(family, ask(u.IPVS_CMD_GET_DEST, name_of(of.family, of.mark)), decode)
    except Refused:  # the service is gone
        return []


def decode_service(data: bytes, ns: str) -> IpvsService | None:
    """None for those by address."""
    found = attributes(data, 0, len(data))
    if u.IPVS_SVC_ATTR_FWMARK not in found:
        return None
    flags, _ = _FLAGS.unpack(found[u.IPVS_SVC_ATTR_FLAGS])
    scheduler = found[u.IPVS_SVC_ATTR_SCHED_NAME].rstrip(b"\0").decode()
    usual = u.IP_VS_SVC_F_SCHED1 if scheduler == "mh" else 0
    persistent = flags & u.IP_VS_SVC_F_PERSISTENT
    return IpvsService(
        family=6 if _number(found[u.IPVS_SVC_ATTR_AF]) == u.AF_INET6 else 4,
        mark=_number(found[u.IPVS_SVC_ATTR_FWMARK]),
        scheduler=scheduler if flags & _SCHED == usual else f"{scheduler} with other flags",
        persistent=_number(found[u.IPVS_SVC_ATTR_TIMEOUT]) if persistent else 0,
        ns=ns,
    )


_SCHED = 0x38
"""The flags that are the scheduler's."""


def decode_destination(data: bytes, of: IpvsService) -> IpvsDestination:
    found = attributes(data, 0, len(data))
    size = 16 if of.family == 6 else 4
    return IpvsDestination(
        family=of.family,
        mark=of.mark,
        address=inet_ntop(_AF[of.family], found[u.IPVS_DEST_ATTR_ADDR][:size]),
        port=_PORT.unpack(found[u.IPVS_DEST_ATTR_PORT])[0],
        weight=_number(found[u.IPVS_DEST_ATTR_WEIGHT]),
        method=_METHODS.get(_number(found[u.IPVS_DEST_ATTR_FWD_METHOD]) & u.IP_VS_CONN_F_FWD_MASK, "another"),
        ns=of.ns,
    )


def _named(family: Family, mark: int) -> bytes:
    return attr(u.IPVS_SVC_ATTR_AF, _U16.pack(_AF[family])) + attr(u.IPVS_SVC_ATTR_FWMARK, _U32.pack(mark))


def _nest(kind: int, content: bytes) -> bytes:
    return attr(kind | u.NLA_F_NESTED, content)


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
