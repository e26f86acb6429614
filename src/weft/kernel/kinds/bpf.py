"""The fast path in a real kernel: maps, programs and links, which stay by names in a file system of our own, and what the maps
say of containers. Where these names are: `bpf_names`.

What is there is made right whether it is missing or otherwise: nothing in that file system is somebody else's. A program that
is exchanged is so at each of its devices, without a packet that none is asked about. One that cannot be loaded takes the
one before off its devices: that one may go by maps that nobody writes any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import get_args

from weft.base.errors import Conflict, NotFound, WeftError
from weft.bpf.assembler import Code
from weft.bpf.layout import CONTROL, COUNT, COUNTS, HOME, HOMES, SLOTS
from weft.hoststate import HOST, BpfLink, BpfMap, BpfProgram, FastHome, FastPairs, Object
from weft.hoststate.bpf import Way
from weft.hoststate.objects import FastPath
from weft.kernel.kinds import bpf_names, bpf_read
from weft.kernel.kinds.bpf_names import FOLDERS, LINKS, MAPS, NETWORKS, PROGRAMS, listed, opened
from weft.kernel.kinds.kind import Kind, Look, Part, Phase, Work
from weft.kernel.kinds.unheard import Unheard
from weft.kernel.plumbing import bpf, netns
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove

MARK = "weft_"
"""What the kernel's names of maps and programs of ours begin with, which have at most 15 characters."""
_TRIES = 5
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
                if isinstance(op, Remove):
                    _remove(place, op.obj)
                    continue
                if not ready:
                    _ready(place)
                    ready = True
                _put(place, _of(op), indexes)
            except (WeftError, OSError) as error:
                failures.append(Failure(_of(op).key, f"{describe(_of(op).key)}: {error}"))
        if any(isinstance(op, Remove) for op in ops):
            _free_slots(place)
        _tidy(place)
        return failures


