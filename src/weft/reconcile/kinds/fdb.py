"""Entries of forwarding databases: of VXLAN devices, and of bridges."""

from __future__ import annotations

from collections.abc import Mapping
from errno import EEXIST, EINVAL, EOPNOTSUPP

from weft.hoststate import FdbEntry, Key, Link, Object, Vxlan
from weft.hoststate.paths import ALL
from weft.reconcile.kinds.kind import Kind, link_key, on_device
from weft.reconcile.kinds.shell import join, run_in
from weft.reconcile.protocol import Change, Create, Op, Remove


def _commands(op: Op, obj: FdbEntry) -> list[str]:
    verb = {Create: "append" if obj.lladdr == ALL else "add", Change: "replace", Remove: "del"}[type(op)]
    if obj.bridge:
        kind = "" if isinstance(op, Remove) else "static sticky"
        return [run_in(obj.ns, join(f"bridge fdb {verb} {obj.lladdr} dev {obj.dev} master", kind))]
    permanent = "" if isinstance(op, Remove) else "permanent"
    return [run_in(obj.ns, join(f"bridge fdb {verb} {obj.lladdr} dev {obj.dev} dst {obj.dst} self", permanent))]


def _words(rest: list[str]) -> str:
    """Where a frame goes from the device is of interest only if it goes to several places."""
    return " on ".join(rest[::-1] if ALL in rest else rest[1::-1])


def _hosts(obj: FdbEntry) -> tuple[Key, ...]:
    return (*on_device(obj), link_key(obj.ns, obj.bridge)) if obj.bridge else on_device(obj)


def _refuses(obj: FdbEntry, making: bool, there: Mapping[Key, Object]) -> int:
    if making and obj.key in there:
        return EEXIST
    device = there[link_key(obj.ns, obj.dev)]
    assert isinstance(device, Link)
    if obj.bridge:
        return 0 if device.master == obj.bridge else EINVAL
    return 0 if isinstance(device.type, Vxlan) else EOPNOTSUPP


FDB = Kind(of=FdbEntry, commands=_commands, words=_words, hosts=_hosts, refuses=_refuses)
