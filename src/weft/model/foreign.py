"""Hosts of others that are in a network of ours, such as flannel's: they run no agent, and nothing in our store tells of them.

Data paths take them as nodes and leases like any other. Their names are none that a node can have: "flannel:192.168.1.68".
"""

from __future__ import annotations

from weft.base.net import IPAddress, parse_mac
from weft.model.lease import Lease
from weft.model.node import Node


def foreign_name(kind: str, address: IPAddress) -> str:
    return f"{kind}:{address}"


def kind_of(name: str) -> str:
    """By what a host is in our networks; "" for a node."""
    kind, separator, _ = name.partition(":")
    return kind if separator else ""


class ForeignNode(Node, frozen=True, kw_only=True):
    """What is known of such a host is checked by who tells of it."""

    def __post_init__(self) -> None:
        pass


class ForeignLease(Lease, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        """Raises Invalid."""
        for name, value in self.data.items():
            if name.endswith("mac"):
                parse_mac(value)
