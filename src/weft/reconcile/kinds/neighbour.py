"""Permanent entries of the ARP and ND tables."""

from __future__ import annotations

from weft.hoststate import PROTO, Neighbour
from weft.reconcile.kinds.kind import Kind, on_device
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Change, Op, Remove


def _commands(op: Op, obj: Neighbour) -> list[str]:
    if isinstance(op, Remove):
        return [run_in(obj.ns, f"ip neigh del {obj.address} dev {obj.dev}")]
    verb = "replace" if isinstance(op, Change) else "add"
    mark = f"nud permanent protocol {obj.proto}"
    return [run_in(obj.ns, f"ip neigh {verb} {obj.address} lladdr {obj.lladdr} dev {obj.dev} {mark}")]


NEIGHBOUR = Kind(
    of=Neighbour,
    commands=_commands,
    words=lambda rest: " on ".join(rest[::-1]),
    is_ours=lambda neighbour: neighbour.proto == PROTO,
    hosts=on_device,
    ipv6_on=lambda neighbour: neighbour.dev if ":" in neighbour.address else "",
)
