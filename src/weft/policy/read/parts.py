"""Addresses, ports and protocols, which the dialects write alike."""

from __future__ import annotations

import re

from weft.base.net import IPNetwork, covers, parse_interface
from weft.documents.field import Field, said
from weft.policy.model import PortRange

PORTED = ("tcp", "udp", "sctp")
"""Protocols that have ports."""

_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_RANGE = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")


def read_cidr(field: Field) -> IPNetwork:
    """Host bits do not count, as in Kubernetes."""
    text = field.required().text()
    if "/" not in text:
        field.refuse(f"{said(text)} is not a CIDR: write it like 10.1.0.0/16 or fd00:1::/48")
    return field.as_said(parse_interface).network


def read_excepted(field: Field, cidr: IPNetwork) -> IPNetwork:
    found = read_cidr(field)
    if found == cidr or not covers(cidr, found):
        field.refuse(f"{found} must be a strict subset of `cidr`, which is {cidr}")
    return found


def read_port(field: Field, least: int = 1) -> int:
    return field.integer(least, 65_535)


def read_port_name(field: Field) -> str:
    return field.matching(
        _PORT_NAME,
        "a port's name has up to 15 of a-z, 0-9, '-', at least one of them a letter, and '-' only between others",
    )


def read_ports(field: Field) -> PortRange | str:
    """A number, a name, or a range such as "1024:2048"."""
    if isinstance(field.value, int) and not isinstance(field.value, bool):
        port = read_port(field, 0)
        return PortRange(port, port)
    found = _RANGE.fullmatch(field.required().text())
    if found is None:
        return read_port_name(field)
    first, last = int(found[1]), int(found[2])
    if not first <= last <= 65_535:
        field.refuse(f"{said(field.value)}: a range of ports goes from a lower one to a higher one, up to 65535")
    return PortRange(first, last)
