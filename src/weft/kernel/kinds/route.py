"""Routes: read, written and heard of.

The kernel does not tell of every route that goes: of IPv4 those of a device that goes, or goes down, go silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import msgspec

from weft.hoststate import HOST, PROTO, Route
from weft.hoststate.paths import MAIN, is_own_table
from weft.kernel.kinds import wire
from weft.kernel.kinds.bulk import BULK
from weft.kernel.kinds.kind import Encoding, Hearing, Kind, Look
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message
from weft.kernel.plumbing.spaces import Space
from weft.reconcile.protocol import Create, Disturbed, Event, Seen, UplinkChanged


def _dump(look: Look) -> Iterator[Route]:
    proto = PROTO if look.ns == HOST else None  # in a container it matters who else has routes there (`Decided`)
    decode = partial(wire.decode_route, names=look.names, ns=look.ns, proto=proto)
    for family in (u.AF_INET, u.AF_INET6):
        for route in look.space.netlink.dump(u.RTM_GETROUTE, wire.route_filter(family, proto or 0), decode):
            if not look.decided.elsewhere(route, look.desired):
                yield route


def _yields(space: Space, op: Create, _message: Message) -> bool:
    """One that carries our mark is ours, whatever was thought to be there: of a namespace that ended at the same path, say."""
    assert isinstance(op.obj, Route)
    names = {index: device.name for index, device in space.devices().items()}
    decode = partial(wire.decode_route, names=names, ns=space.ns, proto=PROTO)
    family = u.AF_INET6 if ":" in op.obj.prefix else u.AF_INET
    return any(
        found.key == op.obj.key
        for found in space.netlink.dump(u.RTM_GETROUTE, wire.route_filter(family, PROTO), decode)
    )


def _hear(hearing: Hearing, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    found = wire.decode_route(data, start, end, hearing.names(ns), ns, proto=None)
    if found is None:
        return
    if found.proto == PROTO and not is_own_table(found.table) and found.key not in hearing.desired:
        copied = msgspec.structs.replace(found, table=MAIN).key  # a route of ours that somebody moves
        if copied in hearing.desired:
            yield Disturbed(ns, f"a copy of the route to {found.prefix} in table {found.table}")
    elif found.proto == PROTO:
        yield Seen(found) if kind == u.RTM_NEWROUTE else hearing.gone(found.key)
    elif kind == u.RTM_DELROUTE and found.proto == u.RTPROT_KERNEL and ("link", ns, found.dev) in hearing.desired:
        yield Disturbed(ns, f"the kernel's own route to {found.prefix} by {found.dev} is gone")
    elif found.key in hearing.desired:  # made, it may have replaced ours; gone, it makes room for ours
        yield Disturbed(ns, f"somebody else's route to {found.prefix}")
    elif ns == HOST and found.table == u.RT_TABLE_MAIN and found.prefix.endswith("/0"):
        yield UplinkChanged(f"default route by {found.dev} {'changed' if kind == u.RTM_NEWROUTE else 'gone'}")


ROUTE = Kind(
    name="route",
    phase=BULK,
    dump=_dump,
    encoding=Encoding(wire.encode_route, u.RTM_NEWROUTE, u.RTM_DELROUTE, yields=_yields),
    hears={u.RTM_NEWROUTE: _hear, u.RTM_DELROUTE: _hear},
    groups=(u.RTNLGRP_IPV4_ROUTE, u.RTNLGRP_IPV6_ROUTE),
)
