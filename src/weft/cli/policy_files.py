"""Documents of policy for `weft policy apply` and `rm`."""

from __future__ import annotations

from collections.abc import Sequence

from weft.api import types as t
from weft.base.errors import Invalid
from weft.cli import document_files as files
from weft.policy.objects import rank
from weft.policy.read import Reading, read

parts = files.parts


def found(places: Sequence[str], *, last_first: bool = False) -> tuple[t.PolicySource, ...]:
    """All documents of these places, in the order in which they can be applied, or removed. Whatever is wrong with any of them
    is told, a line each, and ends the command."""
    faults: list[str] = []
    reading: Reading = read(document for _, document in files.found(places, faults))
    files.end_with([*faults, *reading.faults])
    if not reading.objects:
        raise Invalid(f"{', '.join(places)}: there are no documents in it")
    pairs = sorted(zip(reading.objects, reading.documents, strict=True), key=lambda p: rank(p[0]), reverse=last_first)
    return tuple(t.PolicySource(place=document.place, document=document.value) for _, document in pairs)
