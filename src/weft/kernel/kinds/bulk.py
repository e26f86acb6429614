"""Routes, neighbours, FDB entries and addresses in batches, each failure traced to its object."""

from __future__ import annotations

import errno
from collections.abc import Container, Iterator, Sequence

from weft.base.errors import WeftError
from weft.hoststate import Address, FdbEntry, Key, Neighbour
from weft.hoststate.connected import connected
from weft.kernel.kinds import wire
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Refused, gone
from weft.kernel.plumbing.spaces import Space, Spaces
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Failure, Op, Remove

_EXTRA = {
    errno.EPERM: "not permitted: run as root",
    errno.EACCES: "not permitted: run as root",
    errno.ENETUNREACH: "its next hop cannot be reached",
    errno.ENETDOWN: "its device is down",
    errno.EHOSTUNREACH: "its next hop cannot be reached",
}


def target(op: Op) -> wire.Bulk:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, wire.Bulk)
    return obj


def apply(spaces: Spaces, ops: Sequence[Op], desired: Container[Key]) -> Iterator[Failure]:
    """In each namespace in the order given; namespaces do not depend on each other. Where a device is `desired`, somebody
    else's device of that name will not do."""
    by_ns: dict[str, list[Op]] = {}
    for op in ops:
        by_ns.setdefault(target(op).ns, []).append(op)
    for ns, group in by_ns.items():
        try:
            space = spaces.get(ns)
        except WeftError as error:
            yield from (Failure(target(op).key, str(error), errno.ENOENT) for op in group if not isinstance(op, Remove))
            continue
        yield from _apply_in(space, group, desired)


def _apply_in(space: Space, ops: Sequence[Op], desired: Container[Key]) -> Iterator[Failure]:
    sent: list[Op | None] = []
    messages: list[Message] = []
    foreign = _foreign(space, ops, desired)
    for op in ops:
        if (dev := target(op).dev) in foreign and not isinstance(op, Remove):
            yield Failure(target(op).key, f"waits for {describe(('link', space.ns, dev))}", errno.ENODEV)
            continue
        try:
            found = _messages(space, op)
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
        if isinstance(op, Create) and no.errno == errno.EEXIST and _replaceable(space, op):
            again = space.netlink.batch(_messages(space, Change(op.obj, op.obj)))
            yield from (_failure(op, refused) for _, refused in again[-1:])
            continue
        yield _failure(op, no)


def _foreign(space: Space, ops: Sequence[Op], desired: Container[Key]) -> set[str]:
    """The devices that should be ours and are somebody else's."""
    wanted = {dev for op in ops if (dev := target(op).dev) and ("link", space.ns, dev) in desired}
    return {dev for dev in wanted if (device := space.find(dev)) is not None and not device.marked}


_FLAGS = {Create: wire.NEW, Change: wire.REPLACE, Remove: wire.PLAIN}


def _messages(space: Space, op: Op) -> list[Message]:
    """The last one tells whether it succeeded; those before it may fail because there is nothing to do. The kernel makes an
    address's routes with the address: of v6 it is made anew, on which nothing else depends. With a v4 address would go all
    routes that have it as source, so there the routes are put back one by one."""
    obj = target(op)
    if not (isinstance(op, Change) and isinstance(obj, Address)):
        return [_message(space, op)]
    if ":" in obj.address:
        return [_message(space, Remove(obj)), _message(space, Create(obj))]
    index = space.index(obj.dev)
    return [*(wire.encode_connected(obj, route, index) for route in connected(obj)), _message(space, op)]


def _message(space: Space, op: Op) -> Message:
    obj = target(op)
    encode, make, unmake = wire.ENCODERS[obj.kind]
    index = space.index(obj.dev) if obj.dev else 0
    return encode(obj, index, unmake if isinstance(op, Remove) else make, _FLAGS[type(op)])


def _replaceable(space: Space, op: Create) -> bool:
    """Whether what lies there is the kernel's own doing: an ARP entry or a learnt MAC is replaced by a permanent one, and
    the link-local address of a device of ours by the same address of ours."""
    obj = op.obj
    if isinstance(obj, Address):
        device = space.find(obj.dev)
        return device is not None and device.marked and obj.address.startswith("fe80:")
    if not isinstance(obj, Neighbour | FdbEntry):
        return False
    message = _message(space, op)
    head, attrs = bytearray(message.body[:12]), message.body[12:24] if isinstance(obj, FdbEntry) else _dst(message.body)
    head[8:10] = b"\0\0"  # a request names no state, and of the flags only whose table it is about
    head[10] &= u.NTF_SELF | u.NTF_MASTER
    try:
        answer = space.netlink.request(u.RTM_GETNEIGH, 0, bytes(head) + attrs)
    except Refused as refused:
        return gone(refused.errno)  # in between
    return not int.from_bytes(answer[8:10], "little") & u.NUD_PERMANENT


def _dst(body: bytes) -> bytes:
    return body[12 : 12 + int.from_bytes(body[12:14], "little")]


def _failure(op: Op, refused: Refused) -> Failure:
    key = target(op).key
    if refused.errno == errno.EEXIST:
        reason = f"{describe(key)} exists and is not Weft's: another program or the administrator made it; remove it"
    else:
        text = refused.text
        extra = _EXTRA.get(refused.errno)
        reason = f"{describe(key)}: {text}" + (f" ({extra})" if extra and extra != text else "")
    return Failure(key, reason, refused.errno)
