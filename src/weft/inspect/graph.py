"""The links of all namespaces, joined: other ends, what lies below, bridges and their ports. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from weft.inspect.model import End, Link
from weft.inspect.wire import Raw

Key = tuple[int, int]
"""Of a link: its namespace's inode (of one without: a negative number), its ifindex."""
UNSEEN = 0
"""In place of a namespace that cannot be seen."""
SOMEWHERE = "?"


class Graph:
    """`names` of namespaces, their `links`, and what each one's numbers for others mean. `mentions` of a link that is in a
    namespace that cannot be seen have the key (UNSEEN, ifindex)."""

    def __init__(
        self,
        names: Mapping[int, str],
        links: Mapping[int, tuple[Raw, ...]],
        numbers: Mapping[tuple[int, int], int | None],
    ) -> None:
        self.names = names
        self.raw: dict[Key, Raw] = {(ns, raw.index): raw for ns, raws in links.items() for raw in raws}
        self.peer: dict[Key, Key] = {}
        self.lower: dict[Key, Key] = {}
        self.outside: dict[Key, int] = {}
        self.ports: dict[Key, list[Key]] = defaultdict(list)
        for key, raw in self.raw.items():
            self._join(key, raw, numbers)
        for key, other in list(self.peer.items()):  # what one end knows holds for both
            if self.peer.get(other, (UNSEEN, 0))[0] == UNSEEN and other in self.raw:
                self.peer[other] = key

    def _join(self, key: Key, raw: Raw, numbers: Mapping[tuple[int, int], int | None]) -> None:
        ns = key[0]
        if raw.master:
            self.ports[ns, raw.master].append(key)
        there = ns if raw.nsid is None else numbers.get((ns, raw.nsid)) or UNSEEN
        if raw.paired:
            if raw.link:
                self.peer[key] = (there, raw.link)
        elif raw.link:
            self.lower[key] = (there, raw.link)
        if raw.nsid is not None and not raw.paired:
            self.outside[key] = there

    def master(self, key: Key) -> Key | None:
        master = self.raw[key].master
        return (key[0], master) if master and (key[0], master) in self.raw else None

    def end(self, key: Key) -> End:
        raw = self.raw.get(key)
        return End(namespace=self.names.get(key[0], ""), ifindex=key[1], name=raw.name if raw else "")

    def link(self, key: Key) -> Link:
        raw = self.raw[key]
        master = self.master(key)
        return Link(
            namespace=self.names[key[0]],
            ifindex=raw.index,
            name=raw.name,
            kind=raw.kind,
            mac=raw.mac,
            mtu=raw.mtu,
            up=raw.up,
            carrier=raw.carrier,
            alias=raw.alias,
            master=self.raw[master].name if master else "",
            ports=tuple(self.raw[port].name for port in self.ports.get(key, ())),
            peer=self.end(self.peer[key]) if key in self.peer else None,
            lower=self.end(self.lower[key]) if key in self.lower else None,
            outside=self.names.get(self.outside[key], SOMEWHERE) if key in self.outside else "",
            details=raw.details,
        )

    def named(self, wanted: str, ns: int | None = None) -> Iterator[Key]:
        """By name or ifindex; "eth0@if7", as `ip link` writes it, is eth0."""
        number = int(wanted) if wanted.isascii() and wanted.isdigit() else None
        some = {wanted, wanted.split("@")[0]}
        for key, raw in self.raw.items():
            if (ns is None or key[0] == ns) and (raw.index == number or raw.name in some):
                yield key
