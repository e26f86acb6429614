"""`weft detach`."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli import complete
from weft.cli.attach import from_here
from weft.cli.options import example, single
from weft.cli.output import listed, say
from weft.cli.session import Waiting, client

app = single()


@app.command(epilog=example("weft detach web", "weft detach web --network blue"))
def detach(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A pid, a namespace's path or name, a container's id or name, as it was attached.",
            autocompletion=complete.targets,
        ),
    ],
    network: Annotated[
        str,
        typer.Option(
            "--network", "-n", metavar="NETWORK", help="Only from this one.", autocompletion=complete.networks
        ),
    ] = "",
) -> None:
    """Disconnect a container on this node. Detaching what is not attached changes nothing."""
    with Waiting(f"detaching {target}"):
        done = client(ctx).detach(from_here(target), network)
    say(f"detached {listed(done.what)}" if done.what else f"{target} was not attached")
