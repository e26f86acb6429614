"""Addresses: read, with whether the kernel's own routes to them are there, written and heard of."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import msgspec

from weft.hoststate import HOST, PROTO, Address, Key, Object
from weft.hoststate.connected import Connected, connected
from weft.hoststate.paths import MAIN
from weft.kernel.kinds import wire
from weft.kernel.kinds.bulk import BULK
from weft.kernel.kinds.kind import Encoding, Hearing, Kind, Look
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message
from weft.kernel.plumbing.spaces import Space
from weft.reconcile.protocol import Create, Disturbed, Event, Seen, UplinkChanged

SETTLING = 10.0
"""Seconds. The kernel makes a v6 address's own route later than the address, in a work queue that waits for the processor and
for the lock of all network settings (addrconf_dad_work() in net/ipv6/addrconf.c): half a second on a busy host. For so long a
route that is missing is taken to be on its way, unless the kernel has told that it was removed (`Lost`)."""

Lost = dict[tuple[str, str, str], float]
"""Namespace, device and prefix of the routes to v6 addresses that the kernel has told to be removed, whose addresses have not
been made or removed since; and when, in seconds of CLOCK_MONOTONIC. Without those from before SETTLING, of no use any more."""


def lose(lost: Lost, ns: str, dev: str, prefix: str) -> None:
    now = time.monotonic()
    for old in [key for key, at in lost.items() if at < now - SETTLING]:
        del lost[old]
    lost[ns, dev, prefix] = now


class _Found(msgspec.Struct, frozen=True):
    """`flags`: IFA_F_…; `made`: when, in seconds of CLOCK_MONOTONIC."""

    address: Address
    flags: int
    made: float


def read(space: Space, names: Mapping[int, str], desired: Mapping[Key, Object], lost: Lost) -> list[Address]:
    """Ours by their mark; without one (`ip address add` of Debian 12 cannot set it, nor kernels before 5.18) those that
    are wanted, if they are on a device of ours."""
    own = {device.name for device in space.devices().values() if device.marked}

    def decode(data: bytes, start: int, end: int) -> _Found | None:
        found, flags = wire.decode_any_address(data, start, end, names, space.ns)
        if found.proto != PROTO:
            wanted = desired.get(found.key) if found.dev in own else None
            if not isinstance(wanted, Address):
                return None
            found = wanted
        return _Found(found, flags, wire.made_at(data, start, end))

    found = space.netlink.dump(u.RTM_GETADDR, wire.address_filter(), decode)
    return list(_with_routes(space, found, lost)) if found else []


def _with_routes(space: Space, addresses: list[_Found], lost: Lost) -> Iterable[Address]:
    """Each `routed` or not, as it is. A device that is down has no routes."""
    wanted = {found.address.dev for found in addresses}
    up = {index: dev.name for index, dev in space.devices().items() if dev.up and dev.name in wanted}
    there: set[tuple[str, Connected]] = set()
    for fam in (u.AF_INET, u.AF_INET6):
        routes = wire.route_filter(fam, proto=u.RTPROT_KERNEL)
        there.update(space.netlink.dump(u.RTM_GETROUTE, routes, partial(wire.decode_connected, names=up)))
    if space.ns != HOST:  # in a container others may have moved one to a table of theirs (`weft.kernel.decided`)
        there |= {(dev, msgspec.structs.replace(r, table=MAIN)) for dev, r in there if r.type == "unicast"}
    devices, now = set(up.values()), time.clock_gettime(time.CLOCK_MONOTONIC)
    for found in addresses:
        address = found.address
        if address.dev in devices and any((address.dev, route) not in there for route in _expected(found, now, lost)):
            address = msgspec.structs.replace(address, routed=False)
        yield address


def _expected(found: _Found, now: float, lost: Lost) -> Iterable[Connected]:
    """No route to the subnet where the kernel was not to make it, or has made it with the subnet's first address (in v4
    IFA_F_SECONDARY, the same bit as IFA_F_TEMPORARY). A v6 address gets its own route when it is known to be unique."""
    address = found.address
    v6 = ":" in address.address
    others = found.flags & (u.IFA_F_NOPREFIXROUTE if v6 else u.IFA_F_NOPREFIXROUTE | u.IFA_F_TEMPORARY)
    for route in connected(address):
        young = now - found.made < SETTLING and (address.ns, address.dev, route.prefix) not in lost
        late = v6 and route.type == "local" and (found.flags & u.IFA_F_TENTATIVE or young)
        if not (late or (others and route.type in ("unicast", "broadcast"))):
            yield route


# -- writing -----------------------------------------------------------------------------------------------------------


def _anew(space: Space, address: Address) -> list[Message]:
    """The kernel makes an address's routes with the address: of v6 it is made anew, on which nothing else depends. With a
    v4 address would go all routes that have it as source, so there the routes are put back one by one."""
    index = space.index(address.dev)
    if ":" in address.address:
        return [
            wire.encode_address(address, index, u.RTM_DELADDR, wire.PLAIN),
            wire.encode_address(address, index, u.RTM_NEWADDR, wire.NEW),
        ]
    routes = [wire.encode_connected(address, route, index) for route in connected(address)]
    return [*routes, wire.encode_address(address, index, u.RTM_NEWADDR, wire.REPLACE)]


def _yields(space: Space, op: Create, _message: Message) -> bool:
    """An address that we want on a device of ours is ours: the kernel's own link-local one, and one that is known to be there
    no longer by what was told of a namespace that ended at the same path."""
    assert isinstance(op.obj, Address)
    device = space.find(op.obj.dev)
    return device is not None and device.marked


# -- hearing -----------------------------------------------------------------------------------------------------------


def _hear(lost: Lost, hearing: Hearing, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    found, flags = wire.decode_any_address(data, start, end, hearing.names(ns), ns)
    lost.pop((ns, found.dev, f"{found.address.partition('/')[0]}/128"), None)
    index, scope = struct.unpack_from("=I", data, start + 4)[0], data[start + 3]
    if kind == u.RTM_DELADDR and data[start] == u.AF_INET:  # with the last one go all routes, silently
        yield from hearing.shaken(found.dev, ns, "lost an address")
    if found.proto == PROTO:
        yield Seen(found) if kind == u.RTM_NEWADDR else hearing.gone(found.key)
    elif found.key in hearing.desired:
        yield Disturbed(ns, f"somebody else's {found.address} on {found.dev}")
    elif ns == HOST and scope == 0 and not hearing.marked(ns, index):
        about = ("address", index, found.address)
        if kind == u.RTM_DELADDR:
            hearing.heard.pop(about, None)
            yield UplinkChanged(f"address {found.address} on {found.dev} gone")
        elif hearing.heard.get(about) != flags:  # router advertisements repeat what is known
            hearing.heard[about] = flags
            yield UplinkChanged(f"address {found.address} on {found.dev}")
            yield from hearing.shaken(found.dev, ns, "has an address more")


def _hear_route(
    lost: Lost, hearing: Hearing, _kind: int, data: bytes, start: int, end: int, ns: str
) -> Iterator[Event]:
    """That the kernel's own route to an address is gone. (Of one to a subnet, routes hear.)"""
    found = wire.decode_connected(data, start, end, hearing.names(ns))
    if found is None or found[1].type == "unicast" or ("link", ns, found[0]) not in hearing.desired:
        return
    dev, route = found
    if route.type == "local" and ":" in route.prefix:
        lose(lost, ns, dev, route.prefix)
    yield Disturbed(ns, f"the kernel's own route to {route.prefix} by {dev} is gone")


def kind() -> Kind:
    lost: Lost = {}

    def dump(look: Look) -> list[Address]:
        return read(look.space, look.names, look.desired, lost)

    return Kind(
        name="address",
        phase=BULK,
        dump=dump,
        encoding=Encoding(wire.encode_address, u.RTM_NEWADDR, u.RTM_DELADDR, change=_anew, yields=_yields),
        hears={
            u.RTM_NEWADDR: partial(_hear, lost),
            u.RTM_DELADDR: partial(_hear, lost),
            u.RTM_DELROUTE: partial(_hear_route, lost),
        },
        groups=(u.RTNLGRP_IPV4_IFADDR, u.RTNLGRP_IPV6_IFADDR, u.RTNLGRP_IPV4_ROUTE, u.RTNLGRP_IPV6_ROUTE),
        forget=lost.clear,
    )
