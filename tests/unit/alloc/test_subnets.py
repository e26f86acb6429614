from __future__ import annotations

from ipaddress import ip_network

import pytest

from weft.alloc import subnets
from weft.alloc.subnets import Bounds, Plan, SubnetRules
from weft.base.errors import Exhausted, Invalid
from weft.base.net import IPNetwork, covers
from weft.model import Network


def net(*prefixes: str) -> Network:
    return Network(name="blue", driver="bridge", subnets=tuple(map(ip_network, prefixes)))


def plan(prefix: str, *reserved: str, **bounds: object) -> Plan:
    asked = Bounds(**{k: ip_network(v) if isinstance(v, str) else v for k, v in bounds.items()})  # type: ignore[arg-type]
    rules = SubnetRules(
        **{"v6" if ":" in prefix else "v4": asked},
        reserved=tuple(map(ip_network, reserved)),
    )
    (only,) = subnets.plans(net(prefix), rules)
    return only


@pytest.mark.parametrize(
    ("prefix", "first", "last"),
    [
        ("10.0.0.0/8", "10.0.1.0/24", "10.255.255.0/24"),
        ("10.1.0.0/16", "10.1.1.0/24", "10.1.255.0/24"),
        ("10.1.0.0/22", "10.1.1.0/24", "10.1.3.0/24"),
        ("10.1.0.0/23", "10.1.0.128/25", "10.1.1.128/25"),
        ("10.1.0.0/28", "10.1.0.4/30", "10.1.0.12/30"),
        ("fd00:1::/48", "fd00:1:0:1::/64", "fd00:1:0:ffff::/64"),
        ("fd00:1::/62", "fd00:1:0:1::/64", "fd00:1:0:3::/64"),
        ("fd00:1::/63", "fd00:1:0:0:8000::/65", "fd00:1:0:1:8000::/65"),
        ("fd00:1::/124", "fd00:1::4/126", "fd00:1::c/126"),
    ],
)
def test_usual_sizes_and_bounds(prefix: str, first: str, last: str) -> None:
    got = plan(prefix)
    assert (str(got.first), str(got.last)) == (first, last)


def test_bounds_may_be_subnets_or_the_addresses_they_begin_with() -> None:
    got = plan("10.1.0.0/16", first="10.1.0.0/24", last="10.1.9.0/32")
    assert (str(got.first), str(got.last), got.size) == ("10.1.0.0/24", "10.1.9.0/24", 10)
    assert got.candidate(9) == got.last


BAD: list[tuple[tuple[str, ...], dict[str, object], str]] = [
    (
        ("10.1.0.0/29",),
        {},
        "network blue: 10.1.0.0/29 is too small: it has to hold four node subnets of /30 at least, "
        "choose a /28 or larger",
    ),
    (
        ("fd00::/125",),
        {},
        "network blue: fd00::/125 is too small: it has to hold four node subnets of /126 at least, "
        "choose a /124 or larger",
    ),
    (
        ("10.1.0.0/16",),
        {"v4": Bounds(node_prefix=17)},
        "network blue: node-prefix=17 does not suit 10.1.0.0/16: choose 18 to 30",
    ),
    (
        ("10.1.0.0/16",),
        {"v4": Bounds(node_prefix=31)},
        "network blue: node-prefix=31 does not suit 10.1.0.0/16: choose 18 to 30",
    ),
    (
        ("fd00::/48",),
        {"v6": Bounds(node_prefix=127)},
        "network blue: node-prefix-v6=127 does not suit fd00::/48: choose 50 to 126",
    ),
    (
        ("10.1.0.0/16",),
        {"v4": Bounds(first=ip_network("10.2.0.0/24"))},
        "network blue: subnet-min=10.2.0.0/24 is not inside 10.1.0.0/16: choose a /24 of it",
    ),
    (
        ("10.1.0.0/16",),
        {"v4": Bounds(last=ip_network("10.1.0.0/20"))},
        "network blue: subnet-max=10.1.0.0/20 is more than one node's subnet: choose a /24 of it",
    ),
    (
        ("10.1.0.0/16",),
        {"v4": Bounds(first=ip_network("10.1.3.7"))},
        "network blue: subnet-min=10.1.3.7/32 is not a node's subnet: did you mean 10.1.3.0/24?",
    ),
    (
        ("10.1.0.0/16",),
        {"v4": Bounds(last=ip_network("10.1.3.0/25"))},
        "network blue: subnet-max=10.1.3.0/25 is not a node's subnet: did you mean 10.1.3.0/24?",
    ),
    (
        ("10.1.0.0/16",),
        {"v4": Bounds(first=ip_network("10.1.9.0/24"), last=ip_network("10.1.8.0/24"))},
        "network blue: subnet-min 10.1.9.0/24 comes after subnet-max 10.1.8.0/24: "
        "give a minimum that is not above the maximum",
    ),
    (
        ("10.1.0.0/16",),
        {"v6": Bounds(node_prefix=64)},
        "network blue: node-prefix-v6=64 given, but the network has no IPv6 prefix: "
        "leave it out, or add one with --subnet",
    ),
    (
        ("10.1.0.0/16",),
        {"v4": Bounds(first=ip_network("fd00::/64"))},
        "network blue: subnet-min=fd00::/64 is not inside 10.1.0.0/16: choose a /24 of it",
    ),
    (
        ("10.1.0.0/16", "fd00::/48"),
        {"reserved": (ip_network("10.2.0.0/24"),)},
        "network blue: reserve=10.2.0.0/24 is not inside 10.1.0.0/16 or fd00::/48: "
        "reserve only what is part of the network",
    ),
    (
        ("10.1.0.0/22",),
        {"reserved": (ip_network("10.1.0.0/23"), ip_network("10.1.2.0/23"))},
        "network blue: all 3 subnets from 10.1.1.0/24 to 10.1.3.0/24 are reserved: reserve less of 10.1.0.0/22",
    ),
]


