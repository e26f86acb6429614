"""The chains that lead from addresses to chains."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.base.net import Family
from weft.kernel.kinds import iptables_tree as it
from weft.kernel.kinds.iptables_tree import End

_RULE = re.compile(r"(?:-s (\S+) )?(?:-d (\S+) )?(?:(-m conntrack --ctstate DNAT) )?-[gj] (\S+)")


def walk(rules: it.Rules, chain: str, source: str, destination: str, *, dnat: bool = False) -> tuple[str, int]:
    """Where a packet comes out, and how many rules it was compared with. `dnat`: its destination was translated."""
    compared = 0
    while chain in rules:
        for line in rules[chain]:
            compared += 1
            rule = _RULE.fullmatch(line)
            assert rule
            ends = ((rule[1], source), (rule[2], destination))
            if all(text is None or _in(address, text) for text, address in ends) and (dnat or not rule[3]):
                chain = rule[4]
                break
        else:
            return "", compared
    return chain, compared


def _in(address: str, prefix: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(prefix)


def addresses(family: Family) -> st.SearchStrategy[str]:
    """Most of them side by side."""
    near = st.integers(0, 200).map(lambda n: (0x0A010000 if family == 4 else 0xFD00 << 112) + n)
    kind = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
    return st.one_of(near, st.integers(0, 2 ** (32 if family == 4 else 128) - 1)).map(lambda n: str(kind(n)))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("end", ["source", "destination"])
def test_each_address_is_led_to_its_chain_and_no_other(family: Family, end: End) -> None:
    chains = st.sampled_from(["WEFT-pi-0", "WEFT-pi-1"])

    @given(st.dictionaries(addresses(family), chains, max_size=50), addresses(family))
    def check(to: dict[str, str], stranger: str) -> None:
        rules = it.tree("to", family, end, to)
        assert it.elements(family, end, rules) == to
        assert all(it.belongs(chain, "to") and len(chain) <= 28 and len(r) <= 16 for chain, r in rules.items())
        other = "192.0.2.1" if family == 4 else "2001:db8::1"
        for address in (*to, stranger):
            pair = (address, other) if end == "source" else (other, address)
            assert walk(rules, "WEFT-to", *pair)[0] == to.get(address, "")
            assert walk(rules, "WEFT-to", address, address)[0] == to.get(address, "")
            assert walk(rules, "WEFT-to", address, address, dnat=True)[0] == ("RETURN" if address in to else "")

    check()


def test_its_cost_grows_slowly() -> None:
    to = {str(ipaddress.IPv4Address(0x0A010000 + n)): "WEFT-pi-0" for n in range(1024)}
    rules = it.tree("to", 4, "source", to)
    assert max(walk(rules, "WEFT-to", address, "192.0.2.1")[1] for address in to) <= 32


def test_an_address_changes_only_chains_of_its_own_prefixes() -> None:
    to = {str(ipaddress.IPv4Address(0x0A010000 + n)): "WEFT-pi-0" for n in range(1024)}
    before = it.tree("to", 4, "source", to)
    for more in ("10.1.8.1", "192.0.2.7"):
        after = it.tree("to", 4, "source", {**to, more: "WEFT-pi-1"})
        assert len([chain for chain, lines in after.items() if before.get(chain) != lines]) <= 4
        assert len(before.keys() - after.keys()) <= 1


def test_names_of_other_chains_are_not_taken_for_its_own() -> None:
    assert not it.belongs("WEFT-top", "to") and not it.belongs("WEFT-FORWARD", "to")
