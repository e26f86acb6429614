"""What each match says of packets, from the octets that a kernel has of its rule."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from support.xtables import seen
from support.xtables_cases import CASES, TABLES
from weft.api.dump import FiltersDump
from weft.filters.state import Run, Unknown
from weft.filters.xt import Ipsets
from weft.filters.xt.entry import Entry
from weft.filters.xt.legacy import _Table

DUMP = msgspec.json.decode(TABLES.read_bytes(), type=FiltersDump)
CHAINS = _Table(DUMP.xtables[0], Ipsets(DUMP.ipsets)).chains
(ENTRIES,) = (chain.entries for chain in CHAINS.values() if chain.name == "CASES")


@pytest.mark.parametrize(("case", "entry"), [*zip(CASES, ENTRIES, strict=False)], ids=[rule for rule, _ in CASES])
def test_a_rule_is_for_these_packets_and_not_for_those(case: tuple[str, list[Any]], entry: Entry) -> None:
    for wanted, about in case[1]:
        run = Run(seen(**{"src": "10.0.0.1", "dst": "10.0.0.2", **about}), "ip", "forward")
        answer = entry.judge(run)
        assert (None if isinstance(answer, Unknown) else answer) is wanted, about


def test_each_rule_has_its_octets() -> None:
    assert len(ENTRIES) == len(CASES) + 1  # and the chain's end
