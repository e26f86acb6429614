"""`weft check`."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.base.errors import Failed
from weft.base.net import IPAddress, parse_address
from weft.cli import complete
from weft.cli.options import example, single
from weft.cli.output import Format, Output, show
from weft.cli.session import Waiting, client

if TYPE_CHECKING:
    from weft.check.report import Report

app = single()

_Networks = Annotated[
    list[str] | None,
    typer.Option("--network", "-n", metavar="NETWORK", help="Only in this one; repeatable.", autocompletion=complete.networks),
]  # fmt: skip
_Nodes = Annotated[
    list[str] | None,
    typer.Option("--nodes", metavar="NODE[,NODE]…", help="Only these; else all.", autocompletion=complete.nodes),
]
_Outside = Annotated[
    list[str] | None, typer.Option("--outside", metavar="ADDRESS", help="And ping this one from each; repeatable.")
]
_EXAMPLES = (
    "weft check",
    "weft check --network blue --nodes node-1,node-2",
    "weft check --keep-going --services --outside 192.0.2.1 -o json",
)


@app.command(epilog=example(*_EXAMPLES))
def check(
    ctx: typer.Context,
    network: _Networks = None,
    nodes: _Nodes = None,
    outside: _Outside = None,
    services: Annotated[
        bool, typer.Option("--services", help="And open, and close, a connection to each TCP port of services there.")
    ] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Also after a network that has problems.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, max=30, help="Seconds for each answer.")] = 2.0,
    at_once: Annotated[int, typer.Option("--at-once", min=1, max=64, help="Tests at a time, of each node.")] = 16,
    rate: Annotated[int, typer.Option("--rate", min=1, max=2000, help="Tests begun in a second, by each node.")] = 200,
    output: Output = Format.TABLE,
) -> None:
    """Test who reaches whom: probes on each node, in each network, send each other packets of all kinds.

    Small ones, ones as large as the MTU, TCP, names, of both families; and from each node to its own probe. What fails is
    traced. Containers are left alone. Exit status 1 if something fails that policy does not forbid.
    """
    from weft.check.run import Check, Wishes

    if math.isnan(timeout):  # neither too small nor too large
        raise typer.BadParameter("nan is no number of seconds", param_hint="'--timeout'")
    wishes = Wishes(
        networks=tuple(network or ()),
        nodes=tuple(name for text in nodes or () for name in text.split(",") if name),
        timeout=timeout,
        keep_going=keep_going,
        outside=tuple(_address(text) for text in outside or ()),
        services=services,
        at_once=at_once,
        rate=rate,
    )
    signal.signal(signal.SIGTERM, _interrupted)
    with Waiting("testing the cluster"):
        found = Check(client(ctx), wishes).whole()
    show(found, output, _rendered)
    if not found.ok:
        raise typer.Exit(1)


def _rendered(page: Any, found: Report) -> Iterator[str]:
    from weft.cli.check_shown import render

    return render(page, found)


def _address(text: str) -> IPAddress:
    return parse_address(text)


def _interrupted(*_: object) -> None:
    """As Ctrl-C: the probes are removed first."""
    raise Failed("ended before all was tested: the probes are removed")
