"""Devices as the kernel's link messages, and back (rtnetlink(7), linux/if_link.h).

Only the attributes that Weft sets or looks at. A table says how each kind's own part (IFLA_INFO_DATA) is written.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from socket import inet_ntop, inet_pton

import msgspec

from weft.hoststate import Bridge, Ifb, Ipip, Ipvlan, Link, Macvlan, Tap, Tun, Veth, Vlan, Vxlan, Wireguard
from weft.hoststate.links import OWNER
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, attr, attributes

_IFINFOMSG = struct.Struct("=BxHiII")
_U32 = struct.Struct("=I")


class Device(msgspec.Struct, frozen=True, gc=False):
    """A device as it is, whosever. `hairpin`, `isolated`, `learning`: as a bridge's port. `link`: the ifindex of a veth's other
    end, in the namespace that `link_nsid` numbers (None: its own). `vxlan`: its attributes where it is one, with `dev` empty
    and `lower` its ifindex, in that namespace likewise. `vlan`, `mode`: of a VLAN device its number, of one on a parent how it
    shares that; `lower` is the parent. `ipip`: its attributes where it is one. `qdisc`: the kind of the one
    at its root. `ipv6_off`: its sysctl disable_ipv6 is set. `filtered`: as a bridge, it shows its IPv4 and its IPv6 packets to
    rules. `layer3`: it is a TUN device, and no TAP device. `xdp`: the number of the program of XDP on it."""

    index: int
    name: str
    mtu: int
    mac: str
    flags: int
    master: int
    kind: str
    alias: str
    hairpin: bool = False
    link: int = 0
    link_nsid: int | None = None
    vxlan: Vxlan | None = None
    lower: int = 0
    vlan: int = 0
    mode: str = ""
    isolated: bool = False
    learning: bool = True
    ipip: Ipip | None = None
    group: int = 0
    qdisc: str = ""
    ipv6_off: bool = False
    filtered: tuple[bool, bool] = (False, False)
    layer3: bool = False
    xdp: int = 0

    @property
    def marked(self) -> bool:
        return self.alias == OWNER or self.alias.startswith(OWNER + ":")

    @property
    def up(self) -> bool:
        return self.flags & u.IFF_UP != 0


# -- reading -----------------------------------------------------------------------------------------------------------


def dump_filter() -> bytes:
    """All links, without their statistics, which are most of a message."""
    return _IFINFOMSG.pack(0, 0, 0, 0, 0) + attr(u.IFLA_EXT_MASK, _U32.pack(u.RTEXT_FILTER_SKIP_STATS))


def get_by_name(name: str) -> bytes:
    return dump_filter() + attr(u.IFLA_IFNAME, name.encode() + b"\0")


def get_by_index(index: int, nsid: int | None = None) -> bytes:
    """`nsid`: in the namespace with this number instead of the socket's own (Linux 4.15)."""
    body = _IFINFOMSG.pack(0, 0, index, 0, 0) + dump_filter()[_IFINFOMSG.size :]
    return body if nsid is None else body + attr(u.IFLA_TARGET_NETNSID, struct.pack("=i", nsid))


