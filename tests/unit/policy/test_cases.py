"""The generated cases are as many as they should be, different, and tell something."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from support import policy_cases
from support.policy_cases import PODS
from support.policy_every import every_case
from support.policy_facts import Facts, played
from support.probing import Probe, differences, every

ADDRESSES = {
    family: {pod: str(first + i // 3 * 256 + i % 3 + 2) for i, pod in enumerate([*PODS, "y-2/a", "y-2/b", "x/d"])}
    for family, first in ((4, ip_address("10.1.0.0")), (6, ip_address("fd00::")))
}
CYCLONUS = {
    "target": 6,
    "rules": 4,
    "peers": 112,
    "ports": 70,
    "conflict": 16,
    "action": 6,
    "default-label": 2,
    "example": 1,
    "upstream": 13,
}


def test_the_groups() -> None:
    for addresses in ADDRESSES.values():
        found = policy_cases.cases(addresses.__getitem__)
        assert Counter(case.group for case in found) == CYCLONUS
        assert len({case.name for case in every_case(addresses)}) == len(every_case(addresses)) > 300


def test_both_families_expect_the_same() -> None:
    """The tables of both, by the oracle; and there are many."""
    tables: list[list[frozenset[Probe]]] = []
    for addresses in ADDRESSES.values():
        tables.append([facts.expected(addresses) for case in every_case(addresses) for _, facts in played(case)])
    assert tables[0] == tables[1]
    assert len(set(tables[0])) > 110


def test_the_base_policy() -> None:
    addresses = ADDRESSES[4]
    (case,) = [c for c in policy_cases.cases(addresses.__getitem__) if c.name == "target: namespace x"]
    ((_, facts),) = played(case)
    everything = every(PODS, PODS)
    into = {Probe(s, "x/a", "TCP", 80) for s in ("x/b", "x/c", "y/b", "y/c")}
    out = {Probe("x/a", t, "TCP", 80) for t in ("y/a", "y/b", "z/a", "z/b")}
    concerned = {p for p in everything if (p.source == "x/a") != (p.target == "x/a")}
    assert facts.expected(addresses) == everything - concerned | into | out


def test_a_picture_of_differences() -> None:
    everything = Facts().expected(ADDRESSES[4])
    assert differences(everything, everything) == ""
    wrong = everything - {Probe("x/a", "y/b", "UDP", 81)}
    assert "1 not reached (-)" in differences(everything, wrong).splitlines()[0]
    (row,) = [line for line in differences(everything, wrong).splitlines() if line.startswith("x/a")]
    assert row.split()[1:] == ["TUS|TUS"] * 4 + ["TUS|T-S"] + ["TUS|TUS"] * 4
    assert "1 reached that should not (+)" in differences(wrong, everything).splitlines()[0]
    assert "TUS|T+S" in differences(wrong, everything)
