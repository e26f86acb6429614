"""`weft export`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from weft.base.errors import Failed, Invalid
from weft.cli.options import OfNetwork, example, pairs, single
from weft.cli.output import Format, complain, counted, documents, documents_of, say
from weft.cli.session import Waiting, client

app = single()


@app.command(
    epilog=example(
        "weft export >cluster.yaml",
        "weft export --network blue",
        "weft export service policy/web",
        "weft export -l app=shop --dir shop/",
    )
)
def export(
    ctx: typer.Context,
    ref: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND[/[NETWORK/]NAME]]...", help="Only these: network, service/blue/web; else all."),
    ] = None,
    network: OfNetwork = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Only what has this label.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Write a file for each, below this folder.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="yaml|json", help="How to write the documents.")
    ] = "yaml",
) -> None:
    """Write what is declared in the cluster as documents, which `weft apply` takes.

    Containers are attached, not declared, and so is what their labels make.
    """
    if output not in ("yaml", "json"):
        raise typer.BadParameter(f"'{output}' is neither yaml nor json", param_hint="'--output' / '-o'")
    with Waiting("asking for what is declared"):
        found = client(ctx).declared(
            ",".join(ref or ()), network, ",".join(f"{key}={value}" for key, value in pairs("--label", label).items())
        )
    for note in found.notes:
        complain(f"note: {note}")
    if folder is not None:
        say(f"wrote {counted(_written(found.documents, folder, output), 'file')} to {folder}")
    elif found.documents:
        documents(found.documents, Format(output))


def _written(found: Iterable[dict[str, Any]], folder: Path, form: str) -> int:
    """Raises Failed, Invalid. How many files."""
    if folder.exists() and not folder.is_dir():
        raise Invalid(f"{folder} is a file: --dir takes a folder, which is made where there is none")
    number = 0
    for document in found:
        file = folder / _file(document, form)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(documents_of([document], Format(form)), encoding="utf-8")
        except OSError as error:
            raise Failed(f"{file}: {error.strerror}") from None
        number += 1
    return number


def _file(document: dict[str, Any], form: str) -> str:
    """Names have no "/" but for a pool's prefix."""
    metadata = document["metadata"]
    names = [str(metadata[name]) for name in ("namespace", "network", "name") if metadata.get(name)]
    name = "-".join([document["kind"].lower(), *names]).replace("/", "_").replace(":", "_")
    if name.startswith("."):
        raise Invalid(f"{name} is no name for a file")
    return f"{name}.{form}"
