"""Where the model lies in a store.

    cluster                           the cluster's identity, made once
    nodes/NODE                        Node
    presence/NODE                     bound to a store lease of some seconds: the agent lives
    networks/NETWORK                  Network
    leases/NETWORK/NODE               Lease
    endpoints/NODE/NETWORK/ID         Endpoint: by node first, so that an agent watches its own only
    cursors/NODE/NETWORK              last address given, by family: addresses are not reused at once
    locations/NETWORK/ID              Location, of every endpoint: followed by hosts that have to do with the network
    bgp/settings                      BgpSettings
    bgp/secret                        BgpSecret
    bgp/peers/PEER                    BgpPeer
    questions/NODE/ID                 of another node's agent, for NODE (`weft.cluster.questions`)
    answers/ASKER/ID/NUMBER           a piece of what was answered
    claims/…                          the name of who holds it; creating the key is the allocation
    claims/addresses/NETWORK/ADDRESS  the container or the service that has it
    claims/subnets/NETWORK/SUBNET     the node that has it, or services (`weft.model.claims.SERVICES`)
    claims/macs/NETWORK/[NODE/]MAC    of MAC addresses that users ask for
    claims/floating/ADDRESS           the endpoint that it leads to
    claims/names/NETWORK/NAME         the endpoint that is called so

How the keys of a kind are written and read again is a `Pattern`; what lies under them is declared in `weft.model.records`.
A claim is how anything unique in the cluster is taken: two writers cannot both create one key.
"""

from __future__ import annotations

from typing import NamedTuple

from weft.base.net import IPAddress, IPNetwork, parse_address
from weft.model.record import Pattern


class OneOf(NamedTuple):
    """There is one in the cluster: its key says nothing more."""


class OfNode(NamedTuple):
    node: str


class OfNetwork(NamedTuple):
    network: str


class Leased(NamedTuple):
    network: str
    node: str


class Attached(NamedTuple):
    node: str
    network: str
    id: str


class Given(NamedTuple):
    node: str
    network: str


class Located(NamedTuple):
    network: str
    id: str


class Named(NamedTuple):
    name: str


class Claimed(NamedTuple):
    address: str


class Asked(NamedTuple):
    node: str
    id: str


class Piece(NamedTuple):
    asker: str
    id: str
    number: str


NODE = Pattern("nodes/{node}", OfNode)
PRESENCE_OF = Pattern("presence/{node}", OfNode)
NETWORK = Pattern("networks/{network}", OfNetwork)
LEASE = Pattern("leases/{network}/{node}", Leased)
ENDPOINT = Pattern("endpoints/{node}/{network}/{id}", Attached)
CURSOR = Pattern("cursors/{node}/{network}", Given)
LOCATION = Pattern("locations/{network}/{id}", Located)
SETTINGS = Pattern("bgp/settings", OneOf)
SECRET = Pattern("bgp/secret", OneOf)
PEER = Pattern("bgp/peers/{name}", Named)
FLOATED = Pattern("claims/floating/{address}", Claimed)
QUESTION = Pattern("questions/{node}/{id}", Asked)
PIECE = Pattern("answers/{asker}/{id}/{number}", Piece)

CLUSTER = "cluster"
NODES = NODE.root
PRESENCE = PRESENCE_OF.root
NETWORKS = NETWORK.root
LEASES = LEASE.root
ENDPOINTS = ENDPOINT.root
CURSORS = CURSOR.root
LOCATIONS = LOCATION.root
FLOATING = FLOATED.root
NAME_CLAIMS = "claims/names/"
QUESTIONS = QUESTION.root
ANSWERS = PIECE.root
BGP = SETTINGS.root
BGP_SETTINGS = SETTINGS.key()
BGP_SECRET = SECRET.key()
BGP_PEERS = PEER.root


def node(name: str) -> str:
    return NODE.key(name)


def presence(name: str) -> str:
    return PRESENCE_OF.key(name)


def network(name: str) -> str:
    return NETWORK.key(name)


def leases(network: str) -> str:
    return LEASE.under(network)


def lease(network: str, node: str) -> str:
    return LEASE.key(network, node)


def endpoints(node: str) -> str:
    return ENDPOINT.under(node)


def endpoint(node: str, network: str, id: str) -> str:
    return ENDPOINT.key(node, network, id)


def cursors(node: str) -> str:
    return CURSOR.under(node)


def cursor(node: str, network: str) -> str:
    return CURSOR.key(node, network)


def locations(network: str) -> str:
    return LOCATION.under(network)


def location(network: str, id: str) -> str:
    return LOCATION.key(network, id)


def bgp_peer(name: str) -> str:
    return PEER.key(name)


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


def name_claims(network: str) -> str:
    return f"{NAME_CLAIMS}{network}/"


def name_claim(network: str, name: str) -> str:
    return f"{name_claims(network)}{name}"


def floating_claim(address: IPAddress) -> str:
    return FLOATED.key(str(address))


def floating_address(key: str) -> IPAddress:
    """Of a claim."""
    return parse_address(key.removeprefix(FLOATING))


def of_network(name: str) -> tuple[str, ...]:
    """Under which all lies that the nodes have written of a network of this name, but its endpoints."""
    return leases(name), subnet_claims(name), locations(name), address_claims(name), mac_claims(name), name_claims(name)


def number_claim(number: int) -> str:
    """Of a node's number."""
    return claim(f"mesh/{number}")


def claim(what: str) -> str:
    """`what`: as a driver names it, "vni/1"."""
    return f"claims/{what}"
