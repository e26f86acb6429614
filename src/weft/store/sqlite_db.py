"""The embedded store's database: what `sqlite.SqliteStore` does, blocking, on one thread.

    items    what is kept
    log      what changed, the last `history` revisions of it, for those who watch
    leases   when each ends, in seconds of CLOCK_BOOTTIME, and the boot this is of: a lease of another boot is over
    meta     one row: the last revision, and the last revision the log no longer has

Durability: the journal is a write-ahead log with synchronous=NORMAL, so a commit costs no fsync. A process that dies
loses nothing, since the kernel has what it wrote. A machine that loses power may lose the last commits but not the
database's consistency (https://sqlite.org/pragma.html#pragma_synchronous), and everybody who had seen those commits
went down with it: they are all on this machine, and read anew.

Every method may raise Unavailable, Denied or Failed (`sqlite_file`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, singledispatchmethod
from pathlib import Path

from weft.base.errors import NotFound
from weft.store import sqlite_file
from weft.store.bell import ring
from weft.store.protocol import (
    Absent,
    Batch,
    Change,
    Compacted,
    Delete,
    DeletePrefix,
    Guard,
    Item,
    Listing,
    NothingNewer,
    Op,
    Put,
    Unchanged,
)

TRIM_STEP = 64
"""The log is cut by so many revisions at a time."""

_HOLDS: dict[type[Guard], str] = {
    Absent: "SELECT NOT EXISTS (SELECT 1 FROM items WHERE key = :key)",
    Unchanged: "SELECT EXISTS (SELECT 1 FROM items WHERE key = :key AND revision = :revision)",
    # By revision: what is newer than a recent listing is little, what lies under a prefix may be much.
    NothingNewer: (
        "SELECT NOT EXISTS (SELECT 1 FROM items INDEXED BY items_revision"
        " WHERE revision > :revision AND key >= :prefix AND key < :end)"
    ),
}


class Database:
    """One connection. Raises Invalid, too, when it is opened: see `sqlite_file.open_database`."""

    def __init__(self, path: Path, history: int, known: sqlite_file.Inode | None = None) -> None:
        self._path = path
        self._history = history
        self._place = sqlite_file.open_database(path, known)
        self._sql = self._place.sql
        self.inode = self._place.inode

    def close(self) -> None:
        self._place.close()

    def get(self, key: str) -> Item | None:
        with self._transaction("DEFERRED"):
            row = self._sql.execute("SELECT key, value, revision FROM items WHERE key = ?", (key,)).fetchone()
        return Item(*row) if row else None

    def list(self, prefix: str) -> Listing:
        with self._transaction("DEFERRED"):
            revision, _ = self._revisions()
            rows = self._sql.execute(
                "SELECT key, value, revision FROM items WHERE key >= ? AND key < ? ORDER BY key", _range(prefix)
            ).fetchall()
        return Listing(revision, tuple(Item(*row) for row in rows))

    def wrote(self, key: str, revision: int) -> bool | None:
        with self._transaction("DEFERRED"):
            _, compacted = self._revisions()
            now = self._sql.execute("SELECT revision FROM items WHERE key = ?", (key,)).fetchone()
            logged = self._sql.execute(
                "SELECT 1 FROM log WHERE revision = ? AND key = ? AND value IS NOT NULL", (revision, key)
            ).fetchone()
        if logged or now == (revision,):
            return True
        return None if revision <= compacted else False

    def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        with self._transaction("IMMEDIATE"):
            if not all(self._holds(guard) for guard in guards):
                return None
            revision, compacted = self._revisions()
            changes = [change for op in ops for change in self._apply(op, revision + 1)]
            return self._record(changes, revision, compacted)

    def changes(self, prefix: str, since: int) -> Batch:
        """What changed under `prefix` after `since`, possibly nothing, and the revision up to which that is all.
        Raises Compacted also when `since` is yet to come: the database was put back from a copy."""
        with self._transaction("DEFERRED"):
            revision, compacted = self._revisions()
            if not compacted <= since <= revision:
                raise Compacted(f"'{self._path}' has the changes from {compacted} to {revision}, not from {since} on")
            rows = self._sql.execute(
                "SELECT key, value, revision FROM log WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, n",
                (since, *_range(prefix)),
            ).fetchall()
        return Batch(revision, tuple(Change(*row) for row in rows))

    def grant(self, lease: int, ttl: float) -> None:
        with self._transaction("IMMEDIATE"):
            self._end(self._due())  # a lease that is over is not extended, whoever comes first
            self._sql.execute(
                "INSERT INTO leases (id, boot, ttl, expiry) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, ttl = excluded.ttl, expiry = excluded.expiry",
                (lease, boot_id(), ttl, _now() + ttl),
            )

    def revoke(self, lease: int) -> None:
        with self._transaction("IMMEDIATE"):
            self._end([lease])

    def expire(self) -> float | None:
        """End the leases that are due. Seconds until the next one will be; None if there is none."""
        if (wait := self._next_expiry()) is not None and wait <= 0:
            with self._transaction("IMMEDIATE"):
                self._end(self._due())
            wait = self._next_expiry()
        return wait

    @contextlib.contextmanager
    def _transaction(self, mode: str) -> Iterator[None]:
        """IMMEDIATE takes the write lock at once: what was read inside still holds when it is written. The others
        are told afterwards."""
        with self._place.errors():
            self._place.check()
            self._sql.execute(f"BEGIN {mode}")
            try:
                yield
                self._sql.execute("COMMIT")
            finally:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
        if mode == "IMMEDIATE":
            ring(self._place.bell)

    def _revisions(self) -> tuple[int, int]:
        revision, compacted = self._sql.execute("SELECT revision, compacted FROM meta").fetchone()
        return revision, compacted

    def _holds(self, guard: Guard) -> bool:
        values: dict[str, str | int]
        match guard:
            case Absent(key=key):
                values = {"key": key}
            case Unchanged(key=key, revision=revision):
                values = {"key": key, "revision": revision}
            case NothingNewer(prefix=prefix, revision=revision):
                values = {"prefix": prefix, "end": _range(prefix)[1], "revision": revision}
        (holds,) = self._sql.execute(_HOLDS[type(guard)], values).fetchone()
        return bool(holds)

    @singledispatchmethod
    def _apply(self, op: Op, revision: int) -> Sequence[Change]:
        raise TypeError(op)

    @_apply.register
    def _(self, op: Put, revision: int) -> Sequence[Change]:
        if op.lease and not self._sql.execute("SELECT 1 FROM leases WHERE id = ?", (op.lease,)).fetchone():
            raise NotFound(f"there is no lease {op.lease} for '{op.key}': it has ended, grant it again")
        self._sql.execute(
            "INSERT INTO items (key, value, revision, lease) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE"
            " SET value = excluded.value, revision = excluded.revision, lease = excluded.lease",
            (op.key, op.value, revision, op.lease),
        )
        return [Change(op.key, op.value, revision)]

    @_apply.register
    def _(self, op: Delete, revision: int) -> Sequence[Change]:
        return self._delete("key = ?", (op.key,), revision)

    @_apply.register
    def _(self, op: DeletePrefix, revision: int) -> Sequence[Change]:
        return self._delete("key >= ? AND key < ?", _range(op.prefix), revision)

    def _delete(self, where: str, values: tuple[str | int, ...], revision: int) -> Sequence[Change]:
        keys = self._sql.execute(f"DELETE FROM items WHERE {where} RETURNING key", values).fetchall()
        return [Change(key, None, revision) for (key,) in sorted(keys)]

    def _record(self, changes: Sequence[Change], revision: int, compacted: int) -> int:
        """The revision after `changes`; the same as before if there are none."""
        if not changes:
            return revision
        revision += 1
        rows = [(revision, n, change.key, change.value) for n, change in enumerate(changes)]
        self._sql.executemany("INSERT INTO log (revision, n, key, value) VALUES (?, ?, ?, ?)", rows)
        self._sql.execute("UPDATE meta SET revision = ?", (revision,))
        if revision - compacted >= self._history + TRIM_STEP:
            self._sql.execute("DELETE FROM log WHERE revision <= ?", (revision - self._history,))
            self._sql.execute("UPDATE meta SET compacted = ?", (revision - self._history,))
        return revision

    def _end(self, leases: Iterable[int]) -> None:
        revision, compacted = self._revisions()
        changes: Sequence[Change] = ()
        for lease in leases:
            self._sql.execute("DELETE FROM leases WHERE id = ?", (lease,))
            changes = (*changes, *self._delete("lease = ? AND lease != 0", (lease,), revision + 1))
        self._record(changes, revision, compacted)

    def _due(self) -> Sequence[int]:
        rows = self._sql.execute("SELECT id FROM leases WHERE boot != ? OR expiry <= ?", (boot_id(), _now()))
        return [lease for (lease,) in rows.fetchall()]

    def _next_expiry(self) -> float | None:
        with self._transaction("DEFERRED"):
            (expiry,) = self._sql.execute(
                "SELECT min(CASE WHEN boot = ? THEN expiry ELSE 0 END) FROM leases", (boot_id(),)
            ).fetchone()
        return None if expiry is None else expiry - _now()


@cache
def boot_id() -> str:
    """Another one after every boot (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _now() -> float:
    """Seconds since boot, the time asleep included, the same in every process (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _range(prefix: str) -> tuple[str, str]:
    """The keys under a prefix lie in [first, second): the last code point is in no key (`checks.check_key`)."""
    return prefix, prefix + "\U0010ffff"
