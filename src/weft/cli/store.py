"""`weft store show|accept|restore`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.cli.options import example, group
from weft.cli.output import Format, Output, counted, say, show
from weft.cli.session import Waiting, client
from weft.cli.status import store_line
from weft.cli.table import Page

app = group("The cluster's store, and whether it is the right one.", "weft store show", "weft store restore")

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("show", epilog=example("weft store show", "weft store show -o json"))
def one(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """Show where the store is, to which cluster this host belongs, and what it knows that the store does not."""
    with Waiting("asking the agent"):
        found = client(ctx).store()
    show(found, output, _details)


@app.command("restore", epilog=example("weft store restore"))
def restore(ctx: typer.Context) -> None:
    """Write back what the agents know into a store that has lost its data.

    Done on one host, for all: the store gets the cluster's identity again, by which every agent knows it. Each then writes
    back its node, its subnets and its containers, and one of them the networks, where nobody else has them by now.
    """
    with Waiting("restoring the store"):
        found = client(ctx).restore_store()
    say(f"the store is cluster {found.cluster}'s again: the agents write back what they know; see `weft status`")


@app.command("accept", epilog=example("weft store accept", "weft store accept --yes"))
def accept(ctx: typer.Context, yes: Yes = False) -> None:
    """Take the store as it is, on this host.

    For a store that is another one on purpose, or that was put back to an earlier state for good. What is not in it is removed
    from this host. Containers here lose their interfaces in networks that are not in it.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here: give --yes", param_hint="'--yes'")
        typer.confirm("Take the store as it is? What is not in it is removed from this host.", abort=True)
    with Waiting("accepting the store"):
        found = client(ctx).accept_store()
    say(f"this host belongs to cluster {found.cluster}, and goes by what its store says")


def _details(page: Page, found: t.StoreStatus) -> Iterator[str]:
    yield from page.pairs(
        [
            ("store", store_line(found)),
            ("cluster", found.cluster or "none yet"),
            ("kept", f"{counted(len(found.kept), 'key')} that the store has lost" if found.kept else ""),
        ]
    )
    for key in found.kept:
        yield from page.paragraph(key, "    ", "warn")
