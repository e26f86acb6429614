"""What a service says, as users write it and as the store keeps it."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from weft.base.errors import Invalid
from weft.base.names import check_name, check_texts
from weft.base.net import FAMILIES, Family, IPAddress, family
from weft.base.numbers import HIGHEST_PORT
from weft.model import selector
from weft.model.identity import PROTOCOLS, NamedPort, check_namespace, check_port
from weft.model.ports import Protocol, PublishedPort, first_clash

PORT_SYNTAX = "[NAME=]PORT[:TARGET][/tcp|udp|sctp]"
_PORT = re.compile(r"(?:([^=:/]+)=)?([0-9]{1,5})(?::([0-9a-z-]+))?(?:/([a-z]+))?")
LONGEST_NAME = 63
MOST_PORTS = 100
LONGEST_DRAIN = 24 * 3600.0


class ServicePort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the virtual address. `target`: the members' port; a text is what each member calls one of its ports; 0: the
    same number. `name`: for SRV records; "" for none."""

    port: int
    target: int | str = 0
    protocol: Protocol = "tcp"
    name: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.port <= HIGHEST_PORT:
            raise Invalid(f"service port {self.port} is not a port: they are 1 to {HIGHEST_PORT}")
        if isinstance(self.target, int) and not 0 <= self.target <= HIGHEST_PORT:
            raise Invalid(f"target port {self.target} is not a port: they are 1 to {HIGHEST_PORT}")
        for name in (self.name, self.target if isinstance(self.target, str) else ""):
            if name:
                check_port(NamedPort(name, self.protocol, self.port))

    def of(self, ports: tuple[NamedPort, ...]) -> int | None:
        """The port of a member that calls its ports so; None where it has none by that name."""
        if isinstance(self.target, int):
            return self.target or self.port
        return next((p.port for p in ports if (p.name, p.protocol) == (self.target, self.protocol)), None)

    def __str__(self) -> str:
        """As `parse_port` reads it."""
        name, target = f"{self.name}=" if self.name else "", f":{self.target}" if self.target else ""
        return f"{name}{self.port}{target}/{self.protocol}"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a member's own host finds out whether it takes connections. `kind`: "tcp" connects to `port` (a port of the
    members; 0: the target of the service's first port); "http" asks there for `path` and takes any status of 200 to 399;
    "api": whoever watches it tells the agent. A member is ready after `rise` good answers in a row and no longer after `fall`
    bad ones; it begins as not ready. `interval`, `timeout`: seconds."""

    kind: Literal["tcp", "http", "api"]
    port: int = 0
    path: str = "/"
    interval: float = 5.0
    timeout: float = 2.0
    fall: int = 3
    rise: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.port <= HIGHEST_PORT:
            raise Invalid(f"health check: {self.port} is not a port: they are 1 to {HIGHEST_PORT}")
        if not self.path.startswith("/") or not self.path.isprintable() or " " in self.path or len(self.path) > 1024:
            raise Invalid(
                f"health check: '{self.path[:80]}' is not a path: it begins with '/', without spaces, and has at most 1024 "
                "characters"
            )
        if not 0.1 <= self.interval <= 3600 or not 0.1 <= self.timeout <= 60:
            raise Invalid("health check: an interval of 0.1 to 3600 s and a timeout of 0.1 to 60 s are possible")
        if not 1 <= self.fall <= 100 or not 1 <= self.rise <= 100:
            raise Invalid("health check: rise and fall are 1 to 100 answers")


class Draining(msgspec.Struct, frozen=True, kw_only=True):
    """A member that takes no new connections. `until`: Unix seconds after which those that it has are ended."""

    member: str
    until: float


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """`select`: a selector (`weft.model.selector`) of members among the network's containers, by their labels; `members`:
    containers' names, instead. `namespace`: only containers of this policy namespace; "" for all. `addresses`: virtual ones,
    at most one of each family; none with mode "names". `published`: ports of all hosts that lead to a port of the service
    (`container_port`). `affinity`: "client-ip": a client keeps its member as long as that is there. `mode`: what the
    name says: "vip" the virtual addresses, "names" those of the members. `traffic`: of published ports only, whether members
    on the host that a connection came to are first ("local-first"); a virtual address always spreads evenly. `drain`:
    seconds that a member's connections are given when it is drained. `draining`: members being drained, by the endpoint's
    id. `aliases`: further names. `automatic`: made by containers' labels, and removed with the last of these.
    `labels`: by which it is chosen among others."""

    name: str
    network: str
    namespace: str = ""
    ports: tuple[ServicePort, ...] = ()
    select: str = ""
    members: tuple[str, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    published: tuple[PublishedPort, ...] = ()
    affinity: Literal["none", "client-ip"] = "none"
    mode: Literal["vip", "names"] = "vip"
    traffic: Literal["local-first", "any"] = "local-first"
    drain: float = 30.0
    draining: tuple[Draining, ...] = ()
    health: Health | None = None
    aliases: tuple[str, ...] = ()
    automatic: bool = False
    labels: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_name("network", self.network)
        for name in (self.name, *self.aliases):
            check_name("service", name)
        if self.namespace:
            check_namespace(self.namespace)
        selector.check(self.select)
        for member in self.members:
            check_name("member", member)
        self._say(not (self.select and self.members), "select members by labels or name them, not both")
        self._say(len(self.ports) <= MOST_PORTS, f"{len(self.ports)} ports are too many: at most {MOST_PORTS}")
        places = [(port.port, port.protocol) for port in self.ports]
        self._say(len(set(places)) == len(places), "one of its ports is given twice")
        names = [(port.name, port.protocol) for port in self.ports if port.name]
        self._say(len(set(names)) == len(names), "two of its ports have one name")
        self._say(len(self.families) == len(self.addresses), "at most one virtual address of each family")
        self._say(not (self.mode == "names" and self.addresses), "with mode names it has no virtual address")
        check_drain(self.drain)
        check_texts(f"service {self.name}", self.labels)
        for published in self.published:
            ends = {(inner, published.protocol) for _, inner in published.pairs}
            self._say(not published.open, f"{published} leads from no port of the hosts yet")
            self._say(ends <= set(places), f"{published} leads to none of its ports: {self._ports()}")
        if twice := first_clash(self.published):
            self._say(False, f"{twice[0].outer} and {twice[1].outer} are the same port: publish it once")

    def _say(self, fine: bool, otherwise: str) -> None:
        if not fine:
            raise Invalid(f"service {self.name}: {otherwise}")

    def _ports(self) -> str:
        return ", ".join(map(str, self.ports)) or "it has no ports"

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(f for f in FAMILIES if any(family(a) == f for a in self.addresses))

    def port(self, number: int, protocol: str) -> ServicePort | None:
        return next((p for p in self.ports if (p.port, p.protocol) == (number, protocol)), None)

    def chooses(self, name: str, namespace: str, labels: dict[str, str]) -> bool:
        """Whether a container of the network is a member. One that nothing selects has none."""
        if self.namespace and namespace != self.namespace:
            return False
        return name in self.members if not self.select else selector.matches(self.select, labels)


def check_drain(seconds: float) -> None:
    """Raises Invalid, also where it is no number, which JSON cannot say."""
    if not 0 <= seconds <= LONGEST_DRAIN:
        raise Invalid(f"drain {seconds:g} is not possible: 0 to {LONGEST_DRAIN:g} s are")


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What a health check says of a member, written by its own `node`. `since`: Unix seconds. `reason`: why it is not
    ready, in one line."""

    node: str
    ready: bool
    since: float
    reason: str = ""


def parse_port(text: str) -> ServicePort:
    """`[NAME=]PORT[:TARGET][/PROTOCOL]`. Raises Invalid."""
    found = _PORT.fullmatch(text)
    if not found:
        raise Invalid(
            f"'{text[:80]}' is not a service's port: write it like 80, 80:8080 or web=80:http/tcp ({PORT_SYNTAX})"
        )
    name, port, target, protocol = found.groups()
    known: Protocol | None = next((p for p in ("tcp", "udp", "sctp") if p == (protocol or "tcp")), None)
    if known is None:
        raise Invalid(f"service port '{text}': '{protocol}' is none of {', '.join(PROTOCOLS)}")
    to: int | str = int(target) if target and target.isdecimal() else target or 0
    if target and target.isdecimal() and not int(target):
        raise Invalid(f"service port '{text}': target port 0 is not a port: they are 1 to {HIGHEST_PORT}")
    return ServicePort(port=int(port), target=to, protocol=known, name=name or "")
