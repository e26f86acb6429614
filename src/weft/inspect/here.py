"""This host, as a trace wants to know it: all containers of whatever engine, and what moves packets in their namespaces.

Only what is asked for is dumped: the host's own namespace, the two ends', those that packets come by without that
anybody lives in them (Docker keeps the bridge and the tunnel of an overlay network in one of its own), and what the walk
then finds lacking.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path

from weft.api import types as t
from weft.api.dump import ALONE, HostDump
from weft.base.errors import Invalid, NotFound
from weft.base.net import IPAddress, parse_address
from weft.inspect import enter, find
from weft.inspect.addresses import Held, held
from weft.inspect.find import Place
from weft.inspect.read import numbers_here
from weft.kernel.host.dump import dump

_UPLINKS = ("", "vlan", "bond", "team", "macvlan", "ipvlan")
"""Kinds of devices by which a host is on a wire with others."""


class Here:
    """This host."""

    def __init__(self, name: str = "", preferred: Iterable[str] = ()) -> None:
        """`preferred`: paths by which others call some of its namespaces."""
        self.name = name or platform.node()
        found = find.find()
        self.places = found.places
        self.notes = (_HIDDEN.format(found.hidden),) if found.hidden else ()
        self._preferred = {inode: path for path in preferred if (inode := _inode(path))}

    @cached_property
    def paths(self) -> dict[str, Place]:
        """What opens each namespace of this host; "" is the caller's own. One that nothing opens is left out."""
        own = _inode("/proc/self/ns/mnt")
        ours = [place for place in self.places.values() if place.own or _ours(place, own)]
        found = {"" if place.own else self._way_in(place): place for place in ours}
        return {path: place for path, place in found.items() if path != "?"}

    def _way_in(self, place: Place) -> str:
        return self._preferred.get(place.inode) or next(iter(place.ways_in()), "?")

    @cached_property
    def _addresses(self) -> dict[str, Held]:
        """Of all namespaces, by path: what it takes to find who has an address."""
        return held(self.paths)

    # -- containers ----------------------------------------------------------------------------------------------------

    def meant(self, wanted: Collection[str]) -> Iterator[t.EndpointInfo]:
        """The containers that these words mean, also behind this host's name (NODE/NAME). The host itself is none. Raises
        Invalid."""
        told: set[tuple[str, str]] = set()
        for word in wanted:
            for path in self._meant(word):
                if path and (path, word) not in told:
                    told.add((path, word))
                    yield self._endpoint(path, word)

    def _meant(self, word: str) -> list[str]:
        address = _address(word)
        if address is not None:
            holders = [path for path, of in self._addresses.items() if any(each.ip == address for each in of.addresses)]
            return [] if "" in holders else self._nearest(holders)
        if word == self.name:
            return []
        try:
            place = enter.named(word.removeprefix(f"{self.name}/"), self.places)
        except NotFound as error:
            if "more than one" in str(error):
                raise Invalid(str(error)) from None
            return []
        if not any(each is place for each in self.paths.values()) and (path := self._way_in(place)) != "?":
            self.paths[path] = place  # deeper inside, as of a container that runs containers
        return [path for path, each in self.paths.items() if each is place]

    def _nearest(self, holders: list[str]) -> list[str]:
        """Of several that have an address, those that a link of the caller's namespace leads to."""
        if len(holders) < 2:
            return holders
        linked = numbers_here([self.paths[path] for path in holders])
        return [path for path in holders if self.paths[path].inode in linked] or holders

    def _endpoint(self, path: str, word: str) -> t.EndpointInfo:
        place = self.paths[path]
        of = held({path: place}).get(path, Held())
        container = next(iter(place.containers), "")
        return t.EndpointInfo(
            id=container or f"net:[{place.inode}]",
            name=place.name,
            network=place.engine or "this host",
            node=self.name,
            container=word,
            namespace=path,
            interface=of.interface,
            host_interface="",
            mac="",
            addresses=of.addresses,
        )

    def all(self) -> tuple[t.EndpointInfo, ...]:
        """What has an address, and a container or a process in it."""
        return tuple(
            self._endpoint(path, next(iter(place.containers), place.name))
            for path, place in self.paths.items()
            if path and self._addresses.get(path, Held()).addresses and not _between(place)
        )

    # -- the host itself -----------------------------------------------------------------------------------------------

    @cached_property
    def node(self) -> t.NodeInfo:
        return node_info(self.name, held([""])[""])

    def kernel(self, namespaces: str = "", addresses: str = "") -> HostDump:
        """`namespaces`, `addresses`: as an agent takes them; "" for all, and for none."""
        wanted = [path for path in namespaces.split(",") if path and path != ALONE] if namespaces else list(self.paths)
        if strange := [path for path in wanted if path not in self.paths]:
            raise NotFound(f"no network namespace {strange[0]} here (any more): `weft netns` lists those there are")
        return self._dumped(wanted, addresses.split(",") if addresses else ())

    def _dumped(self, wanted: Iterable[str], about: Collection[str] = ()) -> HostDump:
        between = [path for path, place in self.paths.items() if path and _between(place)]
        asked = dict.fromkeys(path for path in (*wanted, *between) if path)
        names = {path: self.paths[path].name for path in asked}
        return dump(self.name, names, about, known=[path for path in self.paths if path])


_HIDDEN = "{} processes may not be looked at: containers that only they are in are missing: run as root"


def _inode(path: str) -> int:
    """0 where it is gone."""
    try:
        return Path(path).stat().st_ino
    except OSError:
        return 0


def _ours(place: Place, own: int) -> bool:
    """Whether it is this host's, in the narrow sense: it has a name in the caller's own mount namespace, as engines give one to
    each of theirs, or a process that is in it. Others are another host's of a lab, or what a container runs in containers."""
    return bool(place.near) or any(_inode(f"/proc/{pid}/ns/mnt") == own for pid in place.pids[:2])


def _between(place: Place) -> bool:
    """Whether packets come by it but nobody lives there: an overlay network's of Docker's, a network's of Weft's."""
    return not place.containers and not place.pids and place.engine in ("docker", "weft")


def node_info(name: str, host: Held) -> t.NodeInfo:
    """A host as a node. Addresses by which it is on a wire come first; in a container or a lab that is an end of a veth."""
    on_wire = [at for at in host.at if at.kind in _UPLINKS] or [at for at in host.at if at.kind == "veth"]
    others = [at for at in host.at if at not in on_wire]
    return t.NodeInfo(
        name=name,
        addresses=tuple(at.address for at in (*on_wire, *others)),
        uplink=on_wire[0].dev if on_wire else "",
        mtu=on_wire[0].mtu if on_wire else 0,
        alive=True,
        this=True,
    )


def _address(word: str) -> IPAddress | None:
    try:
        return parse_address(word)
    except Invalid:
        return None
