"""`weft doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.errors import Failed, Unavailable
from weft.cli import complete
from weft.cli.findings import remedy
from weft.cli.options import example, single
from weft.cli.output import Format, Output, blocks, counted, listed, show
from weft.cli.session import Waiting, client, session
from weft.cli.table import Page, Styled

app = single()

RESULTS = {"error": "bad", "warning": "warn", "ok": "good"}
"""The worst first."""


@app.command(
    epilog=example("weft doctor", "weft doctor --all", "weft doctor --node node-2 --check", "weft doctor -o json")
)
def doctor(
    ctx: typer.Context,
    everywhere: Annotated[bool, typer.Option("--all", help="All hosts, asked through the store.")] = False,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="NODE", help="These hosts; repeatable.", autocompletion=complete.nodes),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit status 1 if there is an error.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Kernel features, sysctls, MTU, ports, clocks: what is fine on this host, what is not and what to do about it.

    Where no agent runs as yet, what can be told without one. With --all, or of other hosts: what is not fine, the worst
    first, what is the same on several of them together. A host that does not answer is an error.
    """
    if everywhere or node:
        from weft.cli import doctor_all

        with Waiting("asking the hosts"):
            findings = doctor_all.everywhere(client(ctx), () if everywhere else node or ())
        show(findings, output, doctor_all.render)
    else:
        with Waiting("examining this host"):
            findings = _of_this_host(ctx)
        show(findings, output, render)
    errors = [f.check for f in findings if f.result == "error"]
    if check and errors:
        raise Failed(f"{counted(len(errors), 'check')} failed: {listed(errors)}; `weft doctor` tells what to do")


def _of_this_host(ctx: typer.Context) -> tuple[t.Finding, ...]:
    """By its agent; where none runs as yet, by ourselves, as far as that needs no agent."""
    try:
        return client(ctx).doctor()
    except Unavailable:
        if session(ctx).socket:
            raise
    from weft.agent import preflight

    typer.echo(
        "no agent runs here (yet): this is what one would meet; networks and containers are not looked at", err=True
    )
    return preflight.findings()


def render(page: Page, findings: tuple[t.Finding, ...]) -> Iterator[str]:
    return blocks(_table(page, findings), _advice(page, findings), _sum(findings))


def _table(page: Page, findings: tuple[t.Finding, ...]) -> Iterator[str]:
    rows = [(Styled(f.result, RESULTS.get(f.result, "")), f.check, f.detail) for f in _worst_first(findings)]
    return page.table(("RESULT", "CHECK", "DETAIL"), rows)


def _advice(page: Page, findings: tuple[t.Finding, ...]) -> Iterator[str]:
    advised = [f for f in _worst_first(findings) if f.advice]
    if advised:
        yield page.paint("WHAT TO DO", "head")
        yield from page.pairs((f.check, remedy(f)) for f in advised)


def _sum(findings: tuple[t.Finding, ...]) -> Iterator[str]:
    yield listed(
        f"{sum(f.result == result for f in findings)} {word}"
        for result, word in (("ok", "fine"), ("warning", "to look at"), ("error", "wrong"))
    )


def _worst_first(findings: tuple[t.Finding, ...]) -> list[t.Finding]:
    order = list(RESULTS)
    return sorted(findings, key=lambda f: order.index(f.result) if f.result in order else len(order))
