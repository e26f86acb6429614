"""What this node holds, written down on this host: a store that was restored, or a tenure that ended, forgets it.

One file for each record in <state>/holdings: this node's endpoints and leases, and the networks they are in. A file's name is
the record's key, quoted; its content is what the store has under that key. So a change costs one small file, and a removal
works also on a full disk. Nothing is synced to the disk: what a crash of the host could lose is of no use after it, since
containers do not outlive their host. The file `boot` says which boot of the host the records are of, `node` by which name it
held them: as long as that boot lasts a host stays the node that it was, whatever it is called by then.

A record here proves nothing by itself. It is only used where the container still runs (`weft.endpoints.evidence`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from weft.base.errors import WeftError
from weft.cluster.view import Key, View
from weft.model import Endpoint, Lease, Network, decode, encode, keys
from weft.store.protocol import Item

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


FOLDER = "holdings"


def boot_id() -> str:
    return BOOT_ID.read_text().strip()


def former_name(state: Path) -> str:
    """The node's, of an agent that ran since the host started; "" where there was none."""
    folder = state / FOLDER
    try:
        return (folder / "node").read_text() if (folder / "boot").read_text() == boot_id() else ""
    except OSError:
        return ""


def forget(state: Path) -> None:
    """Nothing is held here any more."""
    shutil.rmtree(state / FOLDER, ignore_errors=True)


class Journal:
    def __init__(self, state: Path, view: View) -> None:
        self._folder, self._view = state / FOLDER, view
        self._late: set[Key] = set()
        """Keys whose file is not what it should be, because it could not be written."""
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
                    found += self._record(unquote(path.name).split("/"), path.read_bytes())
            (self._folder / "node").write_text(self._view.me)
        except OSError as error:
            self._say(error)
        return found

    def _record(self, parts: list[str], value: bytes) -> Iterator[Item]:
        """The record, with this node's present name."""
        me = self._view.me
        try:
            match parts:
                case ["endpoints", _, network, id]:
                    endpoint = msgspec.structs.replace(decode(Endpoint, value), node=me)
                    yield Item(keys.endpoint(me, network, id), encode(endpoint), 0)
                case ["leases", network, _]:
                    lease = msgspec.structs.replace(decode(Lease, value), node=me)
                    yield Item(keys.lease(network, me), encode(lease), 0)
                case ["networks", network]:
                    yield Item(keys.network(network), value, 0)
        except WeftError as error:
            log.warning("%s, which this node held, cannot be read: %s", "/".join(parts), error)

    def note(self, changed: Iterable[Key]) -> None:
        """These keys of the view may say something else now."""
        late = {key for key in changed if self._concerns(key)} | self._late
        self._late = set()
        for key in late:
            try:
                self._write(key)
            except OSError as error:
                self._late.add(key)
                self._say(error)
        if not self._late:
            self.trouble = ""

    def _say(self, error: OSError) -> None:
        why = f"{error.strerror} ({self._folder}): if the store loses what runs here, it cannot be written back"
        if why != self.trouble:
            log.warning("what this node holds is not written down: %s", why)
        self.trouble = why

    def _concerns(self, key: Key) -> bool:
        me = self._view.me
        match key:
            case ("endpoints", node, _, _):
                return node == me
            case ("leases", _, node):
                return node == me
            case ("networks", _):
                return True
        return False

    def _write(self, key: Key) -> None:
        path, value = self._folder / quote("/".join(key), safe=""), self._value(key)
        if value is None:
            path.unlink(missing_ok=True)
            return
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(value)
        fresh.replace(path)

    def _value(self, key: Key) -> bytes | None:
        view = self._view
        match key:
            case ("endpoints", _, _, id):
                found: Endpoint | Lease | Network | None = view.endpoints.get(id)
            case ("leases", network, _):
                found = view.lease(network, view.me)
            case _:
                found = view.networks.get(key[1])
        return None if found is None else encode(found)
