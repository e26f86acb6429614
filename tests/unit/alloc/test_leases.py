from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest

from weft.alloc import leases, subnets
from weft.alloc.subnets import SubnetRules
from weft.base.errors import Conflict, Exhausted
from weft.base.net import IPNetwork
from weft.model import Lease, Network, Node, keys


def net(name: str, *prefixes: str) -> Network:
    return Network(name=name, driver="bridge", subnets=tuple(map(ip_network, prefixes)))


BLUE = net("blue", "10.1.0.0/16", "fd00:1::/48")
PLANS = subnets.plans(BLUE, SubnetRules())
DATA = {"vtep-mac": "02:00:00:00:00:01"}


def lease(node: str, *prefixes: str, data: dict[str, str] | None = None) -> Lease:
    return Lease(network="blue", node=node, subnets=tuple(map(ip_network, prefixes)), data=data or {})


MINE = lease("node-1", "10.1.7.0/24", "fd00:1:0:7::/64", data=DATA)
MY_CLAIMS: dict[IPNetwork, str] = dict.fromkeys(MINE.subnets, "node-1")


def test_a_new_node_gets_one_of_each_family_and_claims_them() -> None:
    got = leases.acquire(PLANS, "node-1", {}, {}, DATA)
    assert [s.prefixlen for s in got.lease.subnets] == [24, 64]
    assert (got.lease.network, got.lease.node, got.lease.data, got.changed) == ("blue", "node-1", DATA, True)
    assert got.claims == tuple(keys.subnet_claim("blue", s) for s in got.lease.subnets)


def test_a_node_keeps_what_it_has() -> None:
    got = leases.acquire(PLANS, "node-1", {"node-1": MINE}, MY_CLAIMS, DATA)
    assert (got.lease, got.claims, got.changed) == (MINE, (), False)


def test_data_is_brought_up_to_date() -> None:
    got = leases.acquire(PLANS, "node-1", {"node-1": MINE}, MY_CLAIMS, {"vtep-mac": "02:00:00:00:00:02"})
    assert (got.lease.subnets, got.claims, got.changed) == (MINE.subnets, (), True)
    assert got.lease.data == {"vtep-mac": "02:00:00:00:00:02"}


def test_a_lost_lease_is_made_again_from_its_claims() -> None:
    got = leases.acquire(PLANS, "node-1", {}, MY_CLAIMS, DATA)
    assert (got.lease, got.claims, got.changed) == (MINE, (), True)


def test_a_lost_claim_is_made_again() -> None:
    got = leases.acquire(PLANS, "node-1", {"node-1": MINE}, {MINE.subnets[1]: "node-1"}, DATA)
    assert (got.lease, got.claims) == (MINE, ("claims/subnets/blue/10.1.7.0-24",))
    assert got.changed


def test_a_claim_of_another_decides_against_the_lease() -> None:
    claimed = {MINE.subnets[0]: "node-2", MINE.subnets[1]: "node-1"}
    got = leases.acquire(PLANS, "node-1", {"node-1": MINE}, claimed, DATA)
    assert got.lease.subnets[0] != MINE.subnets[0]
    assert got.lease.subnets[1] == MINE.subnets[1]
    assert got.claims == (keys.subnet_claim("blue", got.lease.subnets[0]),)


def test_leases_and_claims_of_others_are_avoided() -> None:
    first = leases.acquire(PLANS, "node-1", {}, {}, DATA).lease
    leased = leases.acquire(PLANS, "node-1", {"node-2": lease("node-2", *map(str, first.subnets))}, {}, DATA).lease
    claimed = leases.acquire(PLANS, "node-1", {}, dict.fromkeys(first.subnets, "node-2"), DATA).lease
    assert not set(first.subnets) & set(leased.subnets)
    assert leased == claimed


def test_what_lies_outside_the_network_is_not_kept() -> None:
    """A network of that name that was removed and made again with other prefixes."""
    old = lease("node-1", "10.9.7.0/24", "fd00:1:0:7::/64")
    got = leases.acquire(PLANS, "node-1", {"node-1": old}, dict.fromkeys(old.subnets, "node-1"), DATA)
    assert got.lease.subnets[0].subnet_of(ip_network("10.1.0.0/16"))  # type: ignore[arg-type]
    assert got.lease.subnets[1] == old.subnets[1]


def test_exhausted() -> None:
    small = subnets.plans(net("blue", "10.1.0.0/28"), SubnetRules())
    taken = {ip_network(f"10.1.0.{n}/30"): f"n{n}" for n in (4, 8, 12)}
    with pytest.raises(Exhausted, match=r"network blue: no subnet is left for node-1: of 3 /30 in 10\.1\.0\.0/28"):
        leases.acquire(small, "node-1", {}, taken, DATA)


NODE = Node(name="node-1", addresses=(ip_interface("192.168.1.68/24"), ip_interface("fd01:a::68/64")), uplink="eth0")


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            net("green", "10.1.128.0/17"),
            "network green: 10.1.128.0/17 overlaps 10.1.0.0/16 of network blue: choose another --subnet",
        ),
        (
            net("green", "10.2.0.0/16", "fd00::/16"),
            "network green: fd00::/16 overlaps fd00:1::/48 of network blue: choose another --subnet",
        ),
        (
            net("green", "192.168.0.0/16"),
            "network green: 192.168.0.0/16 overlaps node-1's own network 192.168.1.0/24 on eth0: "
            "choose another --subnet",
        ),
        (
            net("green", "192.168.1.64/26"),
            "network green: 192.168.1.64/26 overlaps node-1's own network 192.168.1.0/24 on eth0: "
            "choose another --subnet",
        ),
        (
            net("green", "fd01::/16"),
            "network green: fd01::/16 overlaps node-1's own network fd01:a::/64 on eth0: choose another --subnet",
        ),
        (
            net("blue", "10.2.0.0/16"),
            "network blue exists: choose another name, or remove it with weft network rm",
        ),
    ],
)
def test_no_room_for_a_new_network(new: Network, message: str) -> None:
    with pytest.raises(Conflict) as caught:
        leases.check_new(new, [net("red", "10.8.0.0/16"), BLUE], [NODE])
    assert str(caught.value) == message


def test_room_for_a_new_network() -> None:
    leases.check_new(net("green", "10.2.0.0/16", "fd00:2::/48"), [BLUE], [NODE])
