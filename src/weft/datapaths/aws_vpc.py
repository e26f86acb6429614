"""Data path `aws-vpc`: the route tables of a VPC lead to containers. No tunnel, no routes between hosts, full MTU.

Packet's way: container → bridge → host's default route → the VPC's router, which looks into the route table of *the sender's*
subnet: `40.15.26.0/24 → eni-…` → that interface of the other host → its routing → its bridge → container.

Each host writes the routes to its own subnets, and no others; so a table has one for each node and family. To which tables is
the option `route-table-ids`. By default that is the table of the host's own subnet: then hosts whose subnets use another table
have no way to it, which each of the two tells as a problem. A host's interface must not drop packets of addresses that are
not its own: EC2's source/destination check is switched off.

What a host is in the VPC its lease says, as learnt by the target `aws` (`weft.targets.aws`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from weft.base.errors import Invalid
from weft.datapaths import _cloud, _parts
from weft.datapaths.change import LIVE, fixed, option
from weft.datapaths.driver import Answer, Driver, Host, Problem, Site
from weft.datapaths.options import SubnetOptions
from weft.datapaths.traits import OWN_SUBNET, KnownBy, Switched
from weft.hoststate.cloud import VpcInterface, VpcRoute
from weft.model import Lease, Network, Node
from weft.model.network import OptionValue

TARGET = "aws"
VPC, SUBNET, INTERFACE, TABLE = "vpc", "subnet", "interface", "table"
"""What a lease's data tells of its holder: ids of EC2's."""
CIDRS = "vpc-cidrs"
AUTO = "auto"
"""Of `route-table-ids`: the tables that nodes' subnets use, found by Weft."""
_TABLE_ID = re.compile(r"rtb-[0-9a-f]+")
_VPC_ID = re.compile(r"vpc-[0-9a-f]+")

RouteTableIds = Annotated[
    str,
    option(
        'the route tables that every node writes its routes to: ids with commas between; "auto" for those that '
        'the subnets of nodes use; "" for the one of the node\'s own subnet.',
        LIVE,
    ),
]
VpcId = Annotated[
    str,
    option(
        'the VPC of all nodes ("": of the node where the network is made).', fixed("the hosts' interfaces are in it")
    ),
]


class AwsVpcOptions(SubnetOptions, frozen=True, kw_only=True):
    route_table_ids: RouteTableIds = ""
    vpc_id: VpcId = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for one in self.tables:
            if not _TABLE_ID.fullmatch(one):
                raise Invalid(
                    f"route-table-ids={one} is not the id of a route table: write it like rtb-0a1b2c, or {AUTO}"
                )
        if self.vpc_id and not _VPC_ID.fullmatch(self.vpc_id):
            raise Invalid(f"vpc-id={self.vpc_id} is not the id of a VPC: write it like vpc-0a1b2c, or leave it out")

    @property
    def tables(self) -> tuple[str, ...]:
        """Those that are named."""
        texts = (text.strip() for text in self.route_table_ids.split(","))
        return () if self.route_table_ids == AUTO else tuple(dict.fromkeys(text for text in texts if text))

    @property
    def auto(self) -> bool:
        return self.route_table_ids == AUTO


def network(site: Site) -> Answer:
    yield from _cloud.network(site)
    if INTERFACE not in site.lease.data:
        yield Problem(_unknown(site.host))
        return
    yield VpcInterface(place=site.lease.data[INTERFACE])
    for table in site.options.tables or (site.lease.data[TABLE],):
        yield from _routes(site, table)


def _routes(site: Site, table: str) -> Iterator[VpcRoute]:
    """To this host's containers."""
    mine = site.lease.data
    for subnet in site.lease.subnets:
        yield VpcRoute(place=mine[VPC], table=table, destination=str(subnet), interface=mine[INTERFACE])


