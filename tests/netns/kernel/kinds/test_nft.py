"""What is known of Weft's nftables tables, and what others do to them meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from support.hoststates import alike
from weft.hoststate import NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import BRIDGE, BRIDGE_FILTER, DRAWN, DSTNAT, FILTER, PORTS, Hook, Table
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, COUNTER, DROP, Jump, Nat
from weft.hoststate.rules.matches import DADDR, IIFNAME, SADDR, TCP_DPORT, UDP_DPORT, drawn, field, hashed
from weft.kernel.host import flows
from weft.kernel.kinds.nft_content import MANY
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import nfnl, tools
from weft.kernel.plumbing import uapi as u
from weft.reconcile.protocol import Change, Create, Disturbed, Remove

CLUSTER = NftSet(name="cluster4", type=("ipv4_addr",), flags=("interval",))
ONE, TWO, THREE = (NftElement(set="cluster4", value=f"10.{i}.0.0/16") for i in (1, 2, 3))
PUBLISHED = NftElement(set="published4", value="tcp . 80", to="10.1.0.2 . 8080")
PLACE, NUMBERS = DADDR[4] + TCP_DPORT, (drawn(3), hashed(4, 60, 0x57))
FORWARD = NftChain(
    name="forward",
    hook=Hook(type="filter", hook="forward", priority=FILTER),
    rules=(
        rule(SADDR[4].among("cluster4"), DROP),
        rule((IIFNAME + SADDR[6] + DADDR[6]).among("inside6"), DROP),
        rule((UDP_DPORT + field("@th,96,24")).among("vnis"), Jump("more")),
    ),
)
TABLE: list[Object] = [
    CLUSTER,
    ONE,
    TWO,
    NftSet(name="inside6", type=("ifname", "ipv6_addr", "ipv6_addr"), flags=("interval",)),
    NftElement(set="inside6", value='"eth0" . fd00:1::/64 . fd00::1'),
    NftSet(name="vnis", type=("udp dport", "@th,96,24")),
    NftElement(set="vnis", value="8472 . 0x9"),
    NftSet(name="published4", type=("inet_proto", "inet_service"), to=("ipv4_addr", "inet_service")),
    PUBLISHED,
    NftSet(name="marks", type=("ipv4_addr", "mark"), to=("ether_addr",)),
    NftElement(set="marks", value="10.1.0.2 . 0x00000012", to="02:00:00:00:00:01"),
    NftSet(name="bits", type=("@th,96,24",)),
    NftElement(set="bits", value="0x9"),
    NftSet(
        name="members4",
        type=("ipv4_addr", PORTS["tcp"], DRAWN),
        to=("ipv4_addr", PORTS["tcp"]),
    ),
    NftElement(set="members4", value="10.1.0.9 . 80 . 2", to="10.1.0.2 . 8080"),
    NftSet(name="brief", type=("ipv4_addr",), timeout=3600),
    NftSet(name="seen", type=("ipv4_addr",), flags=("dynamic", "timeout"), timeout=60),
    NftChain(name="more", rules=(rule(COUNTER, DROP),)),
    NftChain(name="spread-3", rules=tuple(rule(Nat("dnat", 4, by=PLACE + n, map="members4")) for n in NUMBERS)),
    FORWARD,
    NftChain(
        name="nat",
        hook=Hook(type="nat", hook="prerouting", priority=DSTNAT - 1, policy="accept"),
        rules=(rule(IIFNAME.is_("eth0"), ACCEPT),),
    ),
]
BRIDGE_CHAIN = NftChain(
    name="frames",
    table=BRIDGE,
    hook=Hook(type="filter", hook="forward", priority=BRIDGE_FILTER),
    rules=(rule(IIFNAME.is_("eth0"), DROP),),
)
ARRIVING = NftChain(
    name="arriving", table=Table("netdev"), hook=Hook(type="filter", hook="ingress", priority=0, devices=("lo",))
)


class Counted:
    """What is asked of the kernel and of nft."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dumps: list[int] = []
        self.runs: list[str] = []
        dump, run = nfnl.Nftables.dump, tools.run

        def counted_dump(kernel: Any, kind: int, *rest: Any) -> Any:
            self.dumps.append(kind)
            return dump(kernel, kind, *rest)

        def counted_run(command: Any, *rest: Any) -> Any:
            self.runs.append(" ".join(command))
            return run(command, *rest)

        monkeypatch.setattr(nfnl.Nftables, "dump", counted_dump)
        monkeypatch.setattr(tools, "run", counted_run)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    yield Counted(monkeypatch)


@pytest.fixture
def made(bench: Any) -> Any:
    bench.made(*TABLE)
    return bench


