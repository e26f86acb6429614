"""Route tables as EC2 tells of them (DescribeRouteTables), as far as they matter here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from weft.base.net import IPNetwork, parse_network
from weft.hoststate.cloud import VpcRoute


class Table(msgspec.Struct, frozen=True, rename="pascal"):
    route_table_id: str
    routes: tuple[dict[str, Any], ...] = ()
    associations: tuple[dict[str, Any], ...] = ()

    @property
    def main(self) -> bool:
        """Whether it is that of all subnets of the VPC that are associated with none."""
        return any(a.get("Main") for a in self.associations)

    @property
    def subnets(self) -> set[str]:
        return {a["SubnetId"] for a in self.associations if a.get("SubnetId")}

    def count(self) -> Counter[int]:
        """Routes that count against the quota, by family: all but those that gateways propagate."""
        own = (r for r in self.routes if r.get("Origin") != "EnableVgwRoutePropagation")
        return Counter(6 if r.get("DestinationIpv6CidrBlock") else 4 for r in own)


def routes(vpc: str, tables: Mapping[str, Table]) -> Iterator[tuple[VpcRoute, IPNetwork]]:
    """All but those to lists of prefixes. `interface` is "" where a route leads to something else."""
    for table in tables.values():
        for route in table.routes:
            if text := route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock"):
                destination = parse_network(text)
                to = route.get("NetworkInterfaceId") or ""
                yield _route(vpc, table, destination, to), destination


def _route(vpc: str, table: Table, destination: IPNetwork, to: str) -> VpcRoute:
    return VpcRoute(place=vpc, table=table.route_table_id, destination=str(destination), interface=to)


def where(route: VpcRoute) -> dict[str, str]:
    """The parameters that name it."""
    block = "DestinationIpv6CidrBlock" if ":" in route.destination else "DestinationCidrBlock"
    return {"RouteTableId": route.table, block: route.destination}
