"""The embedded store's file: made, opened, told from a stranger's, and its troubles in words.

Beside `weft.db` lie SQLite's `weft.db-wal` and `weft.db-shm`, and `weft.db-bell` (see `bell`), which is also the lock
under which a database is made. The database itself is opened by nothing but SQLite: closing any descriptor of it would
drop SQLite's locks (https://sqlite.org/howtocorrupt.html §2.2).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from weft.base.errors import Denied, Failed, Invalid, Unavailable, WeftError

SCHEMA_VERSION = 1
"""PRAGMA user_version. Raise it with every change that an older Weft would trip over."""

APPLICATION_ID = 0x57656674
"""PRAGMA application_id: 'Weft'."""

BUSY_TIMEOUT = 3.0
"""Seconds to wait for another process's transaction."""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE items (
  key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, lease INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX items_revision ON items (revision, key);
CREATE INDEX items_lease ON items (lease) WHERE lease != 0;
CREATE TABLE log (
  revision INTEGER NOT NULL, n INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, PRIMARY KEY (revision, n)
) WITHOUT ROWID;
CREATE TABLE leases (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, ttl REAL NOT NULL, expiry REAL NOT NULL);
CREATE TABLE meta (revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
INSERT INTO meta VALUES (0, 0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

_RESTORE = "restore it from a copy, or move it away together with its -wal and -shm files to begin with an empty store"

_TROUBLES: dict[int, tuple[type[WeftError], str]] = {
    sqlite3.SQLITE_NOTADB: (Failed, _RESTORE),
    sqlite3.SQLITE_CORRUPT: (Failed, _RESTORE),
    sqlite3.SQLITE_PERM: (Denied, "run as a user who may write it, usually root"),
    sqlite3.SQLITE_READONLY: (Denied, "make the file and its directory writable for this user, usually root"),
    sqlite3.SQLITE_BUSY: (Unavailable, f"another process held it for over {BUSY_TIMEOUT:g} s; look who with fuser(1)"),
    sqlite3.SQLITE_PROTOCOL: (Unavailable, "other processes kept it locked; look who with fuser(1)"),
    sqlite3.SQLITE_FULL: (Unavailable, "make room on its file system"),
    sqlite3.SQLITE_IOERR: (Unavailable, "look at the kernel's messages about its disk"),
    sqlite3.SQLITE_CANTOPEN: (Unavailable, "see that its directory exists, can be written, and is on a local disk"),
    sqlite3.SQLITE_NOLFS: (Unavailable, "make room on its file system"),
}
"""By primary result code (https://sqlite.org/rescode.html): class, way out. Any other is a fault in Weft."""


Inode = tuple[int, int]
"""Device and inode number."""


class Place(msgspec.Struct, frozen=True):
    """An open database file. `bell`: descriptor of its bell; `inode`: what it had when it was opened."""

    path: Path
    sql: sqlite3.Connection
    bell: int
    inode: Inode

    def check(self) -> None:
        """Raises Unavailable if the file is no longer the one that was opened: what is written to it now would
        be lost."""
        if _inode(self.path) != self.inode:
            raise _gone(self.path)

    def errors(self) -> contextlib.AbstractContextManager[None]:
        return _explained(self.path)

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.sql.close()
        os.close(self.bell)


def bell_path(path: Path) -> Path:
    return path.with_name(path.name + "-bell")


def open_database(path: Path, known: Inode | None = None) -> Place:
    """Open the file, and make it (0600), its directory (0700) and its tables if they are missing. Where it is `known`
    from an earlier opening, nothing is made, and another file in its place is refused: the journal that lies beside it
    would be taken for the other file's.

    Raises Invalid (a newer Weft's or a stranger's file), Denied, Failed (corrupt), Unavailable.
    """
    with _explained(path), contextlib.ExitStack() as undo:
        if known is None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif _inode(path) != known:
            raise _gone(path)
        bell = os.open(bell_path(path), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        undo.callback(os.close, bell)
        fcntl.flock(bell, fcntl.LOCK_EX)  # of two who make the same database, one waits for the other
        if known is None and not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(None, "no permission to read and write it", str(path))
        sql = undo.enter_context(contextlib.closing(_connect(path)))
        _prepare(path, sql)
        if (inode := _inode(path)) is None:
            raise _gone(path)
        fcntl.flock(bell, fcntl.LOCK_UN)
        undo.pop_all()
        return Place(path, sql, bell, inode)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)


def _prepare(path: Path, sql: sqlite3.Connection) -> None:
    (version,) = sql.execute("PRAGMA user_version").fetchone()
    (application,) = sql.execute("PRAGMA application_id").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION_ID:
        raise Invalid(f"'{path}' is another program's SQLite database: name another file in the store's URL")
    if version > SCHEMA_VERSION:
        raise Invalid(
            f"'{path}' was written by a newer Weft (its format is {version}, this one knows {SCHEMA_VERSION}): "
            "upgrade Weft on this host"
        )
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("PRAGMA synchronous = NORMAL")
    if not tables:
        sql.executescript(_SCHEMA)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the system as what they mean for the store at `path`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the extended codes' low byte is the primary one
        if code not in _TROUBLES:
            raise
        meaning, way_out = _TROUBLES[code]
        raise meaning(f"store '{path}': {error}: {way_out}") from error
    except PermissionError as error:
        raise Denied(f"store '{path}': {error.strerror}: run as a user who may write it, usually root") from error
    except OSError as error:
        raise Unavailable(f"store '{path}': {error.strerror}: check the path in the store's URL") from error


def _inode(path: Path) -> Inode | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _gone(path: Path) -> Unavailable:
    return Unavailable(
        f"store '{path}' was moved, removed or replaced while in use: put it back; "
        "or stop Weft on this host, remove the old one's -wal and -shm files, and start it again"
    )
