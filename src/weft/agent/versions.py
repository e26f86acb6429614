"""Versions of Weft beside each other: what a newer one wrote and this one does not know is told, not passed over in silence
(docs/adr/0069-versions.md)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from weft import __version__
from weft.base import events
from weft.cluster.view import View

log = logging.getLogger(__name__)

FILE = "version"
"""In the state directory: which version of Weft ran on this host last."""


def is_newer(version: str, than: str = __version__) -> bool:
    return _numbers(version) > _numbers(than)


def note_start(state: Path) -> None:
    """Says so in the log where a newer version ran here before."""
    path, former = state / FILE, ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        former = path.read_text().strip()
    if is_newer(former):
        log.warning(
            "this host ran Weft %s before, and now runs %s: what the newer one wrote and this one does not know stays in the "
            "store and has no effect here; `weft status` names it",
            former,
            __version__,
            extra=events.VERSION_BACK,
        )
    with contextlib.suppress(OSError):  # a full disk: then nobody is told
        path.write_text(f"{__version__}\n")


def notes(view: View) -> Iterator[str]:
    """Fields of users' records that have no effect on this host, a line each."""
    for (kind, field), records in sorted(view.not_understood().items()):
        some = "a record has" if records == 1 else f"{records} records have"
        yield (
            f"{kind}: {some} the field {field}, which Weft {__version__} does not know: it stays, and has no effect on this "
            f"host{_of(view)}"
        )


def hint(view: View) -> str:
    """Beside a record that cannot be read."""
    return f" (did a newer Weft write it?{_of(view)})" if _newest(view) else ""


def _of(view: View) -> str:
    node, version = _newest(view) or ("", "")
    return f"; {node} runs {version}" if node else ""


def _newest(view: View) -> tuple[str, str] | None:
    found = [(n.name, n.version) for n in view.nodes.values() if is_newer(n.version)]
    return max(found, key=lambda pair: _numbers(pair[1]), default=None)


def _numbers(version: str) -> tuple[int, ...]:
    """Of "0.2.0+3": 0, 2, 0. What is no version is older than all."""
    parts = version.partition("+")[0].split(".")
    return tuple(int(part) for part in parts) if all(map(str.isdecimal, parts)) else ()
