"""What users say of an endpoint so that policy can speak of it: its namespace, its labels, and what its ports are called."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from weft.base.errors import Invalid
from weft.base.names import check_name
from weft.base.numbers import HIGHEST_PORT

DEFAULT_NAMESPACE = "default"

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PORT = re.compile(r"([^=/]+)=([0-9]{1,5})(?:/([a-z]+))?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
LONGEST_DOMAIN, LONGEST_PORT_NAME = 253, 15
PROTOCOLS = ("tcp", "udp", "sctp")


class NamedPort(msgspec.Struct, frozen=True, order=True):
    """What an endpoint calls one of its ports. `protocol`: "tcp", "udp" or "sctp"."""

    name: str
    protocol: str
    port: int

    def __str__(self) -> str:
        """As `parse_port` reads it."""
        return f"{self.name}={self.port}/{self.protocol}"


def parse_port(text: str) -> NamedPort:
    """NAME=PORT or NAME=PORT/PROTOCOL. Raises Invalid."""
    found = _PORT.fullmatch(text)
    if found is None:
        raise Invalid(f"'{text[:80]}' is not a named port: write it like http=8080 or dns=53/udp")
    return check_port(NamedPort(found[1], found[3] or "tcp", int(found[2])))


def check_port(port: NamedPort) -> NamedPort:
    """Raises Invalid."""
    if len(port.name) > LONGEST_PORT_NAME or not _PORT_NAME.fullmatch(port.name):
        raise Invalid(
            f"'{port.name[:80]}' is not a port's name: use 1 to {LONGEST_PORT_NAME} of a-z, 0-9 and single '-' between them, "
            "with at least one letter"
        )
    if port.protocol not in PROTOCOLS:
        raise Invalid(f"named port {port.name}: '{port.protocol[:80]}' is none of {', '.join(PROTOCOLS)}")
    if not 1 <= port.port <= HIGHEST_PORT:
        raise Invalid(f"named port {port.name}: {port.port} is not a port: they are 1 to {HIGHEST_PORT}")
    return port


MOST_ALIASES = 64
"""Of one endpoint."""


def check_aliases(what: str, aliases: Collection[str]) -> None:
    """Raises Invalid."""
    if len(aliases) > MOST_ALIASES:
        raise Invalid(f"{what}: {len(aliases)} aliases are too many: at most {MOST_ALIASES}")
    for alias in aliases:
        check_name("container", alias)


def check_ports(ports: Collection[NamedPort]) -> None:
    """Raises Invalid where one is none, or a name and protocol mean two ports."""
    known = set[tuple[str, str]]()
    for port in ports:
        check_port(port)
        if (port.name, port.protocol) in known:
            raise Invalid(f"named port {port.name}/{port.protocol} is given twice: give one number")
        known.add((port.name, port.protocol))


def check_namespace(name: str) -> str:
    """A DNS label (RFC 1123), as Kubernetes takes it. Raises Invalid."""
    if not _NAMESPACE.fullmatch(name):
        raise Invalid(
            f"'{name[:80]}' is not a namespace's name: use 1 to 63 of a-z, 0-9, '-', beginning and ending with a letter or "
            "digit"
        )
    return name


def check_labels(what: str, labels: Mapping[str, str]) -> None:
    """By Kubernetes' rules. Raises Invalid."""
    for key, value in labels.items():
        if not _is_key(key):
            raise Invalid(
                f"{what}: '{key[:80]}' is not a label's key: use [DOMAIN/]NAME, NAME being 1 to 63 of letters, digits, '.', "
                "'_', '-', beginning and ending with a letter or digit"
            )
        if not _is_value(value):
            raise Invalid(
                f"{what}: label {key} cannot be '{value[:80]}': use up to 63 of letters, digits, '.', '_', '-', beginning and "
                "ending with a letter or digit"
            )


def selectable(labels: Mapping[str, str]) -> dict[str, str]:
    """Those that policy can speak of. A record of an earlier version may have others, of any length."""
    return {key: value for key, value in labels.items() if _is_key(key) and _is_value(value)}


def _is_key(key: str) -> bool:
    domain, slash, name = key.rpartition("/")
    domain_fits = not slash or (len(domain) <= LONGEST_DOMAIN and bool(_DOMAIN.fullmatch(domain)))
    return domain_fits and bool(_WORD.fullmatch(name))


def _is_value(value: str) -> bool:
    return not value or bool(_WORD.fullmatch(value))