def test_another_agent_reads_the_same(made: Any) -> None:
    made.made(BRIDGE_CHAIN, ARRIVING)
    fresh = LinuxKernel({}, made.run)
    try:
        found = fresh.read(made.desired, frozenset({""})).objects
    finally:
        fresh.close()
    assert found.keys() == made.desired.keys()
    assert not [key for key, obj in found.items() if not alike(obj, made.desired[key])]
    looked_up = [rule.sets for rule in found[FORWARD.key].rules]
    assert looked_up == [rule.sets for rule in FORWARD.rules]
    assert [rule.jumps for rule in found[FORWARD.key].rules] == [(), (), ("more",)]


def test_an_element_costs_no_look_at_the_others(made: Any, counted: Counted) -> None:
    made.made(THREE)
    assert made.remove(TWO) == []
    elsewhere = NftElement(set="published4", value="tcp . 80", to="10.1.0.3 . 8080")
    assert made.change(PUBLISHED, elsewhere) == []
    assert (counted.dumps, counted.runs) == ([], [])
    assert made.converged(), made.difference()
    elements = {u.NFT_MSG_GETSET, u.NFT_MSG_GETSETELEM}
    assert elements.isdisjoint(counted.dumps)
    fresh = LinuxKernel({}, made.run)
    assert fresh.read(made.desired, frozenset({""})).objects.keys() == made.desired.keys()
    assert elements.issubset(counted.dumps)
    assert "nft" not in {run.split()[0] for run in counted.runs}
    fresh.close()


@pytest.mark.parametrize(
    "command",
    [
        "add element inet weft cluster4 { 10.9.0.0/16 }",
        "delete element inet weft cluster4 { 10.1.0.0/16 }",
        "flush set inet weft cluster4",
        "delete table inet weft",
        "add chain inet weft theirs",
        "add rule inet weft nat accept",
        "insert rule inet weft nat accept",
        "add set inet weft theirs { type ct_state; elements = { new, established }; }",
        "add set inet weft theirs { type ipv4_addr; flags dynamic,timeout; timeout 1h; elements = { 10.0.0.1 }; }",
        "add map inet weft theirs { type ipv4_addr : verdict; elements = { 10.0.0.1 : drop }; }",
        "add map inet weft theirs { type mark : mark; flags interval; elements = { 5-10 : 3, 11 : 4 }; }",
    ],
)
def test_what_others_change_is_seen_and_put_right(made: Any, command: str) -> None:
    made.netns.run("nft", *command.split())
    found = made.read().objects
    assert not made.converged()
    surplus = [Remove(obj) for key, obj in found.items() if key not in made.desired]
    ops = [Create(obj) for key, obj in made.desired.items() if key not in found]
    changes = [
        Change(found[key], obj) for key, obj in made.desired.items() if key in found and not alike(found[key], obj)
    ]
    assert made.kernel.apply([*ops, *changes, *surplus]) == []
    assert made.converged(), made.difference()
    assert "theirs" not in made.netns.run("nft", "list", "ruleset")


def test_what_ends_by_itself_is_left_to_who_put_it_there(made: Any) -> None:
    made.netns.run("nft", "add", "element", "inet", "weft", "brief", "{ 10.0.0.9 }")
    assert made.converged(), made.difference()
    assert "10.0.0.9" in made.netns.run("nft", "list", "set", "inet", "weft", "brief")


def test_a_change_on_what_others_changed_unnoticed(made: Any) -> None:
    """What is done does not rest on what was known before."""
    made.netns.run("nft", "add", "element", "inet", "weft", "cluster4", "{ 10.3.0.0/16 }")
    made.netns.run("nft", "delete", "element", "inet", "weft", "cluster4", "{ 10.2.0.0/16 }")
    made.made(THREE)
    assert made.remove(TWO) == []
    assert made.converged(), made.difference()


