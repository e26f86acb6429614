"""The fast path in a real kernel: maps, programs and links, which stay by names in a file system of our own, and what the maps
say of containers. Where these names are: `bpf_names`. How each object is read: `bpf_read`; and written: `bpf_write`.

What is there is made right whether it is missing or otherwise: nothing in that file system is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import get_args

from weft.base.errors import NotFound, WeftError
from weft.hoststate import HOST, BpfLink, FastHome, Object
from weft.hoststate.bpf import Way
from weft.hoststate.objects import FastPath
from weft.kernel.kinds import bpf_names, bpf_read
from weft.kernel.kinds.bpf_names import FOLDERS, LINKS, listed
from weft.kernel.kinds.bpf_write import HOW, free_slots
from weft.kernel.kinds.kind import Kind, Look, Part, Phase, Work
from weft.kernel.kinds.unheard import Unheard
from weft.kernel.plumbing import bpf, netns
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

_AT_ONCE = 64
"""Links that are looked at each time for whether somebody took them off: of very many not all."""


class Programs:
    """`run`: the run directory."""

    def __init__(self, run: Path = bpf_names.RUN) -> None:
        self._run = run
        self._unheard = Unheard(lambda ns: bpf_read.names(self._place(ns)))
        self._next: dict[str, int] = {}

    def kinds(self) -> tuple[Kind, ...]:
        """They are read and written together."""
        part, phase = Part("the fast path"), Phase("bpf", self._apply)
        first, *others = (of.kind for of in get_args(FastPath))
        return (
            Kind(name=first, phase=phase, part=part, dump=self._dump),
            *(Kind(name=name, phase=phase, part=part) for name in others),
        )

    def changed(self) -> set[str]:
        """The namespaces where somebody else took something away. Raises WeftError."""
        return self._unheard.changed() | {ns for ns in bpf_names.namespaces(self._run) if self._loose(ns)}

    def ended(self, ns: str) -> None:
        """The namespace at this path is gone, or was another one: away with what belonged to it."""
        self._unheard.leave(ns)
        place = self._place(ns)
        for each in [path for folder in FOLDERS for path in listed(place / folder)]:
            each.unlink(missing_ok=True)
        _tidy(place)

    def without(self, ns: str, dev: str) -> None:
        """A device is gone, and with it its links: away with their names."""
        place = self._place(ns)
        names = [path for way in get_args(Way) if (path := bpf_read.link_path(place, dev, way)).exists()]
        if names:
            with self._unheard.writing(ns):
                for path in names:
                    path.unlink(missing_ok=True)

    def _place(self, ns: str) -> Path:
        return bpf_names.folder(ns, self._run)

    def _loose(self, ns: str) -> bool:
        if not self._unheard.knows(ns):
            return False
        start = self._next.get(ns, 0)
        self._next[ns] = start + _AT_ONCE if start + _AT_ONCE < len(listed(self._place(ns) / LINKS)) else 0
        try:
            return netns.call(ns, lambda: bpf_read.loose(self._place(ns), start, _AT_ONCE))
        except NotFound:
            return False

    # -- reading -------------------------------------------------------------------------------------------------------

    def _dump(self, look: Look) -> Iterable[Object]:
        if look.ns == HOST:
            for ns in bpf_names.namespaces(self._run):
                if ns != HOST and not netns.exists(ns):
                    self.ended(ns)
        place = self._place(look.ns)
        if not place.is_dir():
            self._unheard.leave(look.ns)
            return ()
        found = list(bpf_read.objects(look.ns, place, look.names, look.desired))
        self._unheard.reading(look.ns)
        return found

    # -- writing -------------------------------------------------------------------------------------------------------

    def _apply(self, work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
        by_ns: dict[str, list[Op]] = {}
        for op in ops:
            by_ns.setdefault(_of(op).ns, []).append(op)
        for ns, group in by_ns.items():
            try:
                indexes = _indexes(work, ns, group)
                with self._unheard.writing(ns):
                    yield from netns.call(ns, partial(self._write, self._place(ns), group, indexes))
            except (WeftError, OSError) as error:
                left = [op for op in group if not isinstance(op, Remove) or netns.exists(ns)]
                yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {error}") for op in left)

    def _write(self, place: Path, ops: Sequence[Op], indexes: Mapping[str, int]) -> list[Failure]:
        """In the namespace, as a device's number is one of the calling thread's."""
        failures: list[Failure] = []
        ready = False
        for op in ops:
            try:
                how = HOW[_of(op).kind]
                if isinstance(op, Remove):
                    how.remove(place, op.obj)
                    continue
                if not ready:
                    _ready(place)
                    ready = True
                how.put(place, _of(op), indexes)
            except (WeftError, OSError) as error:
                failures.append(Failure(_of(op).key, f"{describe(_of(op).key)}: {error}"))
        if any(isinstance(op, Remove) for op in ops):
            free_slots(place)
        _tidy(place)
        return failures


def _of(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


# -- places ------------------------------------------------------------------------------------------------------------


def _ready(place: Path) -> None:
    """Raises Denied, Unsupported, OSError."""
    if not bpf.mounted(place.parent):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        bpf.mount(place.parent)
    for folder in FOLDERS:
        (place / folder).mkdir(parents=True, exist_ok=True)


def _tidy(place: Path) -> None:
    """Away with folders in which nothing is left, and with the file system if none is."""
    for folder in FOLDERS:
        with suppress(OSError):
            (place / folder).rmdir()
    with suppress(OSError, WeftError):
        place.rmdir()
        if not any(other.is_dir() for other in listed(place.parent)):
            bpf.unmount(place.parent)
            place.parent.rmdir()


def _indexes(work: Work, ns: str, ops: Sequence[Op]) -> dict[str, int]:
    """The numbers of the devices that are named. Where one is desired, somebody else's of that name will not do."""
    space, found = work.spaces.get(ns), dict[str, int]()
    for name in {obj.dev for op in ops if isinstance(obj := _of(op), BpfLink | FastHome)}:
        device = space.find(name)
        if device is not None and (device.marked or ("link", ns, name) not in work.desired):
            found[name] = device.index
    return found
