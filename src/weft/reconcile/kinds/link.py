"""Devices. A device takes along what stands on it when it goes: its addresses, neighbours, FDB entries and routes, its own
sysctls, the other end of a veth, a VXLAN device whose underlay it is, devices whose parent it is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Set
from errno import EEXIST, ENODEV, EOPNOTSUPP

import msgspec

from weft.hoststate import (
    HOST,
    Bridge,
    Ifb,
    Ipip,
    Ipvlan,
    Key,
    Link,
    Macvlan,
    Object,
    Tap,
    Tun,
    Veth,
    Vlan,
    Vxlan,
    Wireguard,
)
from weft.reconcile.kinds.kind import Kind, link_key, namespace_key, within
from weft.reconcile.kinds.shell import join, name_of, run_in
from weft.reconcile.protocol import Change, Op, Remove

# -- relations ---------------------------------------------------------------------------------------------------------


def outside(link: Link) -> str:
    """The namespace whose addresses and routes a tunnel device's own packets take, or in which a device's parent is."""
    elsewhere = link.type.outside if isinstance(link.type, Vxlan | Macvlan | Ipvlan) else None
    return link.ns if elsewhere is None else elsewhere


def _twin(link: Link) -> Key | None:
    match link.type:
        case Veth(peer=peer, peer_ns=ns):
            return link_key(ns, peer)
    return None


def _hosts(link: Link) -> tuple[Key, ...]:
    match link.type:
        case Veth(peer=peer, peer_ns=ns):
            return (*within(link), link_key(ns, peer))
        case Vxlan(dev=dev) | Vlan(dev=dev) | Macvlan(dev=dev) | Ipvlan(dev=dev) if dev:
            return (*within(link), link_key(outside(link), dev))
    return within(link)


def _needs(link: Link) -> tuple[Key, ...]:
    """The end of a veth that makes both does not need the other end, but its namespace."""
    master = (link_key(link.ns, link.master),) if link.master else ()
    if isinstance(link.type, Veth) and link.type.primary:
        there = (namespace_key(link.type.peer_ns),) if link.type.peer_ns != HOST else ()
        return (*within(link), *there, *master)
    return (*_hosts(link), *master)


def _namespaces(link: Link) -> tuple[str, ...]:
    return (link.ns, link.type.peer_ns) if isinstance(link.type, Veth) else (link.ns,)


def _without(link: Link, fallen: Set[Key]) -> Link:
    """A port outlives its bridge."""
    if link.master and link_key(link.ns, link.master) in fallen:
        return msgspec.structs.replace(link, master="")
    return link


def _excludes(link: Link) -> Key | None:
    """Two VXLAN devices cannot share a VNI even for a moment (EEXIST)."""
    return ("vni", outside(link), str(link.type.vni)) if isinstance(link.type, Vxlan) else None


_RANKS: dict[type, int] = {
    Bridge: 0,
    Ifb: 0,
    Vlan: 0,
    Vxlan: 1,
    Ipip: 1,
    Tun: 1,
    Tap: 1,
    Wireguard: 1,
    Veth: 2,
    Macvlan: 2,
    Ipvlan: 2,
}


def _rank(link: Link) -> int:
    """Bridges before VXLAN before veth; of a veth first the end that makes both."""
    return 4 if isinstance(link.type, Veth) and not link.type.primary else _RANKS[type(link.type)]


# -- whether it is right -----------------------------------------------------------------------------------------------


def _same_type(found: Link, wanted: Link) -> bool:
    """Kind, VNI, port, local, underlay and peer are for life."""
    if isinstance(found.type, Veth) and isinstance(wanted.type, Veth):
        return (found.type.peer, found.type.peer_ns) == (wanted.type.peer, wanted.type.peer_ns)
    return found.type == wanted.type


def _fits(found: Link, wanted: Link) -> bool:
    """An MTU or MAC of None is left as it is, so is what a device that is lent may become, and which end of a veth was the
    one that made both is nothing that can be seen."""
    return _same_type(found, wanted) and wanted == msgspec.structs.replace(
        found,
        type=wanted.type,
        mtu=found.mtu if wanted.mtu is not None and not wanted.lent else wanted.mtu,
        mac=found.mac if wanted.mac is not None and not wanted.lent else wanted.mac,
        master=wanted.master if wanted.lent else found.master,
        guards=wanted.guards,
        lent=wanted.lent,
        taken=wanted.taken,
    )


def _stands(known: Link, wanted: Link) -> bool:
    """What is wanted of a device that is lent is carried over where that changed, and only then."""
    return not wanted.lent and _fits(known, wanted)


def _altered(wanted: Link, found: Link) -> str:
    """The MAC address that others gave to a device that is lent."""
    return found.mac if wanted.lent and found.mac and found.mac != wanted.mac else ""


def _clash(link: Link) -> str:
    instead = (
        "name it with -O parent instead of a vlan, or remove it"
        if isinstance(link.type, Vlan)
        else "rename or remove it"
    )
    return f"device {link.name} exists and is not Weft's: {instead}"


# -- commands ----------------------------------------------------------------------------------------------------------


def _commands(op: Op, link: Link) -> list[str]:
    if isinstance(op, Remove):
        return [run_in(link.ns, f"ip link del dev {link.name}")]
    if isinstance(op, Change) and isinstance(op.old, Link):
        return _set(link, op.old)
    if isinstance(link.type, Veth) and not link.type.primary:
        return _set(link, None)
    if isinstance(link.type, Tun | Tap):
        mode = "tun" if isinstance(link.type, Tun) else "tap"
        add = run_in(link.ns, f"ip tuntap add dev {link.name} mode {mode}")
        return [add, *_set(link, Link(name=link.name, type=link.type, alias="", up=False))]
    mtu, mac = f"mtu {link.mtu}" if link.mtu else "", f"address {link.mac}" if link.mac else ""
    made = msgspec.structs.replace(
        link, master="", up=False, alias="", hairpin=False, isolated=False, learning=True, group=0
    )
    there = f"netns {_there(link.ns)}" if outside(link) != link.ns else ""
    parent = f"link {link.type.dev}" if isinstance(link.type, Vlan | Macvlan | Ipvlan) else ""
    add = join(f"ip link add name {link.name}", parent, there, mtu, mac, _type(link))
    return [run_in(outside(link), add), *_set(link, made)]


def _type(link: Link) -> str:
    match link.type:
        case Bridge():
            return "type bridge"
        case Ifb():
            return "type ifb"
        case Vxlan(vni, port, local, dev, learning):
            flags = [
                name for name in ("proxy", "l2miss", "l3miss", "udp6zerocsumrx", "external") if getattr(link.type, name)
            ]
            learns = "learning" if learning else "nolearning"
            underlay = join(f"local {local}" if local else "", f"dev {dev}" if dev else "")
            number = "" if link.type.external else f"id {vni}"
            return join("type vxlan", number, underlay, f"dstport {port} {learns}", *flags)
        case Tun() | Tap():
            return "type tun"
        case Wireguard():
            return "type wireguard"
        case Ipip(local, remote, ttl, pmtudisc):
            ends = join(f"local {local}" if local else "", f"remote {remote or 'any'}")
            return f"type ipip {ends} ttl {ttl or 'inherit'} {'pmtudisc' if pmtudisc else 'nopmtudisc'}"
        case Vlan(id=number):
            return f"type vlan id {number}"
        case Macvlan(mode=mode):
            return f"type macvlan mode {mode}"
        case Ipvlan(mode=mode):
            return f"type ipvlan mode {mode}"
        case Veth(peer, peer_ns):
            mtu = f"mtu {link.mtu}" if link.type.given and link.mtu else ""
            return join(f"type veth peer name {peer}", mtu, f"netns {_there(peer_ns)}" if peer_ns != link.ns else "")


def _there(ns: str) -> str:
    """Of a shell in the host's namespace, /proc/$$/ns/net is just that; a path without a name does as it is."""
    return "/proc/$$/ns/net" if ns == HOST else name_of(ns) or shlex.quote(ns)


