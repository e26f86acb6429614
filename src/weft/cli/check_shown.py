"""What `weft check` found, for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from weft.check.plan import LABELS
from weft.check.report import Cell, Checked, Denied, Problem, Report
from weft.cli.output import blocks, counted, listed
from weft.cli.table import Page, Styled

SHOWN = 20
"""Problems that are told of."""
WIDEST = 16
"""Nodes of a matrix; of more, only what is amiss is told, and how many are well."""


def render(page: Page, found: Report) -> Iterator[str]:
    return blocks(
        *(_network(page, each) for each in found.networks),
        _problems(page, found.problems),
        _denied(page, found.denied),
        _rest(page, found),
        [_verdict(page, found)],
    )


def _network(page: Page, checked: Checked) -> Iterator[str]:
    kind = ", on each host apart" if checked.local else ", each node with some others" if checked.sampled else ""
    tests = counted(checked.tests, "test")
    yield page.paint(f"network {checked.network}: {counted(len(checked.nodes), 'node')}, {tests}{kind}", "head")
    for each in checked.unplaced:
        yield from page.paragraph(f"{each.node}: no probe: {each.reason}", "  ", "bad")
    if not checked.cells:
        return
    if len(checked.nodes) > WIDEST:
        well = sum(not cell.failed and not cell.denied for cell in checked.cells)
        yield f"{well} of {len(checked.cells)} pairs are well"
        return
    by = {(cell.source, cell.target): cell for cell in checked.cells}
    rows = [(Styled(node, ""), *(_cell(by.get((node, other))) for other in checked.nodes)) for node in checked.nodes]
    yield from page.table(("FROM / TO, ms", *checked.nodes), rows)


def _cell(cell: Cell | None) -> Styled:
    if cell is None:
        return Styled("-", "dim")
    if cell.failed:
        return Styled(
            "fails" if cell.failed + cell.denied == cell.tests else f"{cell.failed} of {cell.tests} fail", "bad"
        )
    if cell.denied:
        return Styled("denied" if cell.denied >= cell.tests // 2 else "some denied", "warn")
    return Styled("-" if cell.ms is None else f"{cell.ms:.2f}", "good")


def _problems(page: Page, problems: tuple[Problem, ...]) -> Iterator[str]:
    """What a trace says of several that follow one another is said once."""
    for _, some in groupby(
        problems[:SHOWN], key=lambda each: (each.said, each.advice, each.fix) if each.said else each
    ):
        for each in (alike := list(some)):
            yield from page.paragraph(_failed(each), "", "bad")
        each = alike[0]
        if each.said:
            yield from page.paragraph(f"trace: {each.said}", "  ")
        if each.advice:
            yield from page.paragraph(f"what to do: {each.advice}", "  ")
        if each.fix and each.fix not in each.advice:
            yield from page.paragraph(f"on {each.host}: {each.fix}", "  ")
    if len(problems) > SHOWN:
        yield f"and {counted(len(problems) - SHOWN, 'problem')} more: -o json has them all"


def _failed(each: Problem) -> str:
    port = f" port {each.port}" if each.port else ""
    more = f" (and {counted(each.more, 'test')} more between them)" if each.more else ""
    way = f"{each.source} → {each.target} in {each.network}: {LABELS[each.what]} to {each.address}{port}"
    return f"{way}: {each.error}{more}"


def _denied(page: Page, denied: tuple[Denied, ...]) -> Iterator[str]:
    """One line for each reason."""
    by: dict[tuple[str, str], list[Denied]] = {}
    for each in denied:
        by.setdefault((each.network, each.reason), []).append(each)
    for (network, reason), some in by.items():
        pairs = sorted({f"{each.source} → {each.target}" for each in some})
        shown = listed(pairs[:6]) + (f" and {len(pairs) - 6} more" if len(pairs) > 6 else "")
        yield from page.paragraph(f"denied by policy in {network}: {reason} ({shown})", "", "warn")


def _rest(page: Page, found: Report) -> Iterator[str]:
    for node, reason in found.silent.items():
        yield from page.paragraph(f"{node} could not be asked: {reason}", "", "bad")
    if found.skipped:
        yield f"not tested any more: {listed(found.skipped)}: --keep-going tests all"
    for node in found.left:
        yield f"{node} has not removed its probes: its agent does so by itself"


def _verdict(page: Page, found: Report) -> str:
    tests = sum(each.tests for each in found.networks)
    if not found.networks:
        return "there is no network in which containers have addresses: nothing was tested"
    if found.ok:
        return page.paint(f"well: {counted(tests, 'test')} in {counted(len(found.networks), 'network')}", "good")
    missing = "" if found.problems else ", but not all could be tested"
    return page.paint(f"{counted(len(found.problems), 'problem')} in {counted(tests, 'test')}{missing}", "bad")
