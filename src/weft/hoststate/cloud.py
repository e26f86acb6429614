"""Objects of a cloud that routes to containers: routes in its tables, and what a host's interface there must permit.

They are the vocabulary of data paths without tunnels and without routes on hosts (`weft.datapaths._cloud`); who reads and
writes them is in `weft.targets`.
"""

from __future__ import annotations

from typing import ClassVar

from weft.hoststate.beyond import TargetObject


class CloudRoute(TargetObject, frozen=True, kw_only=True, gc=False):
    """What leads to one host's containers. `destination`: a prefix; Weft writes it as Python's `ipaddress` does (without host
    bits). Where it leads, a class for each cloud says: whether that can be changed in place or belongs to the name is the
    cloud's."""

    destination: str

    @property
    def where(self) -> str:
        """The table that it is in."""
        return self.place

    @property
    def to(self) -> str:
        """What it leads to."""
        raise NotImplementedError


class VpcRoute(CloudRoute, frozen=True, kw_only=True, gc=False):
    """A route of EC2's. `place`: the VPC's id, all of whose tables are read at once. `interface`: the network interface (ENI)
    that it leads to. A table has one route for a destination."""

    kind: ClassVar[str] = "vpc-route"

    table: str
    interface: str

    @property
    def name(self) -> tuple[str, ...]:
        return self.table, self.destination

    @property
    def where(self) -> str:
        return self.table

    @property
    def to(self) -> str:
        return self.interface

    def making(self) -> list[str]:
        return [self._command("create-route", f" --network-interface-id {self.interface}")]

    def changing(self, old: TargetObject) -> list[str]:
        return [self._command("replace-route", f" --network-interface-id {self.interface}")]

    def removing(self) -> list[str]:
        return [self._command("delete-route")]

    def _command(self, verb: str, more: str = "") -> str:
        block = "destination-ipv6-cidr-block" if ":" in self.destination else "destination-cidr-block"
        return f"aws ec2 {verb} --route-table-id {self.table} --{block} {self.destination}{more}"


class VpcInterface(TargetObject, frozen=True, kw_only=True, gc=False):
    """That a network interface takes and sends packets of other addresses than its own: EC2's source/destination check is off.
    `place`: the interface's id. It stays off when nobody wants it any more: who else may rely on that is not known here."""

    kind: ClassVar[str] = "vpc-interface"
    order: ClassVar[int] = -1

    @property
    def name(self) -> tuple[str, ...]:
        return ("source-dest-check",)

    def making(self) -> list[str]:
        return [
            f"aws ec2 modify-network-interface-attribute --network-interface-id {self.place} --no-source-dest-check"
        ]

    def changing(self, old: TargetObject) -> list[str]:
        return self.making()

    def removing(self) -> list[str]:
        return []


class RouterRoute(CloudRoute, frozen=True, kw_only=True, gc=False):
    """An extra route of a router of Neutron's. `place`: the router's id. `next_hop`: a host's address on one of the router's
    subnets. A router may have several next hops of one destination, side by side, so where it leads is part of its name."""

    kind: ClassVar[str] = "router-route"

    next_hop: str

    @property
    def name(self) -> tuple[str, ...]:
        return self.destination, self.next_hop

    @property
    def to(self) -> str:
        return self.next_hop

    def making(self) -> list[str]:
        return [self._command("add")]

    def changing(self, old: TargetObject) -> list[str]:
        return []

    def removing(self) -> list[str]:
        return [self._command("remove")]

    def _command(self, verb: str) -> str:
        route = f"destination={self.destination},gateway={self.next_hop}"
        return f"openstack router {verb} route --route {route} {self.place}"


class AddressPair(TargetObject, frozen=True, kw_only=True, gc=False):
    """That a port of Neutron's takes and sends packets of a prefix besides its own addresses, with its own MAC address
    (allowed_address_pairs). `place`: the port's id."""

    kind: ClassVar[str] = "address-pair"
    order: ClassVar[int] = -1

    prefix: str

    @property
    def name(self) -> tuple[str, ...]:
        return (self.prefix,)

    def making(self) -> list[str]:
        return [f"openstack port set --allowed-address ip-address={self.prefix} {self.place}"]

    def changing(self, old: TargetObject) -> list[str]:
        return []

    def removing(self) -> list[str]:
        return [f"openstack port unset --allowed-address ip-address={self.prefix} {self.place}"]
