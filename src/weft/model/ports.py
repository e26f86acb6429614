"""Ports of the host that lead to a container."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Generic, Literal, TypeVar

import msgspec

from weft.base.errors import Invalid
from weft.base.net import FAMILIES, Family, IPAddress, family, parse_address
from weft.base.numbers import HIGHEST_PORT

Protocol = Literal["tcp", "udp", "sctp"]
T = TypeVar("T")

PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "sctp")
BY_NUMBER: dict[int, Protocol] = {6: "tcp", 17: "udp", 132: "sctp"}
"""As IANA numbers protocols of IP."""

SYNTAX = "[HOSTIP:][HOSTPORT[-END]][:PORT[-END]][/tcp|udp|sctp]"
_SYNTAX = re.compile(
    r"(?:(\[[^]]*\]|[0-9.]+\.[0-9.]*):)?([0-9]{0,5})(?:-([0-9]{1,5}))?"
    r"(?::([0-9]{1,5})(?:-([0-9]{1,5}))?)?(?:/([a-z]+))?"
)
ANY = 0
"""As `host_port`: Weft is to choose."""


class ExposedPort(msgspec.Struct, frozen=True, order=True):
    """A port of the container's own, that others are meant to reach at its address."""

    protocol: Protocol
    port: int

    def __post_init__(self) -> None:
        if not 1 <= self.port <= HIGHEST_PORT:
            raise Invalid(f"exposed port {self.port}/{self.protocol}: ports are 1 to {HIGHEST_PORT}")


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True):
    """`count` ports of the host, from `host_port` up, lead to as many of the container, from `container_port` up.
    `host_ip`: only at this address of the host; 0.0.0.0 and ::, at all of that family; None, at all. As a wish, `host_port`
    may be `ANY`: no endpoint has such a port."""

    host_port: int
    container_port: int
    protocol: Protocol = "tcp"
    host_ip: IPAddress | None = None
    count: int = 1

    def __post_init__(self) -> None:
        for first in (self.host_port or 1, self.container_port):
            if not 1 <= first <= first + self.count - 1 <= HIGHEST_PORT:
                raise Invalid(f"published port {self}: ports are 1 to {HIGHEST_PORT}")
        if self.count < 1:
            raise Invalid(f"published port {self}: at least one")
        if self.host_ip is not None and self.host_ip.version == 6 and self.host_ip.is_loopback:
            raise Invalid(
                "::1 cannot lead to a container (the kernel keeps it on the loopback device): publish on 127.0.0.1"
            )

    @property
    def open(self) -> bool:
        """Whether its port of the host is yet to be chosen."""
        return self.host_port == ANY

    def grants(self, wish: PublishedPort) -> bool:
        """Whether it is what was wished for."""
        return self == (msgspec.structs.replace(wish, host_port=self.host_port) if wish.open else wish)

    @property
    def families(self) -> tuple[Family, ...]:
        """Those in which it can be reached, as far as the container has an address of them."""
        return FAMILIES if self.host_ip is None else (family(self.host_ip),)

    @property
    def only_at(self) -> IPAddress | None:
        """None for every address of its families."""
        return None if self.host_ip is None or self.host_ip.is_unspecified else self.host_ip

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """(the host's port, the container's)."""
        return ((self.host_port + n, self.container_port + n) for n in range(self.count))

    @property
    def outer(self) -> str:
        """What a client sees: "192.168.1.68:8080/tcp"."""
        return f"{self._at}{_span(self.host_port, self.count)}/{self.protocol}"

    @property
    def _at(self) -> str:
        if self.host_ip is None:
            return ""
        return f"[{self.host_ip}]:" if self.host_ip.version == 6 else f"{self.host_ip}:"

    def __str__(self) -> str:
        """As `parse` reads it."""
        host = str(ANY) if self.open else _span(self.host_port, self.count)
        inner = _span(self.container_port, self.count)
        return f"{self._at}{host}:{inner}/{self.protocol}"


class PortIndex(Generic[T]):
    """Ports of a host that are spoken for, and by whom. Asking and adding costs the number of ports that are asked or added,
    however many there are already."""

    def __init__(self) -> None:
        self._held: dict[tuple[Protocol, Family, int], dict[IPAddress | None, T]] = {}
        """By address of the host; None: at every one."""

    def holder(self, port: PublishedPort, families: Collection[Family] = FAMILIES) -> T | None:
        """Who has a port that a packet in one of `families`, meant for `port`, could be meant for as well."""
        for key in self._keys(port, families):
            held = self._held.get(key)
            if held:
                if port.only_at is None:
                    return next(iter(held.values()))
                found = held.get(port.only_at, held.get(None))
                if found is not None:
                    return found
        return None

    def add(self, port: PublishedPort, families: Collection[Family], who: T) -> None:
        for key in self._keys(port, families):
            self._held.setdefault(key, {}).setdefault(port.only_at, who)

    @staticmethod
    def _keys(port: PublishedPort, families: Collection[Family]) -> Iterator[tuple[Protocol, Family, int]]:
        return ((port.protocol, fam, number) for fam in port.families if fam in families for number, _ in port.pairs)


def first_clash(
    ports: Iterable[PublishedPort], families: Collection[Family] = FAMILIES
) -> tuple[PublishedPort, PublishedPort] | None:
    """Two of the ports that a packet in one of `families` could be meant for."""
    index = PortIndex[PublishedPort]()
    for port in ports:
        other = index.holder(port, families)
        if other is not None:
            return other, port
        index.add(port, families, port)
    return None


def parse(text: str) -> PublishedPort:
    """Raises Invalid."""
    found = _SYNTAX.fullmatch(text)
    if not found or not (found[2] or found[4]) or (found[3] and not int(found[2] or ANY)):
        raise Invalid(f"'{text}' is not a published port: write it like 8080:80 or 192.168.1.5:53:53/udp ({SYNTAX})")
    ip, host, host_end, inner, inner_end, protocol = found.groups()
    known = next((p for p in PROTOCOLS if p == (protocol or "tcp")), None)
    if known is None:
        raise Invalid(f"published port '{text}': '{protocol}' is none of {', '.join(PROTOCOLS)}")
    chosen = not int(host or ANY)
    if chosen and inner is None:
        raise Invalid(f"published port '{text}': say which port it leads to: :80 leads to port 80")
    count = _count(text, inner, inner_end) if chosen else _count(text, host, host_end)
    if inner is not None and _count(text, inner, inner_end) != count:
        raise Invalid(f"published port '{text}': {count} ports of the host for another number of the container's")
    return PublishedPort(
        host_port=int(host or ANY),
        container_port=int(inner or host),
        protocol=known,
        host_ip=parse_address(ip.strip("[]")) if ip else None,
        count=count,
    )


def says_inner(text: str) -> bool:
    """Whether what `parse` reads says itself which port it leads to."""
    found = _SYNTAX.fullmatch(text)
    return found is not None and found[4] is not None


def _count(text: str, first: str, last: str | None) -> int:
    count = int(last or first) - int(first) + 1
    if count < 1:
        raise Invalid(f"published port '{text}': {first}-{last} runs backwards")
    return count


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"
