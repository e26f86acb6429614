"""All of it: who there is, what is inside, and how it hangs together."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from weft.base.errors import NotFound, WeftError
from weft.hoststate.links import NETNS_ALIAS
from weft.inspect import enter, find, read, routes
from weft.inspect.find import Place
from weft.inspect.graph import Graph, Key
from weft.inspect.model import Found, Link, Namespace
from weft.inspect.read import Hidden, Inside, Numbers
from weft.inspect.way import way
from weft.inspect.wire import Raw

_LOOPBACK = 1


@dataclass
class Survey:
    """`namespaces` by key: an inode, or for one that only numbers lead to a negative one. `notes`: what cannot be seen."""

    namespaces: dict[int, Namespace]
    graph: Graph
    places: Mapping[int, Place]
    notes: tuple[str, ...] = ()

    def listed(self) -> tuple[Namespace, ...]:
        return tuple(self.namespaces[ns] for ns in _sorted(self.namespaces))

    def key(self, reference: str) -> int:
        """Of the namespace that is meant. Raises NotFound, Denied."""
        hidden = {key: Place(key, name=ns.name) for key, ns in self.namespaces.items() if key not in self.places}
        return enter.named(reference, {**self.places, **hidden}).inode

    def links(self, ns: int | None = None) -> tuple[Link, ...]:
        """All, or those of one namespace."""
        return tuple(self.graph.link(key) for key in self._in_order(self.graph.raw) if ns in (None, key[0]))

    def _in_order(self, keys: Iterable[Key]) -> list[Key]:
        order = {ns: place for place, ns in enumerate(_sorted(self.namespaces))}
        return sorted(keys, key=lambda key: (order[key[0]], key[1]))

    def find(self, wanted: str | None, ns: int | None = None, *, ways: bool = False) -> tuple[Found, ...]:
        """`wanted`: None for all but loopback devices. `ways`: those of all that fit; else only the way of one that fits
        alone. Raises NotFound."""
        keys = self._in_order(self._all_but_loopback(ns) if wanted is None else self.graph.named(wanted, ns))
        if not keys:
            where = "any namespace here" if ns is None else f"namespace {self.graph.names.get(ns, '')}"
            which = "" if wanted is None else f" {wanted or repr(wanted)}"
            raise NotFound(f"no link{which} in {where}: `weft links` shows those there are")
        ask = routes.asking(self.places, self.graph)
        walked = ways or len(keys) == 1
        return tuple(
            Found(link=self.graph.link(key), way=way(self.graph, key, ask) if walked else None) for key in keys
        )

    def _all_but_loopback(self, ns: int | None) -> Iterator[Key]:
        return (key for key, raw in self.graph.raw.items() if ns in (None, key[0]) and raw.kind != "loopback")


def _sorted(namespaces: Mapping[int, Namespace]) -> list[int]:
    return sorted(namespaces, key=lambda ns: (namespaces[ns].name != find.HOST, namespaces[ns].name))


def survey() -> Survey:
    """Takes a look at every namespace. Blocking; changes nothing. Raises NotFound."""
    _allow_files()
    found = find.find()
    places = found.places
    inside = read.inside(places.values())
    numbers = read.resolve(places, _links(inside))
    if any(isinstance(meant, Hidden) for meant in numbers.values()):
        added = list(find.held_open(places))
        if added:
            inside |= read.inside(added)
            numbers = read.resolve(places, _links(inside))
    here = _numbers_here(places, numbers)
    namespaces = {
        inode: _described(place, inside[inode], here.get(inode))
        for inode, place in places.items()
        if not isinstance(inside[inode], NotFound)
    }
    hidden = _Unopened(numbers, namespaces)
    seen = {**_links(inside), **hidden.links}
    namespaces |= hidden.namespaces
    names = {inode: namespace.name for inode, namespace in namespaces.items()}
    return Survey(namespaces, Graph(names, seen, hidden.numbers), places, tuple(_notes(found, inside)))


def _numbers_here(places: Mapping[int, Place], numbers: Numbers) -> dict[int, int]:
    """What the caller's namespace calls others. Most were found out when veths were followed."""
    own = {meant: number for (ns, number), meant in numbers.items() if places[ns].own and isinstance(meant, int)}
    return {**read.numbers_here([place for place in places.values() if place.inode not in own]), **own}


def _allow_files() -> None:
    """A dump of many namespaces is quick, but each takes a file for a moment; and others may have many of them open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _links(inside: Mapping[int, Inside | WeftError]) -> dict[int, tuple[Raw, ...]]:
    return {inode: each.links for inode, each in inside.items() if isinstance(each, Inside)}


def _described(place: Place, inside: Inside | WeftError, nsid: int | None) -> Namespace:
    told = msgspec.structs.replace(find.described(place), nsid=nsid)
    if isinstance(inside, WeftError):
        return msgspec.structs.replace(told, unseen=str(inside))
    marked = any(raw.index == _LOOPBACK and raw.alias == NETNS_ALIAS for raw in inside.links)
    engine = told.engine if marked or told.engine != "weft" else "ip-netns"  # the name alone does not make it Weft's
    return msgspec.structs.replace(told, cookie=inside.cookie, links=len(inside.links), engine=engine)


class _Unopened:
    """Namespaces that nothing opens, such as one that only a socket keeps: told by another one's number for them. Those with
    the same links are the same one, seen from several."""

    def __init__(self, numbers: Numbers, namespaces: Mapping[int, Namespace]) -> None:
        self.links: dict[int, tuple[Raw, ...]] = {}
        self.namespaces: dict[int, Namespace] = {}
        self.numbers: dict[tuple[int, int], int | None] = {}
        keys: dict[object, int] = {}
        for (inode, number), meant in numbers.items():
            if not isinstance(meant, Hidden):
                self.numbers[inode, number] = meant
                continue
            same = tuple((raw.index, raw.name, raw.mac, raw.kind, raw.link) for raw in meant.links)
            key = keys.setdefault(same, -1 - len(keys))
            self.numbers[inode, number] = key
            if key not in self.links:
                self.links[key] = meant.links
                self.namespaces[key] = _by_number(number, namespaces[inode], len(meant.links))
                for raw in meant.links:  # its numbers are those of the namespace that it was seen from
                    if raw.nsid is not None:
                        self.numbers[key, raw.nsid] = None
        for key, raws in self.links.items():
            for raw in raws:
                if raw.nsid is not None:
                    self.numbers[key, raw.nsid] = self.numbers.get((self._from(key, numbers), raw.nsid))

    def _from(self, key: int, numbers: Numbers) -> int:
        return next(inode for inode, number in numbers if self.numbers.get((inode, number)) == key)


def _by_number(number: int, seen_from: Namespace, links: int) -> Namespace:
    return Namespace(
        name=f"nsid-{number}-of-{seen_from.name}",
        nsid=number if seen_from.this else None,
        links=links,
        unseen="only a number leads there: nothing that could be opened keeps it",
    )


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


_ROOT = "" if os.geteuid() == 0 else ": run as root"


def _notes(found: find.Found, inside: Mapping[int, Inside | WeftError]) -> Iterator[str]:
    if found.hidden:
        some = _counted(found.hidden, "process", "processes")
        yield f"{some} may not be looked at: namespaces that only they are in are missing{_ROOT}"
    denied = [each for each in inside.values() if isinstance(each, WeftError) and not isinstance(each, NotFound)]
    if denied:
        some = _counted(len(denied), "namespace", "namespaces")
        yield f"{some} may not be entered, so links in there are not shown: {denied[0]}"
