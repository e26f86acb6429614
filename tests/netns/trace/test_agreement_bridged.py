"""As `test_agreement`, where a bridge passes the packets on and rules of family bridge look at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from support import agreement, random_rules
from support.namespaces import home
from support.routed_three import Bridged, one_processor

STATES = 12
FLOWS = 16


@pytest.fixture(scope="module")
def bridged() -> Iterator[Bridged]:
    with home() as host, one_processor():
        found = Bridged(host)
        yield found
        found.close()


NO_INPUT = 39
"""A rule at postrouting asks for the device that it came by."""


@pytest.mark.parametrize("seed", [*agreement.seeds(STATES), NO_INPUT])
def test_a_trace_agrees_with_a_bridge(bridged: Bridged, seed: int) -> None:
    random, tally = Random(seed), Counter[str]()
    rules = random_rules.bridge(random)
    bridged.host.sh("nft flush ruleset")
    bridged.witness("host")
    bridged.host.run("nft", "-f", "-", stdin=rules)
    flows = [agreement.chosen(random, number, ()) for number in range(FLOWS)]
    disagreed = agreement.agree(bridged, flows, tally)
    assert not disagreed, f"seed {seed}\n" + "\n".join(disagreed) + f"\n\n{rules}"
    assert tally["delivered"] + tally["filtered"] == FLOWS, tally
