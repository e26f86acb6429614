"""The reference lab's nodes and their subnets as model values: three hosts on one segment, a fourth behind a router."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

from weft.datapaths.driver import Host, Learnt, Site, without_lease
from weft.datapaths.registry import driver, parse_options
from weft.model import Lease, Network, Node

_UNDERLAY = {
    "node-1": ("192.168.1.68/24", "fd01:a::68/64"),
    "node-2": ("192.168.1.254/24", "fd01:a::254/64"),
    "node-3": ("192.168.1.245/24", "fd01:a::245/64"),
    "node-4": ("192.168.0.33/24", "fd01:b::33/64"),
}
_SUBNETS = {
    "node-1": ("40.15.43.0/24", "fd40:15:0:43::/64"),
    "node-2": ("40.15.26.0/24", "fd40:15:0:26::/64"),
    "node-3": ("40.15.56.0/24", "fd40:15:0:56::/64"),
    "node-4": ("40.15.9.0/24", "fd40:15:0:9::/64"),
}
VPC_CIDRS = "192.168.0.0/16 fd01::/16"
PREFIXES = ("40.15.0.0/16", "fd40:15::/48")


def node(name: str, families: tuple[int, ...] = (4, 6), **changed: object) -> Node:
    addresses = tuple(a for a in map(ip_interface, _UNDERLAY[name]) if a.version in families)
    return Node(**{"name": name, "addresses": addresses, "uplink": "eth0", **changed})  # type: ignore[arg-type]


def targets(name: str) -> dict[str, Learnt]:
    """What clouds say of a node: node-4 is in another subnet, with another route table of EC2's, joined to the first by a
    router of Neutron's."""
    segment = "b" if name == "node-4" else "a"
    ec2 = {
        "vpc": "vpc-1",
        "vpc-cidrs": VPC_CIDRS,
        "subnet": f"subnet-{segment}",
        "table": f"rtb-{segment}",
        "interface": f"eni-{name[-1]}",
    }
    neutron = {
        "port": f"port-{name[-1]}",
        "port-security": "on",
        "routers": "router-1",
        "gateway": "router-1",
        "hidden": "",
        "subnets": "192.168.1.0/24 192.168.0.0/24 fd01:a::/64 fd01:b::/64",
    }
    return {"aws": Learnt(ec2), "openstack": Learnt(neutron)}


def nodes() -> dict[str, Node]:
    return {name: node(name) for name in _UNDERLAY}


def network(driver_name: str, families: tuple[int, ...] = (4,), **changed: object) -> Network:
    subnets = tuple(s for s in map(ip_network, PREFIXES) if s.version in families)
    values = {"name": "blue", "driver": driver_name, "subnets": subnets, **changed}
    return Network(**values)  # type: ignore[arg-type]


def site(net: Network, me: Node, **facts: object) -> Site:
    """The network on the host `me`, which holds a lease of it."""
    host = Host(**{"node": me, "targets": targets(me.name), **facts})  # type: ignore[arg-type]
    return Site(host, net, parse_options(net), lease(net, me))


def lease(net: Network, holder: Node) -> Lease:
    if not driver(net.driver).addresses.leased:
        return without_lease(net, holder.name)
    subnets = tuple(s for s in map(ip_network, _SUBNETS[holder.name]) if s.version in net.families)
    if driver(net.driver).addresses.blocks:
        subnets = tuple(next(s.subnets(new_prefix=26 if s.version == 4 else 122)) for s in subnets)
    data = driver(net.driver).lease_data(Host(node=holder, targets=targets(holder.name)), net, parse_options(net))
    return Lease(network=net.name, node=holder.name, subnets=subnets, data=data)
