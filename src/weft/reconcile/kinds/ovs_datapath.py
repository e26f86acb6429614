"""Open vSwitch's datapath in the kernel. It takes its ports and flows along; a port outlives neither it nor its device."""

from __future__ import annotations

from weft.hoststate import Key, OvsDatapath, OvsOutput, OvsVport
from weft.hoststate.ovs_datapath import GROUPS, PREFIX
from weft.reconcile.kinds.kind import Kind, link_key, within
from weft.reconcile.kinds.shell import join, run_in
from weft.reconcile.protocol import Op, Remove


def _datapath(op: Op, obj: OvsDatapath) -> list[str]:
    verb = "del-dp" if isinstance(op, Remove) else "add-dp"
    return [run_in(obj.ns, f"ovs-dpctl {verb} {obj.name}")]


def _vport(op: Op, obj: OvsVport) -> list[str]:
    verb = "del-if" if isinstance(op, Remove) else "add-if"
    return [run_in(obj.ns, f"ovs-dpctl {verb} {obj.datapath} {obj.dev}")]


def _output(op: Op, obj: OvsOutput) -> list[str]:
    """ovs-dpctl(8) names ports by numbers, and a flow with all its places at once: in words, what it comes to."""
    where = join(
        f"set(tunnel(tun_id={obj.number:#x},dst={obj.remote},ttl=64,flags(df))), then" if obj.remote else "", obj.to
    )
    verb = "no more" if isinstance(op, Remove) else "also"
    return [f"# flow of {obj.datapath}: {_frames(obj.dev, obj.lladdr, str(obj.vni))}: {verb} to {where}"]


def _frames(dev: str, lladdr: str, vni: str) -> str:
    to = {"": "", GROUPS: "to all"}.get(lladdr, f"to {lladdr}")
    return join(f"what comes by {dev}", f"with VNI {vni}" if vni != "0" else "", to)


def _words(rest: list[str]) -> str:
    datapath, dev, lladdr, vni, _family, to, remote = rest
    return join(f"of {datapath}:", _frames(dev, lladdr, vni) + ",", "out by", to, f"to {remote}" if remote else "")


def _in_datapath(obj: OvsVport | OvsOutput) -> tuple[Key, ...]:
    return (*within(obj), ("ovs-datapath", obj.ns, obj.datapath))


def _of_vport(obj: OvsVport) -> tuple[Key, ...]:
    return (*_in_datapath(obj), link_key(obj.ns, obj.dev))


def _ports(obj: OvsOutput) -> tuple[Key, ...]:
    ports = (("ovs-vport", obj.ns, obj.datapath, dev) for dev in (obj.dev, obj.to))
    return (*_in_datapath(obj), *ports)


DATAPATH = Kind(
    of=OvsDatapath,
    commands=_datapath,
    carries=True,
    told="never",
    is_ours=lambda obj: obj.name.startswith(PREFIX),
)
VPORT = Kind(
    of=OvsVport,
    commands=_vport,
    carries=True,
    told="never",
    words=lambda rest: f"{rest[1]} of {rest[0]}",
    hosts=_of_vport,
)
OUTPUT = Kind(of=OvsOutput, commands=_output, told="never", words=_words, hosts=_ports)
