"""JSON objects as a program in Go reads them.

Go's encoding/json (https://pkg.go.dev/encoding/json#Unmarshal) finds a struct's field by a key in any case, and of several
keys for one field the last one counts; null changes nothing. Programs in Go therefore write keys in whatever case their
authors liked, and no other program in Go ever minded. Whoever reads what they write has to read it the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def matched(names: Iterable[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """`found` with its keys spelt as in `names`; keys that are none of these in any case stay as they are."""
    exact = set(names)
    spelt = {name.casefold(): name for name in exact}
    kept: dict[str, Any] = {}
    for key, value in found.items():
        name = key if key in exact else spelt.get(key.casefold(), key)
        if value is not None or name not in kept:
            kept[name] = value
    return kept
