"""The oracle of the truth table on cases worked out by hand, written as users write them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import yaml

from support.oracle import End, Packet, Pod, World, allowed, says, selects
from support.policy_cases import NAMESPACES, PODS
from support.policy_facts import named_ports

NUMBERS = {pod: number for number, pod in enumerate(PODS)}
OUTSIDE = End("203.0.113.9")


def end(name: str, **labels: str) -> End:
    namespace, _, short = name.partition("/")
    return End(f"10.0.{NUMBERS[name]}.1", Pod(namespace, short, labels or {"pod": short}, named_ports(name)))


def world(text: str, **namespaces: Mapping[str, str]) -> World:
    return World(list(yaml.safe_load_all(text)), {ns: {"ns": ns} for ns in NAMESPACES} | namespaces)


def network_policy(spec: str, namespace: str = "x", name: str = "p") -> str:
    head = f"kind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n"
    return head + "\n".join(f"  {line}" for line in spec.strip().splitlines())


def reached(where: World, source: str | End, target: str | End, protocol: str = "TCP", port: int | None = 80) -> bool:
    ends = (end(e) if isinstance(e, str) else e for e in (source, target))
    return allowed(where, Packet(*ends, protocol, port))


def test_without_policies_all_is_allowed() -> None:
    assert reached(world(""), "x/a", "y/b")
    assert reached(world(""), OUTSIDE, "y/b", "UDP", 53)


def test_isolation_is_of_one_direction_and_namespace() -> None:
    where = world(network_policy("podSelector: {}"))
    assert not reached(where, "x/b", "x/a")
    assert not reached(where, "y/a", "x/a")
    assert not reached(where, OUTSIDE, "x/a")
    assert reached(where, "x/a", "y/a"), "no egress rules: no egress policy"
    assert reached(where, "x/a", OUTSIDE)
    assert reached(where, "x/a", "x/a"), "to itself, always"


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ("podSelector: {}", False, True),
        ("podSelector: {}\negress: []", False, True),
        ("podSelector: {}\negress: [{to: [{podSelector: {}}]}]", False, False),
        ("podSelector: {}\npolicyTypes: [Egress]", True, False),
        ("podSelector: {}\npolicyTypes: [Egress]\ningress: []\negress: [{}]", True, True),
        ("podSelector: {}\npolicyTypes: [Ingress, Egress]", False, False),
        ("podSelector: {}\npolicyTypes: [Ingress]\ningress: [{}]", True, True),
        ("podSelector: {}\npolicyTypes: [Ingress]\ningress: [{from: [], ports: []}]", True, True),
        ("policyTypes: [Ingress]\negress: [{to: [{podSelector: {}}]}]", False, True),
    ],
)
def test_types(spec: str, ingress: bool, egress: bool) -> None:
    where = world(network_policy(spec))
    assert reached(where, "y/a", "x/a") == ingress
    assert reached(where, "x/a", "y/a") == egress


@pytest.mark.parametrize(
    ("peers", "sources"),
    [
        ("[{podSelector: {}}]", {"x/b", "x/c"}),
        ("[{podSelector: {matchLabels: {pod: b}}}]", {"x/b"}),
        ("[{namespaceSelector: {}}]", set(PODS) - {"x/a"}),
        ("[{namespaceSelector: {matchLabels: {ns: y}}}]", {"y/a", "y/b", "y/c"}),
        ("[{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}]", {"y/b"}),
        ("[{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: b}}}]", {"y/a", "y/b", "y/c", "x/b"}),
        ("[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: z}}}]", {"z/a", "z/b", "z/c"}),
        ("[{ipBlock: {cidr: 10.0.0.0/22}}]", {"x/b", "x/c", "y/a"}),
        ("[{ipBlock: {cidr: 10.0.0.0/22, except: [10.0.1.0/24]}}]", {"x/c", "y/a"}),
        ("[{ipBlock: {cidr: 10.0.0.0/22, except: [10.0.1.0/24]}}, {ipBlock: {cidr: 10.0.1.1/32}}]", {"x/b", "x/c", "y/a"}),
        ("[{ipBlock: {cidr: 203.0.113.0/24}}]", {"outside"}),
        ("[{ipBlock: {cidr: '::/0'}}]", set()),
    ],
)  # fmt: skip
def test_peers(peers: str, sources: set[str]) -> None:
    where = world(network_policy(f"podSelector: {{matchLabels: {{pod: a}}}}\ningress: [{{from: {peers}}}]"))
    ends = {name: end(name) for name in PODS if name != "x/a"} | {"outside": OUTSIDE}
    assert {name for name, source in ends.items() if reached(where, source, "x/a")} == sources


@pytest.mark.parametrize(
    ("ports", "open_to"),
    [
        ("[{}]", {("TCP", 80), ("TCP", 81)}),
        ("[{port: 80}]", {("TCP", 80)}),
        ("[{protocol: UDP}]", {("UDP", 80), ("UDP", 81)}),
        ("[{protocol: SCTP, port: 81}]", {("SCTP", 81)}),
        ("[{port: 53, endPort: 80}]", {("TCP", 80)}),
        ("[{port: 53, endPort: 79}]", set()),
        ("[{port: serve-81-tcp}]", {("TCP", 81)}),
        ("[{port: serve-81-udp, protocol: UDP}]", {("UDP", 81)}),
        ("[{port: serve-81-udp, protocol: TCP}]", set()),
        ("[{port: nobody}]", set()),
        ("[{port: 80}, {port: 81, protocol: UDP}]", {("TCP", 80), ("UDP", 81)}),
    ],
)
def test_ports(ports: str, open_to: set[tuple[str, int]]) -> None:
    where = world(network_policy(f"ingress: [{{ports: {ports}}}]"))
    tried = {(protocol, port) for protocol in ("TCP", "UDP", "SCTP") for port in (80, 81)}
    assert {t for t in tried if reached(where, "y/a", "x/a", *t)} == open_to
    assert not reached(where, "y/a", "x/a", "ICMP", None)


def test_a_rule_without_ports_is_about_every_protocol() -> None:
    assert reached(world(network_policy("ingress: [{}]")), "y/a", "x/a", "ICMP", None)


def test_a_name_is_the_receivers() -> None:
    spec = "policyTypes: [Egress]\negress: [{ports: [{port: web}]}]"
    where = world(network_policy(spec))
    assert reached(where, "x/a", "y/b", port=80)
    assert not reached(where, "x/a", "y/c", port=80)
    assert reached(where, "x/a", "y/c", port=81)
    assert not reached(where, "x/a", OUTSIDE), "which calls nothing so"
    block = world(
        network_policy("policyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: web}]}]")
    )
    assert not reached(block, "x/a", "y/b"), "an address has no names"


def test_both_ends_have_to_allow_and_policies_add_up() -> None:
    leave = network_policy("policyTypes: [Egress]\negress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}]")
    enter = network_policy("ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]", "y", "q")
    assert not reached(world(f"{leave}\n---\n{enter}"), "x/a", "y/a")
    more = network_policy("ingress: [{ports: [{port: 81}]}]", "y", "r")
    both = world(f"{leave}\n---\n{enter}\n---\n{more}")
    assert not reached(both, "x/a", "y/a")
    assert reached(both, "x/a", "y/a", port=81)
    assert not reached(both, "x/a", "z/a", port=81)


def test_no_namespace_is_the_one_called_default() -> None:
    where = world("kind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}}")
    assert reached(where, "y/a", "x/a")


@pytest.mark.parametrize(
    ("selector", "labels", "found"),
    [
        ({}, {}, True),
        (None, {"a": "1"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchLabels": {"a": "1", "b": "2"}}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_selectors(selector: dict[str, object] | None, labels: dict[str, str], found: bool) -> None:
    assert selects(selector, labels) == found


# -------------------------------------------------------------------------------------------- ClusterNetworkPolicy


def cluster(
    name: str, tier: str, priority: int, ingress: str, subject: str = "{namespaces: {matchLabels: {ns: x}}}"
) -> str:
    return (
        f"kind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\n"
        f"spec: {{tier: {tier}, priority: {priority}, subject: {subject}, ingress: {ingress}}}"
    )


FROM_Y = "from: [{namespaces: {matchLabels: {ns: y}}}]"
ISOLATED = network_policy("podSelector: {matchLabels: {pod: a}}")
OPEN = network_policy("ingress: [{}]")
ONE_POD = "{pods: {podSelector: {matchLabels: {pod: a}}, namespaceSelector: {}}}"


def admin(action: str, protocols: str = "", priority: int = 1, name: str = "a", tier: str = "Admin") -> str:
    more = f", protocols: [{protocols}]" if protocols else ""
    return cluster(name, tier, priority, f"[{{action: {action}, {FROM_Y}{more}}}]")


def baseline(action: str) -> str:
    return admin(action, tier="Baseline")


@pytest.mark.parametrize(
    ("documents", "to_xa", "to_xb"),
    [
        ([admin("Deny")], False, False),
        ([admin("Accept"), ISOLATED], True, True),
        ([admin("Pass"), ISOLATED], False, True),
        ([admin("Accept", priority=2), admin("Deny", name="b")], False, False),
        ([admin("Accept"), admin("Deny", name="b")], True, True),
        ([admin("Pass"), admin("Deny", priority=2, name="b")], True, True),
        ([baseline("Deny")], False, False),
        ([baseline("Accept"), ISOLATED], False, True),
        ([baseline("Deny"), OPEN], True, True),
        ([admin("Deny", "{tcp: {destinationPort: {number: 81}}}")], True, True),
        ([admin("Deny", "{tcp: {destinationPort: {range: {start: 79, end: 81}}}}")], False, False),
        ([admin("Deny", "{udp: {destinationPort: {number: 80}}}, {tcp: {}}")], False, False),
        ([admin("Deny", "{destinationNamedPort: web}")], False, False),
        ([cluster("a", "Admin", 1, f"[{{action: Deny, {FROM_Y}}}]", ONE_POD)], False, True),
        ([cluster("a", "Admin", 1, "[{action: Deny, from: [{networks: [10.0.4.0/24]}]}]")], False, False),
        ([cluster("a", "Admin", 1, "[]")], True, True),
    ],
)
def test_tiers(documents: list[str], to_xa: bool, to_xb: bool) -> None:
    where = world("\n---\n".join(documents))
    assert (reached(where, "y/b", "x/a"), reached(where, "y/b", "x/b")) == (to_xa, to_xb)
    assert reached(where, "z/b", "x/b"), "which nothing is about"


# ----------------------------------------------------------------------------------------------------- Weft's own


def own(rules: str, *, name: str = "p", namespace: str = "x", more: str = "") -> str:
    head = f"kind: Policy\nmetadata: {{name: {name}, namespace: '{namespace}'}}\nspec:\n  ingress: {rules}\n"
    return head + "\n".join(f"  {line}" for line in more.splitlines())


SET = "kind: NetworkSet\nmetadata: {name: far, labels: {where: far}}\nspec: {nets: [203.0.113.0/24]}"
OTHERS = {"x/b", "x/c", "y/a", "y/b", "outside"}
TIER = "kind: Tier\nmetadata: {name: mine}\nspec: {order: 5, defaultAction: Pass}"


@pytest.mark.parametrize(
    ("documents", "sources"),
    [
        ([own("[{action: Allow, source: {selector: pod == 'b'}}]")], {"x/b"}),
        ([own("[{action: Allow, source: {notSelector: pod == 'b'}}]")], {"x/c"}),
        ([own("[{action: Allow, source: {notSelector: pod == 'b'}}]", namespace="")], {"x/c", "y/a", "outside"}),
        ([own("[{action: Allow, source: {namespaceSelector: ns == 'y'}}]")], {"y/a", "y/b"}),
        ([own("[{action: Deny, source: {selector: pod == 'b'}}, {action: Allow}]")], OTHERS - {"x/b"}),
        ([own("[{action: Log}, {action: Allow, source: {notNets: [10.0.0.0/8]}}]")], {"outside"}),
        ([SET, own("[{action: Allow, source: {networkSets: where == 'far'}}]")], {"outside"}),
        ([own("[{action: Allow, protocol: TCP, destination: {notPorts: [web]}}]")], set()),
        ([own("[{action: Allow, notProtocol: UDP, source: {nets: [10.0.1.0/24]}}]")], {"x/b"}),
        ([own("[{action: Pass}]"), network_policy("podSelector: {}")], OTHERS),
        ([own("[{action: Pass}]", more="order: 2000"), ISOLATED], OTHERS),
        ([own("[{action: Deny}]", more="order: 2"), OPEN], set()),
        ([TIER, own("[{action: Deny, source: {selector: pod == 'b'}}]", more="tier: mine"), OPEN], OTHERS - {"x/b"}),
        ([TIER, own("[{action: Allow, source: {selector: pod == 'b'}}]", more="tier: mine"), ISOLATED], {"x/b"}),
    ],
)  # fmt: skip
def test_weft_policies(documents: list[str], sources: set[str]) -> None:
    where = world("\n---\n".join(documents))
    ends = {name: end(name) for name in ("x/b", "x/c", "y/a", "y/b")} | {"outside": OUTSIDE}
    assert {name for name, source in ends.items() if reached(where, source, "x/a")} == sources


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("", True),
        ("all()", True),
        ("pod == 'a'", True),
        ("pod != 'a' || has(role)", True),
        ("!has(role)", False),
        ("none != 'a' && none not in {'b', 'c'}", True),
        ("role in {'db', 'web'} && !(pod == 'b')", True),
        ("role starts with 'we' && role ends with 'b' && role contains 'e'", True),
        ("none contains 'e'", False),
    ],
)
def test_selectors_of_weft(selector: str, found: bool) -> None:
    assert says(selector, {"pod": "a", "role": "web"}) == found
