"""`-o yaml` of what can be declared: its document, to be changed and applied again."""

from __future__ import annotations

import typer

from weft.cli.output import Format, complain, documents
from weft.cli.session import Waiting, client


def show_documents(ctx: typer.Context, *refs: str) -> None:
    """`refs`: KIND/NAME or KIND/NETWORK/NAME. Raises NotFound."""
    with Waiting("asking for documents"):
        found = [client(ctx).declared(ref) for ref in refs]
    for note in dict.fromkeys(note for one in found for note in one.notes):
        complain(f"note: {note}")
    documents([document for one in found for document in one.documents], Format.YAML)
