"""What a data path wants to know of its host: the uplink, its addresses and MTU, what the kernel can do."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import get_args

import msgspec

from weft.base.errors import NotFound, WeftError
from weft.base.net import Family, IPInterface, IPNetwork, family, parse_interface
from weft.hoststate import (
    HOST,
    Bridge,
    Ifb,
    Ipip,
    Ipset,
    Ipvlan,
    Link,
    Macvlan,
    Qdisc,
    Redirect,
    Veth,
    Vlan,
    Vxlan,
    Wireguard,
)
from weft.hoststate.firewall import TABLE
from weft.hoststate.ipset import IpsetType
from weft.hoststate.iptables import Backend
from weft.hoststate.paths import PROTO
from weft.kernel.host import fastpath
from weft.kernel.host.uplink import Addresses, Assigned, Uplink
from weft.kernel.kinds import bridge_filter, ipset, iptables, ipvs, ovs, ovs_datapath, sysctl, tc, wire, xfrm
from weft.kernel.kinds.ipset import Ipsets
from weft.kernel.plumbing import links, netns, ovsdb, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Surroundings
from weft.kernel.plumbing.netlink import Netlink, attributes, open_socket
from weft.kernel.plumbing.nfnl import Nftables
from weft.kernel.plumbing.spaces import Space
from weft.model import ciphers
from weft.reconcile.protocol import Create
from weft.tunnel import device as tun

_UNFIT = u.IFA_F_TEMPORARY | u.IFA_F_DEPRECATED
"""Addresses that other hosts are only told where there is no better one. In v4 the first of these flags means "secondary"."""
_INDEX = struct.Struct("=I")
_RTMSG_SIZE = 12
_ACCEPT_RA = re.compile(r"net/ipv6/conf/([^/]+)/accept_ra")
MD5 = "tcp-md5"
FLOWTABLE = "flowtable"
_TCP_MD5SIG = 14
_AF: dict[Family, int] = {4: u.AF_INET, 6: u.AF_INET6}


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`addresses`: the uplink's main global address of each family it has. `why`: it is this uplink, and these. `mtu` in
    octets. `iptables`: the back ends whose filter table has a FORWARD chain. `advertised`: the devices, none of them ours,
    that take router advertisements: the uplink, if its accept_ra says so, and those that have a route or an address out of
    one. `ipv6`: whether the kernel speaks it. `attached`: the subnets that this host is on besides, each with its device: an
    engine's own bridge, another interface. `features`: of `NAMES`."""

    uplink: str
    addresses: tuple[IPInterface, ...]
    mtu: int
    iptables: frozenset[tuple[Family, Backend]]
    advertised: frozenset[str]
    ipv6: bool
    attached: frozenset[tuple[str, IPNetwork]] = frozenset()
    kernel: str
    features: frozenset[str]
    why: str = ""


def facts(
    space: Space, choose: Callable[[Addresses, list[str]], Uplink], features: frozenset[str], kept: Iterable[str]
) -> HostFacts:
    """`choose`: the uplink, out of the global addresses and the devices with a default route. `kept`: the names of the
    sysctls that Weft has changed. Raises NotFound, Conflict."""
    found = _addresses(space)
    uplink = choose(found, _default_devices(space))
    device = space.find(uplink.name)
    if device is None:
        raise NotFound(f"uplink {uplink.name}: the device was just removed")
    return HostFacts(
        uplink=uplink.name,
        addresses=uplink.addresses,
        why=uplink.why,
        mtu=device.mtu,
        iptables=iptables.in_use(),
        advertised=_advertised(space, uplink.name, kept),
        attached=_attached(found, uplink),
        ipv6=sysctl.get("net/ipv6/conf/all/forwarding") is not None,
        kernel=os.uname().release,
        features=features,
    )


def _addresses(space: Space) -> dict[tuple[str, Family], list[Assigned]]:
    """Global addresses that are not ours, by device and family, in the kernel's order (primary first). Only their devices are
    looked at: a host has one for each of its containers."""

    def global_(data: bytes, start: int, end: int) -> tuple[int, Assigned] | None:
        scope, index = data[start + 3], _INDEX.unpack_from(data, start + 4)[0]
        if scope:
            return None
        address, flags = wire.decode_any_address(data, start, end, {}, "")
        if address.proto == PROTO or flags & u.IFA_F_TENTATIVE:
            return None
        return index, Assigned(parse_interface(address.address), not flags & _UNFIT)

    found: dict[tuple[str, Family], list[Assigned]] = {}
    for index, assigned in space.netlink.dump(u.RTM_GETADDR, wire.address_filter(), global_):
        device = space.at(index)
        if device is not None and not device.flags & u.IFF_LOOPBACK and not device.marked:
            found.setdefault((device.name, family(assigned.address)), []).append(assigned)
    return found


def _attached(found: Addresses, uplink: Uplink) -> frozenset[tuple[str, IPNetwork]]:
    """Of all devices; of the uplink without its main addresses."""
    subnets = {(dev, one.address.network) for (dev, _), assigned in found.items() for one in assigned}
    return frozenset(subnets - {(uplink.name, address.network) for address in uplink.addresses})


