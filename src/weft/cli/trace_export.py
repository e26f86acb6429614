"""`weft trace export [NAME…] [-o FILE]`. It asks no agent."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli.options import example, single
from weft.cli.session import Waiting

app = single()


@app.command(
    epilog=example("weft trace export -o node-2.json.gz", "weft trace web db --with node-2.json.gz   # on node-1")
)
def export(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Only these containers; else all.", show_default=False)
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Else standard output. Compressed where it ends with .gz."),
    ] = "",
) -> None:
    """Write down what moves packets on this host, for a trace on another host (`weft trace … --with FILE`).

    That is: devices, addresses, routes, neighbours and packet filters of the host and of its containers, whoever made them.
    Nothing of what they send, and no secrets. To see all of them takes root.
    """
    from weft.inspect.export import exported, write

    with Waiting("reading the kernel's tables"):
        found = exported(names or [])
    write(found, output)
