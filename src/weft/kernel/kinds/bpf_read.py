"""What there is of the fast path in a namespace. Where its names are: `weft.kernel.kinds.bpf_names`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from socket import if_nameindex
from typing import cast

from weft.base.errors import NotFound
from weft.bpf.layout import CONTROL, HOME, HOMES, Home
from weft.hoststate import BpfLink, BpfMap, BpfProgram, FastHome, FastPairs, Key, Object
from weft.hoststate.objects import FastPath
from weft.kernel.kinds import bpf_names
from weft.kernel.kinds.bpf_names import LINKS, MAPS, PROGRAMS, listed, opened
from weft.kernel.kinds.kind import Names
from weft.kernel.plumbing import bpf

_ADDRESS = 16
"""Octets of a key of `homes`."""
_V4 = bytes(10) + b"\xff\xff"
"""What an IPv4 address begins with there."""


def objects(ns: str, place: Path, names: Names, desired: Mapping[Key, Object]) -> Iterator[FastPath]:
    """`names`: of the devices, by ifindex. A program that goes by other maps than those that are there has no digest, a link
    whose program is none of these no program: neither is as anybody wants it. Raises WeftError."""
    maps: dict[str, int] = {}
    for path in listed(place / MAPS):
        with suppress(NotFound), opened(path) as fd:
            about = bpf.map_info(fd)
            maps[path.name] = about.number
            yield cast(BpfMap, _map(ns, path.name, about))
    programs: dict[int, str] = {}
    for path in listed(place / PROGRAMS):
        with suppress(NotFound), opened(path) as fd:
            program = bpf.program_info(fd)
            name, _, digest = path.name.rpartition("-")
            programs[program.number] = name
            yield BpfProgram(name=name, digest=digest if program.maps <= set(maps.values()) else "", code=b"", ns=ns)
    for path in listed(place / LINKS):
        with suppress(NotFound), opened(path) as fd:
            link = bpf.link_info(fd)
            dev = names.get(link.ifindex) or ""
            if path == link_path(place, dev, link.way):
                yield BpfLink(dev=dev, way=link.way, program=programs.get(link.program, ""), ns=ns)
            else:  # its device is gone or has another name, or it was taken off
                path.unlink(missing_ok=True)
    yield from _homes(ns, place, names, desired)
    if CONTROL in maps and bpf_names.control(place)[1]:
        yield FastPairs(ns=ns)


def _map(ns: str, name: str, about: bpf.MapInfo) -> object:
    of = {"type": about.type, "key_size": about.key_size, "value_size": about.value_size, "entries": about.entries}
    return BpfMap(name=name, ns=ns, **of)  # type: ignore[arg-type] # of another type it is not as wanted


def _homes(ns: str, place: Path, names: Names, desired: Mapping[Key, Object]) -> Iterator[FastHome]:
    slots = bpf_names.slots(place)
    networks = {slot: network for network, slot in slots.items()}
    for address, home in homes(place):
        text = _text(address)
        network, wanted = networks.get(home.slot, ""), desired.get((FastHome.kind, ns, text))
        if isinstance(wanted, FastHome) and slots.get(wanted.network) == home.slot:
            network = wanted.network  # of those that share the number
        yield FastHome(address=text, dev=names.get(home.device) or "", network=network, ns=ns)


def homes(place: Path) -> Iterator[tuple[bytes, Home]]:
    """What is in the map; nothing of one of another make: that is made anew."""
    with suppress(NotFound), opened(place / MAPS / HOMES) as fd:
        about = bpf.map_info(fd)
        if (about.type, about.key_size, about.value_size) == ("hash", _ADDRESS, HOME.size):
            yield from ((address, Home(*HOME.unpack(value))) for address, value in bpf.many(fd, _ADDRESS, HOME.size))


def octets(address: str) -> bytes:
    """As a key of `homes`."""
    packed = ip_address(address).packed
    return packed if len(packed) == _ADDRESS else _V4 + packed


def _text(address: bytes) -> str:
    return str(IPv6Address(address).ipv4_mapped or IPv6Address(address))


def link_path(place: Path, dev: str, way: str) -> Path:
    return place / LINKS / f"{bpf_names.name(dev)}-{way}"


# -- what nobody tells of ----------------------------------------------------------------------------------------------


def names(place: Path) -> bytes:
    """All that has one, as one value."""
    return b"\0".join(bytes(path) for folder in (MAPS, PROGRAMS, LINKS) for path in listed(place / folder))


def loose(place: Path, start: int, most: int) -> bool:
    """Whether a link, of `most` from the one on that is in the place `start`, was taken off its device or has another program
    than ours; in the namespace. What went with its device is forgotten."""
    programs = set()
    for path in listed(place / PROGRAMS):
        with suppress(NotFound), opened(path) as fd:
            programs.add(bpf.program_info(fd).number)
    for path in listed(place / LINKS)[start : start + most]:
        with suppress(NotFound), opened(path) as fd:
            link = bpf.link_info(fd)
            if link.ifindex and link.program in programs:
                continue
            if link.ifindex or path.name.rpartition("-")[0] in {bpf_names.name(dev) for _, dev in if_nameindex()}:
                return True
            path.unlink(missing_ok=True)
    return False
