"""`weft apply`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from weft.api import declared as d
from weft.api import types as t
from weft.base.errors import Invalid
from weft.cli import differences
from weft.cli import document_files as files
from weft.cli.options import NoWait, example, pairs, single
from weft.cli.output import Format, Output, complain, say, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page
from weft.documents.document import Document, called, flat
from weft.documents.field import Log

app = single()
PATIENCE = 600.0
"""Seconds for all changes: each new network is set up on this host before the next one."""
LEFT = ("waits", "failed", "not-tried")
"""What is told of a change that was not made."""


@app.command(
    epilog=example(
        "weft apply -f cluster/",
        "weft apply -f cluster/ --dry-run",
        "weft apply -f cluster/ --prune app=shop",
        "weft export | weft apply -f -",
    )
)
def apply(
    ctx: typer.Context,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="FILE|DIR|-", help="YAML or JSON; may be given several times."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    no_wait: NoWait = False,
    prune: Annotated[
        list[str] | None,
        typer.Option(
            "--prune",
            metavar="KEY=VALUE",
            help="Also remove what has this label and is in no document; several: what has all of them.",
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Show the documents' JSON Schema, for editors, and do nothing.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make the cluster what documents say: networks, pools, services, policies, BGP, floating addresses.

    All documents are checked first, and nothing is changed where one has a fault. What is in no document stays.
    """
    if schema:
        _show_schema()
        return
    if not file:
        raise typer.BadParameter("missing: say where the documents are", param_hint="'--file' / '-f'")
    request = d.Apply(documents=_sources(file), dry_run=dry_run, prune=pairs("--prune", prune), wait=not no_wait)
    agent = client(ctx)
    agent.timeout = PATIENCE
    with Waiting("applying"):
        done = agent.apply(request)
    for note in done.notes:
        complain(f"note: {note}")
    for fault in done.faults:
        complain(fault)
    if done.faults:
        raise typer.Exit(Invalid.exit_status)
    show(done, output, _differences if dry_run else _changes)
    left = [] if dry_run else [change for change in done.changes if change.change in LEFT]
    if left:
        complain(f"{len(left)} of {len(done.changes)} are not applied: {left[0].reason}")
        raise typer.Exit(1)


def _changes(page: Page, done: d.Applied) -> Iterator[str]:
    return differences.done(page, done.changes)


def _differences(page: Page, done: d.Applied) -> Iterator[str]:
    return differences.would_be(page, done.changes)


def _show_schema() -> None:
    import json

    from weft.declared.schema import schema

    say(json.dumps(schema(), indent=2))


def _sources(places: list[str]) -> tuple[t.PolicySource, ...]:
    """Raises Exit, with a line for each fault, and Invalid where there is nothing."""
    faults, log = list[str](), Log()
    found = []
    for folder, document in _flat(files.found(places, faults), log):
        if not isinstance(document.value, dict):
            faults.append(f"{document.place}: a document is a mapping, with apiVersion, kind, metadata, spec")
            continue
        try:
            found.append(t.PolicySource(place=document.place, document=_with_password(document.value, folder)))
        except Invalid as error:
            faults.append(f"{document.place}: {called(document.value)}: {error}")
    files.end_with([*faults, *log.faults])
    if not found:
        raise Invalid(f"{', '.join(places)}: there are no documents in it")
    return tuple(found)


def _flat(read: Iterable[tuple[Path, Document]], log: Log) -> Iterator[tuple[Path, Document]]:
    return ((folder, document) for folder, whole in read for document in flat([whole], log))


def _with_password(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What `spec.passwordFile` names, which is read here and now: the agent opens no files for anybody. Raises Invalid."""
    spec = document.get("spec")
    if document.get("kind") != "BgpPeer" or not isinstance(spec, dict) or not isinstance(spec.get("passwordFile"), str):
        return document
    from weft.cli.bgp import password

    rest = {name: value for name, value in spec.items() if name != "passwordFile"}
    if rest.get("password"):
        raise Invalid("spec.passwordFile: there is a password beside it: leave one of them out")
    found = password(folder / spec["passwordFile"])
    if not found:
        raise Invalid(f"spec.passwordFile: the first line of {folder / spec['passwordFile']} is empty")
    return {**document, "spec": {**rest, "password": found}}
