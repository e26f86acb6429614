"""Connections that are open: looked at, and marked as cut off or not (nfnetlink_conntrack).

Rules let pass what belongs to an open connection, unless its mark has the bit `CUT`. Who finds one that policy forbids sets
that bit, and clears it where it is allowed again; what repeats former decisions about connections then forgets them. An entry
is never deleted: the next packet of either end would make a new one, in which that end is the one who began, and the wrong
one would be judged.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from weft.base.errors import Failed, NotFound
from weft.kernel.host import fastpath
from weft.kernel.kinds.bpf_names import RUN
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.conntrack import Flow, mark, of_ends
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, open_socket

__all__ = ["Flow", "Here", "find", "put"]

Addresses = Collection[bytes]
"""Packed."""


class Here:
    """This host's. `run`: the run directory."""

    def __init__(self, run: Path) -> None:
        self.find, self.put = find, partial(put, run=run)


def find(places: Mapping[str, Addresses]) -> dict[str, list[Flow]]:
    """By namespace: what began at one of its addresses, or went there, wherever it was sent to at first. Namespaces that are
    gone are left out. Raises Denied, Failed."""
    found: dict[str, list[Flow]] = {}
    for ns, addresses in places.items():
        some = frozenset(addresses)
        try:
            found[ns] = netns.call(ns, lambda some=some: _find(some))  # type: ignore[misc] # mypy infers no type for the default
        except NotFound:
            continue
    return found


def _find(addresses: frozenset[bytes]) -> list[Flow]:
    with closing(_open()) as netlink:
        try:
            return of_ends(netlink, addresses)
        except Refused as refused:
            raise Failed(f"open connections cannot be looked at: conntrack: {refused.text}") from None


def put(ns: str, bit: int, flows: Iterable[tuple[Flow, bool]], run: Path = RUN) -> int:
    """Set or clear a bit of connections' marks. How many there still were. `run`: the run directory. Raises Denied, Failed;
    NotFound where the namespace is gone."""
    messages = [mark(flow, bit if wanted else 0, bit) for flow, wanted in flows]
    changed = netns.call(ns, lambda: _put(messages)) if messages else 0
    if changed:
        fastpath.forget(ns, run)
    return changed


def _put(messages: list[Message]) -> int:
    with closing(_open()) as netlink:
        refused = [no for _, no in netlink.batch(messages)]
    for no in refused:
        if no.errno != errno.ENOENT:  # it ended meanwhile
            raise Failed(f"open connections cannot be cut off: conntrack: {no.text}")
    return len(messages) - len(refused)


def _open() -> Netlink:
    try:
        return Netlink(open_socket(u.NETLINK_NETFILTER))
    except OSError as error:
        raise Failed(f"open connections cannot be looked at: no nfnetlink: {error.strerror}") from None
