"""What bridges show to rules: two attributes of theirs (linux/if_link.h), and the module that makes them true.

Without br_netfilter a bridge takes the attributes and does nothing. Loaded, the module asks every bridge of every namespace to
show its packets to rules, until that namespace's sysctls are 0; so where Weft loads it, it sets the host's own to 0.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from weft.base.errors import WeftError
from weft.hoststate import BridgeFilter, Object
from weft.hoststate.paths import BRIDGED
from weft.kernel.kinds import sysctl
from weft.kernel.kinds.bulk import BULK
from weft.kernel.kinds.kind import Encoding, Hearing, Kind, Look, Phase, Work
from weft.kernel.plumbing import links, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Message, attr
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Event, Failure, Op, Remove, Seen

MODULE = "br_netfilter"
_IFINFOMSG = struct.Struct("=BxHiII")


def loaded() -> bool:
    """Each namespace has the module's sysctls."""
    return sysctl.get(BRIDGED[0]) is not None


def _load() -> bool:
    """Of others' bridges nothing is to change by it."""
    if loaded():
        return True
    with suppress(WeftError):
        tools.run(["modprobe", MODULE], "kmod")
        for name in BRIDGED if loaded() else ():
            sysctl.put(name, "0")
    return loaded()


def _apply(work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
    making = [op.new if isinstance(op, Change) else op.obj for op in ops if not isinstance(op, Remove)]
    if not making or _load():
        yield from BULK.apply(work, ops)
        return
    yield from BULK.apply(work, [op for op in ops if isinstance(op, Remove)])
    for obj in making:
        why = f"the kernel has no {MODULE}, so what it switches passes no rules: modprobe {MODULE}, or a kernel with it"
        yield Failure(obj.key, f"{describe(obj.key)}: {why}", errno.EOPNOTSUPP)


def _encode(obj: BridgeFilter, index: int, kind: int, _flags: int) -> Message:
    """There is no message that takes the attributes away; a bridge has them from the beginning, as 0."""
    v4, v6 = (obj.ipv4, obj.ipv6) if kind == u.RTM_NEWLINK else (False, False)
    data = attr(u.IFLA_BR_NF_CALL_IPTABLES, bytes([v4])) + attr(u.IFLA_BR_NF_CALL_IP6TABLES, bytes([v6]))
    info = attr(u.IFLA_INFO_KIND, b"bridge\0") + attr(u.IFLA_INFO_DATA, data)
    body = _IFINFOMSG.pack(0, 0, index, 0, 0) + attr(u.IFLA_LINKINFO, info)
    return Message(u.RTM_NEWLINK, u.NLM_F_REQUEST, body)


def _found(device: Device, ns: str) -> BridgeFilter | None:
    """None where it is not ours, or shows nothing."""
    if not device.marked or not any(device.filtered):
        return None
    v4, v6 = device.filtered
    return BridgeFilter(dev=device.name, ipv4=v4, ipv6=v6, ns=ns)


def _dump(look: Look) -> Iterable[Object]:
    return [found for device in look.space.devices().values() if (found := _found(device, look.ns)) is not None]


def _hear(hearing: Hearing, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    """Told with all else of the bridge, whatever changed. When that goes, this is gone as well."""
    device = links.decode(data, start, end)
    if device is None or device.kind != "bridge":
        return
    before = hearing.devices(ns).get(device.index)
    known = _found(before, ns) if before is not None else None
    found = _found(device, ns) if kind == u.RTM_NEWLINK else None
    if found is not None and found != known:
        yield Seen(found)
    key = ("bridge-filter", ns, device.name)
    if found is None and (known is not None or (before is None and key in hearing.desired)):
        yield hearing.gone(key)


BRIDGE_FILTER = Kind(
    name="bridge-filter",
    phase=Phase("bridge-filter", _apply),
    dump=_dump,
    encoding=Encoding(_encode, u.RTM_NEWLINK, u.RTM_DELLINK),
    hears={u.RTM_NEWLINK: _hear, u.RTM_DELLINK: _hear},
    groups=(u.RTNLGRP_LINK,),
)
