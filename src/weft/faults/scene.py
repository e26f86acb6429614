"""What is examined: hosts' dumps, and what the cluster says there should be."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from ipaddress import ip_interface
from typing import NamedTuple

import msgspec

from weft.api import services as s
from weft.api import types as t
from weft.api.dump import HostDump, LinkDump, NamespaceDump
from weft.filters.rules import Filters
from weft.trace.namespace import Namespace
from weft.trace.path import Place


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Empty where there is no agent to ask: then only what needs no model is looked at."""

    endpoints: tuple[t.EndpointInfo, ...] = ()
    nodes: tuple[t.NodeInfo, ...] = ()
    networks: tuple[t.NetworkInfo, ...] = ()
    services: tuple[s.ServiceInfo, ...] = ()


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: of the catalogue. `fix`: a command for `host`, run as root. `warning`: it may do no
    harm."""

    kind: str
    host: str
    what: str
    detail: str
    advice: str = ""
    fix: str = ""
    warning: bool = False


class Inside(NamedTuple):
    """A namespace, with the host it is on and the endpoints whose it is (none: the host's own)."""

    host: str
    dump: NamespaceDump
    endpoints: tuple[t.EndpointInfo, ...]

    @property
    def name(self) -> str:
        return f"{self.host}/{self.dump.name}" if self.dump.name else self.host

    def fault(self, kind: str, detail: str, *, advice: str = "", fix: str = "", warning: bool = False) -> Fault:
        return Fault(kind=kind, host=self.host, what=self.name, detail=detail, advice=advice, fix=fix, warning=warning)

    def command(self, *words: str) -> str:
        """That can be run on the host."""
        inside = ("nsenter", f"--net={self.dump.path}") if self.dump.path else ()
        return shlex.join((*inside, *words))

    def link(self, name: str) -> LinkDump | None:
        return self.links.get(name)

    @property
    def links(self) -> dict[str, LinkDump]:
        return {link.name: link for link in self.dump.links}


class Scene:
    def __init__(self, dumps: Mapping[str, HostDump], told: Told) -> None:
        self.dumps, self.told = dumps, told
        self._filters: dict[Place, Filters] = {}
        self._tables: dict[Place, Namespace] = {}

    @cached_property
    def spaces(self) -> tuple[Inside, ...]:
        """Each host's own first."""
        by_place: dict[tuple[str, str], list[t.EndpointInfo]] = {}
        for endpoint in self.told.endpoints:
            by_place.setdefault((endpoint.node, endpoint.namespace), []).append(endpoint)
        return tuple(
            Inside(host, dump, tuple(by_place.get((host, dump.path), ())) if dump.path else ())
            for host, found in self.dumps.items()
            for dump in found.namespaces
        )

    @property
    def hosts(self) -> Iterator[Inside]:
        return (space for space in self.spaces if not space.dump.path)

    @property
    def containers(self) -> Iterator[Inside]:
        return (space for space in self.spaces if space.endpoints)

    @cached_property
    def by_address(self) -> dict[str, t.EndpointInfo]:
        return {str(a.ip): e for e in self.told.endpoints for a in e.addresses}

    @cached_property
    def by_mac(self) -> dict[str, list[t.EndpointInfo]]:
        found: dict[str, list[t.EndpointInfo]] = {}
        for endpoint in self.told.endpoints:
            found.setdefault(endpoint.mac, []).append(endpoint)
        return found

    @cached_property
    def networks(self) -> dict[str, t.NetworkInfo]:
        return {network.name: network for network in self.told.networks}

    @cached_property
    def underlay(self) -> dict[str, str]:
        """Nodes by their addresses."""
        return {str(a.ip): n.name for n in self.told.nodes for a in n.addresses}

    @cached_property
    def held(self) -> dict[tuple[str, str], set[str]]:
        """Addresses by namespace."""
        return {
            (space.host, space.dump.path): {str(ip_interface(a.address).ip) for a in space.dump.addresses}
            for space in self.spaces
        }

    def filters(self, space: Inside) -> Filters:
        place = Place(space.host, space.dump.path)
        if place not in self._filters:
            self._filters[place] = Filters(space.dump.filters)
        return self._filters[place]

    def tables(self, space: Inside) -> Namespace:
        place = Place(space.host, space.dump.path)
        if place not in self._tables:
            self._tables[place] = Namespace(space.dump)
        return self._tables[place]


Check = Callable[[Scene], Iterable[Fault]]
