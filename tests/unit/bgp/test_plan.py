"""Who connects to whom."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest

from weft.bgp.plan import Model, speaker
from weft.model import BgpSettings, Lease, Network, Node

NETWORK = Network(name="prod", driver="routed", subnets=(ip_network("197.19.0.0/16"),))
NAMES = tuple(f"node-{number}" for number in range(6))


def passive(reflectors: tuple[str, ...]) -> dict[tuple[str, str], bool]:
    """By (node, the other): whether it waits for the other to connect."""
    nodes = {
        name: Node(
            name=name,
            addresses=(ip_interface(f"192.168.1.{number + 1}/24"),),
            uplink="eth0",
            labels={"route-reflector": "224.0.0.1"} if name in reflectors else {},
        )
        for number, name in enumerate(NAMES)
    }
    leases = {name: Lease(network="prod", node=name, subnets=()) for name in NAMES}
    model = Model(
        nodes=nodes,
        networks={"prod": NETWORK},
        leases={"prod": leases},
        endpoints=(),
        settings=BgpSettings(),
        peers={},
    )
    found = {name: speaker(node, model) for name, node in nodes.items()}
    return {(name, s.with_): s.passive for name, one in found.items() if one for s in one.sessions}


@pytest.mark.parametrize("reflectors", [(), ("node-0",), ("node-5", "node-2")])
def test_of_two_one_connects(reflectors: tuple[str, ...]) -> None:
    waits = passive(reflectors)
    assert waits and all(waits[b, a] is not there for (a, b), there in waits.items())


@pytest.mark.parametrize("reflector", NAMES)
def test_a_reflector_connects_to_its_clients_wherever_its_address_is(reflector: str) -> None:
    waits = passive((reflector,))
    assert [there for (name, _), there in waits.items() if name == reflector] == [False] * 5
    assert sum(waits.values()) == 5
