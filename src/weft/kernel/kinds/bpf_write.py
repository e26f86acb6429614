"""One object of the fast path put into a real kernel, or removed from it; in its namespace.

A program that is exchanged is so at each of its devices, without a packet that none is asked about. One that cannot be loaded
takes the one before off its devices: that one may go by maps that nobody writes any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from weft.base.errors import Conflict, NotFound, WeftError
from weft.bpf.assembler import Code
from weft.bpf.layout import CONTROL, COUNT, COUNTS, HOME, HOMES, SLOTS
from weft.hoststate import BpfLink, BpfMap, BpfProgram, FastHome, FastPairs
from weft.hoststate.bpf import Way
from weft.kernel.kinds import bpf_names, bpf_read
from weft.kernel.kinds.bpf_names import LINKS, MAPS, NETWORKS, PROGRAMS, listed, opened
from weft.kernel.plumbing import bpf
from weft.reconcile.kinds.table import describe

_MARK = "weft_"
"""What the kernel's names of maps and programs of ours begin with, which have at most 15 characters."""
_TRIES = 5

Indexes = Mapping[str, int]
"""The numbers of devices by name."""


class How(NamedTuple):
    """Of one kind. The path is where the objects of the namespace have their names. `remove`: what is gone is removed. Both
    raise WeftError, OSError."""

    put: Callable[[Path, Any, Indexes], None]
    remove: Callable[[Path, Any], None]


def _name(text: str) -> str:
    """In the kernel."""
    return f"{_MARK}{text.replace('-', '_')}"[:15]


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


def _index(obj: BpfLink | FastHome, indexes: Indexes) -> int:
    """Raises NotFound."""
    if obj.dev not in indexes:
        raise NotFound(f"waits for {describe(('link', obj.ns, obj.dev))}")
    return indexes[obj.dev]


def _keep(fd: int, path: Path) -> None:
    """Pinned, and closed."""
    try:
        bpf.pin(fd, path)
    finally:
        os.close(fd)


# -- maps --------------------------------------------------------------------------------------------------------------


def _put_map(place: Path, obj: BpfMap, _indexes: Indexes) -> None:
    _remove_map(place, obj)
    fd = bpf.create_map(obj.type, obj.key_size, obj.value_size, obj.entries, _name(obj.name))
    _keep(fd, place / MAPS / obj.name)


def _remove_map(place: Path, obj: BpfMap) -> None:
    (place / MAPS / obj.name).unlink(missing_ok=True)


# -- programs ----------------------------------------------------------------------------------------------------------


def _put_program(place: Path, obj: BpfProgram, _indexes: Indexes) -> None:
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


def _remove_program(place: Path, obj: BpfProgram) -> None:
    _take_off(place, _programs(place, obj.name))


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


# -- links -------------------------------------------------------------------------------------------------------------


def _put_link(place: Path, obj: BpfLink, indexes: Indexes) -> None:
    index = _index(obj, indexes)
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


def _remove_link(place: Path, obj: BpfLink) -> None:
    bpf_read.link_path(place, obj.dev, obj.way).unlink(missing_ok=True)


# -- what maps say -----------------------------------------------------------------------------------------------------


def _put_home(place: Path, obj: FastHome, indexes: Indexes) -> None:
    value = HOME.pack(_index(obj, indexes), _slot(place, obj.network))
    with _needed(place / MAPS / HOMES, BpfMap.kind, obj.ns, HOMES) as fd:
        bpf.update(fd, bpf_read.octets(obj.address), value)


def _remove_home(place: Path, obj: FastHome) -> None:
    with suppress(NotFound), opened(place / MAPS / HOMES) as fd:
        bpf.delete(fd, bpf_read.octets(obj.address))


def _put_pairs(place: Path, obj: FastPairs, _indexes: Indexes) -> None:
    with _needed(place / MAPS / CONTROL, BpfMap.kind, obj.ns, CONTROL):
        bpf_names.change_control(place, lambda generation, _pairs: (generation, 1))


def _remove_pairs(place: Path, _obj: FastPairs) -> None:
    with suppress(NotFound):
        bpf_names.change_control(place, lambda generation, _pairs: (generation, 0))


HOW: Mapping[str, How] = {
    BpfMap.kind: How(_put_map, _remove_map),
    BpfProgram.kind: How(_put_program, _remove_program),
    BpfLink.kind: How(_put_link, _remove_link),
    FastHome.kind: How(_put_home, _remove_home),
    FastPairs.kind: How(_put_pairs, _remove_pairs),
}
"""By kind."""


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


def free_slots(place: Path) -> None:
    """Of networks of which no container is here any more."""
    slots = bpf_names.slots(place)
    used = {home.slot for _, home in bpf_read.homes(place)} if slots else set()
    for network, slot in slots.items():
        if slot not in used:
            (place / NETWORKS / bpf_names.name(network)).unlink(missing_ok=True)
