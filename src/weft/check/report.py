"""What is said of a test of the cluster's connectivity. Keys of `-o json` are these fields, so they are stable."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from weft.api.checks import Tested
from weft.base.net import Family, IPAddress
from weft.check.plan import Case, What
from weft.trace.path import Trace


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """From a node to another, in one network. `failed`, `denied`: how many of `tests`. `ms`: the quickest small answer, None
    where there was none."""

    source: str
    target: str
    tests: int
    failed: int
    denied: int
    ms: float | None = None


class Unplaced(msgspec.Struct, frozen=True, kw_only=True):
    """Where no probe could be had, and why."""

    node: str
    reason: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One network. `local`: each host has it of its own. `sampled`: not all pairs of nodes were tested."""

    network: str
    nodes: tuple[str, ...]
    local: bool = False
    sampled: bool = False
    cells: tuple[Cell, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    tests: int = 0


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A test that failed. `source`, `target`: nodes, or what was asked. `error`: what the test saw. `said`: what the kernels'
    tables say of it (`weft trace`), "" where it was not asked; `advice`, `fix`: what to do about it, and the command for
    `host` as it stands; `fault`: its kind. `more`: how many tests between the two failed besides. `fits`: octets of the largest
    packet that arrives, 0 where that was not looked for."""

    network: str
    source: str
    target: str
    what: What
    family: Family
    address: IPAddress
    port: int = 0
    error: str
    more: int = 0
    fits: int = 0
    said: str = ""
    advice: str = ""
    host: str = ""
    fault: str = ""
    fix: str = ""
    trace: Trace | None = None


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """What policy forbids, or the networks do, and therefore is no problem."""

    network: str
    source: str
    target: str
    what: What
    family: Family
    reason: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`run`: its id. `silent`: nodes that could not be asked, and why. `skipped`: networks that were not tested any more, since
    one before had problems. `left`: what could not be removed; its agent does so after a while."""

    run: str
    ok: bool
    nodes: tuple[str, ...]
    networks: tuple[Checked, ...]
    problems: tuple[Problem, ...] = ()
    denied: tuple[Denied, ...] = ()
    silent: dict[str, str] = {}
    skipped: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


Result = tuple[Case, Tested]


def cells(results: Iterable[Result], denied: Iterable[Case]) -> tuple[Cell, ...]:
    """Of what is tested between nodes, sorted."""
    refused = set(map(id, denied))
    found: dict[tuple[str, str], list[Result]] = {}
    for case, tested in results:
        if case.what not in ("service", "outside"):
            found.setdefault((case.source, case.target), []).append((case, tested))
    return tuple(
        Cell(
            source=source,
            target=target,
            tests=len(some),
            failed=sum(bool(tested.error) and id(case) not in refused for case, tested in some),
            denied=sum(id(case) in refused for case, _ in some),
            ms=min(
                (tested.ms for case, tested in some if case.what in ("small", "host") and not tested.error),
                default=None,
            ),
        )
        for (source, target), some in sorted(found.items())
    )


def together(failed: Iterable[Result]) -> list[list[Result]]:
    """Tests that fail for one reason, most likely: those between the same two, in one network and family, and by what is
    asked; where even small packets are lost, all. The one to tell of comes first."""
    found: dict[tuple[object, ...], list[Result]] = {}
    for case, tested in failed:
        found.setdefault((case.network, case.source, case.probe == "", case.target, case.family), []).append(
            (case, tested)
        )
    groups = []
    for some in found.values():
        small = [each for each in some if each[0].what in ("small", "host")]
        if small:
            groups.append([*small, *(each for each in some if each not in small)])
        else:
            groups += [[each] for each in some]
    return groups
