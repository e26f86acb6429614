"""Token buckets and redirections as the kernel's messages, and back (linux/pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h).

The kernel tells a bucket's size as the time that filling it takes, in ticks of 64 ns, so what is read back is not to the
octet what was asked for: a size that the same ticks stand for counts as the one that is wanted.

A redirection's filter outlives the device it leads to, and then leads nowhere: it reads as one to the device "".
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from weft.base.errors import WeftError
from weft.hoststate import Key, Object, Qdisc, Redirect
from weft.hoststate.shaping import HANDLE, PREF
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Message, Refused, attr, attributes, gone
from weft.kernel.plumbing.spaces import Space, Spaces
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Failure, Op, Remove

_TCMSG = struct.Struct("=BxxxiIII")  # family, ifindex, handle, parent, info
_RATESPEC = struct.Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, octets a second
_TBF = struct.Struct(f"={_RATESPEC.size}s{_RATESPEC.size}sIII")  # rate, peak rate, limit, buffer in ticks, mtu
_SELECTOR = struct.Struct("=BBBxHHhhI IIii")  # struct tc_u32_sel with one key: mask, value, offset, mask of the offset
_MIRRED = struct.Struct("=IIiiiiI")  # index, capab, action, two counts, eaction, ifindex
_U64 = struct.Struct("=Q")

_QDISC = HANDLE << 16
_NANOSECONDS, _TICK = 10**9, 64
_ALL = _SELECTOR.pack(u.TC_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_HOW = int.from_bytes(u.ETH_P_ALL.to_bytes(2, "big"), sys.byteorder)  # all protocols, in network order
_INFO = PREF << 16 | _HOW

Limits = Qdisc | Redirect
Names = Mapping[int, str]


# -- writing -----------------------------------------------------------------------------------------------------------


def _qdisc(obj: Qdisc, index: int, kind: int, flags: int) -> Message:
    rate = obj.rate // 8
    spec = _RATESPEC.pack(0, u.TC_LINKLAYER_ETHERNET, 0, 0, 0, min(rate, 0xFFFFFFFF))
    ticks = min(obj.burst * _NANOSECONDS // rate // _TICK, 0xFFFFFFFF)
    parms = _TBF.pack(spec, bytes(_RATESPEC.size), obj.limit, ticks, 0)
    options = attr(u.TCA_TBF_PARMS, parms) + attr(u.TCA_TBF_BURST, struct.pack("=I", obj.burst))
    if rate > 0xFFFFFFFF:
        options += attr(u.TCA_TBF_RATE64, _U64.pack(rate))
    head = _TCMSG.pack(0, index, _QDISC, u.TC_H_ROOT, 0)
    return Message(kind, flags, head + attr(u.TCA_KIND, b"tbf\0") + _nest(u.TCA_OPTIONS, options))


def _ingress(index: int) -> Message:
    head = _TCMSG.pack(0, index, u.TC_H_INGRESS & 0xFFFF0000, u.TC_H_INGRESS, 0)
    body = head + attr(u.TCA_KIND, b"ingress\0")
    return Message(u.RTM_NEWQDISC, u.NLM_F_REQUEST | u.NLM_F_CREATE | u.NLM_F_EXCL, body)


def _filter(index: int, to: int) -> Message:
    parms = _MIRRED.pack(0, 0, u.TC_ACT_STOLEN, 0, 0, u.TCA_EGRESS_REDIR, to)
    action = attr(u.TCA_ACT_KIND, b"mirred\0") + _nest(u.TCA_ACT_OPTIONS, attr(u.TCA_MIRRED_PARMS, parms))
    options = attr(u.TCA_U32_SEL, _ALL) + _nest(u.TCA_U32_ACT, _nest(1, action))
    head = _TCMSG.pack(0, index, 0, u.TC_H_MIN_INGRESS, _INFO)
    body = head + attr(u.TCA_KIND, b"u32\0") + _nest(u.TCA_OPTIONS, options)
    return Message(u.RTM_NEWTFILTER, u.NLM_F_REQUEST | u.NLM_F_CREATE | u.NLM_F_EXCL, body)


def _no_filter(index: int) -> Message:
    """Whatever has our preference."""
    return Message(u.RTM_DELTFILTER, u.NLM_F_REQUEST, _TCMSG.pack(0, index, 0, u.TC_H_MIN_INGRESS, _INFO))


def _nest(kind: int, payload: bytes) -> bytes:
    return attr(kind | u.NLA_F_NESTED, payload)


_NEW = u.NLM_F_REQUEST | u.NLM_F_CREATE | u.NLM_F_EXCL
_OTHERWISE = u.NLM_F_REQUEST | u.NLM_F_REPLACE


def messages(op: Op, index: int, to: int = 0) -> list[Message]:
    """What carries out `op`: the last of them tells whether it is done. `index`, `to`: of the device, and of the one that a
    redirection leads to."""
    obj = target(op)
    match obj:
        case Qdisc():
            if isinstance(op, Remove):
                return [Message(u.RTM_DELQDISC, u.NLM_F_REQUEST, _TCMSG.pack(0, index, _QDISC, u.TC_H_ROOT, 0))]
            return [_qdisc(obj, index, u.RTM_NEWQDISC, _NEW if isinstance(op, Create) else _OTHERWISE)]
        case Redirect():
            return (
                [_no_filter(index)]
                if isinstance(op, Remove)
                else [_ingress(index), _no_filter(index), _filter(index, to)]
            )


def target(op: Op) -> Limits:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, Limits)
    return obj


def apply(spaces: Spaces, ops: Sequence[Op]) -> Iterator[Failure]:
    for op in ops:
        obj = target(op)
        try:
            refused = _carry_out(spaces.get(obj.ns), op)
        except Refused as no:
            refused = no
        except WeftError as error:
            if not isinstance(op, Remove):
                yield Failure(obj.key, str(error), errno.ENOENT)
            continue
        if refused is not None and not (isinstance(op, Remove) and _absent(refused.errno)):
            yield Failure(obj.key, _reason(obj, refused), refused.errno)


def _carry_out(space: Space, op: Op) -> Refused | None:
    obj = target(op)
    device = space.find(obj.dev)
    if device is None or not device.marked:
        return Refused(errno.ENODEV, f"there is no device {obj.dev} of Weft's")
    to = space.index(obj.to) if isinstance(obj, Redirect) and not isinstance(op, Remove) else 0
    batch = messages(op, device.index, to)
    refused = dict(space.netlink.batch(batch)).get(len(batch) - 1)
    if refused is not None and refused.errno == errno.EEXIST and isinstance(op, Create):
        # With our handle it can only be ours, and is made what is wanted; else that is refused too.
        again = space.netlink.batch(messages(Change(obj, obj), device.index, to))
        return refused if again else None
    return refused


def _absent(number: int) -> bool:
    """EINVAL: there is nothing that has handles, or is of this kind, to remove."""
    return gone(number) or number == errno.EINVAL


def _reason(obj: Limits, refused: Refused) -> str:
    if refused.errno == errno.EEXIST:
        return f"{describe(obj.key)}: another one is there that is not Weft's: `tc qdisc del dev {obj.dev} root`"
    return f"{describe(obj.key)}: {refused.text}"


# -- reading -----------------------------------------------------------------------------------------------------------


def read(space: Space, desired: Mapping[Key, Object]) -> Iterator[Limits]:
    """Ours. A namespace in which no device of ours has a queue of the kind, and none is wanted, is not asked."""
    ours = {index: dev for index, dev in space.devices().items() if dev.marked}
    if not any(_may_be_limited(device, space.ns, desired) for device in ours.values()):
        return
    names = {index: device.name for index, device in space.devices().items()}
    dump, ns = space.netlink.dump, space.ns
    marked = {index: device.name for index, device in ours.items()}
    yield from dump(u.RTM_GETQDISC, bytes(_TCMSG.size), partial(decode_qdisc, names=marked, ns=ns, desired=desired))
    for index in dump(u.RTM_GETQDISC, bytes(_TCMSG.size), _with_ingress):
        if index in marked:
            body = _TCMSG.pack(0, index, 0, u.TC_H_MIN_INGRESS, 0)
            found = dump(u.RTM_GETTFILTER, body, partial(decode_filter, names=names, ns=ns))
            yield from found[:1]


def _may_be_limited(device: Device, ns: str, desired: Mapping[Key, Object]) -> bool:
    return device.kind == "ifb" or device.qdisc == "tbf" or any((k, ns, device.name) in desired for k in KINDS)


KINDS = ("qdisc", "redirect")


def _with_ingress(data: bytes, start: int, _end: int) -> int | None:
    _family, index, _handle, parent, _info = _TCMSG.unpack_from(data, start)
    return index if parent == u.TC_H_INGRESS else None


def place(data: bytes, start: int) -> tuple[int, int, int]:
    """(ifindex, parent, handle) of a message about a qdisc or a filter."""
    _family, index, handle, parent, _info = _TCMSG.unpack_from(data, start)
    return index, parent, handle


def decode_qdisc(
    data: bytes, start: int, end: int, names: Names, ns: str, desired: Mapping[Key, Object]
) -> Qdisc | None:
    """None for what is not ours. `names`: of devices of ours."""
    _family, index, handle, parent, _info = _TCMSG.unpack_from(data, start)
    if handle != _QDISC or parent != u.TC_H_ROOT or not (dev := names.get(index)):
        return None
    found = attributes(data, start + _TCMSG.size, end)
    options = found.get(u.TCA_OPTIONS, b"")
    own = attributes(options, 0, len(options))
    if found.get(u.TCA_KIND) != b"tbf\0" or u.TCA_TBF_PARMS not in own:
        return None
    spec, _peak, limit, ticks, _mtu = _TBF.unpack_from(own[u.TCA_TBF_PARMS])
    rate = _U64.unpack(own[u.TCA_TBF_RATE64])[0] if u.TCA_TBF_RATE64 in own else _RATESPEC.unpack(spec)[5]
    burst = ticks * _TICK * rate // _NANOSECONDS
    want = desired.get(("qdisc", ns, dev))
    if (
        isinstance(want, Qdisc)
        and want.rate == rate * 8
        and 0 <= want.burst - burst <= _TICK * rate // _NANOSECONDS + 2
    ):
        burst = want.burst
    return Qdisc(dev=dev, rate=rate * 8, burst=burst, limit=limit, ns=ns)


def decode_filter(data: bytes, start: int, end: int, names: Names, ns: str) -> Redirect | None:
    """None for what is not ours, and for the hash table that comes with each filter."""
    _family, index, _handle, parent, info = _TCMSG.unpack_from(data, start)
    found = attributes(data, start + _TCMSG.size, end)
    options = found.get(u.TCA_OPTIONS, b"")
    own = attributes(options, 0, len(options))
    if info != _INFO or not is_ingress(parent) or u.TCA_U32_SEL not in own or not (dev := names.get(index)):
        return None
    return Redirect(dev=dev, to=names.get(_destination(own), "") if _matches_all(own) else "", ns=ns)


def is_ours(data: bytes, start: int) -> bool:
    """A filter, by its preference."""
    info: int = _TCMSG.unpack_from(data, start)[4]
    return info >> 16 == PREF


def is_ingress(parent: int) -> bool:
    return parent in (u.TC_H_MIN_INGRESS, u.TC_H_INGRESS & 0xFFFF0000)


def _matches_all(own: Mapping[int, bytes]) -> bool:
    """One key whose mask is 0."""
    selector = own[u.TCA_U32_SEL]
    return len(selector) >= _SELECTOR.size and selector[2] == 1 and selector[16:20] == bytes(4)


def _destination(own: Mapping[int, bytes]) -> int:
    """The ifindex that the first action redirects to; 0 where it does not."""
    actions = own.get(u.TCA_U32_ACT, b"")
    first = attributes(actions, 0, len(actions)).get(1, b"")
    action = attributes(first, 0, len(first))
    options = action.get(u.TCA_ACT_OPTIONS, b"")
    parms = attributes(options, 0, len(options)).get(u.TCA_MIRRED_PARMS, b"")
    if action.get(u.TCA_ACT_KIND) != b"mirred\0" or len(parms) < _MIRRED.size:
        return 0
    *_, what, index = _MIRRED.unpack_from(parms)
    return int(index) if what == u.TCA_EGRESS_REDIR else 0
