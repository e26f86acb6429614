"""Entering a namespace with the whole process, which then becomes another program."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from weft.base.errors import NotFound, WeftError
from weft.containers.find import Unknown, ask_engines
from weft.inspect import find, meant
from weft.inspect.find import Place
from weft.inspect.read import move
from weft.kernel.plumbing import netns

ETC = Path("/etc/netns")
"""ip-netns(8): files in ETC/NAME are seen as those of /etc in the namespace NAME."""


def named(reference: str, places: dict[int, Place] | None = None) -> Place:
    """The one that is meant by a name, id, pid or path, of all there are or of `places`; what is not found among them is
    asked of engines. Raises NotFound, Denied."""
    if not reference.isprintable() or not reference:
        raise NotFound(f"no network namespace here is called {reference!r}: `weft netns` lists those there are")
    places = find.find().places if places is None else places
    try:
        return meant.meant(reference, places)
    except NotFound as unknown:
        if reference.startswith(("/", ".")):
            return _at(reference, places)
        if "more than one" in str(unknown) or "/" in reference or reference.isdigit():
            raise
        try:
            pid, _ = ask_engines(reference)
        except Unknown:
            raise unknown from None
        return _at(f"/proc/{pid}/ns/net", places)


def _at(path: str, places: dict[int, Place]) -> Place:
    fd = netns.open_path(path)
    try:
        return meant.by_inode(os.fstat(fd).st_ino, path, places)
    finally:
        os.close(fd)


def enter(place: Place) -> list[str]:
    """Moves the calling thread, which is to be the only one. Raises NotFound, Denied. Returns what could not be done about its
    surroundings: /sys shows the devices of the namespace that it was mounted in."""
    if place.own:
        return []
    move(place)
    try:
        netns.surround([(str(file), f"/etc/{file.name}") for file in _files(place)])
    except WeftError as error:
        return [f"/sys and /etc are those of outside: {error}"]
    return []


def _files(place: Place) -> list[Path]:
    folders = [ETC / name for name in place.called if name not in (".", "..")]
    return [
        file
        for folder in folders
        if folder.is_dir()
        for file in folder.iterdir()
        if (Path("/etc") / file.name).exists()
    ]


def become(command: Sequence[str]) -> NoReturn:
    """Raises OSError. Python ignores SIGPIPE, and what a process ignores its successor would ignore as well."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(command[0], list(command))
