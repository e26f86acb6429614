"""`weft policy log`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from weft.api import observed as o
from weft.cli.options import example
from weft.cli.output import Format, Output, complain, counted, json_line, say
from weft.cli.session import client
from weft.cli.table import Page

_PATIENCE = 20
"""Seconds that one request waits for news."""
EXAMPLES = example("weft policy log", "weft policy log -f", "weft policy log -f -o json")


def log(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until interrupted.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show the packets that rules with the action Log fitted on this host: who to whom, which rule, and what became of it.

    The last 2,000 are kept. With -o json each is one line.
    """
    agent, page, last, lost = client(ctx), Page.of_stdout(), "", 0
    while True:
        found = agent.policy_log(last, str(_PATIENCE) if last else "")
        lost = _complain(found, lost)
        if not say(*(line for entry in found.entries for line in _shown(page, entry, output))) or not follow:
            return
        last = str(found.last)


def _complain(found: o.LogPage, lost: int) -> int:
    if found.missed:
        complain(f"{counted(found.missed, 'packet')} came meanwhile, more than are kept")
    if found.lost > lost:
        complain(f"{counted(found.lost - lost, 'packet')} came too fast to be told of")
    if found.problem:
        complain(found.problem)
    return found.lost


def _shown(page: Page, entry: o.LogEntry, output: Format) -> list[str]:
    if output is not Format.TABLE:
        return [json_line(entry)]  # which is YAML, too
    verdict, style = {True: ("allowed", "good"), False: ("denied", "bad"), None: ("-", "")}[entry.allowed]
    moment = time.strftime("%H:%M:%S", time.localtime(entry.time)) + f".{int(entry.time % 1 * 1000):03}"
    ways = f"{_end(entry.source, entry.source_port)} → {_end(entry.target, entry.port)}"
    return [
        f"{moment}  {page.paint(f'{verdict:7}', style)}  {ways}  {_kind(entry)}  rule {entry.rule} of {entry.policy} "
        f"({entry.direction})"
    ]


def _end(end: o.LogEnd, port: int | None) -> str:
    address = (
        str(end.address)
        if port is None
        else f"{end.address}:{port}"
        if end.address.version == 4
        else f"[{end.address}]:{port}"
    )
    name = f"{end.node}/{end.name}" if end.name else end.node
    return f"{name} ({address})" if name else address


def _kind(entry: o.LogEntry) -> str:
    return (
        entry.protocol if entry.icmp_type is None else f"{entry.protocol} type {entry.icmp_type} code {entry.icmp_code}"
    )
