"""The examples of docs/policy.md can be applied as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from support.policies import reading
from weft.policy.model import TIERS, Policy, Tier
from weft.policy.objects import ident

PAGE = Path(__file__).parents[4] / "docs" / "policy.md"


def test_the_examples_of_the_documentation_are_read() -> None:
    examples = re.findall(r"^```yaml[^\n]*\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found = reading(*examples)
    assert (found.faults, found.notes) == ((), ())
    tiers = {tier.name for tier in TIERS} | {item.name for item in found.objects if isinstance(item, Tier)}
    assert {item.tier for item in found.objects if isinstance(item, Policy)} <= tiers
    assert {"networkpolicy/shop/db", "policy/shop/web", "policy//admin-ports"} <= {
        ident(item) for item in found.objects
    }