def decode(message: bytes, start: int, end: int) -> Device | None:
    """None for what only bridges say of their ports (family AF_BRIDGE)."""
    family, _type, index, flags, _change = _IFINFOMSG.unpack_from(message, start)
    if family != u.AF_UNSPEC:
        return None
    found = attributes(message, start + _IFINFOMSG.size, end)
    info = found.get(u.IFLA_LINKINFO, b"")
    details = attributes(info, 0, len(info))
    kind = _text(details.get(u.IFLA_INFO_KIND, b""))
    nsid = found.get(u.IFLA_LINK_NETNSID)
    data = details.get(u.IFLA_INFO_DATA, b"") if kind in _READ else b""
    own = attributes(data, 0, len(data))
    bridged = _text(details.get(u.IFLA_INFO_SLAVE_KIND, b"")) == "bridge"
    slave = details.get(u.IFLA_INFO_SLAVE_DATA, b"") if bridged else b""
    port = attributes(slave, 0, len(slave))
    return Device(
        index=index,
        name=_text(found[u.IFLA_IFNAME]),
        mtu=_number(found.get(u.IFLA_MTU)),
        mac=found.get(u.IFLA_ADDRESS, b"").hex(":"),
        flags=flags,
        master=_number(found.get(u.IFLA_MASTER)),
        kind=kind,
        alias=_text(found.get(u.IFLA_IFALIAS, b"")),
        hairpin=_true(port.get(u.IFLA_BRPORT_MODE)),
        link=_number(found.get(u.IFLA_LINK)),
        link_nsid=None if nsid is None else struct.unpack("=i", nsid)[0],
        vxlan=_decode_vxlan(own) if kind == "vxlan" else None,
        lower=_number(
            own.get(u.IFLA_VXLAN_LINK) if kind == "vxlan" else found.get(u.IFLA_LINK) if kind in _ON_PARENT else None
        ),
        vlan=_number(own.get(u.IFLA_VLAN_ID)) if kind == "vlan" else 0,
        mode=_MODE_NAMES[kind].get(_number(own.get(_MODES[kind][0])), "") if kind in _MODES else "",
        qdisc=_text(found.get(u.IFLA_QDISC, b"")),
        isolated=_true(port.get(u.IFLA_BRPORT_ISOLATED)),
        learning=_true(port.get(u.IFLA_BRPORT_LEARNING, b"\1")),
        ipip=_decode_ipip(own) if kind == "ipip" else None,
        group=_number(found.get(u.IFLA_GROUP)),
        ipv6_off=_ipv6_off(found.get(u.IFLA_AF_SPEC, b"")),
        filtered=_filtered(own) if kind == "bridge" else (False, False),
        layer3=kind == "tun" and _number(own.get(u.IFLA_TUN_TYPE)) == u.IFF_TUN,
        xdp=_xdp(found.get(u.IFLA_XDP, b"")),
    )


_ON_PARENT = ("vlan", "macvlan", "ipvlan")
_NO_PROGRAM = 8
"""Octets of IFLA_XDP that say that there is none."""
_READ = ("vxlan", "ipip", "bridge", "tun", *_ON_PARENT)
"""Kinds whose own part is read."""
_MODES: dict[str, tuple[int, str, dict[str, int]]] = {
    "macvlan": (u.IFLA_MACVLAN_MODE, "=I", {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}),
    "ipvlan": (u.IFLA_IPVLAN_MODE, "=H", {"l2": 0, "l3": 1, "l3s": 2}),
}
"""The attribute that says the mode, how it is written, and the numbers of the modes."""
_MODE_NAMES = {kind: {number: name for name, number in modes.items()} for kind, (_, _, modes) in _MODES.items()}


def _ipv6_off(spec: bytes) -> bool:
    """`spec`: what address families say of a device. IPv6's tells the device's sysctls, each in four octets at its place
    (DEVCONF_… in linux/ipv6.h)."""
    ours = attributes(spec, 0, len(spec)).get(u.AF_INET6, b"")
    values = attributes(ours, 0, len(ours)).get(u.IFLA_INET6_CONF, b"")
    place = 4 * u.DEVCONF_DISABLE_IPV6
    return _number(values[place : place + 4]) != 0


def _xdp(found: bytes) -> int:
    return _number(attributes(found, 0, len(found)).get(u.IFLA_XDP_PROG_ID)) if len(found) > _NO_PROGRAM else 0


def _filtered(found: dict[int, bytes]) -> tuple[bool, bool]:
    v4, v6 = (found.get(kind) for kind in (u.IFLA_BR_NF_CALL_IPTABLES, u.IFLA_BR_NF_CALL_IP6TABLES))
    return _true(v4), _true(v6)


def _decode_vxlan(found: dict[int, bytes]) -> Vxlan:
    local = found.get(u.IFLA_VXLAN_LOCAL) or found.get(u.IFLA_VXLAN_LOCAL6) or b""
    bare = Vxlan(
        vni=_number(found.get(u.IFLA_VXLAN_ID)),
        port=int.from_bytes(found.get(u.IFLA_VXLAN_PORT, b""), "big"),
        local=inet_ntop(u.AF_INET if len(local) == 4 else u.AF_INET6, local) if local else "",
        dev="",
        learning=_true(found.get(u.IFLA_VXLAN_LEARNING, b"\1")),
    )
    return msgspec.structs.replace(bare, **{flag: _true(found.get(kind)) for flag, kind in _VXLAN_FLAGS.items()})


_VXLAN_FLAGS = {
    "proxy": u.IFLA_VXLAN_PROXY,
    "l2miss": u.IFLA_VXLAN_L2MISS,
    "l3miss": u.IFLA_VXLAN_L3MISS,
    "udp6zerocsumrx": u.IFLA_VXLAN_UDP_ZERO_CSUM6_RX,
    "external": u.IFLA_VXLAN_COLLECT_METADATA,
}
"""By their names in `Vxlan`, which are those of ip-link(8)."""


