"""Objects of a cloud that routes to containers: routes in its tables, and what a host's interface there must permit.

They are the vocabulary of data paths without tunnels and without routes on hosts (`weft.datapaths._cloud`); who reads and
writes them is in `weft.targets`.
"""

from __future__ import annotations

from typing import ClassVar

from weft.hoststate.beyond import TargetObject


class CloudRoute(TargetObject, frozen=True, kw_only=True, gc=False):
    """What leads to one host's containers. `destination`: a prefix as Python's `ipaddress` writes it (without host bits). Where
    it leads, a class for each cloud says: whether that can be changed in place or belongs to the name is the cloud's."""

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
