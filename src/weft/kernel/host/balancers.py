"""All services of IPVS in the calling thread's namespace, whoever made them (linux/ip_vs.h)."""

from __future__ import annotations

import socket

from weft.api.dump import IpvsDestinationDump, IpvsServiceDump
from weft.base.errors import Failed
from weft.kernel.kinds.ipvs import LACKING, loaded
from weft.kernel.kinds.ipvs_wire import ask
from weft.kernel.plumbing import genl
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.genl import HEAD
from weft.kernel.plumbing.netlink import Netlink, Refused, attr, attributes

_PROTOCOL, _ADDR, _PORT = 2, 3, 4
_METHODS = ("masq", "local", "tunnel", "route", "bypass")
_NAMED = (u.IPVS_SVC_ATTR_AF, _PROTOCOL, _ADDR, _PORT, u.IPVS_SVC_ATTR_FWMARK)


def services() -> tuple[IpvsServiceDump, ...]:
    """Nothing where the module is not loaded: to ask would load it. Raises Failed."""
    if not loaded():
        return ()
    try:
        return genl.call("", (u.IPVS_GENL_NAME,), _services, lacking=LACKING)
    except Refused as refused:
        raise Failed(f"services of IPVS cannot be read: {refused.text}") from None


def _services(netlink: Netlink, family: int) -> tuple[IpvsServiceDump, ...]:
    return tuple(_service(netlink, family, found) for found in _dump(netlink, family, u.IPVS_CMD_GET_SERVICE))


def _dump(netlink: Netlink, family: int, command: int, content: bytes = b"") -> list[dict[int, bytes]]:
    attribute = u.IPVS_CMD_ATTR_SERVICE if command == u.IPVS_CMD_GET_SERVICE else u.IPVS_CMD_ATTR_DEST

    def decode(data: bytes, start: int, end: int) -> dict[int, bytes]:
        inner = attributes(data, start + HEAD.size, end)[attribute]
        return attributes(inner, 0, len(inner))

    return netlink.dump(family, ask(command, content), decode)


def _service(netlink: Netlink, family: int, found: dict[int, bytes]) -> IpvsServiceDump:
    name = b"".join(attr(kind, found[kind]) for kind in _NAMED if kind in found)
    v6 = _number(found[u.IPVS_SVC_ATTR_AF]) == u.AF_INET6
    try:
        content = attr(u.IPVS_CMD_ATTR_SERVICE | u.NLA_F_NESTED, name)
        destinations = _dump(netlink, family, u.IPVS_CMD_GET_DEST, content)
    except Refused:  # the service is gone
        destinations = []
    return IpvsServiceDump(
        protocol=_number(found.get(_PROTOCOL, b"")),
        address=_address(found[_ADDR], v6=v6) if _ADDR in found else "",
        port=int.from_bytes(found.get(_PORT, b""), "big"),
        mark=_number(found.get(u.IPVS_SVC_ATTR_FWMARK, b"")),
        scheduler=found[u.IPVS_SVC_ATTR_SCHED_NAME].rstrip(b"\0").decode(),
        destinations=tuple(_destination(each, v6=v6) for each in destinations),
    )


def _destination(found: dict[int, bytes], *, v6: bool) -> IpvsDestinationDump:
    family = found.get(u.IPVS_DEST_ATTR_ADDR_FAMILY)
    method = _number(found[u.IPVS_DEST_ATTR_FWD_METHOD]) & u.IP_VS_CONN_F_FWD_MASK
    return IpvsDestinationDump(
        address=_address(found[u.IPVS_DEST_ATTR_ADDR], v6=_number(family) == u.AF_INET6 if family else v6),
        port=int.from_bytes(found[u.IPVS_DEST_ATTR_PORT], "big"),
        weight=_number(found[u.IPVS_DEST_ATTR_WEIGHT]),
        forward=_METHODS[method] if method < len(_METHODS) else str(method),
    )


def _address(data: bytes, *, v6: bool) -> str:
    return socket.inet_ntop(socket.AF_INET6, data[:16]) if v6 else socket.inet_ntop(socket.AF_INET, data[:4])


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little" if socket.htons(1) != 1 else "big")
