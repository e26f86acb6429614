"""What a host keeps on its disk of the cluster and of its voter; it has to hold over a power cut, so it is synced.

    cluster.json   the cluster that this host belongs to, and where its voters were last
    seat.json      with what this host's voter began; `member`: etcd's number of it, as soon as it has one
    founded        this host has founded a cluster: it never does so again, since its old vote may have counted
    home/          etcd's own, with its data and its keys

A seat whose voter had begun and whose data are gone is lost: nobody may come back as the member that it was, without what it
had agreed to. Data that count no more are put aside, not removed: `voter.old-TIME`, the last ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from weft.base.errors import Failed
from weft.daemons.voter import DATA, Beginning
from weft.mesh.voters import Cluster

FOLDER = "voter"
OLD = 2
"""How many that were put aside are kept."""

T = TypeVar("T")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoints`: HOST:PORT of its voters, as last heard."""

    cluster: Cluster | None = None
    endpoints: tuple[str, ...] = ()


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """`alone`: it is to go on with its own data, without the others, as that cluster (`weft mesh recover`)."""

    beginning: Beginning
    member: str = ""
    alone: Cluster | None = None


class Disk:
    """Blocking, each call for a moment. Each may raise Failed: the disk is full, or cannot be read."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER
        self.home = self.folder / "home"
        self._data = self.home / DATA
        self._cluster, self._seat, self._founded = (
            self.folder / name for name in ("cluster.json", "seat.json", "founded")
        )

    def known(self) -> Known:
        return _read(self._cluster, Known) or Known()

    def know(self, known: Known) -> None:
        self._write(self._cluster, msgspec.json.encode(known))

    def seat(self) -> Seat | None:
        """None where this host has no voter, also where the one that it had is lost."""
        seat = _read(self._seat, Seat)
        if seat is None and self.has_data():  # it goes by its data, so any beginning will do
            seat = Seat(beginning=Beginning(name="voter", members="", existing=True))
        return None if seat is not None and seat.member and not self.has_data() else seat

    def sit(self, seat: Seat) -> None:
        self._write(self._seat, msgspec.json.encode(seat))

    def lost(self) -> bool:
        """Whether something is left of a voter whose data are gone."""
        return self._seat.exists() and self.seat() is None

    def has_data(self) -> bool:
        return (self._data / "member" / "wal").is_dir()

    def founded(self) -> bool:
        return self._founded.exists()

    def found(self) -> None:
        self._write(self._founded, b"")

    def put_aside(self) -> Path | None:
        """The voter's data count no more; where they are now."""
        with _mending("put the voter's data aside", self.folder):
            aside = None
            if self._data.exists():
                aside = self._aside(f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
                self._data.rename(aside)
            self._seat.unlink(missing_ok=True)
            for old in sorted(self.folder.parent.glob(f"{FOLDER}.old-*"))[:-OLD]:
                shutil.rmtree(old)
        return aside

    def _aside(self, stamp: str) -> Path:
        return self.folder.with_name(f"{FOLDER}.old-{stamp}")

    def forget(self) -> None:
        """Everything, for good."""
        with _mending("remove the voter's data", self.folder):
            for folder in (self.folder, *self.folder.parent.glob(f"{FOLDER}.old-*")):
                if folder.exists():
                    shutil.rmtree(folder)

    def _write(self, path: Path, content: bytes) -> None:
        """The whole or nothing of it, also over a power cut."""
        with _mending(f"write {path.name}", self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.new")
            with fresh.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
            _sync(self.folder)


def _read(path: Path, kind: type[T]) -> T | None:
    """None where there is nothing, or nothing of sense."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=kind)
    return None


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _mending(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failed(f"cannot {what} in {folder}: {error.strerror or error}: tried again once that is mended") from None
