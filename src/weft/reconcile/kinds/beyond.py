"""All kinds of objects that are not this kernel's: what there is to know of one, its class says itself."""

from __future__ import annotations

from weft.hoststate import TargetObject
from weft.reconcile.kinds.kind import Kind, nothing
from weft.reconcile.protocol import Change, Create, Op


def _commands(op: Op, obj: TargetObject) -> list[str]:
    match op:
        case Create():
            return obj.making()
        case Change(old=TargetObject() as old):
            return obj.changing(old)
    return obj.removing()


def _clash(obj: TargetObject) -> str:
    return f"{obj.kind} {' '.join(obj.name)} in {obj.place} exists and is not Weft's: remove it"


BEYOND = Kind(
    of=TargetObject,
    commands=_commands,
    clash=_clash,
    hosts=nothing,
    needs=lambda obj: obj.needs(),
    rank=lambda obj: obj.order,
)
