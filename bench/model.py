"""A cluster's worth of model values: so many nodes with a lease each, and so many endpoints on every one of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from weft.base.names import stable_mac
from weft.datapaths.driver import Host
from weft.datapaths.registry import driver, parse_options
from weft.model import Endpoint, Lease, Network, Node, encode, keys
from weft.model.endpoint import Namespace, endpoint_id

_WHOLE = IPv4Network("10.64.0.0/12")
NETWORK = Network(name="big", driver="vxlan", subnets=(_WHOLE,), options={"node-prefix": 24})
_UNDERLAY = IPv4Address("172.16.0.10")
_OF_A_NODE = list(_WHOLE.subnets(new_prefix=24))


def node(number: int) -> Node:
    """`number`: from 1. Underlay addresses are on one segment."""
    return Node(
        name=f"node-{number}",
        addresses=(IPv4Interface(f"{_UNDERLAY + number}/12"),),
        uplink="eth0",
        instance=f"{number:032x}",
        version="0",
    )


def lease(number: int, taken: str = "") -> Lease:
    """`taken`: a subnet that somebody else has; the network's last one stands in for it."""
    subnet = _OF_A_NODE[number]
    subnet = _OF_A_NODE[-1] if str(subnet) == taken else subnet
    holder = node(number)
    data = driver(NETWORK.driver).lease_data(Host(node=holder), NETWORK, parse_options(NETWORK))
    return Lease(network=NETWORK.name, node=holder.name, subnets=(subnet,), data=data)


def endpoint(number: int, index: int) -> Endpoint:
    """The container `index`, from 0, on a node."""
    name, where = f"c{index}", f"node-{number}"
    return Endpoint(
        id=endpoint_id(NETWORK.name, where, number << 20 | index, "eth0"),
        name=name,
        network=NETWORK.name,
        node=where,
        container=name,
        namespace=Namespace(path=f"/run/netns/{name}", cookie=number << 20 | index),
        interface="eth0",
        mac=stable_mac("bench", where, name),
        addresses=(IPv4Interface(f"{_OF_A_NODE[number][2 + index]}/24"),),
    )


def node_items(number: int, taken: str = "") -> Iterator[tuple[str, bytes]]:
    """What a node writes of itself: (store key, value)."""
    one, held = node(number), lease(number, taken)
    yield keys.node(one.name), encode(one)
    yield keys.presence(one.name), one.instance.encode()
    yield keys.lease(NETWORK.name, one.name), encode(held)
    yield keys.subnet_claim(NETWORK.name, held.subnets[0]), one.name.encode()


def endpoint_item(number: int, index: int) -> tuple[str, bytes]:
    one = endpoint(number, index)
    return keys.endpoint(one.node, one.network, one.id), encode(one)
