"""`-o yaml` of what can be declared: its document, to be changed and applied again."""

from __future__ import annotations

import typer

from weft.cli.output import Format, complain, documents
from weft.cli.session import Waiting, client


def show_document(ctx: typer.Context, ref: str) -> None:
    """`ref`: KIND/NAME or KIND/NETWORK/NAME. Raises NotFound."""
    with Waiting("asking for the document"):
        found = client(ctx).declared(ref)
    for note in found.notes:
        complain(f"note: {note}")
    documents(found.documents, Format.YAML)
