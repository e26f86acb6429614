"""`weft service report`."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.api import services as s
from weft.cli import complete
from weft.cli.options import example
from weft.cli.output import say
from weft.cli.session import Waiting, client

EXAMPLES = example(
    "weft service report web web-1 ready",
    "weft service report blue/web web-1 not-ready --reason 'the database is away'",
)
STATES = {"ready": True, "not-ready": False}


def report(
    ctx: typer.Context,
    service: Annotated[
        str,
        typer.Argument(metavar="SERVICE", help="Its name, or NETWORK/NAME.", autocompletion=complete.services),
    ],
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="The container's name, or its endpoint's id.")],
    state: Annotated[
        str, typer.Argument(metavar="ready|not-ready", help="Whether it takes new connections from now on.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is not ready; `weft service show` says it.")] = "",
) -> None:
    """Tell whether a member takes new connections, of a service with --health api.

    Any node's agent can be told. The connections that a member has are not concerned.
    """
    if state not in STATES:
        raise typer.BadParameter(f"'{state}' is neither ready nor not-ready", param_hint="'ready|not-ready'")
    request = s.ReportHealth(member=member, ready=STATES[state], reason=reason)
    with Waiting(f"telling of {member}"):
        client(ctx).report_health(service, request)
    say(f"{member} of service {service} is {state.replace('-', ' ')}")
