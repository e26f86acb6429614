"""Reading and writing the text of nft and iptables, without running them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from weft.hoststate import IptablesChain, Key, NftChain, NftElement, NftFlowDevice, NftFlowtable, NftSet, Object, Sysctl
from weft.hoststate.firewall import BRIDGE, FILTER, INET, Hook, same_rules
from weft.hoststate.rules import FoundRule, rule
from weft.hoststate.rules.actions import ACCEPT, RETURN, FlowAdd, Jump
from weft.hoststate.rules.matches import IIFNAME, SADDR
from weft.kernel.host.flows import Translation, translation
from weft.kernel.kinds import iptables_text, nft_text
from weft.kernel.kinds.iptables_text import Where
from weft.kernel.kinds.nft_content import MANY, Content, barred, delta, merge
from weft.reconcile.kinds.sysctl import device_of
from weft.reconcile.protocol import Change, Create, Op, Remove

ACCEPTED, ONWARD = rule(SADDR[4].among("cluster4"), ACCEPT), rule(Jump("other"))
CLUSTER = NftSet(name="cluster4", type=("ipv4_addr",), flags=("interval",))
FORWARD = NftChain(name="forward", hook=Hook(type="filter", hook="forward", priority=FILTER), rules=(ACCEPTED, ONWARD))
SEEN = msgspec.structs.replace(
    FORWARD, rules=(FoundRule(ACCEPTED.mark, ("cluster4",)), FoundRule(ONWARD.mark, (), ("other",)))
)
CONTENT: list[NftSet | NftElement | NftChain] = [
    CLUSTER,
    *(NftElement(set="cluster4", value=f"10.{i}.0.0/16") for i in (1, 2, 3)),
    NftSet(name="within4", type=("ipv4_addr", "ipv4_addr"), flags=("interval",)),
    NftElement(set="within4", value="10.1.0.0/16 . 10.1.0.0/16"),
    NftSet(name="ports", type=("inet_service",)),
    NftSet(name="published6", type=("inet_proto", "inet_service"), to=("ipv6_addr", "inet_service")),
    NftElement(set="published6", value="udp . 53", to="fd00:1::2 . 53"),
    NftElement(set="published6", value="sctp . 53", to="fd00:1::2 . 53"),
    FORWARD,
    NftChain(name="other"),
]


def content() -> Content:
    found = Content()
    found.put(CONTENT)
    return found


def commands(before: Content, *ops: Op, desired: Mapping[Key, Object] | None = None) -> list[str]:
    change = delta(before, ops)
    steps = nft_text.script(before, change, desired or {}) if change else []
    return [command for step in steps for command in step.commands]


def test_nothing_to_do() -> None:
    assert commands(content(), *map(Create, CONTENT), Create(SEEN)) == []
    assert commands(Content(), *map(Remove, CONTENT)) == []


SHORT = NftFlowtable(name="short")
ONE, TWO, THREE = (NftFlowDevice(flowtable="short", dev=f"weft{n}") for n in (1, 2, 3))
ADDING = NftChain(name="short", hook=Hook(type="filter", hook="forward", priority=300), rules=(rule(FlowAdd("short")),))
FOUND = msgspec.structs.replace(ADDING, rules=(FoundRule(ADDING.rules[0].mark, (), (), ("short",)),))


def flowing(*objects: Object) -> Content:
    found = content()
    found.put([*objects])  # type: ignore[list-item]
    return found


def test_a_flowtable_comes_before_and_goes_after_the_chain_that_adds_to_it() -> None:
    create = ["add flowtable inet weft short { hook ingress priority 0; }"]
    added = commands(content(), Create(SHORT), Create(ADDING))
    assert [line for line in added if "flow" in line] == [
        *create,
        f'add rule inet weft short flow add @short comment "{ADDING.rules[0].mark}"',
    ]
    gone = commands(flowing(SHORT, ONE, TWO, FOUND), Remove(FOUND), Remove(SHORT), Remove(ONE))
    assert gone == ["flush chain inet weft short", "delete chain inet weft short", "delete flowtable inet weft short"]


def test_devices_come_and_go_one_by_one_without_nft() -> None:
    there = flowing(SHORT, ONE, TWO, FOUND)
    change = delta(there, [Create(THREE), Remove(ONE), Create(TWO)])
    assert not change.textual and (change.devices, change.dead_devices) == ([THREE], [ONE])
    merge(there, change)
    assert there.devices == {(INET, "short"): {"weft2": TWO, "weft3": THREE}}
    assert delta(flowing(), [Remove(THREE)]).dead_devices == [], "its device went, and took it along"


def test_a_table_that_is_made_anew_has_its_flowtable_again() -> None:
    other = msgspec.structs.replace(CLUSTER, type=("ipv6_addr",))
    lines = commands(flowing(SHORT, ONE, FOUND), Create(other), desired={ADDING.key: ADDING})
    assert lines[0] == "delete table inet weft"
    assert [line for line in lines if "flow" in line] == [
        "add flowtable inet weft short { hook ingress priority 0; }",
        'add flowtable inet weft short { devices = { "weft1" }; }',
        f"add rule inet weft short {ADDING.rules[0].nft}",  # type: ignore[union-attr]
    ]


def test_who_is_refused_by_a_chain_that_adds_leaves_the_flowtable() -> None:
    refusing = msgspec.structs.replace(ADDING, rules=(rule(SADDR[4].among("cluster4"), RETURN), rule(FlowAdd("short"))))
    there = flowing(SHORT, refusing)
    for element, expected in (("cluster4", True), ("within4", False)):
        one = NftElement(set=element, value="10.9.0.0/16")
        assert barred(there, delta(there, [Create(one)])) is expected
    assert not barred(there, delta(there, [Remove(CONTENT[1])])), "who comes back is added with the next packet"
    merge(there, delta(there, [Create(ADDING)]))
    assert not barred(there, delta(there, [Create(NftElement(set="cluster4", value="10.9.0.0/16"))]))


def test_a_table_goes_with_its_flowtable() -> None:
    there = Content()
    there.put([SHORT, ONE])
    assert delta(there, [Remove(ONE), Remove(SHORT)]).emptied == (INET,)
    there.put([FORWARD])
    assert delta(there, [Remove(FORWARD)]).emptied == ()


def test_elements_go_before_others_come() -> None:
    assert commands(content(), Create(NftElement(set="cluster4", value="10.1.0.0/17")), Remove(CONTENT[1])) == [
        "delete element inet weft cluster4 { 10.1.0.0/16 }",
        "add element inet weft cluster4 { 10.1.0.0/17 }",
    ]


def test_an_element_that_leads_elsewhere_is_made_anew() -> None:
    assert commands(content(), Create(NftElement(set="published6", value="udp . 53", to="fd00:1::3 . 53"))) == [
        "delete element inet weft published6 { udp . 53 : fd00:1::2 . 53 }",
        "add element inet weft published6 { udp . 53 : fd00:1::3 . 53 }",
    ]


@pytest.mark.parametrize(
    ("value", "to", "found"),
    [
        ("tcp . 80", "10.1.0.2 . 8080", Translation(2, 6, b"", 80, b"\n\1\0\2", 8080)),
        ("10.9.0.1 . udp . 53", "10.1.0.2 . 53", Translation(2, 17, b"\n\x09\0\1", 53, b"\n\1\0\2", 53)),
        ("sctp . 53", "::2 . 53", Translation(10, 132, b"", 53, bytes(15) + b"\2", 53)),
        ("10.1.0.0/16 . 10.1.0.0/16", "", None),
        ("10.1.0.1", "10.1.0.2", None),
        ("icmp . 80", "10.1.0.2 . 80", None),
    ],
)
def test_what_an_element_translates(value: str, to: str, found: Translation | None) -> None:
    assert translation(NftElement(set="m", value=value, to=to)) == found


def test_a_set_takes_its_elements_along() -> None:
    before = content()
    change = delta(before, [Remove(CLUSTER), Remove(CONTENT[1])])
    assert [e.value for e in change.stale] == ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]
    assert commands(before, Remove(CLUSTER), Remove(CONTENT[1])) == ["delete set inet weft cluster4"]
    merge(before, change)
    assert (INET, "cluster4") not in before.sets and (INET, "cluster4") not in before.elements


def test_the_table_goes_with_the_last_object() -> None:
    before = content()
    removals = [Remove(obj) for obj in CONTENT]
    assert commands(before, *removals) == ["delete table inet weft"]
    change = delta(before, removals)
    assert change.emptied == (INET,) and not change.textual
    merge(before, change)
    assert not before.objects()


def test_a_set_of_another_type_takes_the_table_made_anew() -> None:
    """Rules of which only the marks are known are written as they are desired; if they are not, they go."""
    wider = NftSet(name="ports", type=("inet_service",), flags=("interval",))
    before = content()
    before.put([SEEN, NftChain(name="old", rules=(FoundRule(""),)), NftChain(name="frames", table=BRIDGE)])
    said = commands(before, Change(CONTENT[6], wider), desired={FORWARD.key: FORWARD})
    assert said[:2] == ["delete table inet weft", "add table inet weft"]
    assert "add set inet weft ports { type inet_service; flags interval; }" in said
    after = commands(Content(), *map(Create, [wider if obj == CONTENT[6] else obj for obj in CONTENT]))
    assert sorted(said[1:]) == sorted(after)


def test_a_set_made_again_keeps_the_elements_that_are_named() -> None:
    before, anew = content(), NftSet(name="cluster4", type=("ipv4_addr",))
    change = delta(before, [Remove(CLUSTER), Create(anew), Create(CONTENT[2])])
    merge(before, change)
    assert before.sets[INET, "cluster4"] == anew and list(before.elements[INET, "cluster4"]) == ["10.2.0.0/16"]


def test_thousands_of_elements_come_before_the_rules() -> None:
    many = [NftElement(set="cluster4", value=f"10.9.{i // 256}.{i % 256}") for i in range(MANY)]
    jumping = NftElement(set="v", value="10.0.0.1", to="jump forward")
    others = [NftSet(name="v", type=("ipv4_addr",), to=("verdict",)), jumping, NftChain(name="new")]
    change = delta(content(), [Create(obj) for obj in (*many, *others)])
    early = change.early()
    assert (
        early is not None and early.elements == many and [each.name for each in early.sets] == [] and not early.textual
    )
    few = delta(content(), [Create(obj) for obj in (*many[1:], NftChain(name="new"))])
    assert few.early() is None
    overlapping = delta(content(), [Create(obj) for obj in (*many, *others)] + [Remove(CONTENT[1])])
    assert overlapping.early() is None  # a part of that set has to go in the same transaction


SAVED = """# Generated by iptables-save
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [1:84]
:WEFT-FORWARD - [0:0]
-A FORWARD -j WEFT-FORWARD
-A FORWARD -j DOCKER-USER
-A WEFT-FORWARD -i weft+ -m comment --comment "MARK" -j ACCEPT
COMMIT
"""
FROM_OURS = rule(IIFNAME.is_("weft*"), ACCEPT)
SAVED = SAVED.replace("MARK", FROM_OURS.iptables_mark(4))
WHERE = Where("nft", 4)
CHAIN = IptablesChain(
    backend="nft", family=4, table="filter", parent="FORWARD", name="WEFT-FORWARD", rules=(FROM_OURS,)
)


def test_what_iptables_save_says() -> None:
    [found] = iptables_text.found(iptables_text.parse(SAVED), WHERE, "", {})
    assert same_rules(found, CHAIN)


@pytest.mark.parametrize(
    ("rule", "ours"),
    [
        ("-j DOCKER-USER", True),
        ("-j DOCKER-ISOLATION-STAGE-1", True),
        ("-i docker0 ! -o docker0 -j ACCEPT", True),
        ("-o br-0123456789ab -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", True),
        ("-j DOCKER", False),
        ("! -i docker0 -j DROP", False),
        ("-o eth0 -j DROP", False),
    ],
)
def test_what_docker_puts_first_may_come_before_ours(rule: str, ours: bool) -> None:
    """It does so again with every network that it makes: no use to fight over that."""
    saved = SAVED.replace("-A FORWARD -j WEFT-FORWARD\n", f"-A FORWARD {rule}\n-A FORWARD -j WEFT-FORWARD\n")
    [chain] = iptables_text.found(iptables_text.parse(saved), WHERE, "", {("filter", CHAIN.name): CHAIN})
    assert same_rules(chain, CHAIN) is ours


@pytest.mark.parametrize(
    "jumps",
    [
        "",
        "-A FORWARD -j DROP\n-A FORWARD -j WEFT-FORWARD\n",
        "-A FORWARD -j WEFT-FORWARD\n-A FORWARD -j WEFT-FORWARD\n",
    ],
    ids=["missing", "late", "twice"],
)
def test_a_jump_that_is_not_as_it_should_be(jumps: str) -> None:
    table = iptables_text.parse(SAVED.replace("-A FORWARD -j WEFT-FORWARD\n", jumps))
    (found,) = iptables_text.found(table, WHERE, "", {("filter", "WEFT-FORWARD"): CHAIN})
    assert found.parent == "" and found.marks == CHAIN.marks
    script = iptables_text.script(table, [Create(CHAIN)]).splitlines()
    assert script[-2:] == ["-I FORWARD 1 -j WEFT-FORWARD", "COMMIT"]
    assert script.count("-D FORWARD -j WEFT-FORWARD") == jumps.count("WEFT")


def test_a_jump_that_is_right_stays() -> None:
    script = iptables_text.script(iptables_text.parse(SAVED), [Create(CHAIN)])
    assert script == f"*filter\n:WEFT-FORWARD - [0:0]\n-A WEFT-FORWARD {CHAIN.lines[0]}\nCOMMIT\n"


def test_removing_what_is_not_there() -> None:
    assert iptables_text.script(iptables_text.parse(""), [Remove(CHAIN)]) == ""


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("net/ipv4/ip_forward", ""),
        ("net/ipv6/conf/all/forwarding", ""),
        ("net/ipv6/conf/default/accept_ra", ""),
        ("net/ipv6/conf/eth0/accept_ra", "eth0"),
        ("net/ipv4/conf/weft.1/rp_filter", "weft.1"),
        ("net/ipv4/neigh/weft-n/gc_stale_time", "weft-n"),
    ],
)
def test_the_device_of_a_sysctl(name: str, device: str) -> None:
    assert device_of(Sysctl(name=name, value="1")) == (("link", "", device) if device else None)
