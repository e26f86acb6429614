"""`weft policy explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from weft.api import observed as o
from weft.base.errors import WeftError
from weft.cli import complete
from weft.cli.options import example
from weft.cli.output import Format, Output, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page, Styled

if TYPE_CHECKING:
    from weft.client import Client

_Source = Annotated[
    str,
    typer.Argument(
        metavar="FROM",
        help="An endpoint (name, NETWORK/NAME, NODE/NAME, id), a node, or any address.",
        autocompletion=complete.endpoints,
    ),
]
_Target = Annotated[str, typer.Argument(metavar="TO", help="As FROM.", autocompletion=complete.endpoints)]
_Protocol = Annotated[
    str, typer.Option("--proto", metavar="PROTOCOL", help="tcp, udp, sctp, icmp (a ping), another name, or a number.")
]
_Port = Annotated[
    int | None,
    typer.Option(
        "--port", "-p", metavar="PORT", min=1, max=65535, help="Of the receiver; else one that no rule names."
    ),
]
_Family = Annotated[
    int | None, typer.Option("--family", metavar="4|6", min=4, max=6, help="Else 4 where both have it.")
]
EXAMPLES = example(
    "weft policy explain client web --port 80",
    "weft policy explain 203.0.113.7 blue/web --proto udp --port 53",
    "weft policy explain client node-2 --proto icmp -o json",
)


def explain(
    ctx: typer.Context,
    source: _Source,
    target: _Target,
    protocol: _Protocol = "tcp",
    port: _Port = None,
    family: _Family = None,
    output: Output = Format.TABLE,
) -> None:
    """Say whether a connection may be made, and which rule of which policy decides so.

    First by what policies say, then by what the hosts of both ends have in force. Nothing is sent. Exit status 1 if the
    connection is denied.
    """
    agent = client(ctx)
    with Waiting("asking for the verdict"):
        asked = (source, target, protocol, str(port or ""), str(family or ""))
        found = _in_force_elsewhere(agent, agent.explain(*asked), asked)
    show(found, output, _explained)
    if not found.allowed:
        raise typer.Exit(1)


def _in_force_elsewhere(agent: Client, found: o.Explanation, asked: tuple[str, ...]) -> o.Explanation:
    """With what the agents of other hosts say of their own endpoints."""
    sides = list(found.sides)
    for n, side in enumerate(sides):
        if side.enforced is not None or not side.node:
            continue
        try:
            sides[n] = agent.at(side.node).explain(*asked).sides[n]
        except WeftError as error:
            sides[n] = msgspec.structs.replace(side, faults=(f"its agent cannot be asked: {error}",))
    return msgspec.structs.replace(found, sides=tuple(sides))


def _explained(page: Page, found: o.Explanation) -> Iterator[str]:
    verdict = "allowed" if found.allowed else "denied"
    yield f"{page.paint(verdict, 'good' if found.allowed else 'bad')}: {_why(found)}"
    yield ""
    yield f"{_end(found.source, found.source_address)} → {_end(found.target, found.target_address)}, {_traffic(found)}"
    if found.isolated:
        yield from page.paragraph(f"whatever policies say: {found.isolated}", style="bad")
    for side in found.sides:
        yield ""
        yield from _side(page, side)


def _why(found: o.Explanation) -> str:
    """What counts most, in one line."""
    if found.isolated:
        return found.isolated
    denied = [side for side in found.sides if not side.allowed]
    decided = [side for side in found.sides if side.steps and side.steps[-1].rule]
    side = next(iter(denied or decided or found.sides[1:]))
    return f"{side.reason} ({side.direction})" if side.steps else side.reason


def _end(name: str, address: object) -> str:
    return name if name == str(address) else f"{name} ({address})"


def _traffic(found: o.Explanation) -> str:
    if found.port is not None:
        return f"{found.protocol} port {found.port}"
    ported = found.protocol in ("tcp", "udp", "sctp")
    return f"{found.protocol}, a port that no rule names" if ported else found.protocol


def _side(page: Page, side: o.VerdictSide) -> Iterator[str]:
    verdict = "allowed" if side.allowed else "denied"
    where = f" on {side.node}" if side.node else ""
    yield f"{page.paint(f'{side.direction} of {side.end}{where}', 'head')}: {verdict}, {side.reason}"
    if side.steps:
        yield from page.table(
            ("TIER", "POLICY", "RULE", "ACTION"),
            [(step.tier, step.policy or "-", _rule(step), _action(step)) for step in side.steps],
        )
    yield from _force(page, side)


def _rule(step: o.VerdictStep) -> str:
    return f"{step.rule} {step.name}".strip() if step.rule else "-"


def _action(step: o.VerdictStep) -> str | Styled:
    if step.action == "none":
        return "no rule fits"
    said = step.action if step.policy else f"{step.action} (the tier's default)"
    return Styled(said, {"deny": "bad", "allow": "good"}.get(step.action, ""))


def _force(page: Page, side: o.VerdictSide) -> Iterator[str]:
    if side.enforced:
        yield f"in force on {side.node}: {side.rules}"
    elif side.enforced is None and side.node and not side.faults:
        yield f"whether it is in force is known on {side.node}: ask there"
    elif side.node:
        yield page.paint(f"not in force on {side.node}:" if side.enforced is False else f"{side.node}:", "bad")
        for fault in side.faults:
            yield from page.paragraph(fault, "    ", "bad")
