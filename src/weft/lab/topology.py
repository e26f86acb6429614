"""What a lab consists of: segments (L2), hosts on them, one router between them, and `outside`.

A host's default routes go to the router's addresses on its segment. `outside` has no default route, only routes to
the hosts' segments, so that it answers a container if, and only if, the packet came with a host's address.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from weft.base.errors import Invalid, NotFound
from weft.base.names import check_name
from weft.base.net import IPAddress, IPInterface, IPNetwork
from weft.model import codec
from weft.model.bgp import check_asn
from weft.model.selector import check_labels

ROUTER = "router"
OUTSIDE = "outside"
MOST_HOSTS = 100
"""Of `--hosts N`: a limit of sense, one process and one agent each."""


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host, or `outside`: one uplink, `eth0`, on one segment. `mtu`: of that uplink, in bytes. `labels`, `asn`: as the
    agent's settings of these names."""

    name: str = OUTSIDE
    segment: str
    addresses: tuple[IPInterface, ...]
    mtu: int = 1500
    labels: dict[str, str] = {}
    asn: int = 0

    def __post_init__(self) -> None:
        check_name("host", self.name)
        check_labels(f"host {self.name}", self.labels)
        if self.asn:
            check_asn(f"host {self.name}", self.asn)
        if not self.addresses:
            raise Invalid(f"host {self.name}: no address: give it one like 192.168.1.68/24")
        if not 1280 <= self.mtu <= 65535:
            raise Invalid(f"host {self.name}: MTU {self.mtu} is outside 1280 to 65535")


class Topology(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`router`: its addresses, by segment; empty for a lab without one."""

    segments: tuple[str, ...]
    hosts: tuple[Place, ...]
    router: dict[str, tuple[IPInterface, ...]] = {}
    outside: Place | None = None

    def __post_init__(self) -> None:
        if not self.hosts:
            raise Invalid("topology: no hosts: add a [[hosts]] table with name, segment and addresses")
        for segment in self.segments:
            check_name("segment", segment)
        self._check_unique()
        self._check_segments()

    def _check_unique(self) -> None:
        addresses = [str(a.ip) for p in self.places() for a in p.addresses]
        addresses += [str(a.ip) for on_segment in self.router.values() for a in on_segment]
        for kind, names in (
            ("segment", list(self.segments)),
            ("host", [h.name for h in self.hosts] + [ROUTER, OUTSIDE]),
            ("address", addresses),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                why = f" ({ROUTER} and {OUTSIDE} are taken)" if twice[0] in (ROUTER, OUTSIDE) else ""
                raise Invalid(f"topology: {kind} {twice[0]} is given twice{why}: each must be unique")

    def _check_segments(self) -> None:
        used = {p.segment: p.name for p in self.places()} | dict.fromkeys(self.router, ROUTER)
        for segment, user in used.items():
            if segment not in self.segments:
                known = ", ".join(self.segments) or "none"
                raise Invalid(f"topology: {user} is on segment '{segment}', which is not in segments ({known})")
        for place in self.places():
            for address in place.addresses:
                gateways = [g for g in self.router.get(place.segment, ()) if g.version == address.version]
                if gateways and not any(g.network == address.network for g in gateways):
                    raise Invalid(
                        f"topology: {place.name}'s {address} does not share a prefix with the router on segment "
                        f"{place.segment} ({gateways[0]})"
                    )

    def places(self) -> tuple[Place, ...]:
        """Everything with one uplink: the hosts, and `outside` if there is one."""
        return self.hosts if self.outside is None else (*self.hosts, self.outside)

    def names(self) -> tuple[str, ...]:
        """Everything that has namespaces of its own."""
        return tuple(p.name for p in self.places()) + ((ROUTER,) if self.router else ())

    def place(self, name: str) -> Place:
        for place in self.places():
            if place.name == name:
                return place
        raise NotFound(f"'{name}' has no uplink: those with one are {', '.join(p.name for p in self.places())}")

    def routes(self, place: Place) -> Iterator[tuple[IPNetwork | None, IPAddress]]:
        """(prefix, next hop) of each of its routes; a prefix of None is the default route."""
        for gateway in self.router.get(place.segment, ()):
            if place is not self.outside:
                yield None, gateway.ip
                continue
            for segment, addresses in self.router.items():
                if segment != place.segment:
                    yield from ((a.network, gateway.ip) for a in addresses if a.version == gateway.version)


def load(path: Path) -> Topology:
    """Raises Invalid (names the field), NotFound."""
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise NotFound(f"no topology file {path}: see docs/lab.md for one, or leave --topology out") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise Invalid(f"{path}: not a topology: {error}") from None
    try:
        return codec.convert(Topology, data)
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from None


def reference() -> Topology:
    return load(Path(__file__).with_name("reference.toml"))


def flat(count: int) -> Topology:
    """node-1 … node-`count` on segment a (192.168.1.11 and up), with the reference lab's router and `outside`."""
    if not 1 <= count <= MOST_HOSTS:
        raise Invalid(f"{count} hosts: choose 1 to {MOST_HOSTS}")
    model = reference()
    first = IPv4Address("192.168.1.10")
    hosts = [
        {"name": f"node-{i}", "segment": "a", "addresses": [f"{first + i}/24", f"fd00:192:168:1::{10 + i}/64"]}
        for i in range(1, count + 1)
    ]
    plain = codec.to_builtins(model)
    return codec.convert(Topology, {**plain, "hosts": hosts})
