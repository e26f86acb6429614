"""`weft help [COMMAND…]`: the same as `weft COMMAND --help`."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli.options import example, single

app = single()


@app.command(epilog=example("weft help", "weft help network create"))
def help(
    ctx: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND]...", help="About which; else all.")] = None,
) -> None:
    """Show the help of a command, as --help does."""
    root = ctx.find_root()
    root.command.main([*(words or ()), "--help"], prog_name=root.info_name, standalone_mode=False)
