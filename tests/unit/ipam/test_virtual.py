"""Virtual addresses: whatever comes and goes, no two services have one, and none is where a node gives addresses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.alloc import subnets
from weft.base.errors import Exhausted
from weft.base.net import IPAddress, IPNetwork, contains, parse_address, parse_network
from weft.ipam.virtual import Room, choose, place
from weft.model import Network, claims

FOUR, SIX = parse_network("10.1.0.0/26"), parse_network("fd00:1::/122")
KINDS: dict[str, dict[str, Any]] = {
    "vxlan": {"node-prefix": 28, "node-prefix-v6": 124},
    "routed": {"block-size": 28, "block-size-v6": 124},
    "overlay": {},
}

events = st.lists(st.tuples(st.sampled_from(["service", "gone", "node", "container"]), st.integers(0, 30)), max_size=60)


class World:
    """What the store would say."""

    def __init__(self, driver: str) -> None:
        self.network = Network(name="blue", driver=driver, subnets=(FOUR, SIX), options=KINDS[driver])
        self.held: dict[IPNetwork, str] = {}
        self.taken: dict[IPAddress, str] = {}

    @property
    def room(self) -> Room:
        return Room(network=self.network, held=dict(self.held), taken=dict(self.taken))

    def service(self, n: int) -> None:
        name = f"blue/s{n}"
        if f"service {name}" in self.taken.values():
            return
        try:
            found = [choose(self.room, fam, name) for fam in (4, 6)]
        except Exhausted:
            return
        for address in found:
            assert address not in self.taken
            self.taken[address] = f"service {name}"
            if self.room.apart:
                self.held.setdefault(place(self.room, address), claims.SERVICES)

    def gone(self, n: int) -> None:
        self.taken = {a: who for a, who in self.taken.items() if who != f"service blue/s{n}"}
        of_services = [a for a, who in self.taken.items() if who.startswith("service ")]
        self.held = {
            s: who for s, who in self.held.items() if who != claims.SERVICES or any(contains(s, a) for a in of_services)
        }

    def node(self, n: int) -> None:
        if self.room.apart:
            for fam in (4, 6):
                plan = next(iter(self.room.plans(fam)))
                if (subnet := subnets.find(plan, f"node-{n}", self.held)) is not None:
                    self.held[subnet] = f"node-{n}"

    def container(self, n: int) -> None:
        """In a network whose addresses are claimed one by one it may be anywhere that services' subnets are not."""
        address = parse_address(f"10.1.0.{n + 2}")
        ours = any(who == claims.SERVICES and contains(s, address) for s, who in self.held.items())
        if not ours and self.network.driver != "vxlan":
            self.taken.setdefault(address, f"c{n} on node-1")

    def check(self) -> None:
        mine = [a for a, who in self.taken.items() if who.startswith("service ")]
        for address in mine:
            whole = FOUR if address.version == 4 else SIX
            assert contains(whole, address)
            if self.network.driver != "routed":
                assert address not in (whole.network_address, whole.network_address + 1)
                assert address.version == 6 or address != whole.broadcast_address
            if self.room.apart:
                assert self.held[place(self.room, address)] == claims.SERVICES
                assert [who for s, who in self.held.items() if contains(s, address)] == [claims.SERVICES]
        for subnet, who in self.held.items():
            assert who != claims.SERVICES or any(contains(subnet, a) for a in mine), "it is freed with its last address"


@pytest.mark.parametrize("driver", KINDS)
@settings(max_examples=60)
@given(events=events)
def test_no_two_services_share_an_address_and_none_is_a_nodes(driver: str, events: list[tuple[str, int]]) -> None:
    world = World(driver)
    for what, n in events:
        getattr(world, what)(n)
        world.check()


def test_subnets_of_services_are_taken_from_the_end() -> None:
    world = World("vxlan")
    for n in range(14):
        world.service(n)
    ours = [str(s) for s, who in world.held.items() if who == claims.SERVICES]
    assert ours == ["10.1.0.48/28", "fd00:1::30/124", "10.1.0.32/28"], (
        "13 in each: no network, gateway or broadcast address"
    )


def test_a_service_made_again_has_its_address_again() -> None:
    world = World("overlay")
    world.service(3)
    first = set(world.taken)
    world.gone(3)
    world.service(3)
    assert set(world.taken) == first
