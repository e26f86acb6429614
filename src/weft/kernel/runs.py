"""Operations as a kernel is told them: those of one phase together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from weft.hoststate import Key, Link, Object
from weft.kernel.kinds.kind import Kind, Phase
from weft.reconcile.kinds.table import KINDS
from weft.reconcile.protocol import Change, Create, Op, Remove

Made = Mapping[tuple[str, str], Link]
"""The links that are made, by namespace and name."""

Run = tuple[Phase, list[Op]]


def target(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


def runs(ops: Sequence[Op], kinds: Mapping[str, Kind], made: Made) -> list[Run]:
    """Consecutive operations of one phase, with two exceptions: a transaction is in one piece, but for what is removed after
    the devices that it guards; and what belongs to a device that is yet to be made (a sysctl) waits for it, and the other
    end of a veth for that."""
    waiting = {id(op): op for op in ops if _awaited(op, made) is not None} if made else {}
    last = _put_off(ops, kinds)
    elsewhere = waiting.keys() | {id(op) for _, run in last for op in run}
    found: list[Run] = []
    begun: dict[str, list[Op]] = {}
    for op in ops:
        phase = kinds[target(op).kind].phase
        if id(op) in elsewhere:
            continue
        if phase.name in begun:
            begun[phase.name].append(op)
        elif found and found[-1][0] is phase:
            found[-1][1].append(op)
        else:
            found.append((phase, [op]))
            if phase.put_off is not None:
                begun[phase.name] = found[-1][1]
    if waiting:
        late: dict[int, Run] = {}
        for op in waiting.values():
            late.setdefault(_place(op), (kinds[target(op).kind].phase, []))[1].append(op)
        place = max(i for i, (_, run) in enumerate(found) if isinstance(target(run[0]), Link))
        found[place : place + 1] = _before_up(found[place], late, made)
    return [run for run in (*found, *last) if run[1]]


def _put_off(ops: Sequence[Op], kinds: Mapping[str, Kind]) -> list[Run]:
    """Of each transaction what can wait for the end."""
    transactions: dict[str, Run] = {}
    for op in ops:
        phase = kinds[target(op).kind].phase
        if phase.put_off is not None:
            transactions.setdefault(phase.name, (phase, []))[1].append(op)
    return [(phase, phase.put_off(run)) for phase, run in transactions.values() if phase.put_off is not None]


def _awaited(op: Op, made: Made) -> Key | None:
    """The device that is yet to be made."""
    joins = KINDS[target(op).kind].joins
    joined = joins(target(op)) if made and joins is not None and not isinstance(op, Remove) else None
    return joined[0] if joined is not None and joined[0][1:] in made else None


def _place(op: Op) -> int:
    """Among devices that are made, by rank."""
    joins = KINDS[target(op).kind].joins
    joined = joins(target(op)) if joins is not None else None
    return joined[1] if joined is not None else 0


def _before_up(links: Run, late: Mapping[int, Run], made: Made) -> list[Run]:
    """New devices, what belongs to them, each after those devices that come before it, and only then that they are up, with
    the other ends of veths: so that nothing comes in while the kernel's defaults are still in force."""
    awaited = {_awaited(op, made) for _, run in late.values() for op in run}
    down: list[Op] = []
    up: list[Op] = []
    ends: list[Op] = []
    for op in links[1]:
        link = target(op)
        if not isinstance(op, Create) or not isinstance(link, Link):
            down.append(op)
        elif KINDS[link.kind].twin(link) is not None and not KINDS[link.kind].brings(link):
            ends.append(op)  # the other end of a veth, which has no carrier until that is up
        elif link.up and link.key in awaited:
            before = msgspec.structs.replace(link, up=False)
            down.append(Create(before))
            up.append(Change(before, link))
        else:
            down.append(op)
    pieces: list[Run] = []
    for rank, run in sorted(late.items()):
        first = next((i for i, op in enumerate(down) if _made_from(op, rank)), len(down))
        pieces += [(links[0], down[:first]), run]
        down = down[first:]
    return [*pieces, (links[0], down + up + ends)]


def _made_from(op: Op, rank: int) -> bool:
    """Whether it makes a device whose place is `rank` or a later one."""
    return not isinstance(op, Remove) and KINDS[target(op).kind].rank(target(op)) >= rank
