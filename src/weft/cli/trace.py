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
_UNKNOWN = 3
"""Exit status: nobody can say from here whether it arrives."""

_Origin = Annotated[
    str,
    typer.Argument(
        metavar="FROM", help="An endpoint or a node: name, NODE/NAME, id, address.", autocompletion=complete.endpoints
    ),
]
_Target = Annotated[
    str,
    typer.Argument(
        metavar="TO",
        help="As FROM, or a service (name, virtual address), or any address.",
        autocompletion=complete.endpoints,
    ),
]
_Protocol = Annotated[
    str, typer.Option("--proto", metavar="tcp|udp|icmp|sctp", help="Else tcp with --port, a ping without.")
]
_Port = Annotated[int | None, typer.Option("--port", "-p", metavar="PORT", min=1, max=65535, help="Of the receiver.")]
_Sport = Annotated[
    int | None,
    typer.Option("--sport", metavar="PORT", min=1, max=65535, help="Of the sender, where it does not take any."),
]
_Size = Annotated[
    int, typer.Option("--size", metavar="OCTETS", min=0, help="Of the IP packet, which may not be fragmented.")
]
_Mark = Annotated[str, typer.Option("--mark", metavar="MARK", help="The sender's, as SO_MARK: 0x1 or 1.")]
_Member = Annotated[
    str,
    typer.Option(
        "--member", metavar="ENDPOINT", help="Of a service: the one to follow.", autocompletion=complete.endpoints
    ),
]

_Files = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="FILE", help="What `weft trace export` wrote on another host; may be given several times."
    ),
]


@app.command(
    epilog=example(
        "weft trace web db --port 5432",
        "weft trace web shop/db --member db-2",
        "weft trace node-1/web 203.0.113.10 --proto udp --port 53",
        "weft trace web db --size 1450 --family 6 -o json",
    )
)
def trace(
    ctx: typer.Context,
    origin: _Origin,
    target: _Target,
    family: Annotated[int | None, typer.Option("--family", metavar="4|6", help="Else 4 where both have it.")] = None,
    protocol: _Protocol = "",
    port: _Port = None,
    sport: _Sport = None,
    size: _Size = 0,
    mark: _Mark = "0",
    member: _Member = "",
    live: Annotated[bool, typer.Option("--live", help="Send such a packet for real, and watch it.")] = False,
    files: _Files = None,
    output: Output = Format.TABLE,
) -> None:
    """Follow a packet through the kernels' tables, hop by hop, and name what stops it; then its answer's way back.

    Nothing is sent, unless --live says so. The hosts on the way are asked through the store. Containers of Docker's, Podman's
    or CNI's own networks are found on this host, also where no agent runs (as root); of other hosts without one, `weft trace
    export` there writes a file for --with. Exit status 1 if the packet, or the answer, ends on the way; 3 if that is not
    known, since a host does not say what it has, or a rule cannot be judged; with --live 1 also if it went another way.
    """
    from weft.cli.trace_asked import asked
    from weft.trace.collect import gather
    from weft.trace.render import render
    from weft.trace.what import What

    wanted = _family(family)
    what = What(
        protocol=protocol.lower(), port=port or 0, sport=sport or 0, size=size, mark=_number(mark), member=member
    )
    with Waiting("reading the kernels' tables"):
        ends = (origin, target)
        found = asked(ctx, ends, files or [], lambda agent: gather(agent, *ends, wanted, what))
    if live:
        from weft.cli.trace_live import prove

        succeeded = prove(client(ctx), found, output)
    else:
        show(found, output, lambda page, value: render(value, page.width, page.paint))
        succeeded = found.arrived
    if not succeeded:
        raise typer.Exit(_UNKNOWN if not found.known and not live else 1)


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise typer.BadParameter(f"{text} is no number: 1 or 0x1 are", param_hint="'--mark'") from None


def _family(number: int | None) -> Family | None:
    match number:
        case None | 4 | 6:
            return number
    raise typer.BadParameter(f"{number} is neither 4 nor 6", param_hint="'--family'")