def _default_devices(space: Space) -> list[str]:
    """IPv4's first, each family's by metric."""

    def default(data: bytes, start: int, end: int) -> tuple[int, int] | None:
        if data[start + 1]:  # the prefix has a length
            return None
        oif = attributes(data, start + _RTMSG_SIZE, end).get(u.RTA_OIF)
        if oif is None:
            return None
        (index,) = _INDEX.unpack(oif)
        route = wire.decode_route(data, start, end, {index: str(index)}, "", proto=None)
        if route is None or route.proto == PROTO or route.type != "unicast":
            return None
        return route.metric, index

    found: list[str] = []
    for number in _AF.values():
        body = wire.route_filter(number, proto=0, table=u.RT_TABLE_MAIN)
        found += (space.name(index) for _, index in sorted(space.netlink.dump(u.RTM_GETROUTE, body, default)))
    return [name for name in dict.fromkeys(found) if name]


def _advertised(space: Space, uplink: str, kept: Iterable[str]) -> frozenset[str]:
    """A device whose accept_ra Weft has changed stays one, also while its router is silent."""
    heard = {uplink, *_with_advertised_routes(space), *_with_advertised_addresses(space)}
    changed = {found[1] for name in kept if (found := _ACCEPT_RA.fullmatch(name))}
    return frozenset(name for name in heard | changed if sysctl.get(f"net/ipv6/conf/{name}/accept_ra") in ("1", "2"))


def _with_advertised_routes(space: Space) -> set[str]:
    def index(data: bytes, start: int, end: int) -> int | None:
        oif = attributes(data, start + _RTMSG_SIZE, end).get(u.RTA_OIF)
        return _INDEX.unpack(oif)[0] if oif else None

    body = wire.route_filter(u.AF_INET6, proto=u.RTPROT_RA)
    return _foreign(space, space.netlink.dump(u.RTM_GETROUTE, body, index))


def _with_advertised_addresses(space: Space) -> set[str]:
    def index(data: bytes, start: int, end: int) -> int | None:
        address, _flags = wire.decode_any_address(data, start, end, {}, "")
        return _INDEX.unpack_from(data, start + 4)[0] if address.proto == u.IFAPROT_KERNEL_RA else None

    return _foreign(space, space.netlink.dump(u.RTM_GETADDR, wire.address_filter(u.AF_INET6), index))


def _foreign(space: Space, indexes: list[int]) -> set[str]:
    return {device.name for index in set(indexes) if (device := space.at(index)) is not None and not device.marked}


# -- features ----------------------------------------------------------------------------------------------------------


def features() -> frozenset[str]:
    """Of `FEATURES`, tried out in a namespace that ends with the call. Raises Denied."""

    def probe() -> frozenset[str]:
        netlink = Netlink(open_socket())
        try:
            return frozenset(name for name, works in FEATURES.items() if works(netlink))
        finally:
            netlink.close()

    return netns.call_new(probe)


def running() -> frozenset[str]:
    """Programs of others', which come and go."""
    return frozenset(name for name, runs in _PROGRAMS.items() if runs())


def _link(link: Link, netlink: Netlink) -> bool:
    def index(_name: str) -> int:
        return 1  # lo, the only device there

    return not netlink.batch([links.create(link, Surroundings(index))])


def _on_parent(link: Link, netlink: Netlink) -> bool:
    """On a bridge of its own: the loopback device is nobody's parent, and two kinds of devices may not share one."""
    assert isinstance(link.type, Vlan | Macvlan | Ipvlan)
    netlink.batch([links.create(Link(name=link.type.dev, type=Bridge()), Surroundings(lambda _: 1))])
    return not netlink.batch([links.create(link, Surroundings(Space("", netlink).index))])


def _vlan(netlink: Netlink) -> bool:
    """A module that is only there is not loaded: it would have the host's own devices filter by VLAN."""
    if not Path("/sys/module/8021q").exists() and _installed("8021q"):
        return True
    return _on_parent(Link(name="probe7", type=Vlan("parent7", 87)), netlink)


def _qdisc(netlink: Netlink) -> bool:
    bucket = Qdisc(dev="lo", rate=8_000_000, burst=32768, limit=65536)
    return not netlink.batch(tc.messages(Create(bucket), 1))


def _redirect(netlink: Netlink) -> bool:
    batch = tc.messages(Create(Redirect(dev="lo", to="lo")), 1, 1)
    return len(batch) - 1 not in dict(netlink.batch(batch))


def _ifb(netlink: Netlink) -> bool:
    """A module that is only there is not loaded: it comes with two devices for the host's own namespace, which nobody
    needs before there is a limit."""
    index = Path(f"/lib/modules/{os.uname().release}/modules.dep")
    if index.exists() and not Path("/sys/module/ifb").exists() and "/ifb.ko" in index.read_text():
        return True
    return _link(Link(name="probe4", type=Ifb()), netlink)


def _nftables(_netlink: Netlink) -> bool:
    with Nftables() as nftables:
        return nftables.generation() is not None


_LACKING = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENOENT)
"""What the kernel answers where it has no such family, chain type or hook (net/netfilter/nf_tables_api.c)."""


