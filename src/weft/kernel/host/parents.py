"""Whether a device of the host can carry containers' devices: looked at before a network is made that asks for it."""

from __future__ import annotations

from pathlib import Path

from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.kernel.plumbing.spaces import Space

_EXCLUSIVE = ("macvlan", "ipvlan")
"""Kinds of which a parent carries one only (drivers/net/ipvlan/ipvlan_main.c)."""


def unfit(name: str, kind: str) -> str:
    """Why not, with the way out; "" where it can. `kind`: of the containers' devices. Blocks. Raises Denied."""
    netlink = Netlink(open_socket())
    try:
        return _unfit(Space("", netlink), name, kind)
    finally:
        netlink.close()


def _unfit(space: Space, name: str, kind: str) -> str:
    device = space.find(name)
    if device is None:
        others = sorted(d.name for d in space.devices().values() if not d.flags & u.IFF_LOOPBACK and not d.marked)
        return f"this host has no device {name}: name one of {', '.join(others)}, or leave -O parent out for the uplink"
    if device.flags & u.IFF_LOOPBACK:
        return f"{name} is the loopback device, which leads nowhere: name another -O parent"
    if device.marked:
        return f"{name} is a device of Weft's own: name one of the host's with -O parent"
    if device.master:
        master = space.name(device.master)
        return f"{name} is a port of {master}, which takes all that comes in there: name {master} or another -O parent"
    if not device.up:
        return f"{name} is down: ip link set dev {name} up, or name another -O parent"
    if kind == "macvlan" and Path("/sys/class/net", name, "phy80211").exists():
        return f"{name} is wireless, where an access point takes one MAC address from each host: use driver ipvlan"
    return _shared(space, device, kind)


def _shared(space: Space, parent: Device, kind: str) -> str:
    """As far as it can be seen: devices of containers that others made are in their namespaces."""
    for other in space.devices().values():
        if other.kind in _EXCLUSIVE and other.kind != kind and other.lower == parent.index and other.link_nsid is None:
            beside = f"{other.kind} device {other.name}, beside which there is no {kind}"
            return f"{parent.name} carries {beside}: name another -O parent"
    return ""
