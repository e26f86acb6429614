"""IPVS, read and written over netlink in namespaces of ours. Its module is loaded when something is wanted of it first."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from weft.base.errors import WeftError
from weft.hoststate import Ipvs, IpvsDestination, IpvsService, Object
from weft.kernel.kinds import ipvs_wire as wire
from weft.kernel.kinds import sysctl
from weft.kernel.kinds.kind import Kind, Look, Part, Phase, Work
from weft.kernel.plumbing import genl, netns, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, gone
from weft.reconcile.kinds.ipvs import SYSCTLS
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Failure, Op, Remove

T = TypeVar("T")

FEATURE = MODULE = "ip_vs"
MODULES = MODULE, "ip_vs_rr", "ip_vs_mh"
"""The schedulers' are loaded by the kernel, when the first service names them."""
LACKING = "the kernel has no IPVS: modprobe ip_vs, or a kernel with it, or a network without balancer=ipvs"


def loaded() -> bool:
    return Path("/sys/module", MODULE).exists()


def _with(ns: str, work: Callable[[Netlink, int], T]) -> T:
    return genl.call(ns, (u.IPVS_GENL_NAME,), work, lacking=LACKING)


# -- reading -----------------------------------------------------------------------------------------------------------


def _dump(look: Look) -> Iterable[Object]:
    """Nothing where it was never loaded: to ask would load it."""
    if not loaded() or not look.space.owned:
        return ()
    return _with(look.ns, lambda netlink, family: list(_read(netlink, family, look.ns)))


def _read(netlink: Netlink, family: int, ns: str) -> Iterator[Object]:
    values = {field: sysctl.get(name) == "1" for name, field in SYSCTLS.items()}
    for obj in wire.read(netlink, family, ns):
        if not isinstance(obj, Ipvs):
            yield obj
        elif (found := _settings(obj, values)) != Ipvs(ns=ns):
            yield found


def _settings(told: Ipvs, values: dict[str, bool]) -> Ipvs:
    return Ipvs(established=told.established, closing=told.closing, udp=told.udp, ns=told.ns, **values)


# -- writing -----------------------------------------------------------------------------------------------------------


def _apply(_work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(_of(op).ns, []).append(op)
    for ns, group in groups.items():
        try:
            _load(group)
            yield from _with(ns, lambda netlink, family, group=group: list(_write(netlink, family, group)))  # type: ignore[misc] # mypy infers no type for the default
        except WeftError as error:
            left = [op for op in group if not isinstance(op, Remove) or netns.exists(ns)]
            yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {error}") for op in left)


def _load(ops: Sequence[Op]) -> None:
    if not loaded() and not all(isinstance(op, Remove) for op in ops):
        with suppress(WeftError):  # what is missing is told by who asks for it
            tools.run(["modprobe", MODULE], "kmod")


def _write(netlink: Netlink, family: int, ops: Sequence[Op]) -> Iterator[Failure]:
    for place, refused in netlink.batch([_message(family, op) for op in ops]):
        op = ops[place]
        if not (isinstance(op, Remove) and gone(refused.errno)):
            yield Failure(_of(op).key, f"{describe(_of(op).key)}: {_explain(op, refused)}", refused.errno)
    for op in ops:
        if isinstance(obj := _of(op), Ipvs):
            try:
                _put(Ipvs(ns=obj.ns) if isinstance(op, Remove) else obj)
            except WeftError as error:
                yield Failure(obj.key, f"{describe(obj.key)}: {error}")


def _put(obj: Ipvs) -> None:
    for name, field in SYSCTLS.items():
        sysctl.put(name, f"{getattr(obj, field):d}")


def _explain(op: Op, refused: Refused) -> str:
    obj = _of(op)
    if isinstance(obj, IpvsService) and refused.errno == errno.ENOENT:
        return f"the kernel has no scheduler {obj.scheduler}: modprobe ip_vs_{obj.scheduler}, or a kernel with it"
    return refused.text


def _message(family: int, op: Op) -> Message:
    obj = _of(op)
    making, removing = isinstance(op, Create), isinstance(op, Remove)
    if isinstance(obj, IpvsDestination):
        command = u.IPVS_CMD_NEW_DEST if making else u.IPVS_CMD_DEL_DEST if removing else u.IPVS_CMD_SET_DEST
        return wire.message(family, command, wire.destination(obj))
    if isinstance(obj, IpvsService):
        if removing:
            return wire.message(family, u.IPVS_CMD_DEL_SERVICE, wire.name_of(obj.family, obj.mark))
        return wire.message(family, u.IPVS_CMD_NEW_SERVICE if making else u.IPVS_CMD_SET_SERVICE, wire.service(obj))
    assert isinstance(obj, Ipvs)
    wanted = Ipvs(ns=obj.ns) if removing else obj
    return wire.message(family, u.IPVS_CMD_SET_CONFIG, wire.settings(wanted))


def _of(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


_PART, _PHASE = Part("IPVS"), Phase("ipvs", _apply)

KINDS = (
    Kind(name="ipvs", phase=_PHASE, part=_PART, dump=_dump),
    Kind(name="ipvs-service", phase=_PHASE, part=_PART),
    Kind(name="ipvs-destination", phase=_PHASE, part=_PART),
)
"""All of a namespace is read at once, with its settings."""
