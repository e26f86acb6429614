"""What is told of namespaces and links. The keys of `-o json` are these fields, so they are stable."""

from __future__ import annotations

import msgspec

Detail = str | int


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """`engine`: "" where an id was found and nobody says whose it is. `name`: "" where only the id is known."""

    engine: str
    id: str
    name: str = ""


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: what it is called here, no two alike. `this`: the one that the command runs in. `names`: what else it may be
    called by; `paths`: files that open it, of mounts. `pids`: the first few of `processes`; `command`: that of the first.
    `nsid`: the number that the caller's namespace has for it. `inode`: None where it is known by such a number alone.
    `cookie`, `links`: None where it could not be entered, and `unseen` says why."""

    name: str
    this: bool = False
    engine: str = ""
    containers: tuple[Container, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    processes: int = 0
    command: str = ""
    inode: int | None = None
    nsid: int | None = None
    cookie: int | None = None
    links: int | None = None
    unseen: str = ""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """A link somewhere. `namespace`: a `Namespace.name`, "" where it cannot be seen; then `name` is "" as well."""

    namespace: str
    ifindex: int
    name: str = ""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: as in `ip -d link`, "loopback", or "" for hardware. `master`: the name of the bridge (or bond, …) that it is a
    port of; `ports`: of such a device. `peer`: the other end of a veth. `lower`: what a vlan, macvlan, ipvlan or tunnel is
    on. `outside`: the namespace in which a tunnel sends its packets, where it is another one ("?": one that cannot be seen)."""

    namespace: str
    ifindex: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    alias: str = ""
    master: str = ""
    ports: tuple[str, ...] = ()
    peer: End | None = None
    lower: End | None = None
    outside: str = ""
    details: dict[str, Detail] = {}


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """A link on the way to the uplink. `how` one gets there from the link before: "peer" (the other end of a veth), "master"
    (the bridge it is a port of), "port" (a port of that bridge that leads on), "lower" (what it is on), "route" (the
    namespace has a route there). `mtu`: 0 where it cannot be seen; `master`: the name of the bridge (or bond, …) that it is a
    port of. `beside`: the bridge's other ports that do not lead on. `ends`: why it goes no further."""

    how: str
    namespace: str
    ifindex: int
    name: str
    kind: str
    mtu: int = 0
    master: str = ""
    details: dict[str, Detail] = {}
    beside: tuple[str, ...] = ()
    ends: str = ""
    next: tuple[Hop, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A link that was asked for. `way`: None where several are meant, unless the ways of all were asked for."""

    link: Link
    way: Hop | None
