"""Who is a peer by what the registry says."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from weft.flannel.guests import guests
from weft.flannel.lease import Entry
from weft.model import Network, Node

BLUE = Network(name="blue", driver="host-gw", subnets=(ip_network("10.5.0.0/16"),))
OWN = ip_network("10.5.1.0/24")
OTHER = Node(name="node-2", addresses=(ip_interface("192.168.1.2/24"),), uplink="eth0")


@pytest.mark.parametrize(
    ("subnet", "public", "why"),
    [
        ("10.5.7.0/24", "192.168.1.9", ""),
        ("10.5.1.0/25", "192.168.1.9", "overlaps 10.5.1.0/24, which is this node's"),
        ("10.5.2.0/24", "192.168.1.9", "its subnet 10.5.2.0/24 is node-2's, which runs"),
        ("10.5.2.128/25", "192.168.1.9", "its subnet 10.5.2.128/25 is node-2's, which runs"),
        ("10.5.2.0/24", "192.168.1.2", ""),  # node-2 itself
        ("10.6.2.0/24", "192.168.1.9", "is not inside 10.5.0.0/16"),
    ],
)
def test_nobody_draws_to_himself_by_a_key_what_is_not_his(subnet: str, public: str, why: str) -> None:
    entry = Entry(subnets=(ip_network(subnet),), public=(ip_address(public),), type="host-gw")
    ((_, guest),) = guests(BLUE, {"key": entry}, (OWN,), {ip_network("10.5.2.0/24"): OTHER})
    assert why in guest.trouble
    assert bool(guest.trouble) == bool(why)
