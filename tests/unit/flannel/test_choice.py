"""Which subnet a host takes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.alloc.subnets import Bounds, Plan, SubnetRules, plans
from weft.base.errors import Exhausted
from weft.base.net import covers
from weft.flannel import lease
from weft.flannel.choice import Choice, Wish, choice, fits
from weft.flannel.lease import Entry
from weft.model import Network

ME, OTHER = ip_address("192.168.1.68"), ip_address("192.168.1.254")


def cut(whole: str = "40.15.0.0/16", **bounds: object) -> tuple[Plan, ...]:
    network = Network(name="blue", driver="vxlan", subnets=(ip_network(whole),))
    return plans(network, SubnetRules(v4=Bounds(**bounds)))  # type: ignore[arg-type]


def entries(*held: tuple[str, object]) -> dict[str, Entry]:
    found = (Entry(subnets=(ip_network(subnet),), public=(public,)) for subnet, public in held)  # type: ignore[arg-type]
    return {lease.key(entry.subnets): entry for entry in found}


def of(*subnets: str) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, subnets))


def wish(**more: object) -> Wish:
    return Wish(node="node-1", public=ME, **more)  # type: ignore[arg-type]


def test_the_entry_with_its_address_is_taken_over() -> None:
    there = entries(("40.15.26.0/24", OTHER), ("40.15.43.0/24", ME))
    assert choice(cut(), wish(), there) == Choice(of("40.15.43.0/24"), "subnets/40.15.43.0-24")
    assert choice(cut(), wish(former=of("40.15.9.0/24")), there) == Choice(of("40.15.43.0/24"), "subnets/40.15.43.0-24")


def test_what_its_containers_live_in_comes_first() -> None:
    held = wish(held=of("40.15.9.0/24"))
    assert choice(cut(), held, entries(("40.15.43.0/24", ME))) == Choice(of("40.15.9.0/24"))
    both = entries(("40.15.43.0/24", ME), ("40.15.9.0/24", ME))
    assert choice(cut(), held, both) == Choice(of("40.15.9.0/24"), "subnets/40.15.9.0-24")
    assert choice(cut(), held, entries(("40.15.8.0/23", OTHER))).subnets != of("40.15.9.0/24")


def test_what_it_had_before_if_that_is_free_and_fits() -> None:
    assert choice(cut(), wish(former=of("40.15.9.0/24")), {}) == Choice(of("40.15.9.0/24"))
    assert choice(cut(), wish(former=of("40.15.9.0/24")), entries(("40.15.9.128/25", OTHER))).subnets != of(
        "40.15.9.0/24"
    )
    for strange in ("40.15.9.0/25", "40.16.9.0/24", "40.15.0.0/24"):
        assert choice(cut(), wish(former=of(strange)), {}).subnets != of(strange)


@pytest.mark.parametrize("strange", ["40.15.43.0/25", "40.15.0.0/24", "40.16.1.0/24"])
def test_an_entry_that_does_not_fit_is_not_taken_over(strange: str) -> None:
    found = choice(cut(), wish(), entries((strange, ME)))
    assert not found.key and found.subnets != of(strange)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(20, 28)), max_size=40))
def test_what_is_chosen_overlaps_nothing_and_fits(taken: list[tuple[int, int]]) -> None:
    base = int(IPv4Address("40.15.0.0"))
    there = entries(*((str(IPv4Network((base + (n << 8), size), strict=False)), OTHER) for n, size in taken))
    plan = cut()
    try:
        found = choice(plan, wish(), there)
    except Exhausted:
        full = [s for e in there.values() for s in e.subnets]
        candidates = [plan[0].candidate(n) for n in range(plan[0].size)]
        assert all(any(covers(a, b) or covers(b, a) for b in full) for a in candidates)
        return
    assert not found.key and fits(plan, found.subnets)
    assert not any(covers(a, b) or covers(b, a) for a in found.subnets for e in there.values() for b in e.subnets)


def test_what_nodes_of_ours_hold_is_not_free_whatever_the_registry_says() -> None:
    first, last = ip_network("40.15.10.0/24"), ip_network("40.15.11.0/24")
    plan = cut(first=first, last=last)
    assert choice(plan, wish(others=(first,)), {}) == Choice((last,))
    with pytest.raises(Exhausted):
        choice(plan, wish(others=(first, last)), {})
