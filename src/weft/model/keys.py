"""Where the model lies in a store.

    cluster                           the cluster's identity, made once
    nodes/NODE                        Node
    presence/NODE                     bound to a store lease of some seconds: the agent lives
    networks/NETWORK                  Network
    leases/NETWORK/NODE               Lease
    endpoints/NODE/NETWORK/ID         Endpoint: by node first, so that an agent watches its own only
    cursors/NODE/NETWORK              last address given, by family: addresses are not reused at once
    locations/NETWORK/ID              Location, of networks with one subnet for all: followed by hosts with containers in it
    bgp/settings                      BgpSettings
    bgp/secret                        BgpSecret
    bgp/peers/PEER                    BgpPeer
    claims/…                          the name of who holds it; creating the key is the allocation
    claims/macs/NETWORK/[NODE/]MAC    of MAC addresses that users ask for
    claims/floating/ADDRESS           the endpoint that it leads to

A claim is how anything unique in the cluster is taken: two writers cannot both create one key.
"""

from __future__ import annotations

from weft.base.net import IPAddress, IPNetwork, parse_address

CLUSTER = "cluster"
NODES = "nodes/"
PRESENCE = "presence/"
NETWORKS = "networks/"
LEASES = "leases/"
ENDPOINTS = "endpoints/"
CURSORS = "cursors/"
LOCATIONS = "locations/"
FLOATING = "claims/floating/"
BGP = "bgp/"
BGP_SETTINGS = f"{BGP}settings"
BGP_SECRET = f"{BGP}secret"
BGP_PEERS = f"{BGP}peers/"


def node(name: str) -> str:
    return f"{NODES}{name}"


def presence(name: str) -> str:
    return f"{PRESENCE}{name}"


def network(name: str) -> str:
    return f"{NETWORKS}{name}"


def leases(network: str) -> str:
    return f"{LEASES}{network}/"


def lease(network: str, node: str) -> str:
    return f"{LEASES}{network}/{node}"


def endpoints(node: str) -> str:
    return f"{ENDPOINTS}{node}/"


def endpoint(node: str, network: str, id: str) -> str:
    return f"{ENDPOINTS}{node}/{network}/{id}"


def cursors(node: str) -> str:
    return f"{CURSORS}{node}/"


def cursor(node: str, network: str) -> str:
    return f"{CURSORS}{node}/{network}"


def locations(network: str) -> str:
    return f"{LOCATIONS}{network}/"


def location(network: str, id: str) -> str:
    return f"{LOCATIONS}{network}/{id}"


def bgp_peer(name: str) -> str:
    return f"{BGP_PEERS}{name}"


def address_claims(network: str) -> str:
    return f"claims/addresses/{network}/"


def address_claim(network: str, address: IPAddress) -> str:
    return f"{address_claims(network)}{address}"


def subnet_claims(network: str) -> str:
    return f"claims/subnets/{network}/"


def subnet_claim(network: str, subnet: IPNetwork) -> str:
    return f"{subnet_claims(network)}{str(subnet).replace('/', '-')}"


def mac_claims(network: str) -> str:
    return f"claims/macs/{network}/"


def mac_claim(network: str, node: str, mac: str) -> str:
    """`node`: whose bridge it is on; "" where all hosts share one segment."""
    return f"{mac_claims(network)}{f'{node}/' if node else ''}{mac}"


def floating_claim(address: IPAddress) -> str:
    return f"{FLOATING}{address}"


def floating_address(key: str) -> IPAddress:
    """Of a claim."""
    return parse_address(key.removeprefix(FLOATING))


def of_network(name: str) -> tuple[str, ...]:
    """Under which all lies that the nodes have written of a network of this name, but its endpoints."""
    return leases(name), subnet_claims(name), locations(name), address_claims(name), mac_claims(name)


def claim(what: str) -> str:
    """`what`: as a driver names it, "vni/1"."""
    return f"claims/{what}"