def _nft(table: str, _netlink: Netlink) -> bool:
    """Whether the kernel takes such a table. Only the kernel's own refusal says that it lacks something. Where `nft` does not
    run, or fails for another reason, rules that are there must stay, so nothing is lacking: that the rules cannot be read or
    written is told anyway."""
    try:
        output = tools.run(["nft", "-f", "-"], "nftables", f"table {table}\n")
    except WeftError:
        return True
    return not output.status or not any(f"rule: {os.strerror(number)}" in output.err for number in _LACKING)


_BRIDGE = f"bridge {TABLE} {{ chain probe {{ type filter hook forward priority filter; }}; }}"
"""A family's module comes with its first table, its hooks with the first base chain."""
_FLOWTABLE = f"""inet {TABLE} {{
    flowtable probe {{ hook ingress priority 0; }}
    chain probe {{ type filter hook forward priority 300; ct state established flow add @probe; }}
}}"""
"""The flowtable is one module, what adds to it another one. It needs no device."""


def _ipip(netlink: Netlink) -> bool:
    """Tried out only where it is in the kernel already: the module gives every namespace, containers' too, a device of its
    own (tunl0), and so is not loaded before a network asks for it."""
    if Path("/sys/module/ipip").exists():
        return _link(Link(name="probe4", type=Ipip("127.0.0.1")), netlink)
    return _installed("ipip")


def _bridge_filter(_netlink: Netlink) -> bool:
    """A module that is only there is not loaded before there is policy: bridges pay for it."""
    return bridge_filter.loaded() or _installed(bridge_filter.MODULE)


def _ipvs(_netlink: Netlink) -> bool:
    """A module that is only there is not loaded before a network asks for it."""
    return ipvs.loaded() or all(_installed(module) for module in ipvs.MODULES)


def _ovs_datapath(_netlink: Netlink) -> bool:
    return ovs_datapath.loaded() or _installed(ovs_datapath.MODULE)


def _ipset(_netlink: Netlink) -> bool:
    """A module that is only there is not loaded before something asks for a set."""
    if not ipset.there():
        return _installed("ip_set_hash_net") and _installed("xt_set")
    sets = [Ipset(name=f"weft-{n}", type=kind, family=4) for n, kind in enumerate(get_args(IpsetType))]
    return not Ipsets().apply(HOST, [Create(it) for it in sets])


def _installed(module: str) -> bool:
    modules = Path("/lib/modules", os.uname().release)
    try:
        return any(f"/{module}.ko" in (modules / name).read_text() for name in ("modules.dep", "modules.builtin"))
    except OSError:
        return False


def _md5(_netlink: Netlink) -> bool:
    """TCP MD5 signatures (RFC 2385), by struct tcp_md5sig of linux/tcp.h: a peer's address, and a key for it. A kernel may lack
    them (CONFIG_TCP_MD5SIG), or refuse MD5 (FIPS mode)."""
    peer = struct.pack("=HH4s", socket.AF_INET, 0, b"\xc0\x00\x02\x01").ljust(128, b"\0")
    with socket.socket() as sock:
        try:
            sock.setsockopt(
                socket.IPPROTO_TCP, _TCP_MD5SIG, peer + struct.pack("=BBHi", 0, 0, 3, 0) + b"key".ljust(80, b"\0")
            )
        except OSError:
            return False
    return True


FEATURES: dict[str, Callable[[Netlink], bool]] = {
    "veth": partial(_link, Link(name="probe0", type=Veth("probe1", ""))),
    "bridge": partial(_link, Link(name="probe2", type=Bridge())),
    "vxlan": partial(_link, Link(name="probe3", type=Vxlan(87, 8472, "", "lo"))),
    "macvlan": partial(_on_parent, Link(name="probe5", type=Macvlan("parent5", "bridge"))),
    "ipvlan": partial(_on_parent, Link(name="probe6", type=Ipvlan("parent6", "l2"))),
    "vlan": _vlan,
    "nftables": _nftables,
    "nft-bridge": partial(_nft, _BRIDGE),
    FLOWTABLE: partial(_nft, _FLOWTABLE),
    fastpath.TCX: lambda _netlink: not fastpath.refusal(),
    "ipip": _ipip,
    bridge_filter.MODULE: _bridge_filter,
    ipset.FEATURE: _ipset,
    ipvs.FEATURE: _ipvs,
    ovs_datapath.FEATURE: _ovs_datapath,
    "tbf": _qdisc,
    "mirred": _redirect,
    "ifb": _ifb,
    ciphers.WIREGUARD: partial(_link, Link(name="probe8", type=Wireguard())),
    ciphers.ESP: lambda _netlink: xfrm.works(),
    MD5: _md5,
    "tun": lambda _netlink: tun.there(),
    "bird": lambda _netlink: tools.find("bird") is not None,
}
"""What does not change as long as a host runs, and how to find out."""
_PROGRAMS: dict[str, Callable[[], bool]] = {ovs.FEATURE: ovsdb.answers}
NAMES = frozenset((*FEATURES, *_PROGRAMS))
"""What may be needed of the host."""
