"""Sets that rules of iptables look up, and their elements. Sets are there before chains name them, and go after these."""

from __future__ import annotations

from weft.hoststate import Ipset, IpsetElement
from weft.hoststate.ipset import MAXELEM
from weft.reconcile.kinds.kind import Kind, within
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Op, Remove


def _set(op: Op, obj: Ipset) -> list[str]:
    if isinstance(op, Remove):
        return [run_in(obj.ns, f"ipset destroy {obj.name}")]
    family = "inet6" if obj.family == 6 else "inet"
    return [run_in(obj.ns, f"ipset create {obj.name} {obj.type} family {family} maxelem {MAXELEM} -exist")]


def _element(op: Op, obj: IpsetElement) -> list[str]:
    verb = "del" if isinstance(op, Remove) else "add"
    return [run_in(obj.ns, f"ipset {verb} {obj.set} {obj.value} -exist")]


IPSET = Kind(
    of=Ipset,
    commands=_set,
    carries=True,
    in_place=lambda _found, _wanted: False,
    told="never",
    refuses=lambda _obj, _making, _there: 0,
)
ELEMENT = Kind(
    of=IpsetElement,
    commands=_element,
    hosts=lambda element: (*within(element), element.holder),
    told="never",
    refuses=lambda _obj, _making, _there: 0,
)
