"""`weft detach`."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.base.errors import NotFound
from weft.cli import complete
from weft.cli.attach import from_here
from weft.cli.options import example, single
from weft.cli.output import listed, say
from weft.cli.session import Waiting, client

app = single()


@app.command(epilog=example("weft detach web", "weft detach web --network blue", "weft detach web --if-attached"))
def detach(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A pid, a namespace's path or name, a container's id or name, as it was attached; or the endpoint's name.",
            autocompletion=complete.targets,
        ),
    ],
    network: Annotated[
        str,
        typer.Option(
            "--network", "-n", metavar="NETWORK", help="Only from this one.", autocompletion=complete.networks
        ),
    ] = "",
    if_attached: Annotated[
        bool, typer.Option("--if-attached", help="What is not attached is no error: for scripts that tidy up.")
    ] = False,
) -> None:
    """Disconnect a container on this node. Exit status 4 where it is not attached."""
    try:
        with Waiting(f"detaching {target}"):
            done = client(ctx).detach(from_here(target), network)
    except NotFound as error:
        if not if_attached:
            raise
        say(f"nothing to do: {error}")
    else:
        say(f"detached {listed(done.what)}")
