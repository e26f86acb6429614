"""What there is to tell of a reconciler, as the API's replies."""

from __future__ import annotations

import time
from collections.abc import Iterable

from weft.api import types as t
from weft.reconcile.kinds.table import describe
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.trouble import Trouble


def counts_of(reconciler: Reconciler) -> dict[str, t.Count]:
    """By kind; of those there are any of."""
    return {
        kind: t.Count(desired=c.desired, actual=c.actual, failed=c.failed)
        for kind, c in reconciler.counts().items()
        if c.desired or c.actual or c.failed
    }


def failing(reconciler: Reconciler) -> list[tuple[str, Trouble]]:
    """What cannot be read or written, by name."""
    unread = [(f"reading {what} of {ns or 'this host'}", x) for (what, ns), x in sorted(reconciler.unread.items())]
    return unread + [(describe(key), x) for key, x in sorted(reconciler.failures.items())]


def replies(failing: Iterable[tuple[str, Trouble]]) -> tuple[t.Trouble, ...]:
    """In the time that users' clocks show."""
    offset = time.time() - time.monotonic()
    return tuple(
        t.Trouble(
            object=name,
            reason=trouble.reason,
            since=trouble.since + offset,
            attempts=trouble.attempts,
            next_try=trouble.next_try + offset,
        )
        for name, trouble in failing
    )
