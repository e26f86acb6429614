"""What the renderers of typed rules write, nft and iptables take, and the marks come back."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from support.rules import EVERYWHERE, NFT_ONLY
from weft.base.net import Family
from weft.hoststate import Ipset, IptablesChain, NftChain, NftSet, Object
from weft.hoststate.firewall import INET, Table
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import DROP
from weft.hoststate.rules.matches import SADDR

NFT = [it for it, _, _, _ in EVERYWHERE] + [it for it, _, _ in NFT_ONLY]


def named(table: Table) -> list[Object]:
    """The sets and chains that the rules name."""
    sets = {
        "s": NftSet(name="s", type=("ipv4_addr",), flags=("interval",), table=table),
        "s6": NftSet(name="s6", type=("ipv6_addr",), table=table),
        "p": NftSet(name="p", type=("ipv4_addr", "inet_proto", "inet_service"), table=table),
        "k": NftSet(name="k", type=("ifname", "ipv4_addr", "inet_service"), table=table),
        "v": NftSet(name="v", type=("udp dport", "@th,96,24"), table=table),
        "m": NftSet(name="m", type=("ipv4_addr", "inet_service"), to=("verdict",), table=table),
        "n": NftSet(name="n", type=("inet_proto", "inet_service"), to=("ipv4_addr", "inet_service"), table=table),
    }
    return [*sets.values(), *(NftChain(name=name, table=table) for name in ("a", "b", "WEFT-HERE", "WEFT-ON"))]


def test_nft_takes_every_rule(bench: Any) -> None:
    chain = NftChain(name="every", rules=tuple(NFT))
    bench.made(*named(INET), chain)
    assert bench.converged(), bench.difference()
    assert bench.netns.run("nft", "list", "chain", "inet", "weft", "every").count('comment "weft:') == len(NFT)


@pytest.mark.parametrize("family", ["ip", "bridge", "netdev"])
def test_tables_of_other_families(bench: Any, family: Any) -> None:
    table = Table(family)
    chain = NftChain(name="c", table=table, rules=(rule(SADDR[4].among("s"), DROP),))
    bench.made(NftSet(name="s", type=("ipv4_addr",), flags=("interval",), table=table), chain)
    assert bench.converged(), bench.difference()
    assert bench.remove(chain, *(obj for obj in list(bench.desired.values()) if obj != chain)) == []
    assert "weft" not in bench.netns.run("nft", "list", "ruleset")


def test_a_set_whose_elements_vanish(bench: Any) -> None:
    bench.made(NftSet(name="s", type=("ipv4_addr",), timeout=90061))
    assert bench.converged(), bench.difference()


def place(text: str) -> tuple[str, str]:
    """The table and the chain in which iptables takes a rule."""
    for words, where in (
        ("-j DNAT", ("nat", "OUTPUT")),
        ("-j SNAT", ("nat", "POSTROUTING")),
        ("-j MASQUERADE", ("nat", "POSTROUTING")),
        ("--notrack", ("raw", "PREROUTING")),
        ("rpfilter", ("raw", "PREROUTING")),
        ("MARK --set", ("mangle", "OUTPUT")),
        ("-i ", ("filter", "INPUT")),
    ):
        if words in text:
            return where
    return "filter", "FORWARD"


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("it", EVERYWHERE, ids=[nft for _, _, nft, _ in EVERYWHERE])
def test_iptables_takes_every_rule(bench: Any, backend: Literal["nft", "legacy"], it: Any) -> None:
    rule: Rule
    family: Family
    rule, family, _, _ = it
    table, parent = place(rule.iptables(family))

    def chain(name: str, *rules: Rule) -> IptablesChain:
        return IptablesChain(
            backend=backend, family=family, table=table, parent=parent, name=f"WEFT-{name}", rules=rules
        )

    sets = [
        Ipset(name="weft-s", type="hash:net", family=4),
        Ipset(name="weft-s6", type="hash:ip", family=6),
        Ipset(name="weft-p", type="hash:ip,port", family=4),
    ]
    bench.made(*sets, *(chain(name) for name in ("HERE", "ON")), chain("X", rule))
    assert bench.converged(), bench.difference()
