"""What sees a device's packets besides the rules: programs of XDP and of traffic control, its filters, queues that drop.

Devices that have none cost nothing but one dump for all: filters are asked for where there is a qdisc that holds them.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from weft.api.dump import ProgramDump
from weft.base.errors import WeftError
from weft.bpf.layout import FAST, SEEN
from weft.kernel.plumbing import bpf
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Netlink, Refused, attributes

_TCMSG = struct.Struct("=BxxxiIII")
"""struct tcmsg: family, ifindex, handle, parent, info (linux/rtnetlink.h)."""
_TCA_KIND, _TCA_OPTIONS = 1, 2
_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
"""TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS) and …EGRESS (linux/pkt_sched.h)."""
_HOLDERS = {"ingress": ("ingress",), "clsact": ("ingress", "egress")}
"""Qdiscs that hold filters, and which."""
_PLAIN = frozenset(
    (
        "noqueue",
        "noop",
        "mq",
        "pfifo",
        "pfifo_fast",
        "bfifo",
        "fq",
        "fq_codel",
        "codel",
        "cake",
        "sfq",
        "tbf",
        "htb",
        "prio",
    )
)
"""Queues that every packet gets through, if not at any rate."""
_ACTIONS = {"matchall": 2, "flower": 3, "bpf": 1, "u32": 7, "basic": 3, "fw": 4}
"""By kind of filter the attribute that holds its actions (TCA_MATCHALL_ACT, …)."""
_BPF_NAME, _BPF_ID, _U32_DIVISOR = 7, 11, 4
_ACT_KIND, _ACT_OPTIONS, _PARMS = 1, 2, 2
"""TCA_ACT_…; and TCA_GACT_PARMS, TCA_MIRRED_PARMS, …, which are all the same."""
_SHOT = 2
"""TC_ACT_SHOT."""


def on_devices(netlink: Netlink, devices: Mapping[int, Device]) -> dict[int, tuple[ProgramDump, ...]]:
    """By ifindex, of the namespace that `netlink` is in; the calling thread has to be in there, too."""
    found: dict[int, list[ProgramDump]] = {}
    for index, device in devices.items():
        if device.xdp:
            found.setdefault(index, []).append(ProgramDump(at="xdp", id=device.xdp, text=f"XDP program {device.xdp}"))
    for index, kind, options in _qdiscs(netlink):
        if kind in _HOLDERS:
            found.setdefault(index, []).extend(_filters(netlink, index, _HOLDERS[kind], devices))
        elif kind not in _PLAIN:
            found.setdefault(index, []).append(_queue(kind, options))
    names: dict[int, str] = {}
    for index in devices:
        if tcx := list(_tcx(index, names)):
            found.setdefault(index, []).extend(tcx)
    return {index: tuple(each) for index, each in found.items()}


# -- queues ------------------------------------------------------------------------------------------------------------


def _qdiscs(netlink: Netlink) -> list[tuple[int, str, bytes]]:
    def decode(data: bytes, start: int, end: int) -> tuple[int, str, bytes]:
        _, index, _, _, _ = _TCMSG.unpack_from(data, start)
        found = attributes(data, start + _TCMSG.size, end)
        return index, _text(found.get(_TCA_KIND, b"")), found.get(_TCA_OPTIONS, b"")

    try:
        return netlink.dump(u.RTM_GETQDISC, _TCMSG.pack(0, 0, 0, 0, 0), decode)
    except Refused:  # no traffic control in this kernel
        return []


def _queue(kind: str, options: bytes) -> ProgramDump:
    """netem's share of packets that are lost is the third number of struct tc_netem_qopt, of 2³² - 1."""
    if kind == "blackhole":
        return ProgramDump(at="queue", name=kind, text=kind, judged="drop")
    if kind == "netem" and len(options) >= 24:
        lost = struct.unpack_from("=3I", options)[2]
        judged = "accept" if not lost else "drop" if lost == 0xFFFFFFFF else ""
        said = f"netem loss {100 * lost / 0xFFFFFFFF:.3g}%" if lost else "netem"
        return ProgramDump(at="queue", name=kind, text=said, judged=judged)
    return ProgramDump(at="queue", name=kind, text=kind)


