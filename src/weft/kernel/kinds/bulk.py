"""What is one netlink message each (a route, a neighbour …), in batches; each failure is traced to its object."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from weft.base.errors import WeftError
from weft.hoststate import Address, Object
from weft.kernel.kinds import wire
from weft.kernel.kinds.kind import Encoding, Phase, Work
from weft.kernel.plumbing.netlink import Message, Refused, gone
from weft.kernel.plumbing.spaces import Space
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Failure, Op, Remove

_EXTRA = {
    errno.EPERM: "not permitted: run as root",
    errno.EACCES: "not permitted: run as root",
    errno.ENETUNREACH: "its next hop cannot be reached",
    errno.ENETDOWN: "its device is down",
    errno.EHOSTUNREACH: "its next hop cannot be reached",
}


def _target(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


def _encoding(work: Work, op: Op) -> Encoding:
    encoding = work.kinds[_target(op).kind].encoding
    assert encoding is not None
    return encoding


def _device(work: Work, op: Op) -> str:
    return _encoding(work, op).dev(_target(op))


def _apply(work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
    """In each namespace in the order given; namespaces do not depend on each other. Where a device is desired, somebody
    else's device of that name will not do."""
    by_ns: dict[str, list[Op]] = {}
    for op in ops:
        by_ns.setdefault(_target(op).ns, []).append(op)
    for ns, group in by_ns.items():
        try:
            space = work.spaces.get(ns)
        except WeftError as error:
            yield from (
                Failure(_target(op).key, str(error), errno.ENOENT) for op in group if not isinstance(op, Remove)
            )
            continue
        yield from _apply_in(work, space, group)


def _apply_in(work: Work, space: Space, ops: Sequence[Op]) -> Iterator[Failure]:
    sent: list[Op | None] = []
    messages: list[Message] = []
    foreign = _foreign(work, space, ops)
    for op in ops:
        if (dev := _device(work, op)) in foreign and not isinstance(op, Remove):
            yield Failure(_target(op).key, f"waits for {describe(('link', space.ns, dev))}", errno.ENODEV)
            continue
        try:
            found = _messages(work, space, op)
        except Refused as refused:  # there is no such device
            if not isinstance(op, Remove):
                yield _failure(op, refused)
            continue
        messages += found
        sent += [None] * (len(found) - 1) + [op]
    for position, no in space.netlink.batch(messages):
        refused_op = sent[position]
        if refused_op is None or (isinstance(refused_op, Remove) and gone(no.errno)):
            continue
        op = refused_op
        if (
            isinstance(op, Create)
            and no.errno == errno.EEXIST
            and _encoding(work, op).yields(space, op, messages[position])
        ):
            again = _messages(work, space, Change(op.obj, op.obj))
            refusals = dict(space.netlink.batch(again))
            if (refused_too := refusals.get(len(again) - 1)) is not None:
                yield _failure(op, refused_too)
            continue
        yield _failure(op, no)


def _foreign(work: Work, space: Space, ops: Sequence[Op]) -> set[str]:
    """The devices that should be ours and are somebody else's."""
    wanted = {dev for op in ops if (dev := _device(work, op)) and ("link", space.ns, dev) in work.desired}
    return {dev for dev in wanted if (device := space.find(dev)) is not None and not device.marked}


_FLAGS = {Create: wire.NEW, Change: wire.REPLACE, Remove: wire.PLAIN}


def _messages(work: Work, space: Space, op: Op) -> list[Message]:
    """The last one tells whether it succeeded; those before it may fail because there is nothing to do."""
    obj, encoding = _target(op), _encoding(work, op)
    if isinstance(op, Change) and encoding.change is not None:
        return encoding.change(space, obj)
    dev = encoding.dev(obj)
    kind = encoding.unmake if isinstance(op, Remove) else encoding.make
    return [encoding.encode(obj, space.index(dev) if dev else 0, kind, _FLAGS[type(op)])]


def _failure(op: Op, refused: Refused) -> Failure:
    key = _target(op).key
    if _without_v6(op, refused):
        reason = (
            f"{describe(key)}: its device has no IPv6: it is switched off there, or the MTU is below 1280 (RFC 8200)"
        )
    elif refused.errno == errno.EEXIST:
        reason = f"{describe(key)} exists and is not Weft's: another program or the administrator made it; remove it"
    else:
        text = refused.text
        extra = _EXTRA.get(refused.errno)
        reason = f"{describe(key)}: {text}" + (f" ({extra})" if extra and extra != text else "")
    return Failure(key, reason, refused.errno)


def _without_v6(op: Op, refused: Refused) -> bool:
    """addrconf_add_dev() in net/ipv6/addrconf.c: EACCES where it is switched off; where the device has none EINVAL, or
    ENOBUFS in older kernels."""
    obj = _target(op)
    codes = (errno.EACCES, errno.EINVAL, errno.ENOBUFS)
    return isinstance(obj, Address) and ":" in obj.address and refused.errno in codes


BULK = Phase("bulk", _apply)
