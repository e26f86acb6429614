"""Namespaces of our own: made, marked, found again, removed."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from weft.base.errors import NotFound, WeftError
from weft.hoststate import HOST, Key, Netns
from weft.hoststate.links import NETNS_ALIAS, NETNS_PREFIX
from weft.kernel.kinds.kind import NAMESPACES, Hearing, Kind, Look, Phase
from weft.kernel.plumbing import links, netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, attributes, open_socket
from weft.kernel.plumbing.spaces import LOOPBACK, Space, Spaces
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Create, Event, Failure, Gone, Op, Remove


def read(spaces: Spaces, folder: Path) -> tuple[list[Netns], set[Key]]:
    """Ours; and the keys of what has such a name and is not. Raises WeftError."""
    found: list[Netns] = []
    others: set[Key] = set()
    paths = [str(path) for path in folder.glob(f"{NETNS_PREFIX}*")]
    failed = spaces.open(paths)
    for path in paths:
        if path in failed:
            if not isinstance(failed[path], NotFound):  # it is there, and cannot be looked at
                raise failed[path]
        else:
            own = Netns(path=path)
            if spaces.get(path).owned:
                found.append(own)
            else:
                others.add(own.key)
    return found, others


def is_ours(path: str) -> bool:
    """Raises NotFound, Denied."""

    def look() -> bool:
        netlink = Netlink(open_socket())
        try:
            return Space(path, netlink).owned
        finally:
            netlink.close()

    return netns.call(path, look)


def apply(spaces: Spaces, ops: Sequence[Op], ended: Callable[[str], None] = lambda _path: None) -> Iterable[Failure]:
    """There is nothing to change about one. `ended`: told of the path of one that was removed, or is new."""
    for op in ops:
        if isinstance(op, Create | Remove) and isinstance(op.obj, Netns):
            verb = _create if isinstance(op, Create) else _remove
            try:
                verb(spaces, op.obj.path)
                ended(op.obj.path)
            except (WeftError, OSError) as error:
                yield Failure(op.obj.key, f"{describe(op.obj.key)}: {error}", errno.EEXIST)


def _create(spaces: Spaces, path: str) -> None:
    netns.make(path, _mark)
    spaces.forget()


def _mark() -> None:
    netlink = Netlink(open_socket())
    try:
        netlink.batch_or_raise([Message(u.RTM_SETLINK, u.NLM_F_REQUEST, links.alias(LOOPBACK, NETNS_ALIAS))])
    finally:
        netlink.close()


def _remove(spaces: Spaces, path: str) -> None:
    """Its devices first: the kernel ends a namespace some time after its last user left, and until then a VNI is taken."""
    try:
        space = spaces.get(path)
    except NotFound:
        netns.unmake(path)
        return
    if not space.owned:
        return
    gone = [Message(u.RTM_DELLINK, u.NLM_F_REQUEST, links.delete(i)) for i in space.devices() if i != LOOPBACK]
    space.netlink.batch(gone)
    spaces.drop(path)
    netns.unmake(path)


def _hear(hearing: Hearing, _kind: int, data: bytes, start: int, end: int, _ns: str) -> Iterator[Event]:
    number = attributes(data, start + 4, end).get(u.NETNSA_NSID)
    path = hearing.nsids.pop(struct.unpack("=i", number)[0], None) if number else None
    if path is None:
        return
    hearing.devices(path).clear()
    if ("netns", HOST, path) in hearing.desired and not netns.exists(path):
        yield Gone(("netns", HOST, path))


def kind(folder: Path, ended: Callable[[str], None]) -> Kind:
    """`folder`: where they have their names. `ended`: as of `apply`."""

    def dump(look: Look) -> list[Netns]:
        if look.ns != HOST:
            return []
        found, others = read(look.spaces, folder)
        look.foreign |= others
        return found

    return Kind(
        name="netns",
        phase=Phase("netns", lambda work, ops: apply(work.spaces, ops, ended)),
        part=NAMESPACES,
        dump=dump,
        hears={u.RTM_DELNSID: _hear},
        groups=(u.RTNLGRP_NSID,),
    )