def test_rules_that_change_between_a_look_and_a_change(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    transaction = nfnl.Nftables.transaction

    def late(kernel: Any, batch: Any, generation: int | None) -> Any:
        monkeypatch.setattr(nfnl.Nftables, "transaction", transaction)
        made.netns.run("nft", "add", "element", "inet", "weft", "cluster4", "{ 10.3.0.0/16 }")
        return transaction(kernel, batch, generation)

    monkeypatch.setattr(nfnl.Nftables, "transaction", late)
    assert made.remove(ONE) == []
    made.desired[THREE.key] = THREE
    assert made.converged(), made.difference()


def test_rules_that_change_all_the_time(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    transaction = nfnl.Nftables.transaction

    def disturbed(kernel: Any, batch: Any, generation: int | None) -> Any:
        made.netns.run("nft", "add", "table", "ip", "other")
        made.netns.run("nft", "delete", "table", "ip", "other")
        return transaction(kernel, batch, generation)

    monkeypatch.setattr(nfnl.Nftables, "transaction", disturbed)
    made.made(THREE)
    assert made.converged(), made.difference()


def test_elements_that_the_kernel_refuses_are_told_and_the_rest_done(made: Any) -> None:
    """Those overlap with what is there, which only the kernel finds."""
    overlapping = [NftElement(set="cluster4", value=value) for value in ("10.1.4.0/22", "10.2.0.0/15")]
    wrong = NftElement(set="cluster4", value="10.300.0.0/16")
    right = [NftElement(set="cluster4", value=f"10.{i}.0.0/16") for i in range(10, 60)]
    failures = made.create(*overlapping, wrong, *right, THREE)
    assert {failure.key for failure in failures} == {wrong.key, *(each.key for each in overlapping)}
    assert all("nft: " in failure.reason and "\n" not in failure.reason for failure in failures)
    for obj in (*overlapping, wrong):
        del made.desired[obj.key]
    assert made.converged(), made.difference()


def test_thousands_of_elements_with_their_rules(bench: Any, counted: Counted) -> None:
    many = [NftElement(set="cluster4", value=f"10.{i // 200}.{i % 200}.0/24") for i in range(MANY)]
    bench.made(*(obj for obj in TABLE if obj not in (ONE, TWO)), *many)
    assert bench.converged(), bench.difference()
    assert "nft -f -" in counted.runs
    assert bench.remove(*reversed(list(bench.desired.values()))) == []
    assert bench.netns.run("nft", "list", "ruleset") == ""


def test_a_map_comes_and_goes_with_the_chains_that_it_leads_to(made: Any) -> None:
    doors: list[Object] = [
        NftSet(name="doors", type=("ipv4_addr",), to=("verdict",)),
        NftElement(set="doors", value="10.1.0.2", to="jump behind"),
        NftChain(name="behind", rules=(rule(COUNTER, ACCEPT),)),
    ]
    assert made.kernel.apply([Create(obj) for obj in doors]) == []
    assert all(obj.key in made.read().objects for obj in doors)
    assert made.kernel.apply([Remove(obj) for obj in doors]) == []
    assert not [obj for obj in doors if obj.key in made.read().objects]


def test_frames_have_a_table_of_their_own(made: Any) -> None:
    made.made(BRIDGE_CHAIN)
    assert made.converged(), made.difference()
    made.netns.run("nft", "delete", "table", "bridge", "weft")
    assert BRIDGE_CHAIN.key not in made.read().objects
    made.made(BRIDGE_CHAIN)
    assert made.converged()
    assert made.remove(BRIDGE_CHAIN) == []
    assert "bridge" not in made.netns.run("nft", "list", "tables")
    assert made.converged()


def test_a_set_that_is_not_desired_by_anybody(made: Any) -> None:
    """As a former version left it."""
    del made.desired[ONE.key], made.desired[TWO.key], made.desired[CLUSTER.key]
    used = made.desired.pop(FORWARD.key)
    assert made.kernel.apply([Remove(used), Remove(CLUSTER)]) == []
    assert made.converged(), made.difference()


def test_another_namespace_under_the_same_path(made: Any, container: Any, tmp_path: Any) -> None:
    there = [NftSet(name="s", type=("inet_service",), ns=container.path), frames_in(container.path)]
    made.made(*there)
    element = NftElement(set="s", value="80", ns=container.path)
    made.made(element)
    assert made.converged(), made.difference()
    container.run("nft", "flush", "set", "inet", "weft", "s")
    assert element.key not in made.read().objects
    assert made.remove(*reversed(there)) == []
    made.desired.pop(element.key)
    assert container.run("nft", "list", "ruleset") == ""
    assert made.converged(), made.difference()


def frames_in(ns: str) -> NftChain:
    return msgspec.structs.replace(BRIDGE_CHAIN, ns=ns)


def test_flows_of_a_changed_map_are_settled_by_what_changed(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[Any] = []
    monkeypatch.setattr(flows, "settle", lambda _, gone, come: settled.append((gone, come)))
    old, new = PUBLISHED, NftElement(set="published4", value="tcp . 80", to="10.1.0.3 . 8080")
    assert made.change(old, new) == []
    more = NftElement(set="published4", value="tcp . 81", to="10.1.0.3 . 8080")
    made.made(more)
    assert settled == [([old], [new]), ([], [more])]


def test_our_own_changes_are_not_somebody_elses(made: Any) -> None:
    watcher = made.kernel.watch()
    made.made(THREE)
    assert made.remove(THREE) == []
    made.made(NftChain(name="another", rules=(rule(ACCEPT),)))
    assert not [event for event in watcher.drain() if isinstance(event, Disturbed)]
    made.netns.run("nft", "delete", "element", "inet", "weft", "cluster4", "{ 10.1.0.0/16 }")
    assert [event for event in watcher.drain() if isinstance(event, Disturbed)]
    watcher.close()


def test_a_kernel_without_nftables(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Without(nfnl.Nftables):
        def __init__(self) -> None:
            self.netlink = None

    monkeypatch.setattr("weft.kernel.kinds.nft.Nftables", Without)
    assert bench.read().objects == {}
    (failure, other) = bench.create(CLUSTER, ONE)
    assert failure.key == CLUSTER.key and other.key == ONE.key
    assert failure.reason == "nft-set cluster4: nft: the kernel has no nftables"
