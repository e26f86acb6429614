"""Links: read, made and changed one by one, and heard of. What is said of a device also concerns what stands on it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

from weft.base.errors import Denied, NotFound, WeftError
from weft.hoststate import HOST, Link, Object, Veth
from weft.kernel.kinds import devices
from weft.kernel.kinds.describe import as_link, links_of
from weft.kernel.kinds.kind import Hearing, Kind, Look, Phase, Work
from weft.kernel.plumbing import links
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Refused
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Disturbed, Event, Failure, Gone, Op, Remove, Seen, UplinkChanged


def _dump(look: Look) -> Iterable[Object]:
    found, others = links_of(look.spaces, look.space, look.desired)
    look.foreign |= others
    return found.values()


# -- writing -----------------------------------------------------------------------------------------------------------


def _apply(work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
    yield from (failure for op in _veths_last(ops) if (failure := _apply_one(work, op)))
    ports = [link for op in ops if isinstance(link := _target(op), Link) and link.master]
    devices.settle(work.spaces, ports)


def _target(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


def _veths_last(ops: Sequence[Op]) -> list[Op]:
    """Of new links made in a row: bridges before the ports that want to join them, a veth before its other end."""

    def rank(op: Op) -> int:
        if not isinstance(op, Create) or not isinstance(op.obj, Link) or not isinstance(op.obj.type, Veth):
            return 0
        return 1 if op.obj.type.primary else 2

    return [op for _, group in groupby(ops, key=type) for op in sorted(group, key=rank)]


def _apply_one(work: Work, op: Op) -> Failure | None:
    link = _target(op)
    assert isinstance(link, Link)
    verb: Callable[[], None]
    match op:
        case Create():
            verb = partial(devices.create, work.spaces, link, work.made)
        case Change():
            assert isinstance(op.old, Link)
            verb = partial(devices.change, work.spaces, op.old, link)
        case Remove():
            verb = partial(devices.remove, work.spaces, link)
    try:
        verb()
    except Refused as refused:
        if isinstance(op, Remove) and refused.errno in (errno.ENODEV, errno.ENOENT):
            return None
        return Failure(link.key, f"{describe(link.key)}: {refused.text}", refused.errno)
    except WeftError as error:
        if isinstance(op, Remove) and isinstance(error, NotFound):
            return None
        return Failure(link.key, str(error), errno.EPERM if isinstance(error, Denied) else errno.ENOENT)
    return None


# -- hearing -----------------------------------------------------------------------------------------------------------


def _hear(hearing: Hearing, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    device, there = links.decode(data, start, end), kind == u.RTM_NEWLINK
    if device is None:
        return
    known = hearing.devices(ns)
    before = known.pop(device.index, None)
    if there:
        known[device.index] = device
    if before is not None and before.marked and not (there and device.marked and device.name == before.name):
        yield Gone(("link", ns, before.name))
    if there and device.marked:
        yield from _seen(hearing, device, ns)
    elif ns == HOST and not (before or device).marked and _news(hearing, before, device, there):
        yield UplinkChanged(f"device {device.name} {'changed' if there else 'is gone'}")
    if what := _shock(before, device, there):
        yield from hearing.shaken(device.name, ns, what)


def _seen(hearing: Hearing, device: Device, ns: str) -> Iterator[Event]:
    """A device of ours as it is now. Elsewhere than on the host its surroundings are not known here: if it is not as
    it should be, that namespace has to be read."""
    want = hearing.desired.get(("link", ns, device.name))
    if ns != HOST:
        master = hearing.name(ns, device.master) if device.master else ""
        if not (isinstance(want, Link) and _agrees(device, want, master)):
            yield Disturbed(ns, f"{device.name} changed")
        return
    spaces = hearing.spaces()
    try:
        link = as_link(spaces, spaces.host, device, want)
    except Refused:
        return  # gone in between: another event tells
    if link is not None:
        yield Seen(link)


def _news(hearing: Hearing, before: Device | None, device: Device, there: bool) -> bool:
    """Of a device that is not ours. One that is about to become ours is no news yet: its mark comes next."""
    if before is None:
        return ("link", HOST, device.name) not in hearing.desired
    return not there or _differ(before, device)


def _shock(before: Device | None, device: Device, there: bool) -> str:
    """What happened to a device that takes along, or lets come back, what stands on it. A device of ours that comes up was
    brought up by us, with all that belongs on it."""
    if not there:
        return "is gone"
    if before is None or before.up == device.up:
        return ""
    if before.up:
        return "went down"
    return "" if device.marked else "is up"


def _differ(one: Device, other: Device) -> bool:
    def looks(device: Device) -> tuple[object, ...]:
        return device.name, device.mtu, device.mac, device.flags & (u.IFF_UP | u.IFF_RUNNING)

    return looks(one) != looks(other)


def _agrees(device: Device, want: Link, master: str) -> bool:
    """As far as a device in another namespace can be compared from here: without its other end."""
    return (
        (want.lent or want.master == master)
        and want.isolated == device.isolated
        and want.learning == device.learning
        and (want.lent or want.mtu in (None, device.mtu))
        and want.mac in (None, device.mac)
        and want.up == device.up
        and want.alias == device.alias
    )


LINK = Kind(
    name="link",
    phase=Phase("link", _apply),
    dump=_dump,
    hears={u.RTM_NEWLINK: _hear, u.RTM_DELLINK: _hear},
    groups=(u.RTNLGRP_LINK,),
)
