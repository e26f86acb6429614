"""What rules come of what a policy says."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from weft.hoststate import NftChain
from weft.hoststate.rules import Rule as Kernel
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import COUNTER, RETURN
from weft.policy.build import program
from weft.policy.model import (
    DIRECTIONS,
    Direction,
    Identity,
    NamedPort,
    Peer,
    Policy,
    PortRange,
    Rule,
    Tier,
    Traffic,
    Who,
)
from weft.policy.program import Program
from weft.policy.render import nft
from weft.policy.world import World

WEB = Identity(
    id="w1",
    name="web",
    network="blue",
    node="n1",
    addresses=(ip_address("10.1.0.2"),),
    labels={"app": "web"},
    ports=(NamedPort("http", "tcp", 8080),),
)


def policy(name: str = "p", **more: object) -> Policy:
    return Policy(id=f"policy//{name}", kind="Policy", name=name, subject=Who(selector='app == "web"'), **more)  # type: ignore[arg-type]


def of(direction: Direction, *policies: Policy, tiers: tuple[Tier, ...] = ()) -> Program:
    world = World(policies, tiers)
    return program(WEB, world.stack(WEB, direction), direction, ("blue",))


def texts(found: Program, chain: int = 0) -> list[str]:
    """Without what stands first of all, comments and counters."""
    skip = 2 if chain == 0 else 0
    lines = [
        line.rule.nft.partition(" comment ")[0].replace("counter ", "") for line in found.chains[chain].lines[skip:]
    ]
    names = {spec.name(fam): f"{spec.kind}{fam}" for spec in found.sets for fam in (4, 6)}
    for name, said in names.items():
        lines = [line.replace(name, said) for line in lines]
    return lines


def ingress(*rules: Rule) -> list[str]:
    return texts(of("ingress", policy(ingress=rules)))


def egress(*rules: Rule) -> list[str]:
    return texts(of("egress", policy(egress=rules)))


def allow(**more: object) -> Rule:
    return Rule(action="allow", **more)  # type: ignore[arg-type]


def test_nothing_is_asked_where_no_policy_selects() -> None:
    assert of("ingress") == Program()
    assert of("egress", policy(ingress=())) == Program()


def test_an_isolated_endpoint_gets_nothing() -> None:
    assert ingress() == ["drop"]


def test_a_connection_begins_at_its_beginning() -> None:
    lines = [line.rule.nft.partition(" comment ")[0] for line in of("ingress", policy(ingress=())).chains[0].lines[:2]]
    assert lines == [
        "ct state invalid counter drop",
        "ct state new tcp flags & (fin|syn|rst|ack) != syn counter reject with tcp reset",
    ]


def test_endpoints_are_looked_up_in_sets() -> None:
    who = Peer(who=Who(selector='app == "db"'))
    traffic = Traffic(protocol="tcp", ports=(PortRange(80, 80), PortRange(8000, 8099)))
    assert ingress(allow(peers=(who,), traffic=(traffic,))) == [
        "ip saddr @addresses4 meta l4proto tcp tcp dport { 80, 8000-8099 } return",
        "ip6 saddr @addresses6 meta l4proto tcp tcp dport { 80, 8000-8099 } return",
        "drop",
    ]


def test_what_is_of_no_family_is_said_once() -> None:
    assert ingress(allow(traffic=(Traffic(protocol="udp"),))) == ["meta l4proto udp return", "drop"]
    assert ingress(allow()) == ["return", "drop"]


def test_what_is_of_one_family_says_so() -> None:
    assert ingress(allow(traffic=(Traffic(protocol="icmp"),))) == ["meta nfproto ipv4 meta l4proto icmp return", "drop"]
    echo = Traffic(protocol="icmpv6", icmp_type=128, icmp_code=0)
    assert ingress(allow(traffic=(echo,))) == ["meta l4proto ipv6-icmp icmpv6 type 128 icmpv6 code 0 return", "drop"]


def test_cidrs_with_holes() -> None:
    peer = Peer(cidrs=(ip_network("10.0.0.0/8"),), excepts=(ip_network("10.1.0.0/16"),))
    assert egress(allow(peers=(peer,))) == ["ip daddr 10.0.0.0/8 ip daddr != 10.1.0.0/16 return", "drop"]


def test_what_is_excluded_in_one_family_is_allowed_in_the_other() -> None:
    no = (Peer(cidrs=(ip_network("10.0.0.0/8"),)),)
    assert egress(allow(no_peers=no)) == ["ip daddr != 10.0.0.0/8 return", "meta nfproto ipv6 return", "drop"]


def test_what_consists_of_parts_is_excluded_part_by_part() -> None:
    no = (Traffic(protocol="tcp", ports=(PortRange(22, 22),)),)
    assert ingress(allow(no_traffic=no)) == ["meta l4proto != tcp return", "tcp dport != 22 return", "drop"]
    both = Peer(who=Who(), cidrs=(ip_network("10.0.0.0/8"),))
    assert ingress(allow(no_peers=(both,))) == [
        "ip saddr != @addresses4 return",
        "ip saddr != 10.0.0.0/8 return",
        "meta nfproto ipv6 return",
        "drop",
    ]


def test_named_ports_are_the_receivers() -> None:
    named = (Traffic(protocol="tcp", ports=("http",)),)
    assert ingress(allow(traffic=named)) == ["meta l4proto tcp tcp dport 8080 return", "drop"]
    assert ingress(allow(traffic=(Traffic(protocol="udp", ports=("http",)),))) == ["drop"]
    assert egress(allow(traffic=named)) == [
        "meta l4proto tcp ip daddr . meta l4proto . th dport @named-ports4 return",
        "meta l4proto tcp ip6 daddr . meta l4proto . th dport @named-ports6 return",
        "drop",
    ]
    outside = (Peer(cidrs=(ip_network("192.0.2.0/24"),)),)
    assert egress(allow(traffic=named, peers=outside)) == ["drop"]
    both = (*outside, Peer(who=Who(selector="has(app)")))
    assert egress(allow(traffic=named, peers=both)) == egress(allow(traffic=named, peers=both[1:]))


def test_tiers_lead_to_the_next() -> None:
    first = policy(
        "a", tier="admin", ingress=(Rule(action="pass", traffic=(Traffic(protocol="tcp"),)), Rule(action="deny"))
    )
    found = of("ingress", policy("b", ingress=(allow(),)), first)
    assert [texts(found, n) for n in (0, 1)] == [
        [f"meta l4proto tcp goto {found.chains[1].name}", "drop", f"goto {found.chains[1].name}"],
        ["return", "drop"],
    ]


def test_after_the_last_tier_all_is_allowed() -> None:
    base = policy("c", tier="baseline", ingress=(Rule(action="pass"),))
    assert texts(of("ingress", base)) == ["return", "return"]


def test_what_is_logged_says_which_rule_it_was() -> None:
    found = of("ingress", policy(ingress=(Rule(action="log"), Rule(action="deny"))))
    chain = found.chains[0]
    assert f'log prefix "{chain.name}:2" group 22342' in chain.lines[2].rule.nft
    assert chain.lines[2].origin.index == 0


def test_the_same_policies_make_the_same_chains() -> None:
    said = policy(ingress=(allow(),))
    other = Identity(id="w2", name="web2", network="blue", node="n1", addresses=(), labels={"app": "web"})
    world = World([said])
    assert program(other, world.stack(other, "ingress"), "ingress", ("blue",)) == of("ingress", said)
    assert of("ingress", said) != of("ingress", policy(ingress=(allow(), allow())))


def test_orders_then_names_decide_who_is_asked_first() -> None:
    some = [policy("b"), policy("a"), policy("z", order=1.0), policy("y", order=-1.0)]
    assert [p.name for p in World(some).policies.values()] == ["y", "z", "a", "b"]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_names_fit_into_what_kernels_take(direction: Direction) -> None:
    found = of(direction, policy(ingress=(allow(),), egress=(allow(peers=(Peer(who=Who()),)),)))
    assert all(len(chain.name) <= 22 for chain in found.chains)
    assert all(len(spec.name(6)) <= 21 for spec in found.sets)


def test_many_that_allow_are_looked_up_at_once() -> None:
    def some(n: int) -> Rule:
        return allow(
            peers=(Peer(who=Who(selector=f'app == "{n}"')),),
            traffic=(Traffic(protocol="tcp", ports=(PortRange(n, n), PortRange(90, 90))),),
        )

    ranged = allow(peers=(Peer(who=Who()),), traffic=(Traffic(protocol="tcp", ports=(PortRange(1, 9),)),))
    denied = Rule(action="deny", peers=(Peer(who=Who()),))
    found = of("ingress", policy(ingress=(some(1), ranged, *map(some, range(2, 7)), denied, some(9)))).chains[0]
    [lookup] = found.lookups
    assert [found.lines[n].origin.index for n in lookup.lines] == [0, 0, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert {(use.protocol, use.port) for use in lookup.uses} == {("tcp", port) for port in (*range(1, 7), 90)}
    kernel = {obj.name: obj for obj in nft.chain(found, "") if isinstance(obj, NftChain)}
    texts = [rule.nft.partition(" comment ")[0] for rule in kernel[found.name].rules if isinstance(rule, Kernel)][2:4]
    assert texts == [
        f"ip saddr . meta l4proto . th dport vmap @m4-{lookup.label}",
        f"ip6 saddr . meta l4proto . th dport vmap @m6-{lookup.label}",
    ]
    counted = {line: (chain, place) for chain, place, line in nft.counted(found)}
    assert {found.lines[n].origin for n in counted} == {line.origin for line in found.lines}
    tried = counted.keys() - set(lookup.lines)
    assert all(found.lines[n].rule == kernel[counted[n][0]].rules[counted[n][1]] for n in tried)
    assert all(kernel[counted[n][0]].rules == (rule(COUNTER, RETURN),) for n in counted.keys() - tried)


def test_few_are_tried_in_a_row() -> None:
    few = [
        allow(peers=(Peer(who=Who()),), traffic=(Traffic(protocol="tcp", ports=(PortRange(n, n),)),)) for n in (1, 2)
    ]
    assert of("ingress", policy(ingress=tuple(few))).chains[0].lookups == ()
