"""What the doctor's two reports have in common."""

from __future__ import annotations

from weft.api import types as t


def remedy(finding: t.Finding) -> str:
    """The advice, with the command that mends it, where it does not have that itself."""
    if not finding.fix or finding.fix in finding.advice:
        return finding.advice
    return f"{finding.advice}; `{finding.fix}`"
