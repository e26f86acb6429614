"""Allocation against a simulated store: any interleaving, stale listings included, and nobody shares anything."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.alloc import addresses, leases, subnets
from weft.alloc.subnets import Bounds, Plan, SubnetRules
from weft.base.errors import Exhausted, Invalid, WeftError
from weft.base.net import IPAddress, IPNetwork
from weft.model import Lease, Network
from weft.model import claims as claim_keys

NODES = [f"node-{n}" for n in range(12)]


def plans(prefixes: tuple[str, ...], reserved: tuple[IPNetwork, ...] = ()) -> tuple[Plan, ...]:
    network = Network(name="blue", driver="bridge", subnets=tuple(map(ip_network, prefixes)))
    return subnets.plans(network, SubnetRules(reserved=reserved))


class Store:
    """Leases and claims as a compare-and-swap store has them; every state it ever had can be listed."""

    def __init__(self) -> None:
        self.past: list[tuple[dict[str, Lease], dict[str, str]]] = [({}, {})]

    def commit(self, seen: Lease | None, wanted: leases.Acquired) -> bool:
        held, claims = self.past[-1]
        node = wanted.lease.node
        if held.get(node) != seen or any(key in claims for key in wanted.claims):
            return False
        self.past.append(({**held, node: wanted.lease}, {**claims, **dict.fromkeys(wanted.claims, node)}))
        return True

    def forget(self, node: str) -> None:
        held, claims = self.past[-1]
        self.past.append(
            (
                {name: lease for name, lease in held.items() if name != node},
                {key: holder for key, holder in claims.items() if holder != node},
            )
        )


def claimed_in(claims: dict[str, str]) -> dict[IPNetwork, str]:
    return {claim_keys.subnet(key): holder for key, holder in claims.items()}


def try_once(store: Store, shares: tuple[Plan, ...], node: str, age: int) -> bool:
    """One attempt on a listing that is `age` transactions old. Whether it went through."""
    held, claims = store.past[max(0, len(store.past) - 1 - age)]
    try:
        wanted = leases.acquire(shares, node, held, claimed_in(claims), {"for": node})
    except Exhausted:
        return False
    return store.commit(held.get(node), wanted)


def settle(store: Store, shares: tuple[Plan, ...], node: str) -> Lease:
    """As the agent does it: list, try, until it goes through."""
    while not try_once(store, shares, node, 0):
        held, claims = store.past[-1]
        leases.acquire(shares, node, held, claimed_in(claims), {})  # raises Exhausted
    return store.past[-1][0][node]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("try"), st.sampled_from(NODES), st.integers(0, 6)),
        st.tuples(st.just("forget"), st.sampled_from(NODES), st.just(0)),
    ),
    max_size=40,
)
networks = st.sampled_from([("10.1.0.0/26",), ("fd00::/62",), ("10.1.0.0/21", "fd00::/60"), ("10.1.0.0/16",)])


@given(networks, steps)
def test_no_two_nodes_ever_overlap(prefixes: tuple[str, ...], course: list[tuple[str, str, int]]) -> None:
    store, shares = Store(), plans(prefixes)
    for what, node, age in course:
        if what == "forget":
            store.forget(node)
        else:
            try_once(store, shares, node, age)
        held, claims = store.past[-1]
        for one, other in combinations(held.values(), 2):
            assert not any(a.version == b.version and a.overlaps(b) for a in one.subnets for b in other.subnets)
        claimed = claimed_in(claims)
        assert all(claimed[subnet] == lease.node for lease in held.values() for subnet in lease.subnets)


@given(networks, steps)
def test_a_node_keeps_its_subnets(prefixes: tuple[str, ...], course: list[tuple[str, str, int]]) -> None:
    store, shares = Store(), plans(prefixes)
    mine = settle(store, shares, "me")
    for what, node, age in course:
        if what == "forget":
            store.forget(node)
        else:
            try_once(store, shares, node, age)
            try_once(store, shares, "me", age)
    assert settle(store, shares, "me").subnets == mine.subnets


small_reservations = st.lists(
    st.tuples(st.integers(0, 63), st.integers(26, 32)).map(
        lambda pair: ip_network(("10.1.0." + str(pair[0]), pair[1]), strict=False)
    ),
    max_size=4,
)


@given(small_reservations)
def test_exhausted_exactly_when_nothing_is_left(reserved: list[IPNetwork]) -> None:
    """Of 10.1.0.0/26 in /28, the first left out: three candidates, counted here one by one."""
    free = {
        subnet
        for subnet in ip_network("10.1.0.0/26").subnets(new_prefix=28)
        if subnet.network_address != ip_address("10.1.0.0")
        and not all(any(address in prefix for prefix in reserved) for address in subnet)
    }
    if not free:
        with pytest.raises(Invalid, match="are reserved"):
            plans(("10.1.0.0/26",), tuple(reserved))
        return
    store, shares = Store(), plans(("10.1.0.0/26",), tuple(reserved))
    given_out = {settle(store, shares, NODES[n]).subnets[0] for n in range(len(free))}
    assert given_out == free
    with pytest.raises(Exhausted):
        settle(store, shares, "one-more")


@given(
    st.integers(8, 30),
    st.integers(0, 31),
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=8),
    st.sampled_from(NODES),
)
def test_what_is_chosen_is_a_candidate_and_free(
    length: int, node_prefix: int, taken: list[tuple[int, int]], node: str
) -> None:
    """Whatever the sizes, of the network, of nodes' subnets and of what is taken."""
    network = Network(name="blue", driver="bridge", subnets=(ip_network((10 << 24, length)),))
    held = [ip_network(pair, strict=False) for pair in taken]
    try:
        (plan,) = subnets.plans(network, SubnetRules(v4=Bounds(node_prefix=node_prefix)))
        got = subnets.choose(plan, node, held)
    except WeftError as error:
        assert isinstance(error, Exhausted) or length > 28 or not length + 2 <= node_prefix <= 30
        return
    assert got.prefixlen == (node_prefix or max(24, length + 2))
    assert plan.first <= got <= plan.last  # type: ignore[operator]
    assert got.subnet_of(network.subnets[0])  # type: ignore[arg-type]
    assert not any(got.overlaps(other) for other in held)