def _decode_ipip(found: dict[int, bytes]) -> Ipip:
    local, remote = (
        "" if data == b"\0\0\0\0" else inet_ntop(u.AF_INET, data)
        for data in (found.get(kind, b"\0\0\0\0") for kind in (u.IFLA_IPTUN_LOCAL, u.IFLA_IPTUN_REMOTE))
    )
    ttl, pmtudisc = found.get(u.IFLA_IPTUN_TTL), found.get(u.IFLA_IPTUN_PMTUDISC)
    return Ipip(local, remote, ttl=_number(ttl), pmtudisc=_true(pmtudisc))


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _true(data: bytes | None) -> bool:
    return data is not None and data != b"\0"


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, sys.byteorder) if data else 0


# -- writing -----------------------------------------------------------------------------------------------------------


class Surroundings(msgspec.Struct, frozen=True):
    """What a link's message needs besides the link: ifindexes by name; an open namespace for a veth's other end, or for
    the device itself (None: the same); and the other end's own Link, whose attributes are set at once."""

    index: Callable[[str], int]
    peer_fd: int | None = None
    peer: Link | None = None
    own_fd: int | None = None


def create(link: Link, around: Surroundings) -> Message:
    """The device, with what can be set at its birth; not up yet. Its alias cannot: see `mark`."""
    kind, encode = _KINDS[type(link.type)]
    info = attr(u.IFLA_INFO_KIND, kind.encode() + b"\0")
    if payload := encode(link.type, around):
        info += attr(u.IFLA_INFO_DATA, payload)
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _name(link.name) + _basics(link) + attr(u.IFLA_LINKINFO, info)
    if isinstance(link.type, Vlan | Macvlan | Ipvlan):
        body += attr(u.IFLA_LINK, _U32.pack(around.index(link.type.dev)))
    if around.own_fd is not None:
        body += attr(u.IFLA_NET_NS_FD, _U32.pack(around.own_fd))
    elif link.master:
        body += attr(u.IFLA_MASTER, _U32.pack(around.index(link.master)))
    return Message(u.RTM_NEWLINK, u.NLM_F_REQUEST | u.NLM_F_CREATE | u.NLM_F_EXCL, body)


def mark(link: Link) -> Message:
    """Our alias, and up."""
    body = flags(0, up=link.up) + _name(link.name) + attr(u.IFLA_IFALIAS, link.alias.encode())
    return Message(u.RTM_SETLINK, u.NLM_F_REQUEST, body)


def alias(index: int, text: str) -> bytes:
    return _IFINFOMSG.pack(0, 0, index, 0, 0) + attr(u.IFLA_IFALIAS, text.encode())


def change(index: int, old: Link, new: Link, around: Surroundings) -> Message | None:
    """What of `new` differs from `old`; None if nothing does. Without what it has as a port: see `port`."""
    body = _name(new.name) if new.name != old.name else b""
    if new.mtu not in (None, old.mtu):
        body += attr(u.IFLA_MTU, _U32.pack(new.mtu))
    if new.mac is not None and new.mac != old.mac:
        body += attr(u.IFLA_ADDRESS, bytes.fromhex(new.mac.replace(":", "")))
    if new.master != old.master:
        body += attr(u.IFLA_MASTER, _U32.pack(around.index(new.master) if new.master else 0))
    if new.group != old.group:
        body += attr(u.IFLA_GROUP, _U32.pack(new.group))
    if new.alias != old.alias:
        body += attr(u.IFLA_IFALIAS, new.alias.encode())
    if not body and new.up == old.up:
        return None
    head = flags(index, up=new.up) if new.up != old.up else _IFINFOMSG.pack(0, 0, index, 0, 0)
    return Message(u.RTM_SETLINK, u.NLM_F_REQUEST, head + body)


def as_port(link: Link | None) -> tuple[bool, bool, bool]:
    """What `port` sets. None: as a new port has it."""
    return (link.hairpin, link.isolated, link.learning) if link else (False, False, True)


