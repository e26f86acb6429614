"""Neighbours and FDB entries, which are one kind of message: read, written and heard of."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from socket import inet_ntop

from weft.hoststate import Bridge, FdbEntry, Key, Link, Neighbour, Object, Vxlan
from weft.hoststate.paths import fdb_key
from weft.kernel.kinds import wire
from weft.kernel.kinds.bulk import BULK
from weft.kernel.kinds.kind import Encoding, Hearing, Kind, Look
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Refused, attributes, gone
from weft.kernel.plumbing.spaces import Space
from weft.reconcile.protocol import Create, Event, Gone, Seen


def _dump_neighbours(look: Look) -> list[Neighbour]:
    decode = partial(wire.decode_neighbour, names=look.names, ns=look.ns)
    return look.space.netlink.dump(u.RTM_GETNEIGH, wire.neighbour_filter(u.AF_UNSPEC), decode)


def _dump_fdb(look: Look) -> Iterator[FdbEntry]:
    """Of our own devices; of a bridge's table, what its ports have."""
    own = {index: name for index, name in look.names.items() if ("link", look.ns, name) in look.found}
    dump, decode = look.space.netlink.dump, partial(wire.decode_fdb, names=own, ns=look.ns)
    for index, name in own.items():
        match look.found["link", look.ns, name]:
            case Link(type=Vxlan()):
                yield from dump(u.RTM_GETNEIGH, wire.fdb_filter(index), decode)
            case Link(type=Bridge()):
                yield from dump(u.RTM_GETNEIGH, wire.fdb_filter_of_bridge(index), decode)


def _yields(attrs: slice, space: Space, _op: Create, message: Message) -> bool:
    """An ARP entry or a learnt MAC is replaced by a permanent one. `attrs`: what the entry is asked for by, in the message
    that makes it."""
    head = bytearray(message.body[:12])
    head[8:10] = b"\0\0"  # a request names no state, and of the flags only whose table it is about
    head[10] &= u.NTF_SELF | u.NTF_MASTER
    try:
        answer = space.netlink.request(u.RTM_GETNEIGH, 0, bytes(head) + message.body[attrs])
    except Refused as refused:
        return gone(refused.errno)  # in between
    return not int.from_bytes(answer[8:10], "little") & u.NUD_PERMANENT


def _yields_neighbour(space: Space, op: Create, message: Message) -> bool:
    return _yields(slice(12, 12 + int.from_bytes(message.body[12:14], "little")), space, op, message)


# -- hearing -----------------------------------------------------------------------------------------------------------


def _hear(hearing: Hearing, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    if data[start] == u.AF_BRIDGE:
        if not data[start + 10] & u.NTF_SELF and u.NDA_VLAN in attributes(data, start + 12, end):
            return  # goes with the entry that has none
        entry: Object | None = wire.decode_fdb(data, start, end, hearing.names(ns, ours=True), ns)
    else:
        entry = wire.decode_neighbour(data, start, end, hearing.names(ns), ns)
    if entry is not None:
        yield Seen(entry) if kind == u.RTM_NEWNEIGH else Gone(entry.key)
    elif (key := _key(hearing, data, start, end, ns)) in hearing.desired:
        yield Gone(key)  # what lies there is not permanent (any more), or somebody else's


def _key(hearing: Hearing, data: bytes, start: int, end: int, ns: str) -> Key:
    found = attributes(data, start + 12, end)
    dev = hearing.name(ns, struct.unpack_from("=i", data, start + 4)[0])
    if data[start] == u.AF_BRIDGE:
        own, bridge = data[start + 10] & u.NTF_SELF, found.get(u.NDA_MASTER)
        master = hearing.name(ns, struct.unpack("=i", bridge)[0]) if bridge and not own else ""
        return fdb_key(ns, dev, found.get(u.NDA_LLADDR, b"").hex(":"), _text(found.get(u.NDA_DST, b"")), master)
    return ("neighbour", ns, dev, _text(found.get(u.NDA_DST, b"")))


def _text(address: bytes) -> str:
    return inet_ntop(u.AF_INET if len(address) == 4 else u.AF_INET6, address) if len(address) in (4, 16) else ""


NEIGHBOUR = Kind(
    name="neighbour",
    phase=BULK,
    dump=_dump_neighbours,
    encoding=Encoding(wire.encode_neighbour, u.RTM_NEWNEIGH, u.RTM_DELNEIGH, yields=_yields_neighbour),
    hears={u.RTM_NEWNEIGH: _hear, u.RTM_DELNEIGH: _hear},
    groups=(u.RTNLGRP_NEIGH,),
)
FDB = Kind(
    name="fdb",
    phase=BULK,
    dump=_dump_fdb,
    encoding=Encoding(wire.encode_fdb, u.RTM_NEWNEIGH, u.RTM_DELNEIGH, yields=partial(_yields, slice(12, 24))),
)
"""Neighbours hear of these, too."""
