"""`weft expose`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.net import parse_address
from weft.cli import complete
from weft.cli.options import example, single
from weft.cli.output import Format, Output, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page

app = single()


@app.command(epilog=example("weft expose office", "weft expose office --ip 172.111.222.20"))
def expose(
    ctx: typer.Context,
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="Of driver mesh.", autocompletion=complete.networks)
    ],
    ip: Annotated[
        list[str] | None, typer.Option("--ip", metavar="ADDRESS", help="Wished for; one of each family at most.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Give this host an address in a network: it reaches containers, and they reach it. Exposing again changes nothing."""
    wishes = t.Expose(addresses=tuple(parse_address(text) for text in ip or ()))
    with Waiting(f"exposing {network}"):
        made = client(ctx).expose(network, wishes)
    show(made, output, _lines)


def _lines(_page: Page, made: t.EndpointInfo) -> Iterator[str]:
    yield f"{made.node} is in {made.network} with {', '.join(str(a.ip) for a in made.addresses)}, on {made.interface}"