@pytest.mark.parametrize(("prefixes", "rules", "message"), BAD)
def test_bad_rules_are_refused(prefixes: tuple[str, ...], rules: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        subnets.plans(net(*prefixes), SubnetRules(**rules))  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_one_plan_for_each_family() -> None:
    four, six = subnets.plans(net("10.1.0.0/16", "fd00::/48"), SubnetRules(reserved=(ip_network("fd00::/56"),)))
    assert (four.whole.version, four.reserved) == (4, ())
    assert (six.whole.version, six.reserved) == (6, (ip_network("fd00::/56"),))


def test_the_choice_is_the_same_every_time_and_spread() -> None:
    shares = plan("10.1.0.0/16")
    got = [subnets.choose(shares, f"node-{n}", ()) for n in range(100)]
    assert got == [subnets.choose(shares, f"node-{n}", ()) for n in range(100)]
    assert len(set(got)) > 75


def test_the_first_subnet_is_left_out_and_all_others_are_given() -> None:
    shares = plan("10.1.0.0/22")
    taken: list[IPNetwork] = []
    for name in "abc":
        taken.append(subnets.choose(shares, name, taken))
    assert sorted(map(str, taken)) == ["10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24"]
    with pytest.raises(Exhausted) as caught:
        subnets.choose(shares, "d", taken)
    assert str(caught.value) == (
        "network blue: no subnet is left for d: of 3 /24 in 10.1.0.0/22 3 are leased and 0 reserved: "
        "remove nodes that are gone with weft node rm, or make a larger network"
    )


def test_exhaustion_tells_leased_from_reserved() -> None:
    shares = plan("10.1.0.0/22", "10.1.2.0/23")
    with pytest.raises(Exhausted, match=r"of 3 /24 in 10\.1\.0\.0/22 1 are leased and 2 reserved"):
        subnets.choose(shares, "b", [ip_network("10.1.1.0/24")])


@pytest.mark.parametrize("taken", ["10.1.2.0/23", "10.1.2.128/25", "10.1.3.0/32"])
def test_what_is_taken_may_have_another_size(taken: str) -> None:
    """As after a change of the node prefix."""
    shares, held = plan("10.1.0.0/22"), ip_network(taken)
    for n in range(50):
        assert not subnets.choose(shares, f"n{n}", [held]).overlaps(held)


def test_what_is_taken_may_overlap() -> None:
    shares, held = plan("10.1.0.0/16"), [ip_network(p) for p in ("10.1.0.0/18", "10.1.3.0/24", "10.1.32.0/19")]
    for n in range(100):
        got = subnets.choose(shares, f"n{n}", held)
        assert not any(covers(other, got) for other in held)


def test_a_reservation_inside_a_subnet_leaves_the_subnet_to_nodes() -> None:
    shares = plan("10.1.0.0/22", "10.1.1.0/28", "10.1.2.0/23")
    assert str(subnets.choose(shares, "a", ())) == "10.1.1.0/24"


def test_adjoining_small_reservations_withhold_the_subnet_they_fill() -> None:
    shares = plan("10.1.0.0/22", "10.1.1.0/25", "10.1.1.128/25", "10.1.2.0/24")
    assert str(subnets.choose(shares, "a", ())) == "10.1.3.0/24"


def test_what_is_taken_elsewhere_does_not_matter() -> None:
    shares = plan("10.1.0.0/16")
    elsewhere = [ip_network(p) for p in ("10.2.0.0/16", "10.0.0.0/16", "fd00::/48", "10.1.0.0/24")]
    assert subnets.choose(shares, "a", elsewhere) == subnets.choose(shares, "a", ())


@pytest.mark.parametrize("prefix", ["10.0.0.0/8", "fd00::/32"])
def test_big_networks_cost_what_is_taken_of_them(prefix: str, counted_candidates: list[int]) -> None:
    shares = plan(prefix)
    every_other: list[IPNetwork] = [shares.candidate(n) for n in range(0, 4096, 2)]
    counted_candidates.clear()
    got = subnets.choose(shares, "node-1", every_other)
    assert got not in every_other
    assert len(counted_candidates) == 1


@pytest.fixture
def counted_candidates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the candidates that were made."""
    made: list[int] = []
    original = Plan.candidate

    def candidate(self: Plan, number: int) -> IPNetwork:
        made.append(number)
        return original(self, number)

    monkeypatch.setattr(Plan, "candidate", candidate)
    return made


def test_the_last_candidate_of_a_huge_network() -> None:
    shares = plan("fd00::/32", "fd00::/33", "fd00:0:8000::/34", "fd00:0:c000::/35", first="fd00::/64")
    assert shares.size == 1 << 32
    taken = [shares.candidate(n) for n in range(shares.size - 3, shares.size)]
    got = subnets.choose(shares, "node-1", taken)
    assert covers(ip_network("fd00:0:e000::/35"), got)
    assert got not in taken
