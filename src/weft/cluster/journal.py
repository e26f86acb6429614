"""What this node holds, written down on this host: a store that was restored, or a tenure that ended, forgets it.

One file for each record in <state>/holdings: this node's endpoints and leases, and the networks they are in. A file's name is
the record's key, quoted; its content is what the store has under that key. So a change costs one small file, and a removal
works also on a full disk. The file `boot` says which boot of the host the records are of, `node` by which name it held them:
as long as that boot lasts a host stays the node that it was, whatever it is called by then.

What the store has is not synced to the disk: what a crash of the host could lose is of no use after it, since containers do
not outlive their host. What the store has not been told of yet (`weft.cluster.owed`) is, before anybody hears that it is
done: only then is it sure that the disk has room. What was removed without the store is in the folder `removed`, in the same
way, until the store has been told.

A record here proves nothing by itself. It is only used where the container still runs (`weft.endpoints.evidence`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from weft.base.errors import WeftError
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.model import Endpoint, decode, encode, newer, records
from weft.model.record import Record, own_copy
from weft.store.protocol import Item

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


FOLDER = "holdings"
REMOVED = "removed"


def boot_id() -> str:
    return BOOT_ID.read_text().strip()


def former_name(state: Path) -> str:
    """The node's, of an agent that ran since the host started; "" where there was none."""
    folder = state / FOLDER
    try:
        return (folder / "node").read_text() if (folder / "boot").read_text() == boot_id() else ""
    except OSError:
        return ""


def namespaces(state: Path) -> set[str]:
    """The paths of those in which this node holds endpoints; of what cannot be read, none."""
    found = set[str]()
    for path in (state / FOLDER).glob("endpoints%2F*"):
        with contextlib.suppress(OSError, WeftError):
            found.add(decode(Endpoint, path.read_bytes()).namespace.path)
    return found - {""}


def forget(state: Path) -> None:
    """Nothing is held here any more."""
    shutil.rmtree(state / FOLDER, ignore_errors=True)


class Journal:
    def __init__(self, state: Path, view: View) -> None:
        self._folder, self._view = state / FOLDER, view
        self.kinds = (*(kind for kind in view.kinds if kind.held), records.NETWORKS)
        self._late: set[tuple[Record[Any, Any], Any]] = set()
        """Records whose file is not what it should be, because it could not be written."""
        self.trouble = ""
        """Why, in one line."""

    def load(self) -> list[Item]:
        """What was held when the agent ended, if that was in this boot of the host. What cannot be read is left out."""
        boot, found = self._folder / "boot", list[Item]()
        try:
            if not boot.exists() or boot.read_text() != boot_id():
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                boot.write_text(boot_id())
            for path in self._folder.glob("*%2F*"):
                if not path.name.endswith(".new"):
                    found += self._record(unquote(path.name), path.read_bytes())
            (self._folder / "node").write_text(self._view.me)
        except OSError as error:
            self._say(error)
        return found

    def removed(self) -> list[Item]:
        """What was removed without the store, which has not been told yet; after `load`."""
        found = list[Item]()
        try:
            for path in (self._folder / REMOVED).glob("*%2F*"):
                if not path.name.endswith(".new"):
                    found += self._record(unquote(path.name), path.read_bytes())
        except OSError as error:
            self._say(error)
        return found

    # What the store is owed.

    def keep(self, key: str, value: bytes) -> None:
        _store(self._folder / quote(key, safe=""), value)

    def renounce(self, key: str, value: bytes) -> None:
        (self._folder / REMOVED).mkdir(mode=0o700, exist_ok=True)
        _store(self._folder / REMOVED / quote(key, safe=""), value)

    def settled(self, key: str) -> None:
        (self._folder / REMOVED / quote(key, safe="")).unlink(missing_ok=True)

    def _record(self, key: str, value: bytes) -> list[Item]:
        """The record, with this node's present name."""
        for kind in self.kinds:
            if (at := kind.pattern.parse(key)) is not None:
                try:
                    read = kind.read(at, value)
                    at, found = own_copy(at, read, self._view.me)
                    return [Item(kind.pattern.key(*at), newer.carried(value, read, encode(found)), 0)]
                except WeftError as error:
                    log.warning("%s, which this node held, cannot be read: %s", key, error)
        return []

    def note(self, changed: Changed) -> None:
        """These records of the view may say something else now."""
        late = {found for found in changed.all() if self._concerns(*found)} | self._late
        self._late = set()
        for kind, at in late:
            try:
                self._write(kind, at)
            except OSError as error:
                self._late.add((kind, at))
                self._say(error)
        if not self._late:
            self.trouble = ""

    def _say(self, error: OSError) -> None:
        why = f"{error.strerror} ({self._folder}): if the store loses what runs here, it cannot be written back"
        if why != self.trouble:
            log.warning("what this node holds is not written down: %s", why)
        self.trouble = why

    def _concerns(self, kind: Record[Any, Any], at: Any) -> bool:
        return kind is records.NETWORKS or (kind.held and kind.mine(at, self._view.me))

    def _write(self, kind: Record[Any, Any], at: Any) -> None:
        key = kind.pattern.key(*at)
        path = self._folder / quote(key, safe="")
        value = self._view.table(kind).get(at)
        if value is None:
            path.unlink(missing_ok=True)
            return
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(self._view.carried(key, encode(value)))
        fresh.replace(path)


def _store(path: Path, value: bytes) -> None:
    """It is on the disk when this returns. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
