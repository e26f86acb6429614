"""Ports of Open vSwitch's bridges. The record of a port outlives its device, so it stands on nothing and is removed for
itself; the bridge is somebody else's, and whether it is there shows when the port is made."""

from __future__ import annotations

from weft.hoststate import Key, OvsPort
from weft.hoststate.links import OWNER
from weft.reconcile.kinds.kind import Kind, link_key
from weft.reconcile.kinds.shell import join
from weft.reconcile.protocol import Create, Op, Remove


def _commands(op: Op, obj: OvsPort) -> list[str]:
    if isinstance(op, Remove):
        return [f"ovs-vsctl --if-exists del-port {obj.bridge} {obj.name}"]
    ids = (f"external_ids:{name}={value}" for name, value in obj.external_ids.items())
    settings = join("set Interface", obj.name, *ids)
    add = f"add-port {obj.bridge} {obj.name} -- " if isinstance(op, Create) else ""
    return [f"ovs-vsctl {add}{settings}"]


def clash(obj: OvsPort) -> str:
    return f"Open vSwitch has a port {obj.name} that is not Weft's: remove it (ovs-vsctl del-port {obj.name})"


def _excludes(obj: OvsPort) -> Key:
    """A name is one port's, on whichever bridge."""
    return ("ovs-port name", obj.ns, obj.name)


OVS_PORT = Kind(
    of=OvsPort,
    commands=_commands,
    words=lambda rest: f"{rest[1]} on {rest[0]}",
    is_ours=lambda obj: obj.owner == OWNER,
    clash=clash,
    needs=lambda obj: (link_key(obj.ns, obj.name),),
    excludes=_excludes,
    told="never",
)
