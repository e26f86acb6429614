"""Audit of ports, security groups and networks in Neutron: what carries this cluster's mark there and stands for nothing here,
and containers whose port is gone. Pure.

A port is there a moment before its endpoint, and one that is kept for a container to come is there for a minute or two: so
young ones are not told of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from weft.ipam.neutron_leftovers import GROUP as OWN_GROUP
from weft.ipam.neutron_networks import NET, Marks
from weft.model import Endpoint, Network
from weft.openstack.neutron import Group, Net, Port

YOUNG = 180.0
"""Seconds."""
PORT, ENDPOINT, NETWORK = "port-without-endpoint", "endpoint-without-port", "neutron-network-without-network"
GROUP = "security-group-without-endpoint"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """`id`: of the port, the endpoint, the security group or the network in Neutron."""

    network: str
    kind: str
    subject: str
    node: str
    text: str
    id: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What there was. Endpoints were listed before and after Neutron was asked: `lasting` are those with ports in both,
    `any` those in either. `now`: seconds since the epoch."""

    lasting: Collection[Endpoint]
    any: Collection[Endpoint]
    ports: Collection[Port]
    groups: Collection[Group]
    nets: Collection[Net]
    networks: Mapping[str, Network]
    now: float


def faults(look: Look, marks: Marks) -> Iterator[Fault]:
    yield from _ports(look, marks)
    yield from _groups(look, marks)  # after their ports, which use them
    yield from _endpoints(look)
    yield from _networks(look, marks)


def _ports(look: Look, marks: Marks) -> Iterator[Fault]:
    known = {e.data.get("port") for e in look.any}
    names = {n.data.get(NET): n.name for n in look.networks.values()}
    for port in look.ports:
        if marks.is_port(port) and port.id not in known and not _young(port.created_at, look.now):
            yield Fault(
                network=names.get(port.network_id, ""),
                kind=PORT,
                subject=", ".join(ip.ip_address for ip in port.fixed_ips) or port.id,
                node=port.description.removeprefix(marks.cluster),
                text=f"port {port.name or port.id} in Neutron is no container's",
                id=port.id,
            )


def _groups(look: Look, marks: Marks) -> Iterator[Fault]:
    known = {e.data.get(OWN_GROUP) for e in look.any}
    for group in look.groups:
        ours = group.description.startswith(marks.cluster)
        if ours and group.id not in known and not _young(group.created_at, look.now):
            yield Fault(
                network="",
                kind=GROUP,
                subject=group.name,
                node=group.description.removeprefix(marks.cluster),
                text=f"security group {group.id} in Neutron is no container's",
                id=group.id,
            )


def _endpoints(look: Look) -> Iterator[Fault]:
    there = {port.id for port in look.ports}
    for endpoint in look.lasting:
        id = endpoint.data.get("port", "")
        if id and id not in there:
            yield Fault(
                network=endpoint.network,
                kind=ENDPOINT,
                subject=endpoint.name,
                node=endpoint.node,
                text=f"its port {id} is gone from Neutron: {_way_out(endpoint)}",
                id=endpoint.id,
            )


def _way_out(endpoint: Endpoint) -> str:
    """Another port means another interface, and what an engine has taken over only it can replace."""
    if endpoint.handover:
        return "start its container again"
    return f"`weft ipam check --fix` on {endpoint.node} makes another one"


def _networks(look: Look, marks: Marks) -> Iterator[Fault]:
    needed = {n.data.get(NET) for n in look.networks.values()}
    for net in look.nets:
        if net.description.startswith(marks.cluster) and net.id not in needed and not _young(net.created_at, look.now):
            yield Fault(
                network=net.description.removeprefix(marks.cluster),
                kind=NETWORK,
                subject=net.name,
                node="",
                text=f"network {net.id} in Neutron was made for a network that is no more",
                id=net.id,
            )


def _young(made: str, now: float) -> bool:
    """`made`: as Neutron writes it, in UTC."""
    try:
        return now - datetime.fromisoformat(made).timestamp() < YOUNG
    except ValueError:
        return False


def of_network(found: Iterable[Fault], name: str) -> list[Fault]:
    """ "" is all."""
    return [fault for fault in found if name in ("", fault.network)]
