"""How much one request may ask for. Whoever needs more asks several times.

The agent answers everybody on one event loop, so no request may take long on it: what a request brings is checked in time
proportional to its length, and that is bounded here. The numbers are far above what containers have; docs/operating.md
lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from weft.base.errors import Invalid
from weft.base.names import check_texts
from weft.model import NamedPort, Network, PublishedPort
from weft.model.identity import check_namespace
from weft.model.identity import check_ports as check_named_ports

SUBNETS = 64
"""Of one network."""
OPTIONS = 64
OPTION_TEXT = 16_384
"""Characters of one option's value: room for some 400 prefixes."""
ADDRESSES = 64
"""Wished for, or given as ranges, by one endpoint."""
FLOATING = 64
"""Of one endpoint."""
PORTS = 16_384
"""Of one endpoint, those of a range counted one by one."""
PORT_RANGES = 4_096
"""Of one endpoint. A record of the store holds them all, and etcd takes requests of up to 1.5 MiB."""
NAMED_PORTS = 256
"""Of one endpoint."""
PATTERNS = 256
"""Of prefixes, or communities, of one BGP peer."""
REFS = 1_024
"""Names of policies in one request."""
TEXT = 4096
"""Characters of a path or a name."""


def at_most(what: str, some: Collection[object], most: int) -> None:
    """Raises Invalid."""
    if len(some) > most:
        raise Invalid(f"{what}: {len(some)} are too many: at most {most}")


def check_text(what: str, text: str) -> None:
    """Raises Invalid for what a terminal cannot show, or nobody would read."""
    if len(text) > TEXT or not text.isprintable():
        raise Invalid(f"{what} '{text[:80]}' is longer than {TEXT} characters or has some that cannot be shown")


def check_identity(what: str, namespace: str, ports: Collection[NamedPort]) -> None:
    """`namespace`: "" where nothing is said. Raises Invalid."""
    if namespace:
        check_namespace(namespace)
    at_most(f"{what}: named ports", ports, NAMED_PORTS)
    check_named_ports(ports)


def check_network(network: Network) -> None:
    """Raises Invalid."""
    what = f"network {network.name}"
    at_most(f"{what}: subnets", network.subnets, SUBNETS)
    at_most(f"{what}: pools", network.pools, SUBNETS)
    check_options(what, network.options)
    check_texts(what, network.labels)


def check_options(what: str, options: Mapping[str, object]) -> None:
    at_most(f"{what}: options", options, OPTIONS)
    for name, value in options.items():
        check_text(f"{what}: option", name)
        if isinstance(value, str) and not (len(value) <= OPTION_TEXT and value.isprintable()):
            raise Invalid(
                f"{what}: option {name} is longer than {OPTION_TEXT} characters or has some that cannot be shown"
            )


def check_ports(ports: Collection[PublishedPort]) -> None:
    """Raises Invalid."""
    at_most("published ports, with each range as one", ports, PORT_RANGES)
    number = sum(port.count for port in ports)
    if number > PORTS:
        raise Invalid(f"published ports: {number} are too many: at most {PORTS}")