def port(link: Link) -> Message:
    """What a bridge keeps of its port; once it is one."""
    data = attr(u.IFLA_BRPORT_MODE, b"\1" if link.hairpin else b"\0")
    data += attr(u.IFLA_BRPORT_ISOLATED, b"\1" if link.isolated else b"\0")
    data += attr(u.IFLA_BRPORT_LEARNING, b"\1" if link.learning else b"\0")
    info = attr(u.IFLA_INFO_SLAVE_KIND, b"bridge\0") + attr(u.IFLA_INFO_SLAVE_DATA, data)
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _name(link.name) + attr(u.IFLA_LINKINFO, info)
    return Message(u.RTM_NEWLINK, u.NLM_F_REQUEST, body)


def delete(index: int) -> bytes:
    return _IFINFOMSG.pack(0, 0, index, 0, 0)


def flags(index: int, *, up: bool) -> bytes:
    return _IFINFOMSG.pack(0, 0, index, u.IFF_UP if up else 0, u.IFF_UP)


def _name(name: str) -> bytes:
    return attr(u.IFLA_IFNAME, name.encode() + b"\0")


def _basics(link: Link) -> bytes:
    body = b""
    if link.mtu is not None:
        body += attr(u.IFLA_MTU, _U32.pack(link.mtu))
    if link.mac is not None:
        body += attr(u.IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
    if link.group:
        body += attr(u.IFLA_GROUP, _U32.pack(link.group))
    return body


def _encode_veth(veth: Veth, around: Surroundings) -> bytes:
    peer = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _name(veth.peer)
    if around.peer is not None:
        peer += _basics(around.peer)
    if around.peer_fd is not None:
        peer += attr(u.IFLA_NET_NS_FD, _U32.pack(around.peer_fd))
    return attr(u.VETH_INFO_PEER, peer)


def _encode_vxlan(vxlan: Vxlan, around: Surroundings) -> bytes:
    v6 = ":" in vxlan.local
    data = attr(u.IFLA_VXLAN_ID, _U32.pack(vxlan.vni))
    if vxlan.local:
        packed = inet_pton(u.AF_INET6 if v6 else u.AF_INET, vxlan.local)
        data += attr(u.IFLA_VXLAN_LOCAL6 if v6 else u.IFLA_VXLAN_LOCAL, packed)
    if vxlan.dev:
        data += attr(u.IFLA_VXLAN_LINK, _U32.pack(around.index(vxlan.dev)))
    data += attr(u.IFLA_VXLAN_LEARNING, b"\1" if vxlan.learning else b"\0")
    for flag, kind in _VXLAN_FLAGS.items():
        data += attr(kind, b"\1") if getattr(vxlan, flag) else b""
    return data + attr(u.IFLA_VXLAN_PORT, vxlan.port.to_bytes(2, "big"))


def _encode_ipip(ipip: Ipip, _around: Surroundings) -> bytes:
    data = b""
    for address, kind in ((ipip.local, u.IFLA_IPTUN_LOCAL), (ipip.remote, u.IFLA_IPTUN_REMOTE)):
        data += attr(kind, inet_pton(u.AF_INET, address)) if address else b""
    data += attr(u.IFLA_IPTUN_TTL, bytes((ipip.ttl,)))
    return data + attr(u.IFLA_IPTUN_PMTUDISC, b"\1" if ipip.pmtudisc else b"\0")


def _encode_vlan(vlan: Vlan, _around: Surroundings) -> bytes:
    return attr(u.IFLA_VLAN_ID, struct.pack("=H", vlan.id))


def _encode_mode(child: Macvlan | Ipvlan, _around: Surroundings) -> bytes:
    kind, form, modes = _MODES["macvlan" if isinstance(child, Macvlan) else "ipvlan"]
    return attr(kind, struct.pack(form, modes[child.mode]))


def _encode_nothing(_kind: Bridge | Ifb | Tun | Tap | Wireguard, _around: Surroundings) -> bytes:
    return b""


_KINDS: dict[type, tuple[str, Callable[..., bytes]]] = {
    Veth: ("veth", _encode_veth),
    Bridge: ("bridge", _encode_nothing),
    Ifb: ("ifb", _encode_nothing),
    Vxlan: ("vxlan", _encode_vxlan),
    Ipip: ("ipip", _encode_ipip),
    Vlan: ("vlan", _encode_vlan),
    Macvlan: ("macvlan", _encode_mode),
    Ipvlan: ("ipvlan", _encode_mode),
    Wireguard: ("wireguard", _encode_nothing),
    Tun: ("tun", _encode_nothing),  # never made so: see `weft.kernel.kinds.devices`
    Tap: ("tun", _encode_nothing),
}
KIND_NAMES = {cls: name for cls, (name, _) in _KINDS.items()}
