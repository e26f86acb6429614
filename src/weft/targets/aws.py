"""Target `aws`: routes in a VPC's tables, and the source/destination check of this host's interface.

A place is a VPC, of which all tables are read at once, or an interface. So a node that joins costs three calls: one that reads,
one that makes its route, one that switches the check off; and nobody else any.

The check is not asked about before it is switched off for the first time: to say it anew costs the same call, and changes
nothing where it is off already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from weft.base.errors import Failed, Invalid
from weft.hoststate import TargetObject
from weft.hoststate.cloud import VpcInterface, VpcRoute
from weft.model import Node
from weft.targets import metadata
from weft.targets.aws_checks import checks
from weft.targets.calls import Limits
from weft.targets.ec2 import Ec2
from weft.targets.protocol import Check, Page
from weft.targets.routes import Sweep, Territory, Whose
from weft.targets.tables import Table, routes, where

LIMITS = Limits(rate=2.0, burst=6, timeout=15.0, turn=5.0, settling=10.0)
"""EC2's own buckets of an account and region hold some hundreds of calls and refill with several a second, for all hosts
together. What was written may be missing from answers for some seconds."""
FRESH = 5.0
"""Seconds for which what was read to learn about this host also answers the first reading."""
PAGE = 100
"""Tables in one answer: the most that EC2 gives."""


class Aws:
    name = "aws"
    kinds = frozenset({VpcRoute.kind, VpcInterface.kind})

    def __init__(self, territory: Callable[[], Territory], clock: Callable[[], float]) -> None:
        self._territory, self._clock = territory, clock
        self._sweep = Sweep(clock)
        self._ec2, self._quotas = Ec2(), Ec2()
        self._facts: Mapping[str, str] = {}
        self._tables: dict[str, Table] = {}
        """As they were read last, when that was, and whether a reading has had them."""
        self._read_at, self._used = float("-inf"), True
        self._coming: dict[str, Table] = {}
        """Of a reading that is not at its end."""
        self._switched = False
        """Whether the check was switched off since the agent's start."""
        self._written: frozenset[str] = frozenset()
        """Tables with routes of this host's, as of the last reading."""

    @property
    def places(self) -> frozenset[str]:
        return frozenset(filter(None, [self._facts.get("vpc", "")]))

    # What there is to know of this host.

    async def learn(self, node: Node) -> Mapping[str, str]:
        async with metadata.asked() as host:
            document = await host.document()
            found = {"instance": document.get("instanceId", ""), "region": document.get("region", "")}
            found |= await host.interface(node)
        if found["region"] != self._facts.get("region"):
            self._ec2, self._quotas = Ec2(found["region"]), Ec2(found["region"], "service-quotas")
        if self._clock() - self._read_at > 2 * 60 or self._facts.get("vpc") != found["vpc"]:
            await self._read_all(found["vpc"])
        found["table"] = self._table_of(found["subnet"], found["vpc"])
        self._facts = found
        return found

    async def _read_all(self, vpc: str) -> None:
        more = ""
        while True:
            more = await self._read_some(vpc, more)
            if not more:
                break
        self._used = False

    async def _read_some(self, vpc: str, more: str) -> str:
        """Where to go on."""
        again = {"NextToken": more} if more else {}
        filters = [{"Name": "vpc-id", "Values": [vpc]}]
        answer = await self._ec2.call("describe_route_tables", Filters=filters, MaxResults=PAGE, **again)
        if not more:
            self._coming = {}
        tables = msgspec.convert(answer.get("RouteTables", []), list[Table])
        self._coming |= {table.route_table_id: table for table in tables}
        if not (token := str(answer.get("NextToken") or "")):
            self._tables, self._read_at, self._used = self._coming, self._clock(), True
        return token

    def _table_of(self, subnet: str, vpc: str) -> str:
        """The one that a subnet uses: the VPC's main table, unless it is associated with another. Raises Failed."""
        for table in self._tables.values():
            if subnet in table.subnets:
                return table.route_table_id
        for table in self._tables.values():
            if table.main:
                return table.route_table_id
        raise Failed(
            f"EC2 in region {self._ec2.region} knows no route table of {vpc}: is that this instance's region? Look at "
            "AWS_REGION and ~/.aws/config"
        )

    # Reading.

    async def read(self, place: str, more: str) -> Page:
        if place.startswith("eni-"):
            return await self._read_interface(place)
        old = more or self._used or self._clock() - self._read_at > FRESH
        if old and (token := await self._read_some(place, more)):
            return Page(more=token)
        self._used = True
        return self._page(place)

    def _page(self, vpc: str) -> Page:
        """Of all tables."""
        whose: dict[Whose, list[VpcRoute]] = {one: [] for one in Whose}
        border = self._territory()  # after the routes were read: the lease of each was there before it
        for route, destination in routes(vpc, self._tables):
            here = route.interface == self._facts.get("interface")
            whose[border.whose(destination, to_host=bool(route.interface), here=here)].append(route)
        self._written = frozenset(route.table for route in whose[Whose.OURS])
        return Page(self._sweep.handled(whose, border), tuple(r.key for r in whose[Whose.FOREIGN]))

    async def _read_interface(self, place: str) -> Page:
        if not self._switched:
            return Page()
        answer = await self._ec2.call("describe_network_interfaces", NetworkInterfaceIds=[place])
        off = [i for i in answer.get("NetworkInterfaces", ()) if not i.get("SourceDestCheck", True)]
        return Page((VpcInterface(place=place),) if off else ())

    # Writing.

    async def create(self, obj: TargetObject) -> None:
        if isinstance(obj, VpcInterface):
            check = {"Value": False}
            await self._ec2.call(
                "modify_network_interface_attribute", NetworkInterfaceId=obj.place, SourceDestCheck=check
            )
            self._switched = True
            return
        assert isinstance(obj, VpcRoute)
        self._check_table(obj)
        await self._ec2.call("create_route", **where(obj), NetworkInterfaceId=obj.interface)

    async def change(self, old: TargetObject, new: TargetObject) -> None:
        assert isinstance(new, VpcRoute)
        await self._ec2.call("replace_route", **where(new), NetworkInterfaceId=new.interface)

    async def remove(self, obj: TargetObject) -> None:
        if isinstance(obj, VpcRoute):
            await self._ec2.call("delete_route", **where(obj))

    def _check_table(self, route: VpcRoute) -> None:
        if route.table not in self._tables:
            known = ", ".join(sorted(self._tables))
            raise Invalid(
                f"{route.place} has no route table {route.table}: it has {known}; make the network with another "
                "-O route-table-ids"
            )

    # What keeps packets from arriving, or will.

    def checks(self) -> Iterator[Check]:
        return checks(self._ec2, self._quotas, self._facts, self._tables, self._written)
