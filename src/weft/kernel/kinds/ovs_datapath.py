"""Open vSwitch's datapath in the kernel, read and written over netlink. Its module is loaded when something is wanted of it
first; `ovs-vswitchd` and its database are not asked, and see nothing of it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from weft.base.errors import WeftError
from weft.hoststate import Key, Object, OvsDatapath, OvsOutput, OvsVport
from weft.hoststate.ovs_datapath import PREFIX
from weft.kernel.kinds import ovs_datapath_wire as wire
from weft.kernel.kinds.kind import Kind, Part, Phase, Work
from weft.kernel.kinds.ovs_datapath_wire import Flow
from weft.kernel.plumbing import genl, netns, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, Refused, gone
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

T = TypeVar("T")

FEATURE, MODULE = "ovs-datapath", "openvswitch"
LACKING = "the kernel has no openvswitch: modprobe openvswitch, or a kernel with it, or a network without fastpath=ovs"


def loaded() -> bool:
    return Path("/sys/module", MODULE).exists()


class _Switch:
    """The datapaths of one namespace, over one socket."""

    def __init__(self, netlink: Netlink, datapaths: int, vports: int, flows: int) -> None:
        """The numbers are those of the three families' messages."""
        self._netlink = netlink
        self._datapaths, self._vports, self._flows = datapaths, vports, flows

    def datapaths(self) -> dict[str, int]:
        """Those of ours, with the ifindex of their devices."""
        found = self._netlink.dump(self._datapaths, wire.ask(u.OVS_CMD_GET, 0), wire.decode_named)
        return {name: index for index, name in found if name.startswith(PREFIX)}

    def ports(self, datapath: int) -> dict[int, str]:
        """By number, without the datapath's own."""
        found = self._netlink.dump(self._vports, wire.ask(u.OVS_CMD_GET, datapath), wire.decode_vport)
        return {number: name for number, name in found if number}

    def flows(self, datapath: int) -> list[Flow]:
        return self._netlink.dump(self._flows, wire.ask(u.OVS_CMD_GET, datapath), wire.decode_flow)

    def make(self, name: str) -> None:
        self._request(self._datapaths, u.OVS_CMD_NEW, 0, wire.datapath(name))

    def unmake(self, index: int) -> None:
        self._request(self._datapaths, u.OVS_CMD_DEL, index)

    def plug(self, datapath: int, dev: str) -> None:
        self._request(self._vports, u.OVS_CMD_NEW, datapath, wire.vport(dev))

    def unplug(self, datapath: int, number: int) -> None:
        self._request(self._vports, u.OVS_CMD_DEL, datapath, wire.named(number))

    def put(self, datapath: int, flow: Flow) -> None:
        """With these outputs, whether or not there is one for these frames; none: it is removed."""
        if flow.outputs:
            self._request(self._flows, u.OVS_CMD_NEW, datapath, wire.flow(flow))
        else:
            self._request(self._flows, u.OVS_CMD_DEL, datapath, wire.unwanted(flow))

    def _request(self, family: int, command: int, datapath: int, content: bytes = b"") -> None:
        self._netlink.request(family, 0, wire.ask(command, datapath, content))


def _with(ns: str, work: Callable[[_Switch], T]) -> T:
    families = u.OVS_DATAPATH_FAMILY, u.OVS_VPORT_FAMILY, u.OVS_FLOW_FAMILY
    return genl.call(ns, families, lambda *told: work(_Switch(*told)), lacking=LACKING)


# -- reading -----------------------------------------------------------------------------------------------------------


def ask(ns: str, _wanted: Sequence[Object]) -> Mapping[Key, Object]:
    """Nothing where the module was never loaded: to ask would load it."""
    return {obj.key: obj for obj in _with(ns, lambda switch: list(_read(switch, ns)))} if loaded() else {}


def _read(switch: _Switch, ns: str) -> Iterator[Object]:
    for name, index in switch.datapaths().items():
        yield OvsDatapath(name=name, ns=ns)
        names = switch.ports(index)
        yield from (OvsVport(datapath=name, dev=dev, ns=ns) for dev in names.values())
        yield from wire.objects(switch.flows(index), names, name, ns)


# -- writing -----------------------------------------------------------------------------------------------------------


