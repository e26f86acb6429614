"""The corners of what policy means, and the words in which a verdict is told."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network

import pytest

from support.policy_worlds import IDENTITIES, NAMESPACES, identity, world
from weft.model import Network
from weft.policy.evaluate import Judge, allowed, directory, isolated
from weft.policy.model import NamedPort, Peer, Policy, PortRange, Rule, Tier, Traffic, Who
from weft.policy.prefixes import Prefixes
from weft.policy.verdict import End, Packet
from weft.policy.world import World

XA, XB, YA, YB = (End(address=i.addresses[0], identity=i) for i in IDENTITIES)
OUTSIDE = End(address=ip_address("203.0.113.9"))
N1, N2 = (End(address=ip_address(a), node=n) for n, a in (("n1", "192.0.2.1"), ("n2", "192.0.2.2")))
WEB = Packet(protocol="tcp", port=80)
ALL = Rule(action="allow")
A_ONLY = Who(selector="pod == 'a'", namespaces="ns == 'x'")


def policy(name: str = "p", **fields: object) -> Policy:
    values: dict[str, object] = {"subject": Who(), **fields}
    return Policy(id=f"networkpolicy/x/{name}", kind="NetworkPolicy", name=name, namespace="x", **values)  # type: ignore[arg-type]


def verdict(source: End, target: End, packet: Packet, *policies: Policy, tiers: tuple[Tier, ...] = ()) -> bool:
    return Judge(world(*policies, tiers=tiers)).verdict(source, target, packet).allowed


def test_without_policy_all_is_allowed() -> None:
    told = Judge(world()).verdict(OUTSIDE, XB, WEB)
    assert told.allowed
    assert [side.reason for side in told.sides] == [
        "203.0.113.9 is no endpoint: nothing is asked there",
        "no policy selects x-b for ingress",
    ]


def test_an_isolated_endpoint_takes_nothing_but_what_a_rule_allows() -> None:
    closed = policy(ingress=())
    assert not verdict(XA, XB, WEB, closed)
    assert verdict(XA, XB, WEB, closed, policy("q", ingress=(ALL,)))
    assert verdict(XB, OUTSIDE, WEB, closed)


def test_of_an_endpoint_both_ends_are_asked() -> None:
    out = policy(subject=A_ONLY, egress=(Rule(action="allow", peers=(Peer(who=Who(selector="pod == 'b'")),)),))
    assert verdict(XA, XB, WEB, out)
    assert not verdict(XA, YA, WEB, out)
    assert not verdict(XA, XB, WEB, out, policy("q", ingress=()))


def test_an_endpoint_reaches_itself_and_its_own_node() -> None:
    closed = policy(ingress=(), egress=())
    assert verdict(XA, XA, WEB, closed)
    assert [verdict(node, XB, WEB, closed) for node in (N1, N2)] == [True, False]
    assert [verdict(XB, node, WEB, closed) for node in (N1, N2)] == [True, False]
    assert "is the node" in Judge(world(closed)).verdict(N1, XB, WEB).sides[1].reason


def test_another_node_is_matched_by_prefixes_and_by_its_labels_only() -> None:
    for peer, fits in (
        (Peer(who=Who()), False),
        (Peer(cidrs=(ip_network("192.0.2.0/24"),)), True),
        (Peer(nodes="rack == 'b'"), True),
        (Peer(nodes="rack == 'a'"), False),
    ):
        assert verdict(N2, XB, WEB, policy(ingress=(Rule(action="allow", peers=(peer,)),))) == fits


def test_a_hole_is_one_of_its_item_only() -> None:
    block = Peer(cidrs=(ip_network("203.0.113.0/24"),), excepts=(ip_network("203.0.113.8/30"),))
    holed = Rule(action="allow", peers=(block,))
    assert not verdict(OUTSIDE, XB, WEB, policy(ingress=(holed,)))
    single = Peer(cidrs=(ip_network("203.0.113.9/32"),))
    assert verdict(OUTSIDE, XB, WEB, policy(ingress=(Rule(action="allow", peers=(block, single)),)))


def test_a_prefix_matches_endpoints_too_and_selectors_no_addresses_outside() -> None:
    assert verdict(
        XA, XB, WEB, policy(ingress=(Rule(action="allow", peers=(Peer(cidrs=(ip_network("10.1.0.0/24"),)),)),))
    )
    assert not verdict(OUTSIDE, XB, WEB, policy(ingress=(Rule(action="allow", peers=(Peer(who=Who(namespaces="")),)),)))


def test_a_named_port_is_the_destinations_own() -> None:
    named = Rule(action="allow", traffic=(Traffic(protocol="tcp", ports=("web",)),))
    web = identity("x", "w", 8, ports=(NamedPort("web", "tcp", 8080), NamedPort("web", "udp", 80)))
    target = End(address=web.addresses[0], identity=web)
    open_ = policy(subject=A_ONLY, egress=(named,))
    assert verdict(XA, target, Packet(port=8080), open_)
    assert not verdict(XA, target, Packet(port=80), open_)
    assert not verdict(XA, OUTSIDE, Packet(port=8080), open_)
    assert [verdict(XB, target, Packet(port=n), policy(ingress=(named,))) for n in (8080, 80)] == [True, False]
    by_prefix = Rule(action="allow", peers=(Peer(cidrs=(ip_network("0.0.0.0/0"),)),), traffic=named.traffic)
    assert not verdict(XA, target, Packet(port=8080), policy(subject=A_ONLY, egress=(by_prefix,)))


def test_a_port_that_no_rule_names_is_that_of_rules_without_ports() -> None:
    rule = Rule(action="allow", traffic=(Traffic(protocol="tcp", ports=(PortRange(80, 90),)),))
    assert verdict(XA, XB, Packet(port=85), policy(ingress=(rule,)))
    assert not verdict(XA, XB, Packet(), policy(ingress=(rule,)))
    whole = Rule(action="allow", traffic=(Traffic(protocol="tcp", ports=(PortRange(1, 65535),)),))
    assert verdict(XA, XB, Packet(), policy(ingress=(whole,)))
    assert verdict(XA, XB, Packet(), policy(ingress=(Rule(action="allow", traffic=(Traffic(protocol="tcp"),)),)))


def test_neighbour_discovery_is_never_asked() -> None:
    source, target = (End(address=e.identity.addresses[1], identity=e.identity) for e in (XA, XB) if e.identity)
    closed = policy(ingress=(), egress=())
    assert verdict(source, target, Packet(protocol="icmpv6", icmp_type=135), closed)
    assert not verdict(source, target, Packet(protocol="icmpv6", icmp_type=128), closed)


def test_tiers_are_asked_in_order_and_passing_leads_to_the_next() -> None:
    first = policy("first", tier="admin", ingress=(Rule(action="pass", peers=(Peer(who=A_ONLY),)), Rule(action="deny")))
    second = policy("second", ingress=(Rule(action="allow", name="all"),))
    judge = Judge(world(second, first))
    told = judge.verdict(XA, XB, WEB).sides[1]
    assert [(s.tier, s.policy, s.rule, s.action) for s in told.steps] == [
        ("admin", "networkpolicy/x/first", 1, "pass"),
        ("default", "networkpolicy/x/second", 1, "allow"),
    ]
    assert told.reason == 'rule 1 "all" of networkpolicy/x/second'
    assert judge.verdict(YA, XB, WEB).sides[1].reason == "rule 2 of networkpolicy/x/first"
    onward = judge.world.policies["networkpolicy/x/first"]
    passed = Judge(world(onward)).verdict(XA, XB, WEB).sides[1]
    assert passed.allowed
    assert passed.reason == "rule 1 of networkpolicy/x/first: passed on, and nothing else decides"


def test_what_logs_goes_on_to_the_next_rule() -> None:
    told = Judge(world(policy(ingress=(Rule(action="log"), ALL)))).verdict(XA, XB, WEB).sides[1]
    assert [(step.rule, step.action) for step in told.steps] == [(1, "log"), (2, "allow")]


def test_what_logs_last_tells_of_what_is_denied_by_default() -> None:
    from_x = policy("x", order=1000, ingress=(Rule(action="allow", peers=(Peer(who=Who(namespaces="ns == 'x'")),)),))
    judge = Judge(world(from_x, policy("rest", order=2000, ingress=(Rule(action="log"),))))
    logged = [any(s.action == "log" for s in judge.verdict(e, XB, WEB).sides[1].steps) for e in (XA, YA)]
    assert logged == [False, True]


def test_a_tiers_default_decides_where_no_rule_does() -> None:
    told = Judge(world(policy(ingress=(Rule(action="log"),)))).verdict(XA, XB, WEB).sides[1]
    assert [(step.policy, step.action) for step in told.steps][1:] == [("networkpolicy/x/p", "none"), ("", "deny")]
    assert told.reason == "networkpolicy/x/p selects x-b for ingress, and no rule fits"
    baseline = policy(tier="baseline", ingress=())
    assert verdict(XA, XB, WEB, baseline)
    many = [policy(f"p{n}", ingress=()) for n in range(5)]
    reason = Judge(world(*many)).verdict(XA, XB, WEB).sides[1].reason
    assert reason.startswith("networkpolicy/x/p0, networkpolicy/x/p1, networkpolicy/x/p2 and 2 more select x-b")


def test_endpoints_of_networks_out_of_reach_are_addresses_to_selectors() -> None:
    everybody = policy(ingress=(Rule(action="allow", peers=(Peer(who=Who()),)),))
    assert Judge(world(everybody)).allowed(YA, XB, WEB)
    assert not Judge(World([everybody], namespaces=NAMESPACES, networks=networks(reach=""))).allowed(YA, XB, WEB)


def test_networks_that_do_not_reach_each_other_are_told_apart_from_policy() -> None:
    assert isolated(World(networks=networks(reach="red")), XA, YA) == ""
    assert isolated(World(networks=networks(reach="")), XA, XB) == ""
    assert isolated(World(networks=networks(reach="")), XA, YA) == "networks blue and red do not reach each other"
    closed = World(networks=networks(internal=True))
    assert isolated(closed, XA, XB) == isolated(closed, XA, N1) == ""
    assert isolated(closed, XA, OUTSIDE) == isolated(closed, OUTSIDE, XA) == "network blue is internal"


def networks(*, reach: str = "all", internal: bool = False) -> dict[str, Network]:
    subnets = (ip_network("10.1.0.0/16"),)
    blue = Network(name="blue", driver="bridge", subnets=subnets, options={"reach": reach}, internal=internal)
    return {"blue": blue, "red": Network(name="red", driver="bridge", subnets=subnets)}


@pytest.mark.parametrize("prefix", ["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "::/0"])
def test_many_prefixes_are_found_as_one_is(prefix: str) -> None:
    index = Prefixes([ip_network(prefix), ip_network("192.0.2.0/24")])
    for text in ("10.1.2.3", "10.1.2.4", "11.0.0.1", "192.0.2.9", "fd00::1", "2001:db8::1"):
        address = ip_address(text)
        wanted = any(
            address.version == n.version and address in n for n in (ip_network(prefix), ip_network("192.0.2.0/24"))
        )
        assert (address in index) == wanted


def test_a_judge_is_quick_where_policies_are_many() -> None:
    """A connection is judged in time that does not depend on policies that do not concern it, nor on the number of prefixes."""
    cidrs = tuple(ip_network(f"198.18.{n // 256}.{n % 256}/32") for n in range(5_000))
    block = Rule(action="deny", peers=(Peer(cidrs=cidrs),))
    others = [policy(f"o{n}", subject=Who(selector=f"pod == 'o{n}'"), ingress=()) for n in range(1_000)]
    judge = Judge(world(policy(ingress=(block, ALL)), *others))
    judge.allowed(OUTSIDE, XB, WEB)
    begin = time.process_time()
    for _ in range(200):
        assert judge.allowed(OUTSIDE, XB, WEB)
    assert time.process_time() - begin < 0.1


def test_a_single_connection_is_asked_without_a_judge() -> None:
    found = directory(IDENTITIES)
    assert found[ip_address("10.1.0.2")].name == "x-b"
    assert allowed(World(), XA, XB, "tcp", 80)
    assert not allowed(world(policy(ingress=())), XA, XB, "tcp", 80)


def test_policies_about_a_host_are_named() -> None:
    about = policy(subject=None, hosts="", ingress=())
    told = Judge(world(about, policy("q", subject=None, hosts="has(x)", ingress=()))).verdict(XA, N1, WEB)
    assert told.allowed
    assert told.sides[1].reason == f"n1 is a host, and what {about.id} says of it is not looked at here"
    assert told.sides[0].reason == "no policy selects x-a for egress"
    assert Judge(world(about)).verdict(N2, XB, WEB).sides[0].reason == "n2 is no endpoint: nothing is asked there"