def peer(site: Site, node: Node, lease: Lease) -> Answer:
    yield from _cloud.peer(site, node, lease)
    mine, theirs = site.lease.data, lease.data
    if INTERFACE not in mine:
        return
    if INTERFACE not in theirs:
        yield Problem(f"{node.name} has not told its interface in the VPC: nothing leads to it; restart its agent")
    elif theirs[VPC] != mine[VPC]:
        yield Problem(
            f"{node.name} is in {theirs[VPC]}, and this host in {mine[VPC]}: a VPC's routes end at its own interfaces; use "
            "driver vxlan between VPCs"
        )
    elif site.options.auto:
        yield from _routes(site, theirs[TABLE])
    else:
        yield from _one_way(site, node, lease)


def _one_way(site: Site, node: Node, lease: Lease) -> Iterator[Problem]:
    """The routes that this pair of hosts lacks, since a host's packets go by the table of its own subnet."""
    mine, theirs = site.lease.data, lease.data
    named: tuple[str, ...] = site.options.tables
    lacking = {}
    if mine[TABLE] not in (named or (theirs[TABLE],)):
        lacking["there"] = f"{_join(lease)} of {node.name} is not in {mine[TABLE]}, which {site.host.node.name} uses"
    if theirs[TABLE] not in (named or (mine[TABLE],)):
        lacking["back"] = (
            f"{_join(site.lease)} of {site.host.node.name} is not in {theirs[TABLE]}, which {node.name} uses"
        )
    if lacking:
        wanted = ",".join(sorted({*named, mine[TABLE], theirs[TABLE]}))
        yield Problem(
            f"{node.name} is in {theirs[SUBNET]}, the way {' and '.join(lacking)} is missing: {'; '.join(lacking.values())}; "
            f"make the network with -O route-table-ids={wanted}, or with -O route-table-ids={AUTO}"
        )


def _join(lease: Lease) -> str:
    return " and ".join(map(str, lease.subnets))


def _unknown(host: Host) -> str:
    return f"what {host.node.name} is in EC2 is not known: {_cloud.learnt(host, TARGET).why}"


def lease_data(host: Host, _network: Network, _options: Any) -> dict[str, str]:
    facts = _cloud.learnt(host, TARGET).facts
    return {name: facts[name] for name in (VPC, SUBNET, INTERFACE, TABLE) if name in facts}


def _own_vpc(host: Host, _options: Mapping[str, OptionValue]) -> str:
    return _cloud.learnt(host, TARGET).facts.get(VPC, "")


def refusal(host: Host, network: Network, options: Any) -> str:
    facts = _cloud.learnt(host, TARGET).facts
    if not facts:
        return _unknown(host)
    if options.vpc_id and options.vpc_id != facts[VPC]:
        return (
            f"{host.node.name} is in {facts[VPC]}, and network {network.name} in {options.vpc_id}: a VPC's routes end at its "
            "own interfaces; use driver vxlan between VPCs"
        )
    if taken := _cloud.overlap(network, facts.get(CIDRS, "")):
        return (
            f"{taken[0]} overlaps the VPC's own {taken[1]}, which its route tables keep for themselves: choose a prefix "
            "outside of it"
        )
    return ""


DRIVER = Driver(
    name="aws-vpc",
    summary="a VPC's route tables lead to hosts' subnets, no encapsulation",
    options=AwsVpcOptions,
    addresses=OWN_SUBNET,
    known_by=KnownBy.LEASES,
    switched=Switched.ON_HOST,
    features=_parts.FEATURES,
    targets=(TARGET,),
    network=network,
    peer=peer,
    endpoint=_cloud.endpoint,
    reached=_parts.on_bridge,
    gates=_parts.on_bridge_gates,
    balancer=_parts.on_bridge_balancer,
    also=_parts.also,
    ways=_cloud.ways,
    lease_data=lease_data,
    table=lambda lease: lease.data.get(TABLE, ""),
    fixed={"vpc-id": _own_vpc},
    refusal=refusal,
)