def _of(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


# -- names -------------------------------------------------------------------------------------------------------------


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


def _name(text: str) -> str:
    """In the kernel."""
    return f"{MARK}{text.replace('-', '_')}"[:15]


def _programs(place: Path, name: str) -> list[Path]:
    """Each version of it."""
    return [path for path in listed(place / PROGRAMS) if path.name.rpartition("-")[0] == name]


@contextmanager
def _needed(path: Path | None, kind: str, ns: str, name: str) -> Iterator[int]:
    """A file descriptor. Raises NotFound, which says what is missing."""
    if path is None or not path.exists():
        raise NotFound(f"waits for {describe((kind, ns, name))}")
    with opened(path) as fd:
        yield fd


# -- one object --------------------------------------------------------------------------------------------------------


def _indexes(work: Work, ns: str, ops: Sequence[Op]) -> dict[str, int]:
    """The numbers of the devices that are named. Where one is desired, somebody else's of that name will not do."""
    space, found = work.spaces.get(ns), dict[str, int]()
    for name in {obj.dev for op in ops if isinstance(obj := _of(op), BpfLink | FastHome)}:
        device = space.find(name)
        if device is not None and (device.marked or ("link", ns, name) not in work.desired):
            found[name] = device.index
    return found


def _index(obj: BpfLink | FastHome, indexes: Mapping[str, int]) -> int:
    """Raises NotFound."""
    if obj.dev not in indexes:
        raise NotFound(f"waits for {describe(('link', obj.ns, obj.dev))}")
    return indexes[obj.dev]


def _put(place: Path, obj: Object, indexes: Mapping[str, int]) -> None:
    """Raises WeftError, OSError."""
    match obj:
        case BpfMap():
            path = place / MAPS / obj.name
            path.unlink(missing_ok=True)
            _keep(bpf.create_map(obj.type, obj.key_size, obj.value_size, obj.entries, _name(obj.name)), path)
        case BpfProgram():
            _put_program(place, obj)
        case BpfLink():
            _put_link(place, obj, _index(obj, indexes))
        case FastHome():
            value = HOME.pack(_index(obj, indexes), _slot(place, obj.network))
            with _needed(place / MAPS / HOMES, BpfMap.kind, obj.ns, HOMES) as fd:
                bpf.update(fd, bpf_read.octets(obj.address), value)
        case FastPairs():
            with _needed(place / MAPS / CONTROL, BpfMap.kind, obj.ns, CONTROL):
                bpf_names.change_control(place, lambda generation, _pairs: (generation, 1))


def _keep(fd: int, path: Path) -> None:
    """Pinned, and closed."""
    try:
        bpf.pin(fd, path)
    finally:
        os.close(fd)


def _put_program(place: Path, obj: BpfProgram) -> None:
    before = _programs(place, obj.name)
    try:
        with ExitStack() as stack:
            maps = {
                name: stack.enter_context(_needed(place / MAPS / name, BpfMap.kind, obj.ns, name))
                for name in {name for _, name in obj.maps}
            }
            loaded = bpf.load(Code(obj.code, obj.maps).bound(maps), _name(obj.name))
            stack.callback(os.close, loaded)
            for path in _links(place, before):
                with suppress(NotFound), opened(path) as link:
                    bpf.replace(link, loaded)
            for path in before:
                path.unlink()
            bpf.pin(loaded, place / PROGRAMS / f"{obj.name}-{obj.digest}")
    except (WeftError, OSError):
        _take_off(place, before)
        raise


def _links(place: Path, programs: Iterable[Path]) -> list[Path]:
    """Of any of these."""
    numbers, found = set[int](), list[Path]()
    for path in programs:
        with suppress(NotFound), opened(path) as fd:
            numbers.add(bpf.program_info(fd).number)
    for path in listed(place / LINKS) if numbers else ():
        with suppress(NotFound), opened(path) as fd:
            if bpf.link_info(fd).program in numbers:
                found.append(path)
    return found


def _take_off(place: Path, programs: Iterable[Path]) -> None:
    for path in _links(place, programs):
        bpf_names.take_off(path)
    for path in programs:
        path.unlink(missing_ok=True)


def _put_link(place: Path, obj: BpfLink, index: int) -> None:
    path = bpf_read.link_path(place, obj.dev, obj.way)
    programs = _programs(place, obj.program)
    with _needed(programs[0] if programs else None, BpfProgram.kind, obj.ns, obj.program) as program:
        with suppress(NotFound), opened(path) as link:
            if bpf.link_info(link).ifindex == index:
                bpf.replace(link, program)
                return
        path.unlink(missing_ok=True)
        _keep(_attached(program, index, obj.way), path)


def _attached(program: int, index: int, way: Way) -> int:
    """A link whose name is gone ends some moments later, and until then its program cannot be there again."""
    for _ in range(_TRIES):
        with suppress(Conflict):
            return bpf.attach(program, index, way)
        bpf.settle()
    return bpf.attach(program, index, way)


def _remove(place: Path, obj: Object) -> None:
    """What is gone is removed. Raises WeftError, OSError."""
    match obj:
        case BpfMap():
            (place / MAPS / obj.name).unlink(missing_ok=True)
        case BpfProgram():
            _take_off(place, _programs(place, obj.name))
        case BpfLink():
            bpf_read.link_path(place, obj.dev, obj.way).unlink(missing_ok=True)
        case FastHome():
            with suppress(NotFound), opened(place / MAPS / HOMES) as fd:
                bpf.delete(fd, bpf_read.octets(obj.address))
        case FastPairs():
            with suppress(NotFound):
                bpf_names.change_control(place, lambda generation, _pairs: (generation, 0))


# -- by which number a network is counted ------------------------------------------------------------------------------


def _slot(place: Path, network: str) -> int:
    """The lowest that is free, for its first container here; what was counted before under it is not its own."""
    slots = bpf_names.slots(place)
    if network in slots:
        return slots[network]
    used = set(slots.values())
    slot = next((number for number in range(SLOTS - 1) if number not in used), SLOTS - 1)
    (place / NETWORKS / bpf_names.name(network)).symlink_to(str(slot))
    if slot not in used:
        with suppress(NotFound), opened(place / MAPS / COUNTS) as fd:
            bpf.update(fd, bpf_names.slot_key(slot), bytes(COUNT.size * bpf_names.cpus()))
    return slot


def _free_slots(place: Path) -> None:
    """Of networks of which no container is here any more."""
    slots = bpf_names.slots(place)
    used = {home.slot for _, home in bpf_read.homes(place)} if slots else set()
    for network, slot in slots.items():
        if slot not in used:
            (place / NETWORKS / bpf_names.name(network)).unlink(missing_ok=True)