def _apply(_work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(_of(op).ns, []).append(op)
    for ns, group in groups.items():
        try:
            if not loaded() and not all(isinstance(op, Remove) for op in group):
                with suppress(WeftError):  # what is missing is told by who asks for it
                    tools.run(["modprobe", MODULE], "kmod")
            yield from _with(ns, lambda switch, group=group: list(_write(switch, group)))  # type: ignore[misc] # mypy infers no type for the default
        except WeftError as error:
            left = [op for op in group if not isinstance(op, Remove) or netns.exists(ns)]
            yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {error}") for op in left)


def _write(switch: _Switch, ops: Sequence[Op]) -> Iterator[Failure]:
    """Outputs to the same frames are one flow, which is written as a whole: one after the other what is for it, then it."""
    outputs = [op for op in ops if isinstance(_of(op), OvsOutput)]
    for op in ops:
        obj = _of(op)
        if not isinstance(obj, OvsOutput):
            yield from _tried([op], lambda obj=obj, op=op: _one(switch, obj, isinstance(op, Remove)))  # type: ignore[misc]
    for name in dict.fromkeys(_of(op).datapath for op in outputs):  # type: ignore[union-attr]
        yield from _outputs(switch, name, [op for op in outputs if _of(op).datapath == name])  # type: ignore[union-attr]


def _one(switch: _Switch, obj: Object, remove: bool) -> None:
    known = switch.datapaths()
    if isinstance(obj, OvsDatapath):
        switch.unmake(known[obj.name]) if remove else switch.make(obj.name)
        return
    assert isinstance(obj, OvsVport)
    if not remove:
        switch.plug(_index(known, obj.datapath), obj.dev)
        return
    for number, dev in switch.ports(known[obj.datapath]).items():
        if dev == obj.dev:
            switch.unplug(known[obj.datapath], number)


def _outputs(switch: _Switch, datapath: str, ops: Sequence[Op]) -> Iterator[Failure]:
    known = switch.datapaths()
    if datapath not in known:
        left = [op for op in ops if not isinstance(op, Remove)]
        yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: there is no datapath {datapath}") for op in left)
        return
    index = known[datapath]
    numbers = {name: number for number, name in switch.ports(index).items()}
    there = {(f.port, f.lladdr, f.vni, f.family): f for f in switch.flows(index)}
    groups: dict[tuple[str, str, int, int], list[Op]] = {}
    for op in ops:
        groups.setdefault(_output(op).flow, []).append(op)
    for (dev, *frames), group in groups.items():
        if dev in numbers:
            before = there.get((numbers[dev], *frames)) or Flow(numbers[dev], *frames)  # type: ignore[arg-type]
            yield from _tried(group, lambda before=before, group=group: _put(switch, index, before, group, numbers))  # type: ignore[misc]
        else:
            left = [op for op in group if not isinstance(op, Remove)]
            yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {dev} is no port of {datapath}") for op in left)


def _put(switch: _Switch, index: int, before: Flow, ops: Sequence[Op], numbers: Mapping[str, int]) -> None:
    outputs = list(before.outputs)
    for op in ops:
        obj = _output(op)
        place = numbers.get(obj.to, 0)
        outputs = [o for o in outputs if (o[0], o[1]) != (place, obj.remote)]
        if not isinstance(op, Remove):
            outputs.append((_index(numbers, obj.to), obj.remote, obj.local, obj.number))
    after = msgspec.structs.replace(before, outputs=tuple(sorted(outputs)))
    if after.outputs or before.outputs:
        switch.put(index, after)


def _tried(ops: Sequence[Op], work: Callable[[], None]) -> Iterator[Failure]:
    """What is to be removed and is not there is removed."""
    try:
        work()
    except KeyError:
        return
    except Refused as refused:
        left = [op for op in ops if not (isinstance(op, Remove) and gone(refused.errno))]
        yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {refused.text}", refused.errno) for op in left)


def _index(known: Mapping[str, int], name: str) -> int:
    if name not in known:
        raise Refused(errno.ENODEV, f"there is no {name}")
    return known[name]


def _of(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


def _output(op: Op) -> OvsOutput:
    obj = _of(op)
    assert isinstance(obj, OvsOutput)
    return obj


def kinds() -> Iterable[Kind]:
    part, phase = Part("Open vSwitch's datapath", ask), Phase("ovs-datapath", _apply)
    return tuple(Kind(name=of.kind, phase=phase, part=part) for of in (OvsDatapath, OvsVport, OvsOutput))
