"""From a link to the uplink: what a packet that leaves a container passes, as far as devices tell. Pure.

    eth0 ─(its other end)─ veth ─(the bridge it is a port of)─ br0 ─(a port that leads on)─ vxlan0 ─(below it)─ eth0 of the host

Ports of a bridge that lead on are all but the ends of other containers: a veth leads on only if its other end is a port as
well (two bridges connected by a pair), a tap device is a virtual machine's. Where there is no such port, the namespace's
routes tell: the device of the default route, and tunnels that have routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from weft.inspect.graph import UNSEEN, Graph, Key
from weft.inspect.model import Hop
from weft.inspect.wire import TUNNELS, Raw

_LONGEST = 32
"""Hops."""


class Outlets(msgspec.Struct, frozen=True):
    """Of a namespace. `default`: ifindexes of the devices by which packets for the outside leave; `tunnels`: of tunnels that
    have routes."""

    default: tuple[int, ...] = ()
    tunnels: tuple[int, ...] = ()


AskRoutes = Callable[[int], Outlets]
"""By the namespace's key."""


def way(graph: Graph, start: Key, routes: AskRoutes) -> Hop:
    return _Walk(graph, routes).hop(start, "start", None)


class _Walk:
    def __init__(self, graph: Graph, routes: AskRoutes) -> None:
        self._graph = graph
        self._routes = routes
        self._been: set[Key] = set()

    def hop(self, key: Key, how: str, before: Key | None) -> Hop:
        raw = self._graph.raw.get(key)
        if raw is None:
            unseen = "its namespace cannot be seen from here" if key[0] == UNSEEN else "it is gone"
            return self._hop(key, None, how, ends=unseen)
        self._been.add(key)
        follow = tuple(
            self.hop(next, kind, key)
            for next, kind in self._onward(key, raw, before)
            if next not in self._been and len(self._been) < _LONGEST
        )
        return self._hop(
            key, raw, how, beside=self._beside(key), next=follow, ends="" if follow else self._why(key, raw)
        )

    def _hop(
        self,
        key: Key,
        raw: Raw | None,
        how: str,
        *,
        ends: str = "",
        beside: tuple[str, ...] = (),
        next: tuple[Hop, ...] = (),
    ) -> Hop:
        master = self._graph.master(key) if raw else None
        return Hop(
            how=how,
            namespace=self._graph.names.get(key[0], ""),
            ifindex=key[1],
            name=raw.name if raw else "",
            kind=raw.kind if raw else "",
            mtu=raw.mtu if raw else 0,
            master=self._graph.raw[master].name if master else "",
            details=raw.details if raw else {},
            beside=beside,
            ends=ends,
            next=next,
        )

    def _onward(self, key: Key, raw: Raw, before: Key | None) -> Iterator[tuple[Key, str]]:
        graph, master = self._graph, self._graph.master(key)
        came_from_above = before is None or graph.peer.get(key) != before
        inward = before is None and self._leads_on(
            key
        )  # a port that leads on is not asked about for what is behind its bridge
        if master is not None and master != before and raw.port_of != "vrf" and not inward:
            yield master, "master"
            return
        leading = [port for port in graph.ports.get(key, ()) if port != before and self._leads_on(port)]
        if leading:
            yield from ((port, "port") for port in leading)
        elif key in graph.lower:
            yield graph.lower[key], "lower"
        elif key in graph.peer and came_from_above and self._is_inner(key):
            yield graph.peer[key], "peer"
        elif self._is_routed(key, raw):
            yield from self._routed(graph.outside.get(key, key[0]), key)

    def _is_routed(self, key: Key, raw: Raw) -> bool:
        """Whether what arrives here goes on by routes: at a bridge, a tunnel, a veth's outer end. Hardware is the uplink."""
        return key in self._graph.ports or raw.kind in TUNNELS or raw.paired or raw.kind == "bridge"

    def _routed(self, ns: int, key: Key) -> Iterator[tuple[Key, str]]:
        if ns == UNSEEN:
            return
        found = self._routes(ns)
        tunnel = self._graph.raw[key].kind in TUNNELS
        for index in (*found.default, *(() if tunnel else found.tunnels)):
            if (ns, index) in self._graph.raw:
                yield (ns, index), "route"

    def _leads_on(self, port: Key) -> bool:
        raw = self._graph.raw[port]
        if raw.paired:
            other = self._graph.peer.get(port, (UNSEEN, 0))
            return other in self._graph.raw and self._graph.raw[other].master != 0
        return raw.details.get("type") != "tap"

    def _is_inner(self, key: Key) -> bool:
        """Whether a veth's end is a container's, so that the way goes over to the other one: not where the other one is what
        its own namespace reaches the outside by."""
        other = self._graph.peer[key]
        if other not in self._graph.raw or self._graph.raw[other].master:
            return True
        return other[1] not in self._routes(other[0]).default

    def _beside(self, key: Key) -> tuple[str, ...]:
        ports = self._graph.ports.get(key, ())
        return tuple(
            self._graph.raw[port].name for port in ports if port not in self._been and not self._leads_on(port)
        )

    def _why(self, key: Key, raw: Raw) -> str:
        if raw.kind == "":
            return "hardware: the uplink"
        if key in self._graph.outside and key not in self._graph.lower:
            there = self._graph.outside[key]
            return f"it sends in {self._graph.names[there] if there else 'a namespace that cannot be seen from here'}"
        if raw.kind in ("bridge", "loopback") or self._is_routed(key, raw):
            return "nothing leads on from here"
        return ""
