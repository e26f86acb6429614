"""A tar file that is there as a whole or not at all, readable by its owner only, never in another's place, never too large."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from weft.base.errors import Conflict, Denied, Failed, WeftError

LARGEST = 16 * 2**20
"""Octets of an entry: what is longer is cut."""
MOST = 256 * 2**20
"""Octets of all entries, before they are compressed."""
SPARE = 64 * 2**20
"""Octets of the disk that stay free."""


class Archive:
    """`top`: the folder that everything in it is in."""

    def __init__(self, tar: tarfile.TarFile, folder: Path, top: str) -> None:
        self._tar, self._folder, self._top = tar, folder, top
        self.sizes: dict[str, int] = {}
        """What is in it, in octets."""

    def add(self, name: str, data: bytes, *, always: bool = False) -> str:
        """Why it is not in, or not whole; "" where it is. `always`: whatever else is in, as it is small."""
        why = ""
        if len(data) > LARGEST and not always:
            why = f"cut after {LARGEST >> 20} of {len(data) / 2**20:.0f} MiB"
            data = data[:LARGEST]
        if sum(self.sizes.values()) + len(data) > MOST and not always:
            return f"left out: the archive has {MOST >> 20} MiB already"
        if free(self._folder) < SPARE + len(data) and not always:
            return f"left out: less than {SPARE >> 20} MiB would stay free on the disk"
        entry = tarfile.TarInfo(f"{self._top}/{name}")
        entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
        self._tar.addfile(entry, io.BytesIO(data))
        self.sizes[name] = len(data)
        return why


def free(folder: Path) -> int:
    """Octets that are free where this folder is."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def written(path: Path, top: str) -> Iterator[Archive]:
    """What is added is at `path` afterwards; nothing is there where that failed. Raises Conflict where something is there
    already, Denied, Failed."""
    if os.path.lexists(path):
        raise _taken(path)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if free(path.parent) < SPARE:
            raise Failed(f"less than {SPARE >> 20} MiB are free where {path} would be: name another place with -o FILE")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as raw:
            with tarfile.open(fileobj=raw, mode="w|gz", format=tarfile.PAX_FORMAT) as tar:
                yield Archive(tar, path.parent, top)
            raw.flush()
            os.fsync(raw.fileno())
        _put(fresh, path)
    except OSError as error:
        raise _explained(path, error) from None
    finally:
        fresh.unlink(missing_ok=True)


def _put(fresh: Path, path: Path) -> None:
    """A link is refused where there is something; some file systems have none."""
    try:
        os.link(fresh, path)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        fresh.rename(path)


def _taken(path: Path) -> Conflict:
    return Conflict(f"{path} exists and is left as it is: name another file with -o FILE")


def _explained(path: Path, error: OSError) -> WeftError:
    text = f"{path} cannot be written: {error.strerror}: name another place with -o FILE"
    return Denied(text) if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else Failed(text)
