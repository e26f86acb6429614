"""Token buckets, and redirections to the device whose bucket limits what another one receives."""

from __future__ import annotations

from weft.hoststate import Key, Qdisc, Redirect
from weft.hoststate.shaping import HANDLE, PREF
from weft.reconcile.kinds.kind import Kind, link_key, on_device
from weft.reconcile.kinds.shell import join, run_in
from weft.reconcile.protocol import Change, Create, Op, Remove


def _of_device(rest: list[str]) -> str:
    return f"of {rest[0]}"


def _qdisc(op: Op, obj: Qdisc) -> list[str]:
    verb = {Create: "add", Change: "change", Remove: "del"}[type(op)]
    bucket = f"tbf rate {obj.rate}bit burst {obj.burst} limit {obj.limit}" if not isinstance(op, Remove) else ""
    return [run_in(obj.ns, join(f"tc qdisc {verb} dev {obj.dev} root handle {HANDLE:x}:", bucket))]


def _redirect(op: Op, obj: Redirect) -> list[str]:
    """An ingress qdisc that is there already is none the worse for `replace`."""
    where = f"dev {obj.dev} ingress protocol all pref {PREF}"
    first = f"tc qdisc replace dev {obj.dev} ingress" if isinstance(op, Create) else f"tc filter del {where}"
    add = f"tc filter add {where} u32 match u32 0 0 action mirred egress redirect dev {obj.to}"
    return [run_in(obj.ns, line) for line in ([first] if isinstance(op, Remove) else [first, add])]


def _hosts(obj: Redirect) -> tuple[Key, ...]:
    """A redirection is worth nothing without the device that it leads to. But its filter stays in the kernel when only
    that goes, and then drops everything: so this one is no carrier."""
    return (*on_device(obj), link_key(obj.ns, obj.to))


QDISC = Kind(of=Qdisc, commands=_qdisc, words=_of_device, hosts=on_device)
REDIRECT = Kind(of=Redirect, commands=_redirect, words=_of_device, hosts=_hosts, carriers=on_device)
