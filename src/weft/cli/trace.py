"""`weft trace`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import complete
from weft.cli.options import example, single
from weft.cli.output import Format, Output, show
from weft.cli.session import Waiting, client

if TYPE_CHECKING:
    from weft.base.net import Family

app = single()

_Origin = Annotated[
    str,
    typer.Argument(
        metavar="FROM", help="An endpoint or a node: name, NODE/NAME, id, address.", autocompletion=complete.endpoints
    ),
]
_Target = Annotated[
    str, typer.Argument(metavar="TO", help="As FROM, or any address.", autocompletion=complete.endpoints)
]


@app.command(
    epilog=example("weft trace web db", "weft trace node-1/web 203.0.113.10", "weft trace web db --family 6 -o json")
)
def trace(
    ctx: typer.Context,
    origin: _Origin,
    target: _Target,
    family: Annotated[int | None, typer.Option("--family", metavar="4|6", help="Else 4 where both have it.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Send such a packet for real, and watch it.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Follow a packet through the kernels' tables, hop by hop, and name what stops it; then its answer's way back.

    Nothing is sent, unless --live says so. The hosts on the way are asked through the store. Exit status 1 if the packet,
    or the answer, ends on the way, or if a host there does not say what it has; with --live also if it went another way.
    """
    from weft.trace import collect
    from weft.trace.render import render

    wanted = _family(family)
    with Waiting("reading the kernels' tables"):
        found = collect.gather(client(ctx), origin, target, wanted)
    if live:
        from weft.cli.trace_live import prove

        succeeded = prove(client(ctx), found, output)
    else:
        show(found, output, lambda page, value: render(value, page.width, page.paint))
        succeeded = found.arrived
    if not succeeded:
        raise typer.Exit(1)


def _family(number: int | None) -> Family | None:
    match number:
        case None | 4 | 6:
            return number
    raise typer.BadParameter(f"{number} is neither 4 nor 6", param_hint="'--family'")
