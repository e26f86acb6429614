"""`weft policy counters`, and what `weft policy show` says of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from weft.api import observed as o
from weft.cli import complete
from weft.cli.options import example
from weft.cli.output import Format, Output, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page, Styled

EXAMPLES = example("weft policy counters", "weft policy counters shop/web -o json")
_RULES = {"midway": "of no connection", "deny": "else", "pass": "else"}
"""What is no rule of a policy."""


def counters(
    ctx: typer.Context,
    ref: Annotated[
        str,
        typer.Argument(metavar="[NAME]", help="As `weft policy show` takes it.", autocompletion=complete.policies),
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what the rules of a policy, or of all, have counted on this host since they were made.

    Only the packets that begin connections come to rules.
    """
    with Waiting("asking for the counters"):
        found = client(ctx).policy_counters(ref)
    show(found, output, counted)


def counted(page: Page, found: o.PolicyCounters) -> Iterator[str]:
    if not found.rules:
        yield f"on {found.node} it concerns no container"
        return
    named = len({rule.policy for rule in found.rules} - {""}) > 1
    heads = ("POLICY", "TIER", "DIRECTION", "RULE", "ACTION", "PACKETS", "BYTES")
    rows = [
        (
            rule.policy or "-",
            rule.tier,
            rule.direction,
            str(rule.rule) if rule.policy else _RULES.get(rule.action, "-"),
            Styled("deny" if rule.action == "midway" else rule.action, "" if rule.packets else "dim"),
            str(rule.packets),
            str(rule.octets),
        )
        for rule in found.rules
    ]
    first = 0 if named else 2
    yield from page.table(heads[first:], [row[first:] for row in rows])
