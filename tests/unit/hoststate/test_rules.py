"""One rule, two renderers; what a renderer cannot say is an error."""

from __future__ import annotations

import pytest

from support.rules import EVERYWHERE, NFT_ONLY
from weft.base.errors import Invalid, Unsupported
from weft.base.net import Family
from weft.hoststate import IptablesChain, NftChain
from weft.hoststate.firewall import BRIDGE, INET, Hook, hook_text, priority_of, same_rules
from weft.hoststate.rules import FoundRule, Rule, rule
from weft.hoststate.rules.actions import (
    ACCEPT,
    COUNTER,
    DROP,
    RETURN,
    Action,
    Dispatch,
    Jump,
    Log,
    Nat,
    Spread,
)
from weft.hoststate.rules.matches import (
    CT_STATE,
    DADDR,
    IIFNAME,
    MARK,
    SADDR,
    TCP_DPORT,
    UDP_DPORT,
    Match,
    Selector,
    field,
)


@pytest.mark.parametrize(("it", "family", "nft", "iptables"), EVERYWHERE, ids=[nft for _, _, nft, _ in EVERYWHERE])
def test_both_renderers(it: Rule, family: Family, nft: str, iptables: str) -> None:
    """The comment is the last word in nftables, and comes before the target in iptables."""
    assert it.nft == f'{nft} comment "{it.mark}"'
    comment = f"-m comment --comment {it.iptables_mark(family)} "
    assert it.iptables(family).count(comment) == 1
    assert it.iptables(family).replace(comment, "") == iptables
    assert it.mark != it.iptables_mark(family)


SOURCE = SADDR[4].is_("10.1.0.0/16")


@pytest.mark.parametrize(("it", "nft", "reason"), NFT_ONLY, ids=[nft[:40] for _, nft, _ in NFT_ONLY])
def test_what_iptables_cannot_say_is_an_error(it: Rule, nft: str, reason: str) -> None:
    assert it.nft == f'{nft} comment "{it.mark}"'
    with pytest.raises(Unsupported, match=reason):
        it.iptables(4)
    chain = IptablesChain(backend="nft", family=4, table="filter", parent="FORWARD", name="WEFT-X", rules=(it,))
    with pytest.raises(Unsupported, match=reason):
        _ = chain.lines
    with pytest.raises(Unsupported, match=reason):
        _ = chain.marks


def test_a_packet_is_of_one_protocol() -> None:
    with pytest.raises(Unsupported, match="one protocol, not tcp and udp"):
        rule(TCP_DPORT.is_(1), UDP_DPORT.is_(1), DROP).iptables(4)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: SADDR[4].is_("fd00::/8"), "ip saddr cannot be 'fd00::/8'"),
        (lambda: DADDR[6].is_("fd00::1/64"), "cannot be"),
        (lambda: SADDR[4].is_("10.1.0.0/16; flush ruleset"), "cannot be"),
        (lambda: TCP_DPORT.is_(65536), "tcp dport cannot be '65536'"),
        (lambda: TCP_DPORT.is_("90-80"), "cannot be"),
        (lambda: IIFNAME.is_('eth0" drop #'), "cannot be"),
        (lambda: IIFNAME.is_("w*t"), "cannot be"),
        (lambda: CT_STATE.is_("new", "old"), "ct state cannot be 'old'"),
        (lambda: MARK.is_("0x1/"), "cannot be"),
        (lambda: field("tcp window"), "'tcp window' is nothing that rules ask for"),
        (lambda: Selector(()), "without a field"),
        (lambda: Match(("ip saddr",)), "with values or a set"),
        (lambda: Match(("ip saddr",), ("10.0.0.1",), "s"), "with values or a set"),
        (lambda: (SADDR[4] + TCP_DPORT).is_("10.0.0.1 . 80"), "only a set has values of several parts"),
        (lambda: Jump('a"; drop'), "is no chain's name"),
        (lambda: Spread(()), "a jump to no chain"),
        (lambda: Log("$(reboot)"), "is no prefix for a log"),
        (lambda: Log("x" * 30), "is no prefix for a log"),
        (lambda: Nat("dnat", 4), "an address, or a map"),
        (lambda: Nat("dnat", 4, map="m"), "an address, or a map"),
        (lambda: rule(DROP, SOURCE), "asks first"),
        (lambda: rule(SOURCE, DROP, COUNTER), "nothing comes after a verdict"),
    ],
)
def test_nonsense_is_refused_where_it_is_built(make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(Invalid, match=reason):
        make()


def test_a_rule_knows_what_it_names() -> None:
    chain = NftChain(
        name="c",
        table=BRIDGE,
        rules=(
            rule(SADDR[4].among("s"), Jump("on")),
            rule(Spread(("a", "b"))),
            rule(Dispatch(DADDR[4], "m")),
            rule(Nat("dnat", 4, by=DADDR[4], map="n")),
            FoundRule("", ("f",), ("g",)),
        ),
        ns="x",
    )
    assert chain.sets == {("nft-set", "x", "bridge weft", name) for name in "smnf"}
    assert chain.jumps == {("nft-chain", "x", "bridge weft", name) for name in ("on", "a", "b", "g")}


def test_a_mark_is_of_the_rule_alone() -> None:
    again = rule(SADDR[4].is_("10.1.0.0/16"), ACCEPT)
    assert rule(SOURCE, ACCEPT).mark == again.mark == "weft:" + again.mark[-12:]
    others: list[Action] = [DROP, RETURN, Jump("a"), Jump("a", back=False)]
    assert len({rule(SOURCE, other).mark for other in (ACCEPT, *others)}) == 5


def test_chains_are_alike_by_their_marks_in_order() -> None:
    one, two = rule(SOURCE, ACCEPT), rule(DROP)
    wanted = NftChain(name="c", rules=(one, two))

    def found(*marks: str, name: str = "c", hook: Hook | None = None) -> NftChain:
        return NftChain(name=name, rules=tuple(map(FoundRule, marks)), hook=hook)

    assert same_rules(found(one.mark, two.mark), wanted)
    for marks in ((two.mark, one.mark), (one.mark,), (one.mark, two.mark, ""), (one.mark, ""), ()):
        assert not same_rules(found(*marks), wanted)
    hook = Hook(type="filter", hook="forward", priority=0)
    assert not same_rules(found(one.mark, two.mark, hook=hook), wanted)


@pytest.mark.parametrize(
    ("table", "hook", "priority", "text"),
    [
        (INET, "forward", 0, "filter"),
        (INET, "postrouting", 99, "srcnat - 1"),
        (INET, "prerouting", -100, "dstnat"),
        (INET, "output", -100, "-100"),
        (INET, "forward", -40, "-40"),
        (INET, "forward", 5, "filter + 5"),
        (BRIDGE, "forward", -200, "filter"),
        (BRIDGE, "forward", 0, "0"),
    ],
)
def test_a_priority_has_nfts_name(table: object, hook: str, priority: int, text: str) -> None:
    family = "bridge" if table is BRIDGE else "inet"
    its = Hook(type="filter", hook=hook, priority=priority)
    assert hook_text(its, family) == f"type filter hook {hook} priority {text}; policy accept;"
    assert priority_of(text, family) == priority


def test_a_hook_of_devices() -> None:
    hook = Hook(type="filter", hook="ingress", priority=0, policy="drop", devices=("eth0", "eth1"))
    assert hook_text(hook, "netdev") == (
        'type filter hook ingress devices = { "eth0", "eth1" } priority filter; policy drop;'
    )
