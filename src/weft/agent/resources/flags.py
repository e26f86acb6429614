"""Query parameters that say yes or no."""

from __future__ import annotations


def yes(text: str) -> bool:
    return text in ("1", "true", "yes")
