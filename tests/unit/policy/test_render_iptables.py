"""What policies become in iptables, in so far as it needs no kernel."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from weft.base.net import FAMILIES
from weft.hoststate import Ipset, IpsetElement, IptablesChain
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import COUNTER, DROP, RETURN, Jump
from weft.hoststate.rules.matches import DADDR, SADDR, field
from weft.policy.model import Who
from weft.policy.program import Chain, Line, Origin, SetSpec
from weft.policy.render import iptables, renderer
from weft.policy.render.iptables import Iptables

ORIGIN = Origin("default", "policy//x", "ingress", 0, "allow")
PREFIXES = SetSpec(kind="prefixes", cidrs=("0.0.0.0/0",), label="0" * 16)
NAMED = SetSpec(kind="named-ports", who=Who(), port="web", protocol="tcp", label="1" * 16)
CHAIN = Chain(
    "pi-" + "0" * 16,
    tuple(
        Line(it, ORIGIN)
        for it in (
            rule(SADDR[4].is_("10.0.0.1"), COUNTER, RETURN),
            rule(SADDR[6].among("p6-x"), COUNTER, RETURN),
            rule(field("meta nfproto").is_("ipv6"), COUNTER, DROP),
            rule(COUNTER, Jump("pi-1", back=False)),
        )
    ),
)


def test_a_chain_has_the_rules_of_its_family() -> None:
    four, six = Iptables("nft").chain(CHAIN, "")
    assert isinstance(four, IptablesChain) and isinstance(six, IptablesChain)
    assert [line.split()[-2:] for line in four.lines] == [["-j", "RETURN"], ["-g", "WEFT-pi-1"]]
    assert [line.split()[-2:] for line in six.lines] == [["-j", "RETURN"], ["-j", "DROP"], ["-g", "WEFT-pi-1"]]
    assert len(four.name) <= 28
    name = f"WEFT-{CHAIN.name}"
    assert list(Iptables("nft", (6,)).counted(CHAIN)) == [(f"{name}/6", n, n + 1) for n in range(3)]


def test_sets_and_their_elements() -> None:
    ask = Iptables("legacy")
    sets = [*ask.table_set(PREFIXES, ""), *ask.table_set(NAMED, "")]
    assert [(s.name, s.type) for s in sets if isinstance(s, Ipset)] == [
        *((f"weft-p{fam}-{'0' * 16}", "hash:net") for fam in FAMILIES),
        *((f"weft-p{fam}-{'1' * 16}", "hash:ip,port") for fam in FAMILIES),
    ]
    values = {"0.0.0.0/0": ["0.0.0.0/1", "128.0.0.0/1"], "10.1.0.0/16": ["10.1.0.0/16"], "::/0": ["::/1", "8000::/1"]}
    for value, expected in values.items():
        found = ask.element(PREFIXES, 6 if ":" in value else 4, value, "")
        assert [obj.value for obj in found if isinstance(obj, IpsetElement)] == expected
    (port,) = ask.element(NAMED, 6, "fd00::1 . tcp . 80", "")
    assert isinstance(port, IpsetElement) and port.value == "fd00::1,tcp:80"


def test_a_host_without_ipv6_has_nothing_of_it() -> None:
    ask, address = renderer("iptables", frozenset(), ipv6=False), ip_address("fd00::1")
    found = [
        *ask.base(""),
        *ask.chain(CHAIN, ""),
        *ask.table_set(NAMED, ""),
        *ask.dispatch(address, "egress", CHAIN, ""),
    ]
    assert found and all(getattr(obj, "family", 4) == 4 for obj in found)
    assert not list(ask.keys(address, "egress", "")) and not list(ask.element(NAMED, 6, "fd00::1 . tcp . 80", ""))


def test_what_closes_an_endpoint_is_among_its_objects() -> None:
    ask, address = Iptables("nft"), ip_address("10.0.0.1")
    made = {obj.key for obj in (*ask.base("x"), *ask.dispatch(address, "ingress", CHAIN, "x"))}
    assert set(ask.keys(address, "ingress", "x")) <= made


@pytest.mark.parametrize(
    ("in_use", "backend"),
    [((), "nft"), (("nft",), "nft"), (("legacy",), "legacy"), (("legacy", "nft"), "nft")],
)
def test_the_back_end_is_that_of_others(in_use: tuple[str, ...], backend: str) -> None:
    assert iptables.backend({(4, name) for name in in_use}) == backend


def test_packets_of_the_other_family_are_not_asked() -> None:
    """A match with a place of another family makes a rule of that family."""
    lines = (Line(rule(DADDR[4].not_among("p4-x"), field("icmp type").is_(8), COUNTER, DROP), ORIGIN),)
    four, six = Iptables("nft").chain(Chain("pi-x", lines), "")
    assert isinstance(four, IptablesChain) and isinstance(six, IptablesChain)
    assert len(four.rules) == 1 and six.rules == ()
