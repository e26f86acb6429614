"""`weft plan`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from weft.cli import complete
from weft.cli.options import example, single
from weft.cli.output import Format, Output, show
from weft.cli.session import Waiting, client

app = single()


@app.command(epilog=example("weft plan", "weft plan --network blue", 'test -z "$(weft plan)" && echo converged'))
def plan(
    ctx: typer.Context,
    network: Annotated[
        str,
        typer.Option("--network", "-n", metavar="NETWORK", help="Only this one.", autocompletion=complete.networks),
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """What the agent would do now, as ip, bridge, nft commands in their order. Each can be pasted into a shell.

    Empty when the kernel has what it should have.
    """
    with Waiting("comparing with the kernel"):
        found = client(ctx).plan(network)
    show(found, output, lambda _page, value: value.commands)  # never folded: they are there to be pasted
    if not found.commands and output is Format.TABLE and sys.stdout.isatty():
        sys.stderr.write("nothing to do: the kernel has what it should have\n")
