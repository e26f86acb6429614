"""The fast path in a real kernel: maps, programs and links, which stay by names in a file system of our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from weft.hoststate import BpfLink, BpfMap, BpfProgram, FastHome, FastPairs, Object
from weft.kernel.kinds.kind import Kind, Part, Phase, Work
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

PROGRAMS = "bpf"
"""The folder in the run directory."""


def _apply(_work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
    for op in ops:
        if not isinstance(op, Remove):
            key = (op.new if isinstance(op, Change) else op.obj).key
            yield Failure(key, f"{describe(key)}: this version of Weft cannot load programs yet")


def kinds(_folder: Path) -> tuple[Kind, ...]:
    part, phase = Part("the fast path"), Phase("bpf", _apply)
    of: tuple[type[Object], ...] = (BpfMap, BpfProgram, BpfLink, FastHome, FastPairs)
    return tuple(Kind(name=kind.kind, phase=phase, part=part) for kind in of)