# -- filters -----------------------------------------------------------------------------------------------------------


def _filters(
    netlink: Netlink, index: int, where: Iterable[str], devices: Mapping[int, Device]
) -> Iterator[ProgramDump]:
    def decode(at: str, data: bytes, start: int, end: int) -> ProgramDump | None:
        found = attributes(data, start + _TCMSG.size, end)
        options = found.get(_TCA_OPTIONS, b"")
        if not options:
            return None  # the head of a priority's filters
        kind, own = _text(found.get(_TCA_KIND, b"")), attributes(options, 0, len(options))
        if kind == "u32" and _U32_DIVISOR in own:
            return None  # a table of filters
        return _filter(at, kind, own, devices)

    for at in where:
        try:
            yield from netlink.dump(u.RTM_GETTFILTER, _TCMSG.pack(0, index, 0, _PARENTS[at], 0), partial(decode, at))
        except Refused as refused:
            if refused.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
                raise


def _filter(at: str, kind: str, found: dict[int, bytes], devices: Mapping[int, Device]) -> ProgramDump:
    if kind == "bpf":
        number = int.from_bytes(found.get(_BPF_ID, b""), "little")
        name = _text(found.get(_BPF_NAME, b""))
        return ProgramDump(at=at, name=name, id=number, text=f"tc filter bpf {name} (program {number})")
    actions = list(_actions(found.get(_ACTIONS.get(kind, 0), b"")))
    text = f"tc filter {kind}" + "".join(f" action {_action(name, what)}" for name, what, _ in actions)
    judged = ""
    if actions and all(_to_own(name, to, devices) for name, _, to in actions):
        judged = "accept"
    elif kind == "matchall" and any(what == _SHOT for _, what, _ in actions):
        judged = "drop"
    return ProgramDump(at=at, name=kind, text=text, judged=judged)


def _action(name: str, what: int) -> str:
    return "drop" if what == _SHOT else name


def _actions(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Kind of each action, what becomes of the packet (TC_ACT_…), and the ifindex it is redirected to. Most kinds begin
    with index, capabilities, action, and two counts (tc_gen); mirred goes on with what it does and where to."""
    for inner in attributes(data, 0, len(data)).values():
        found = attributes(inner, 0, len(inner))
        options = found.get(_ACT_OPTIONS, b"")
        parms = attributes(options, 0, len(options)).get(_PARMS, b"")
        what = struct.unpack_from("=i", parms, 8)[0] if len(parms) >= 12 else 0
        to = struct.unpack_from("=I", parms, 24)[0] if len(parms) >= 28 else 0
        yield _text(found.get(_ACT_KIND, b"")), what, to


def _to_own(name: str, to: int, devices: Mapping[int, Device]) -> bool:
    """Redirected to an ifb, which gives it back when its turn has come: that is how what a container sends is limited."""
    return name == "mirred" and to in devices and devices[to].kind == "ifb"


# -- tcx ---------------------------------------------------------------------------------------------------------------


def _tcx(index: int, names: dict[int, str]) -> Iterator[ProgramDump]:
    """Programs that are attached without a qdisc (since Linux 6.6). Ours take no packet away: they repeat what rules decided
    about it, or leave it to these."""
    for at in bpf.TCX:
        try:
            ids = bpf.attached(index, at)
        except WeftError:
            continue
        for program in ids:
            name = names.setdefault(program, _name(program))
            judged = "accept" if name.startswith((FAST, SEEN)) else ""
            yield ProgramDump(at=at, name=name, id=program, text=f"tcx program {name or program}", judged=judged)


def _name(program: int) -> str:
    try:
        return bpf.name_of(program)
    except WeftError:  # it is gone, or its name is not for us
        return ""


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
