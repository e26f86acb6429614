"""Which addresses are there, and whether the kernel's own routes to them are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial

import msgspec

from weft.hoststate import HOST, PROTO, Address, Key, Object
from weft.hoststate.connected import Connected, connected
from weft.hoststate.paths import MAIN
from weft.kernel.kinds import wire
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.spaces import Space

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
