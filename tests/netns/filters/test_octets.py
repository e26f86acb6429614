"""The octets that unit tests of `weft.filters.xt` go by are those that this kernel has of the same rules. With UPDATE_GOLDEN=1
they are written anew."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import msgspec

from support.namespaces import Home
from support.xtables_cases import CASES, TABLES
from weft.api.dump import FiltersDump
from weft.filters.xt import Ipsets
from weft.filters.xt.legacy import _Table
from weft.kernel.host import ipsets, xtables


def _texts(dump: FiltersDump) -> list[str]:
    table = _Table(dump.xtables[0], Ipsets(dump.ipsets))
    (chain,) = (chain for chain in table.chains.values() if chain.name == "CASES")
    return [entry.text("") for entry in chain.entries]


def test_the_kernel_has_the_rules_of_the_unit_tests(netns: Home) -> None:
    netns.run("ipset", "restore", stdin=(Path(__file__).parent / "rules.ipset").read_text())
    netns.run("iptables-legacy", "-N", "CASES")
    for rule, _ in CASES:
        netns.run("iptables-legacy", "-A", "CASES", *shlex.split(rule), "-j", "ACCEPT")
    dump = FiltersDump(xtables=xtables.tables(), ipsets=ipsets.sets())
    if os.environ.get("UPDATE_GOLDEN"):
        TABLES.write_bytes(msgspec.json.format(msgspec.json.encode(dump)) + b"\n")
    assert _texts(dump) == _texts(msgspec.json.decode(TABLES.read_bytes(), type=FiltersDump))
