"""The names by which the fast path's objects stay, in a file system of our own, and what is kept besides: which network is
counted under which number, and which of all that was decided still counts.

There is a folder for each namespace in RUN/bpf (`folder`), and in there

    maps/NAME  programs/NAME-DIGEST  links/DEVICE-ingress  links/DEVICE-egress
    networks/NETWORK → NUMBER     a symbolic link, which leads nowhere

Everything here blocks, and costs one question to the file system where there is nothing.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from weft.base.errors import Denied, NotFound, WeftError
from weft.bpf.layout import CONTROL, CONTROL_VALUE
from weft.hoststate import HOST
from weft.hoststate.links import NAMED
from weft.kernel.plumbing import bpf

log = logging.getLogger(__name__)

RUN = Path("/run/weft")
FOLDER = "bpf"
"""In the run directory."""
MAPS, PROGRAMS, LINKS, NETWORKS = FOLDERS = "maps", "programs", "links", "networks"
_HOST = "host"
_FIRST = bytes(4)
"""The key of the only value of an array."""
_lock = threading.Lock()
"""Two who change `control` would undo each other's."""

Change = Callable[[int, int], tuple[int, int]]


def name(text: str) -> str:
    """As a file is called in a file system of type bpf, which has no dots in names."""
    return quote(text, safe="").replace(".", "%2E")


def folder(ns: str, run: Path = RUN) -> Path:
    """Where the objects of a namespace have their names."""
    return run / FOLDER / (_HOST if ns == HOST else name(ns.removeprefix(NAMED)))


def namespaces(run: Path = RUN) -> list[str]:
    """Those that have anything. (The kernel puts files of its own into each file system of the kind.)"""
    return [_namespace(place.name) for place in listed(run / FOLDER) if place.is_dir()]


def _namespace(folder: str) -> str:
    path = unquote(folder)
    return HOST if folder == _HOST else path if path.startswith("/") else f"{NAMED}{path}"


@contextmanager
def closed(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file descriptor of what has this name. Raises NotFound, Denied."""
    with closed(bpf.pinned(path)) as fd:
        yield fd


def listed(path: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is no such folder. Raises Denied."""
    try:
        return sorted(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise Denied(f"no permission to read {path}: run as root") from None


# -- what was decided --------------------------------------------------------------------------------------------------


def outdate(namespaces: Iterable[str], run: Path = RUN) -> None:
    """What programs of these namespaces repeat does not count any more: something changed there by which it was decided. When
    this returns, no packet is under way by which something would be kept that was decided before. Where that cannot be said,
    the programs are taken off their devices."""
    if places := with_programs(namespaces, run):
        count_up(places, bpf.settle)


def with_programs(namespaces: Iterable[str], run: Path) -> list[Path]:
    """Where the objects of those namespaces are that have programs."""
    return [place for ns in namespaces if ((place := folder(ns, run)) / LINKS).exists()]


def count_up(places: Iterable[Path], first: Callable[[], None] = lambda: None) -> None:
    """`first`: what is waited for before. Where it fails, the programs are taken off their devices."""
    try:
        first()
        for place in places:
            change_control(place, lambda generation, pairs: (generation + 1 & 0xFFFF_FFFF, pairs))
    except WeftError as error:
        log.error("the fast path is taken off: what was decided before cannot be told apart: %s", error)
        for link in [path for place in places for path in listed(place / LINKS)]:
            take_off(link)


def take_off(link: Path) -> None:
    """No program is asked there any more."""
    with suppress(WeftError), opened(link) as fd:
        bpf.detach(fd)
    link.unlink(missing_ok=True)


def change_control(place: Path, change: Change) -> None:
    """`change`: of the generation, and of whether there are entries by addresses alone. Raises NotFound where the map is gone,
    and other WeftErrors."""
    with _lock, opened(place / MAPS / CONTROL) as fd:
        before = bpf.lookup(fd, _FIRST, CONTROL_VALUE.size) or bytes(CONTROL_VALUE.size)
        after = CONTROL_VALUE.pack(*change(*CONTROL_VALUE.unpack(before)))
        if after != before:
            bpf.update(fd, _FIRST, after)


def control(place: Path) -> tuple[int, int]:
    """The generation, and whether there are entries by addresses alone; zeros where there is no cache. Raises Denied."""
    with suppress(NotFound), opened(place / MAPS / CONTROL) as fd:
        generation, pairs = CONTROL_VALUE.unpack(bpf.lookup(fd, _FIRST, CONTROL_VALUE.size) or bytes(8))
        return generation, pairs
    return 0, 0


# -- how it is counted -------------------------------------------------------------------------------------------------


def slots(place: Path) -> dict[str, int]:
    """By which number each network is counted; `place`: of a namespace (`folder`)."""
    found: dict[str, int] = {}
    for each in listed(place / NETWORKS):
        with suppress(OSError, ValueError):
            found[unquote(each.name)] = int(str(each.readlink()))
    return found


def slot_key(slot: int) -> bytes:
    return slot.to_bytes(4, sys.byteorder)


def cpus() -> int:
    """Those that there may ever be: so many values has an element of a map that has one for each."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return int(text.strip().replace(",", "-").rsplit("-", 1)[-1]) + 1
