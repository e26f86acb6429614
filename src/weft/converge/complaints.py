"""What the log says of what fails: one line when it lasts, and one when it is over. All of it is in the status."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from weft.base import events
from weft.reconcile.trouble import Trouble

log = logging.getLogger(__name__)

ATTEMPTS = 3
SECONDS = 1.0
"""So many attempts, or so long from the first to the last one: what is shorter is mostly over before one has read of it."""
NAMED = 3
"""Names in one line: what fails together mostly has one cause."""


class Complaints:
    def __init__(self) -> None:
        self._told: set[str] = set()

    def look(self, troubles: Mapping[str, Trouble]) -> None:
        """Given all that fails now, by name."""
        lasting = {name: t.reason for name, t in troubles.items() if _lasts(t)}
        new = [name for name in lasting if name not in self._told]
        over = sorted(self._told - troubles.keys())
        if new:
            log.warning("failing, and tried again: %s: %s", _some(new), lasting[new[0]], extra=events.OBJECTS_FAILING)
        if over:
            log.info("not failing any more: %s", _some(over), extra=events.OBJECTS_MENDED)
        self._told.update(new)
        self._told.difference_update(over)


def _lasts(trouble: Trouble) -> bool:
    return trouble.attempts >= ATTEMPTS or trouble.last - trouble.since >= SECONDS


def _some(names: Iterable[str]) -> str:
    first = list(names)
    more = f" and {len(first) - NAMED} more" if len(first) > NAMED else ""
    return ", ".join(first[:NAMED]) + more
