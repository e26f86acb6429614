"""All network namespaces of this host that anything holds: a process, or a bind mount in whatever mount namespace."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from weft.base.errors import NotFound
from weft.inspect import engines, mounts, processes
from weft.inspect.model import Container, Namespace
from weft.inspect.processes import Processes, View

SHOWN = 5
"""So many pids are told."""
_LOOKED_AT = 64
"""So many processes of a namespace are asked for their control group."""
HOST = "default"


@dataclass
class Place:
    """A namespace, and what was found out about it. `pids`: all; `mounts`: paths, as the caller can use them; `called`: the
    last part of each; `near`: of those in the caller's own mount namespace; `files`: other paths that open it."""

    inode: int
    pids: list[int] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    near: set[str] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    containers: dict[str, Container] = field(default_factory=dict)
    name: str = ""
    own: bool = False

    def ways_in(self) -> list[str]:
        """Paths to be tried one after the other: any of them may be gone by now."""
        return [*(f"/proc/{pid}/ns/net" for pid in self.pids[:2]), *self.mounts[:2], *self.files[:1]]

    @property
    def engine(self) -> str:
        """Whose it is: of its containers, else by how it is called."""
        told = [c.engine for c in self.containers.values() if c.engine]
        return next(iter([*told, *filter(None, map(mounts.engine, self.mounts))]), "")

    @property
    def names(self) -> tuple[str, ...]:
        """What a user may call it."""
        own = [word for c in self.containers.values() for word in (c.name, c.id) if word]
        return tuple(dict.fromkeys([*([self.name] if self.name else []), *own, *self.called]))


@dataclass
class Found:
    """`places` by inode. `hidden`: how many processes may not be looked at."""

    places: dict[int, Place]
    hidden: int = 0


def find() -> Found:
    """Raises NotFound where there is no /proc."""
    try:
        running = processes.scan()
    except OSError as error:
        raise NotFound(f"/proc cannot be read: {error.strerror}: mount it, namespaces are found there") from None
    places = {inode: Place(inode, pids=pids) for inode, pids in running.inside.items()}
    own = Path("/proc/thread-self/ns/net").stat().st_ino
    places.setdefault(own, Place(own, pids=[os.getpid()])).own = True
    for view in running.views:
        _mounted(view, places)
    _contained(running, places)
    _name(places, _host(places, running.first))
    return Found(places, running.hidden)


def _mounted(view: View, places: dict[int, Place]) -> None:
    for mount in mounts.parse(processes.read(f"/proc/{view.pid}/mountinfo")):
        place = places.setdefault(mount.inode, Place(mount.inode))
        path, name = view.path(mount.path), mount.path.rsplit("/", 1)[-1]
        if view.own or name not in place.called:  # a mount is mostly seen in many mount namespaces
            place.mounts.append(path)
        if name not in place.called:
            place.called.append(name)
        if view.own:
            place.near.add(name)


def _contained(running: Processes, places: dict[int, Place]) -> None:
    """What is known by engines, then by control groups, which tell also of containers that no engine here knows."""
    told = engines.known(running.views)
    by_pid = {pid: inode for inode, pids in running.inside.items() for pid in pids}
    for id, pid in sorted(told.pids.items(), key=lambda item: item[1]):  # who was first gave it its name
        if pid in by_pid:
            places[by_pid[pid]].containers[id] = told.container(id)
    for place in places.values():
        if place.own:  # containers with the host's network are known by their engines; all of its processes are many
            continue
        for pid in place.pids[:_LOOKED_AT]:
            cgroup = processes.read(f"/proc/{pid}/cgroup").decode(errors="replace")
            if (found := engines.of_cgroup(cgroup)) and found[1] not in place.containers:
                place.containers[found[1]] = told.container(found[1], told.engines.get(found[1]) or found[0])


def _name(places: dict[int, Place], host: Place) -> None:
    """Each gets a name of its own. Where two would have the same, each has its inode behind it, but the one that has that name
    in the caller's own mount namespace."""
    for place in places.values():
        place.name = HOST if place is host else _called(place)
    taken: dict[str, list[Place]] = {}
    for place in places.values():
        taken.setdefault(place.name, []).append(place)
    for same in taken.values():
        near = [place for place in same if place is host or place.name in place.near]
        for place in same if len(same) > 1 else ():
            if near != [place]:
                place.name = f"{place.name}:{place.inode}"


def _host(places: dict[int, Place], first: int) -> Place:
    """The one that the first process with the caller's files is in; or, where that has a name, so in `ip netns exec`, which
    gives its command files of its own, the one of the first process of all. Docker calls the host's own "default"."""
    own = next(place for place in places.values() if place.own)
    by_pid = {pid: place for place in places.values() for pid in (1, first) if pid in place.pids}
    found = by_pid.get(first, own)
    return found if set(found.called) <= {HOST} else by_pid.get(1, own)


def _called(place: Place) -> str:
    for container in place.containers.values():
        if container.name:
            return container.name
    if place.called:
        return place.called[0]
    for id in place.containers:
        return id[:12]
    if place.pids:
        return f"pid-{place.pids[0]}"
    return f"net-{place.inode}"


def described(place: Place) -> Namespace:
    """Without what is known only from within."""
    return Namespace(
        name=place.name,
        this=place.own,
        engine=place.engine,
        containers=tuple(place.containers.values()),
        names=tuple(name for name in place.names if name != place.name),
        paths=tuple(place.mounts),
        pids=tuple(place.pids[:SHOWN]),
        processes=len(place.pids),
        command=processes.command(place.pids[0]) if place.pids else "",
        inode=place.inode,
    )


def held_open(places: dict[int, Place]) -> Iterable[Place]:
    """Those that only an open file of a process holds, added to `places`. It takes a look at all open files of the host."""
    added = []
    for inode, path in processes.held_open(set(places)):
        place = places[inode] = Place(inode, files=[path], name=f"{HELD}-{path.split('/')[2]}")
        added.append(place)
    taken = [place.name for place in places.values()]
    for place in added:
        if taken.count(place.name) > 1:
            place.name += f":{place.inode}"
    return added


HELD = "held-by"
