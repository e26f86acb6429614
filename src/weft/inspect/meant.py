"""Which namespace a user means. Pure, but for the question what a path opens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from weft.base.errors import NotFound
from weft.base.numbers import is_number
from weft.inspect.find import Place
from weft.inspect.model import Container

_HEX = re.compile(r"[0-9a-f]+")
_INODE = re.compile(r"net:\[(\d+)\]")
_TOLD = 4


class Match(NamedTuple):
    """`what`: as it is told where several match; it can be given instead, and means this one."""

    place: Place
    what: str


def meant(reference: str, places: Mapping[int, Place]) -> Place:
    """By a name, a container's id, a pid, or an inode; else by a name in another mount namespace; else by the beginning of a
    container's id. Raises NotFound, also where several are meant."""
    for matches in (_exactly(reference, places), _elsewhere(reference, places), _by_beginning(reference, places)):
        found = list(matches)
        if len({match.place.inode for match in found}) > 1:
            raise NotFound(_several(reference, found))
        if found:
            return found[0].place
    raise NotFound(f"no network namespace here is called {reference}: `weft netns` lists those there are")


def by_inode(inode: int, path: str, places: Mapping[int, Place]) -> Place:
    """That of a path that was opened."""
    return places.get(inode) or Place(inode, files=[path], name=path)


def _exactly(reference: str, places: Mapping[int, Place]) -> Iterator[Match]:
    number = int(reference) if is_number(reference) else None
    inode = _INODE.fullmatch(reference)
    for place in places.values():
        containers = [c for c in place.containers.values() if reference in (c.name, c.id)]
        yield from (Match(place, _told(container, 12)) for container in containers)
        if reference in place.near:
            yield Match(place, place.mounts[0])
        elif reference == place.name and not containers:
            yield Match(place, place.name)
        if number is not None and number in place.pids:
            yield Match(place, f"/proc/{number}/ns/net")
        if place.inode in (number, int(inode[1]) if inode else None):
            yield Match(place, f"net:[{place.inode}]")


def _elsewhere(reference: str, places: Mapping[int, Place]) -> Iterator[Match]:
    yield from (Match(place, place.mounts[0]) for place in places.values() if reference in place.called)


def _by_beginning(reference: str, places: Mapping[int, Place]) -> Iterator[Match]:
    if not _HEX.fullmatch(reference):
        return
    for place in places.values():
        for id, container in place.containers.items():
            if id.startswith(reference):
                yield Match(place, _told(container, max(12, len(reference) + 1)))


def _told(container: Container, length: int) -> str:
    return f"{container.engine or 'container'} {container.name or '-'}, id {container.id[:length]}"


def _several(reference: str, found: list[Match]) -> str:
    told = list(dict.fromkeys(match.what for match in found))
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return (
        f"{reference} is more than one network namespace: {'; '.join(told[:_TOLD])}{more}: "
        "name one by its id, pid or path"
    )