offsets = st.integers(0, 31)
subnet_bases = st.sampled_from(["10.1.3.0/27", "fd00:1::/123"])


@given(subnet_bases, st.sets(offsets), st.integers(0, 60))
def test_an_address_is_not_reused_before_the_range_was_cycled(prefix: str, held: set[int], count: int) -> None:
    """Addresses are freed as soon as they are given: each comes again only after all the others that are free."""
    subnet = ip_network(prefix)
    kept = {subnet.network_address + n for n in held}
    first, end = 2, 31 if subnet.version == 4 else 32
    free = {subnet.network_address + n for n in range(first, end)} - kept
    after: IPAddress | None = None
    given_out: list[IPAddress] = []
    for _ in range(count if free else 0):
        after = addresses.choose(subnet, kept, after=after)
        assert after in free
        given_out.append(after)
    for at in range(0, len(given_out), len(free) or 1):
        in_a_row = given_out[at : at + len(free)]
        assert len(set(in_a_row)) == len(in_a_row)
    if not free:
        with pytest.raises(Exhausted):
            addresses.choose(subnet, kept)


@given(
    subnet_bases,
    st.sets(offsets),
    st.lists(st.tuples(offsets, st.integers(0, 5)), max_size=3),
    st.none() | st.integers(-3, 40),
)
def test_choose_and_wish_agree(prefix: str, held: set[int], withheld: list[tuple[int, int]], after: int | None) -> None:
    """What may be wished for is what may be chosen; reserved, taken and special addresses are neither."""
    subnet = ip_network(prefix)
    base, bits = int(subnet.network_address), subnet.max_prefixlen
    taken = {subnet.network_address + n for n in held}
    reserved = [type(subnet)((base + n, bits - size), strict=False) for n, size in withheld]
    wishable = set()
    for address in subnet:
        try:
            wishable.add(addresses.wish(subnet, address, taken, reserved))
        except WeftError:
            continue
    assert not wishable & taken
    assert not any(address in prefix for address in wishable for prefix in reserved)
    last_given = None if after is None else type(subnet.network_address)(base + after)
    chosen: set[IPAddress] = set()
    try:
        while True:
            last_given = addresses.choose(subnet, taken | chosen, reserved, last_given)
            chosen.add(last_given)
    except Exhausted:
        assert chosen == wishable