def _set(link: Link, old: Link | None) -> list[str]:
    """What differs from `old`; all there is to say where that is not known."""
    words = [
        f"mtu {link.mtu}" if link.mtu and (old is None or link.mtu != old.mtu) else "",
        f"address {link.mac}" if link.mac and (old is None or link.mac != old.mac) else "",
        f"group {link.group}" if link.group != (old.group if old else 0) else "",
        f"alias {shlex.quote(link.alias)}" if old is None or link.alias != old.alias else "",
        "nomaster" if old is not None and old.master and not link.master else "",
        f"master {link.master}" if link.master and (old is None or link.master != old.master) else "",
        ("up" if link.up else "down") if old is None or link.up != old.up else "",
    ]
    lines = [run_in(link.ns, join(f"ip link set dev {link.name}", *words))] if any(words) else []
    before = (
        old if old is not None and old.master == link.master else Link(name=link.name, type=link.type)
    )  # a new port
    for name in ("hairpin", "isolated", "learning"):
        if getattr(link, name) != getattr(before, name):
            turn = "on" if getattr(link, name) else "off"
            lines.append(run_in(link.ns, f"bridge link set dev {link.name} {name} {turn}"))
    return lines


# -- how a kernel treats it --------------------------------------------------------------------------------------------


def _brings(link: Link) -> tuple[Object, ...]:
    """The other end of a veth, as yet without a mark."""
    if not isinstance(link.type, Veth) or not link.type.primary:
        return ()
    end = Veth(link.name, link.ns, primary=False)
    mac = f"52:00:00:00:01:{len(link.name):02x}"
    return (Link(name=link.type.peer, type=end, mtu=1500, mac=mac, up=False, alias="", ns=link.type.peer_ns),)


