"""Which addresses there are in namespaces: one look at each, without anything else that is in it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from ipaddress import ip_interface

import msgspec

from weft.base.errors import WeftError
from weft.base.net import IPInterface
from weft.kernel.kinds import wire
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.kernel.plumbing.spaces import Space


class At(msgspec.Struct, frozen=True):
    """An address, and the device that has it."""

    address: IPInterface
    dev: str
    kind: str
    mtu: int


class Held(msgspec.Struct, frozen=True):
    """Addresses of a namespace that others can reach it by, in the order of its devices."""

    at: tuple[At, ...] = ()

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        return tuple(each.address for each in self.at)

    @property
    def interface(self) -> str:
        return self.at[0].dev if self.at else ""


def held(paths: Iterable[str]) -> dict[str, Held]:
    """By path; one that cannot be entered is left out."""
    sockets = netns.open_all(paths, open_socket)
    found: dict[str, Held] = {}
    for path, sock in sockets.items():
        if not isinstance(sock, WeftError):
            netlink = Netlink(sock)
            try:
                found[path] = _held(path, netlink)
            finally:
                netlink.close()
    return found


def _held(path: str, netlink: Netlink) -> Held:
    by_index = Space(path, netlink).devices()
    names = {index: device.name for index, device in by_index.items()}
    devices = {device.name: device for device in by_index.values()}
    order = {name: place for place, name in enumerate(devices)}
    told = netlink.dump(u.RTM_GETADDR, wire.address_filter(), partial(_decode, names=names))
    usable = sorted((each for each in told if _usable(each[1])), key=lambda each: order.get(each[0], 0))
    return Held(tuple(At(at, dev, devices[dev].kind, devices[dev].mtu) for dev, at in usable if dev in devices))


def _decode(data: bytes, start: int, end: int, names: dict[int, str]) -> tuple[str, IPInterface]:
    address, _flags = wire.decode_any_address(data, start, end, names, "")
    return address.dev, ip_interface(address.address)


def _usable(at: IPInterface) -> bool:
    return not at.ip.is_loopback and not at.ip.is_link_local
