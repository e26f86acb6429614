"""What packets one of Weft's own rules means: protocol, ports of the destination, ICMP, and all of it negated."""

from __future__ import annotations

from weft.documents.field import Field, said
from weft.policy.model import PortRange, Traffic
from weft.policy.read.parts import PORTED, read_ports

_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp", "ICMP": "icmp", "ICMPv6": "icmpv6", "UDPLite": "udplite"}
_NUMBERS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite"}
_MOST = 50
"""Ports of one rule."""


def read_traffic(rule: Field) -> tuple[Traffic, ...]:
    """() for all."""
    protocol, icmp = _protocol(rule["protocol"]), _icmp(rule, "icmp")
    ports = _ports(rule, "ports", protocol)
    if icmp is not None:
        return (icmp,)
    return (Traffic(protocol=protocol, ports=ports),) if protocol else ()


def read_no_traffic(rule: Field) -> tuple[Traffic, ...]:
    protocol, ports = _protocol(rule["protocol"]), _ports(rule, "notPorts", _protocol(rule["protocol"]))
    found = [Traffic(protocol=_protocol(rule["notProtocol"]))] if rule["notProtocol"] else []
    found += [Traffic(protocol=protocol, ports=ports)] if ports else []
    icmp = _icmp(rule, "notICMP")
    return (*found, *([icmp] if icmp is not None else []))


def _protocol(field: Field) -> str:
    """ "" where it is not there."""
    if not field:
        return ""
    if isinstance(field.value, int):
        number = field.integer(1, 255)
        return _NUMBERS.get(number, str(number))
    return _PROTOCOLS[field.choice(tuple(_PROTOCOLS))]


def _ports(rule: Field, name: str, protocol: str) -> tuple[PortRange | str, ...]:
    field = rule["destination"][name]
    if field and protocol not in PORTED:
        given = f"not {said(rule['protocol'].value)}" if protocol else "which is missing"
        field.refuse(f"it needs a `protocol` that has ports (TCP, UDP, SCTP), {given}")
    if field and not field.items(_MOST):
        field.refuse("at least one port is expected")
    return field.each(read_ports, _MOST)


def _icmp(rule: Field, name: str) -> Traffic | None:
    """None where it is not there."""
    field, protocol = rule[name], _protocol(rule["protocol"])
    if not field:
        return None
    if protocol not in ("icmp", "icmpv6"):
        field.refuse("it needs a `protocol` ICMP or ICMPv6")
    field.of("type", "code")
    if field["code"] and not field["type"]:
        field["code"].refuse("it needs a `type`")
    return Traffic(
        protocol=protocol,
        icmp_type=field["type"].required().integer(0, 254),
        icmp_code=field["code"].integer(0, 255) if field["code"] else None,
    )
