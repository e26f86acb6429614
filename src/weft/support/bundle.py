"""The archive, put together: each part for itself, so that what cannot be had costs that part, and the manifest says so."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from weft import __version__
from weft.base.errors import Unsupported, WeftError
from weft.model import encode
from weft.support import known
from weft.support.archive import Archive, written
from weft.support.scrub import Scrub
from weft.support.sources import Part, Wanted, parts

AT_ONCE = 4
"""Parts that are fetched at the same time, and in memory."""
MANIFEST = "manifest.json"
LONG = 2**20
"""Octets of a document that is left in one line."""


class Missing(msgspec.Struct, frozen=True):
    """`part`: a file's name. `why` it is not there, or not whole. `expected`: it is of something that this host does
    without."""

    part: str
    why: str
    expected: bool = False


class Made(msgspec.Struct, frozen=True):
    """The manifest. `made`: when. `parts`: files with their octets. `removed`: how many secrets were taken out."""

    weft: str
    host: str
    made: str
    command: str
    parts: dict[str, int]
    missing: tuple[Missing, ...]
    removed: int


def write(path: Path, wanted: Wanted) -> Made:
    """Raises Conflict, Denied, Failed: nothing is at `path` then that was not there."""
    scrub, missing = Scrub(known.secrets(wanted.config)), list[Missing]()
    with written(path, path.name.partition(".")[0] or "weft-support") as archive:
        for name, found in _fetched(parts(wanted)):
            if isinstance(found, Missing):
                missing.append(found)
            else:
                data = _document(scrub, found) if name.endswith(".json") else scrub.clean(found)
                missing += _added(archive, name, data)
        made = Made(
            weft=__version__,
            host=platform.node(),
            made=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            command=" ".join(sys.argv[1:]),
            parts=dict(archive.sizes),
            missing=tuple(missing),
            removed=scrub.removed,
        )
        archive.add(MANIFEST, _document(scrub, encode(made)), always=True)
    return made


def _document(scrub: Scrub, data: bytes) -> bytes:
    """For people as well, unless it is a long one."""
    data = scrub.clean_json(data)
    return msgspec.json.format(data, indent=1) if len(data) < LONG else data


def _added(archive: Archive, name: str, data: bytes) -> Iterator[Missing]:
    if why := archive.add(name, data):
        yield Missing(name, why)


def _fetched(wanted: Iterable[Part]) -> Iterator[tuple[str, bytes | Missing]]:
    """In their order, a few of them ahead."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="support") as pool:
        coming: list[tuple[str, Future[bytes | Missing]]] = []
        for part in wanted:
            coming.append((part.name, pool.submit(_fetch, part)))
            if len(coming) == AT_ONCE:
                name, found = coming.pop(0)
                yield name, found.result()
        for name, found in coming:
            yield name, found.result()


def _fetch(part: Part) -> bytes | Missing:
    try:
        return part.make()
    except Unsupported as error:
        return Missing(part.name, str(error), expected=True)
    except WeftError as error:
        return Missing(part.name, str(error))
    except OSError as error:
        why = f"{error.filename or part.name}: {error.strerror}"
        return Missing(part.name, why, expected=isinstance(error, FileNotFoundError))