def _refuses(link: Link, making: bool, there: Mapping[Key, Object]) -> int:
    existing = there.get(link.key)
    if not making or (isinstance(link.type, Veth) and not link.type.primary):
        if not isinstance(existing, Link):
            return ENODEV
        return 0 if _same_type(existing, link) else EOPNOTSUPP
    if existing is not None:
        return EEXIST
    if isinstance(link.type, Veth):
        return EEXIST if _twin(link) in there else 0
    return EEXIST if isinstance(link.type, Vxlan) and _taken(link, link.type, there) else 0


def _taken(link: Link, vxlan: Vxlan, there: Mapping[Key, Object]) -> bool:
    others = (o.type for o in there.values() if isinstance(o, Link) and outside(o) == outside(link))
    return any(isinstance(other, Vxlan) and (other.vni, other.port) == (vxlan.vni, vxlan.port) for other in others)


def _becomes(new: Link, old: Link | None, there: Link | None) -> Link:
    """With what the kernel chooses itself; of a device that is lent, what others made of it stays."""
    if new.lent and old is not None and there is not None:
        new = msgspec.structs.replace(
            new,
            mtu=there.mtu if new.mtu == old.mtu else new.mtu,
            mac=there.mac if new.mac == old.mac else new.mac,
            master=there.master if new.master == old.master else new.master,
        )
    mac = new.mac or (there.mac if there else None) or f"52:00:00:00:00:{len(new.name):02x}"
    return msgspec.structs.replace(new, mtu=new.mtu or (there.mtu if there else None) or 1500, mac=mac)


LINK = Kind(
    of=Link,
    commands=_commands,
    is_ours=lambda link: link.ours,
    clash=_clash,
    carries=True,
    hosts=_hosts,
    needs=_needs,
    namespaces=_namespaces,
    guards=lambda link: link.guards,
    rank=_rank,
    fits=_fits,
    stands=_stands,
    in_place=_same_type,
    left=lambda link: link.taken,
    excludes=_excludes,
    altered=_altered,
    twin=_twin,
    brings=_brings,
    without=_without,
    refuses=_refuses,
    becomes=_becomes,
    drops=lambda old, new: ("route",) if old.up and not new.up else (),
)
