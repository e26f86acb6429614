"""Links as the kernel's messages tell them, of whatever kind (rtnetlink(7), linux/if_link.h). The reconciler's own decoder
knows only kinds that Weft makes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping
from socket import AF_INET, AF_INET6, inet_ntop

import msgspec

from weft.inspect.model import Detail
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import attributes

_IFINFOMSG = struct.Struct("=BxHiII")
_IFLA_INFO_SLAVE_KIND = 4
_IFF_LOWER_UP = 0x10000
VETHS = ("veth", "netkit")
"""Kinds that come in pairs."""


class Raw(msgspec.Struct, frozen=True, gc=False):
    """`link`: the ifindex of a veth's other end, or of what it is on, in the namespace numbered `nsid` (None: its own).
    `port_of`: the kind of its master, as the master's driver says it."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    flags: int
    alias: str
    master: int
    port_of: str
    link: int
    nsid: int | None
    details: dict[str, Detail]

    @property
    def up(self) -> bool:
        return self.flags & u.IFF_UP != 0

    @property
    def carrier(self) -> bool:
        return self.flags & _IFF_LOWER_UP != 0

    @property
    def paired(self) -> bool:
        return self.kind in VETHS


def decode(message: bytes, start: int, end: int) -> Raw:
    _family, _type, index, flags, _change = _IFINFOMSG.unpack_from(message, start)
    found = attributes(message, start + _IFINFOMSG.size, end)
    info = found.get(u.IFLA_LINKINFO, b"")
    about = attributes(info, 0, len(info)) if info else {}
    kind = "loopback" if flags & u.IFF_LOOPBACK else _text(about.get(u.IFLA_INFO_KIND))
    own = about.get(u.IFLA_INFO_DATA, b"") if kind in DETAILS or kind == "vxlan" else b""
    data = attributes(own, 0, len(own)) if own else {}
    nsid = found.get(u.IFLA_LINK_NETNSID)
    link = _number(data.get(u.IFLA_VXLAN_LINK)) if kind == "vxlan" else _number(found.get(u.IFLA_LINK))
    return Raw(
        index=index,
        name=_text(found.get(u.IFLA_IFNAME)),
        kind=kind,
        mac=found.get(u.IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found.get(u.IFLA_MTU)),
        flags=flags,
        alias=_text(found.get(u.IFLA_IFALIAS)),
        master=_number(found.get(u.IFLA_MASTER)),
        port_of=_text(about.get(_IFLA_INFO_SLAVE_KIND)),
        link=0 if link == index and nsid is None else link,
        nsid=None if nsid is None else int.from_bytes(nsid, sys.byteorder, signed=True),
        details=_details(kind, data),
    )


def _text(data: bytes | None) -> str:
    return data.rstrip(b"\0").decode(errors="replace") if data else ""


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, sys.byteorder) if data else 0


def _port(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _address(data: bytes) -> str:
    """ "" for none, which is told as zeros."""
    return inet_ntop(AF_INET if len(data) == 4 else AF_INET6, data) if any(data) and len(data) in (4, 16) else ""


def _word(*words: str) -> Callable[[bytes], Detail]:
    return lambda data: next(iter(words[_number(data) : _number(data) + 1]), _number(data))


def _macvlan(data: bytes) -> Detail:
    modes = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}
    return modes.get(_number(data), _number(data))


_MACVLAN = {1: ("mode", _macvlan)}
_IPVLAN = {1: ("mode", _word("l2", "l3", "l3s"))}
_TUNNEL = {2: ("local", _address), 3: ("remote", _address)}
_GRE = {6: ("local", _address), 7: ("remote", _address)}
DETAILS: Mapping[str, Mapping[int, tuple[str, Callable[[bytes], Detail]]]] = {
    "vxlan": {
        1: ("vni", _number),
        15: ("port", _port),
        4: ("local", _address),
        17: ("local", _address),
        2: ("remote", _address),
        16: ("remote", _address),
    },
    "geneve": {1: ("vni", _number), 2: ("remote", _address), 7: ("remote", _address), 5: ("port", _port)},
    "vlan": {1: ("vlan", _number)},
    "macvlan": _MACVLAN,
    "macvtap": _MACVLAN,
    "ipvlan": _IPVLAN,
    "ipvtap": _IPVLAN,
    "tun": {3: ("type", _word("", "tun", "tap"))},
    "ipip": _TUNNEL,
    "sit": _TUNNEL,
    "ip6tnl": _TUNNEL,
    "gre": _GRE,
    "gretap": _GRE,
    "vrf": {1: ("table", _number)},
    "bond": {
        1: (
            "mode",
            _word("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"),
        )
    },
}
"""By kind: which of its own attributes (IFLA_INFO_DATA) are told, and under which name."""
TUNNELS = ("vxlan", "geneve", "ipip", "sit", "ip6tnl", "gre", "gretap", "wireguard", "tun")
"""Kinds whose packets go on inside of others, or to a program."""


def _details(kind: str, data: Mapping[int, bytes]) -> dict[str, Detail]:
    told = {name: read(data[code]) for code, (name, read) in DETAILS.get(kind, {}).items() if code in data}
    return {name: value for name, value in told.items() if value != ""}
