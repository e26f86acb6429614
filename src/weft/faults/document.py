"""The catalogue as a page of the documentation: docs/faults.md."""

from __future__ import annotations

from collections.abc import Iterator

from weft.faults.catalogue import GROUPS, KINDS
from weft.faults.kind import Kind

_WHO = {"walk": "`weft trace`", "doctor": "`weft doctor`", "live": "`weft trace --live`"}

_HEAD = f"""# Faults that Weft can name

This page is made from the table in `weft.faults.catalogue` ({len(KINDS)} kinds).
`UPDATE_GOLDEN=1 ./dev test unit` makes it anew.

`weft trace A B` follows one packet and names the fault that it ends with. `weft doctor` looks at a host without any packet.
`weft trace --live A B` sends a packet and watches it, which also finds what no table tells. All three name faults by the words
below: `fault` in their JSON. Where a command mends it, it is shown, and stands in `fix`: run it as it is, as root, on the
host that is named beside it. Names in braces below are filled in there. Where there is none, a person has to decide.
"""


def document() -> str:
    return "\n".join([_HEAD, *_contents(), *_groups()])


def _contents() -> Iterator[str]:
    for title, kinds in GROUPS.items():
        yield f"- **{title}**: " + ", ".join(f"[{kind.id}](#{kind.id})" for kind in kinds)
    yield ""


def _groups() -> Iterator[str]:
    for title, kinds in GROUPS.items():
        yield f"## {title}\n"
        for kind in kinds:
            yield from _kind(kind)


def _kind(kind: Kind) -> Iterator[str]:
    yield f"### {kind.id}\n"
    yield f"- **What users see**: {kind.symptom}."
    yield f"- **How it shows**: {kind.evidence}."
    if kind.drops:
        yield f"- **Where the kernel drops**: {', '.join(map(_drop, kind.drops))}."
    if kind.fix:
        yield f"- **What mends it**: `{kind.fix}`"
    yield f"- **Who names it**: {', '.join(_WHO[who] for who in kind.by)}\n"


def _drop(drop: tuple[str, str]) -> str:
    reason, function = drop
    return " in ".join(f"`{word}`" for word in (reason, function) if word)
