"""`weft hide`."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli import complete
from weft.cli.options import example, single
from weft.cli.output import listed, say
from weft.cli.session import Waiting, client

app = single()


@app.command(epilog=example("weft hide office"))
def hide(
    ctx: typer.Context,
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="To which it was exposed.", autocompletion=complete.networks)
    ],
) -> None:
    """Take away the address that `weft expose` gave this host in a network."""
    with Waiting(f"hiding from {network}"):
        done = client(ctx).hide(network)
    say(f"hid {listed(done.what)}")
