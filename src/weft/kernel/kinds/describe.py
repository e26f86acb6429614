"""Devices as Weft's own Link objects, such that they compare equal to what is desired when they are right."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from weft.hoststate import (
    HOST,
    Bridge,
    Ifb,
    Ipvlan,
    Key,
    Link,
    LinkKind,
    Macvlan,
    Object,
    Tap,
    Tun,
    Veth,
    Vlan,
    Vxlan,
    Wireguard,
)
from weft.hoststate.links import TAKEN
from weft.kernel.plumbing.links import KIND_NAMES, Device
from weft.kernel.plumbing.spaces import Space, Spaces


def as_link(spaces: Spaces, space: Space, device: Device, wanted: Object | None) -> Link | None:
    """None if the device is not ours. What `wanted` leaves open (None) is left open; what only the desired side can
    know (which end of a veth is the primary one) is taken from it."""
    want = wanted if isinstance(wanted, Link) else None
    kind = _kind(spaces, space, device, want)
    if kind is None or not ours(space, device, want):
        return None
    return Link(
        name=device.name,
        type=kind,
        mtu=None if want and want.mtu is None else device.mtu,
        mac=None if want and want.mac is None else device.mac,
        master=_bridge(space, device),
        hairpin=device.hairpin,
        isolated=device.isolated,
        learning=device.learning,
        group=device.group,
        guards=want.guards if want else (),
        lent=want.lent if want else False,
        taken=want.taken if want else False,
        up=device.up,
        alias=device.alias,
        ns=space.ns,
    )


def ours(space: Space, device: Device, want: Link | None) -> bool:
    """By its alias; or as the other end of a veth of ours, made with it but not marked when we were interrupted; or, in
    a namespace of ours, as what we want there (a device that is born there from elsewhere is marked afterwards)."""
    if device.marked:
        return space.ns == HOST or not device.alias.startswith(TAKEN)
    if want is not None and not device.alias and space.owned and device.kind == KIND_NAMES[type(want.type)]:
        return True
    if device.kind != "veth" or not (want and isinstance(want.type, Veth)) or device.alias:
        return False
    other = space.other_end(device)
    return other is not None and other.marked and other.name == want.type.peer


def _bridge(space: Space, device: Device) -> str:
    """All of Open vSwitch's ports have one device as their master, which is none of its bridges. On which of these they are,
    its database says (`weft.hoststate.OvsPort`)."""
    master = space.at(device.master) if device.master else None
    return master.name if master is not None and master.kind != "openvswitch" else ""


def _kind(spaces: Spaces, space: Space, device: Device, want: Link | None) -> LinkKind | None:
    match device.kind:
        case "bridge":
            return Bridge()
        case "ifb":
            return Ifb()
        case "vxlan" if device.vxlan is not None:
            return _vxlan(
                spaces, space, device, device.vxlan, want.type if want and isinstance(want.type, Vxlan) else None
            )
        case "ipip":
            return device.ipip
        case "vlan":
            lower = space.below(device)
            return Vlan(dev=lower.name if lower else "", id=device.vlan)
        case "macvlan" | "ipvlan":
            return _child(spaces, space, device, want)
        case "wireguard":
            return Wireguard()
        case "tun":
            return Tun() if device.layer3 else Tap()
        case "veth":
            return _veth(spaces, space, device, want.type if want and isinstance(want.type, Veth) else None)
        case _:
            return None


def _vxlan(spaces: Spaces, space: Space, device: Device, found: Vxlan, want: Vxlan | None) -> Vxlan:
    outside = None if device.link_nsid is None else spaces.where(space, device)
    if want is not None and want.outside is not None and spaces.leads_to(space, device, want.outside):
        outside = want.outside
    lower = space.below(device)
    return msgspec.structs.replace(found, dev=lower.name if lower else "", outside=outside)


def _child(spaces: Spaces, space: Space, device: Device, want: Link | None) -> Macvlan | Ipvlan:
    made = Macvlan if device.kind == "macvlan" else Ipvlan
    wished = want.type.outside if want and isinstance(want.type, Macvlan | Ipvlan) else None
    leads = wished is not None and spaces.leads_to(space, device, wished)
    outside = wished if wished is not None and leads else spaces.where(space, device)
    lower = space.below(device)
    return made(dev=lower.name if lower else "", mode=device.mode, outside=outside)


def _veth(spaces: Spaces, space: Space, device: Device, want: Veth | None) -> Veth:
    if want is not None and want.given:
        return want
    other = space.other_end(device)
    as_wanted = want is not None and spaces.leads_to(space, device, want.peer_ns)
    return Veth(
        peer=other.name if other else "",
        peer_ns=want.peer_ns if want and as_wanted else spaces.where(space, device),
        primary=want.primary if want else True,
    )


def links_of(spaces: Spaces, space: Space, desired: Mapping[Key, Object]) -> tuple[dict[Key, Object], set[Key]]:
    """A namespace's links: ours; the keys of the others."""
    found: dict[Key, Object] = {}
    foreign: set[Key] = set()
    for device in space.devices().values():
        key = ("link", space.ns, device.name)
        if not device.marked and (device.kind not in KIND_NAMES.values() or key not in desired):
            foreign.add(key)
        elif (link := as_link(spaces, space, device, desired.get(key))) is not None:
            found[key] = link
        else:
            foreign.add(key)
    return found, foreign
