"""An operation as the commands an operator knows. Each, pasted into a shell of root's, does what Weft would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weft.hoststate import Key
from weft.reconcile.kinds.table import kind_of
from weft.reconcile.protocol import Change, Op, Remove


def commands(op: Op, before: Mapping[Key, str] | None = None) -> list[str]:
    """`before`: the values that sysctls had before Weft, where known; they are kept on the host only."""
    obj = op.new if isinstance(op, Change) else op.obj
    kind = kind_of(obj)
    if isinstance(op, Remove) and kind.undo is not None:
        return kind.undo(obj, (before or {}).get(obj.key))
    return kind.commands(op, obj)


def script(ops: Iterable[Op], before: Mapping[Key, str] | None = None) -> list[str]:
    """The commands of many operations, without those that repeat what is done already."""
    made: set[str] = set()
    lines = []
    for op in ops:
        once = kind_of(op.new if isinstance(op, Change) else op.obj).once
        for line in commands(op, before):
            if line not in made:
                lines.append(line)
            if once and line.endswith(once):
                made.add(line)
    return lines
