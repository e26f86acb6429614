"""Health checks, as users write them: `tcp`, `tcp:8080`, `http/healthz`, `http:8080/healthz`, `api`."""

from __future__ import annotations

import re
from typing import Any, Literal

from weft.base.errors import Invalid
from weft.services.model import Health

SYNTAX = "tcp[:PORT], http[:PORT]/PATH or api"
_KINDS: tuple[Literal["tcp", "http", "api"], ...] = ("tcp", "http", "api")
_SYNTAX = re.compile(r"(tcp|http|api)(?::([0-9]{1,5}))?(/.*)?")


def parse(text: str, **details: Any) -> Health:
    """`details`: further fields of `Health`. Raises Invalid."""
    found = _SYNTAX.fullmatch(text)
    asked, port, path = found.groups() if found else ("", None, None)
    kind = next((kind for kind in _KINDS if kind == asked), None)
    if kind is None or (path and kind != "http") or (kind == "api" and port):
        raise Invalid(f"'{text[:80]}' is not a health check: write it like {SYNTAX}")
    return Health(kind=kind, port=int(port or 0), path=path or "/", **details)


def shown(health: Health) -> str:
    """As `parse` reads it."""
    port = f":{health.port}" if health.port else ""
    return f"{health.kind}{port}{health.path if health.kind == 'http' else ''}"
