"""What is inside of namespaces, and whom each of them means by its numbers for others (netnsid, ip-netns(8)).

A veth's message tells the ifindex of its other end and a number for the namespace which that is in. The number says nothing
by itself: it is asked, of those namespaces that can be meant, which one has it (RTM_GETNSID). So an ifindex is never looked
for in a namespace just because there is such a one. To enter a namespace and to ask costs some 50 µs each.
"""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from weft.base.errors import NotFound, WeftError
from weft.inspect.find import Place
from weft.inspect.wire import Raw, decode
from weft.kernel.plumbing import links, netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, Refused, attr, attributes, open_socket

T = TypeVar("T")

_RECEIVE = 1 << 18
"""Octets of a socket's receive buffer: one read of a dump is at most 32 KB."""
_HUBS = 8
"""So many namespaces, those with most links to others, are asked about before the rest."""
_FEW = 4


class Inside(msgspec.Struct, frozen=True):
    cookie: int
    links: tuple[Raw, ...]


class Hidden(msgspec.Struct, frozen=True):
    """A namespace that nothing leads into but another one's number for it. The numbers in `links` are of that other one."""

    links: tuple[Raw, ...]


Numbers = dict[tuple[int, int], int | Hidden | None]
"""By namespace (its inode) and number: the inode of the one that is meant. None: it cannot be seen."""


def visit(places: Iterable[Place], work: Callable[[Netlink, Place], T]) -> dict[int, T | WeftError]:
    """What `work` returns in each, by inode; or why it could not be done. The caller's own comes first, and is not entered."""
    some = sorted(places, key=lambda place: not place.own)
    done = netns.in_thread(lambda: [_visited(place, work) for place in some])
    return {place.inode: each for place, each in zip(some, done, strict=True)}


def _visited(place: Place, work: Callable[[Netlink, Place], T]) -> T | WeftError:
    try:
        if not place.own:
            move(place)
        netlink = Netlink(open_socket(rcvbuf=_RECEIVE))
        try:
            return work(netlink, place)
        finally:
            netlink.close()
    except WeftError as error:
        return error


def move(place: Place) -> None:
    """The calling thread, by whichever way still leads there. Raises NotFound, Denied."""
    error: WeftError = NotFound(f"network namespace {place.name} is gone")
    for path in place.ways_in():
        try:
            netns.enter(path)
        except WeftError as failed:
            error = failed
            continue
        if Path("/proc/thread-self/ns/net").stat().st_ino == place.inode:
            return
    raise error


def open_place(place: Place) -> int:
    """A descriptor of it, for the caller to close. Raises NotFound, Denied."""
    error: WeftError = NotFound(f"network namespace {place.name} is gone")
    for path in place.ways_in():
        try:
            fd = netns.open_path(path)
        except WeftError as failed:
            error = failed
            continue
        if os.fstat(fd).st_ino == place.inode:
            return fd
        os.close(fd)
    raise error


def inside(places: Iterable[Place]) -> dict[int, Inside | WeftError]:
    return visit(places, lambda netlink, _: Inside(netlink.cookie, tuple(_dump(netlink))))


def _dump(netlink: Netlink, nsid: int | None = None) -> list[Raw]:
    """All links, or those of the namespace that has this number."""
    other = b"" if nsid is None else attr(u.IFLA_TARGET_NETNSID, struct.pack("=i", nsid))
    return netlink.dump(u.RTM_GETLINK, links.dump_filter() + other, decode)


def numbers_here(places: Iterable[Place]) -> dict[int, int]:
    """What the caller's namespace calls others, by inode."""
    netlink = Netlink(open_socket(rcvbuf=_RECEIVE))
    try:
        told = ((place.inode, number(netlink, place)) for place in places)
        return {inode: found for inode, found in told if found is not None}
    finally:
        netlink.close()


def number(netlink: Netlink, place: Place) -> int | None:
    """What the socket's namespace calls another one; None where it has no number for it, or it cannot be opened."""
    try:
        fd = open_place(place)
    except WeftError:
        return None
    try:
        answer = netlink.request(u.RTM_GETNSID, 0, b"\0\0\0\0" + attr(u.NETNSA_FD, struct.pack("=I", fd)))
    except Refused:
        return None
    finally:
        os.close(fd)
    found = attributes(answer, 4, len(answer)).get(u.NETNSA_NSID)
    told = struct.unpack("=i", found)[0] if found else -1
    return None if told < 0 else told


def resolve(places: Mapping[int, Place], seen: Mapping[int, tuple[Raw, ...]]) -> Numbers:
    """What the numbers in `seen` mean."""
    meanings = _Meanings(places, seen)
    some = [places[inode] for inode, raws in seen.items() if inode in places and any(r.nsid is not None for r in raws)]
    done = visit(some, meanings.of)
    found: Numbers = {}
    for inode, each in done.items():
        if not isinstance(each, WeftError):
            found.update({(inode, number): meant for number, meant in each.items()})
    return found


class _Meanings:
    """Which namespaces can be meant is guessed from their links, cheaply; the kernel is asked about each guess."""

    def __init__(self, places: Mapping[int, Place], seen: Mapping[int, tuple[Raw, ...]]) -> None:
        self._places = places
        self._seen = seen
        self._pairs: dict[tuple[int, int], list[int]] = defaultdict(list)
        self._same: dict[tuple[int, str, str], list[int]] = defaultdict(list)
        for inode, raws in seen.items():
            for raw in raws:
                self._same[raw.index, raw.name, raw.mac].append(inode)
                if raw.paired and raw.nsid is not None:
                    self._pairs[raw.index, raw.link].append(inode)
        weight = {inode: sum(raw.nsid is not None for raw in raws) for inode, raws in seen.items()}
        self._hubs = sorted(seen, key=lambda inode: -weight[inode])

    def of(self, netlink: Netlink, place: Place) -> dict[int, int | Hidden | None]:
        by_number: dict[int, list[Raw]] = defaultdict(list)
        for raw in self._seen[place.inode]:
            if raw.nsid is not None:
                by_number[raw.nsid].append(raw)
        return {nsid: self._meant(netlink, place, nsid, raws) for nsid, raws in by_number.items()}

    def _meant(self, netlink: Netlink, place: Place, nsid: int, raws: list[Raw]) -> int | Hidden | None:
        tried = {place.inode}

        def first(guesses: Iterable[int]) -> int | None:
            for inode in guesses:
                if inode not in tried:
                    tried.add(inode)
                    if number(netlink, self._places[inode]) == nsid:
                        return inode
            return None

        found = first(self._likely(raws))
        if found is not None:
            return found
        try:
            there = tuple(_dump(netlink, nsid))
        except WeftError:  # not permitted, or an old kernel
            return first(self._hubs)
        return first(self._alike(there)) or Hidden(there)

    def _likely(self, raws: list[Raw]) -> Iterator[int]:
        for raw in raws[:_FEW]:
            guesses = self._pairs.get((raw.link, raw.index), []) if raw.paired else []
            if len(guesses) <= _FEW:
                yield from guesses
        yield from self._hubs[:_HUBS]

    def _alike(self, there: Iterable[Raw]) -> Iterator[int]:
        """Those that have the same links; what all have, `lo`, does not tell."""
        for raw in there:
            if raw.mac.strip("0:"):
                yield from self._same.get((raw.index, raw.name, raw.mac), ())
        if not any(raw.mac.strip("0:") for raw in there):
            yield from self._hubs
