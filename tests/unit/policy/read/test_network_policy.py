"""NetworkPolicy: what each form means, and what of it is refused where."""

from __future__ import annotations

import pytest

from support.policies import network_policy, objects, reading
from weft.base.net import parse_network
from weft.policy.model import Peer, Policy, PortRange, Rule, Traffic, Who
from weft.policy.read.labels import from_kubernetes, named

OWN = named("shop")


def policy(spec: str) -> Policy:
    (found,) = objects(network_policy(spec))
    assert isinstance(found, Policy)
    return found


def rule(spec: str) -> Rule:
    found = policy(f"{{ingress: [{spec}]}}").ingress
    assert found
    return found[0]


def test_what_a_policy_says() -> None:
    found = policy("{podSelector: {matchLabels: {app: web}}}")
    assert (found.id, found.kind, found.name, found.namespace, found.tier) == (
        "networkpolicy/shop/web",
        "NetworkPolicy",
        "web",
        "shop",
        "default",
    )
    assert found.subject == Who(selector="app == 'web'", namespaces="kubernetes.io/metadata.name == 'shop'")


@pytest.mark.parametrize("spec", ["{}", "{podSelector: }", "{podSelector: {}}", "{podSelector: {matchLabels: {}}}", ""])
def test_an_empty_selector_selects_all_of_the_namespace(spec: str) -> None:
    assert policy(spec).subject == Who(selector="", namespaces=OWN)


def test_without_a_namespace_it_is_in_the_default_one() -> None:
    (found,) = objects(network_policy("{}", namespace=""))
    assert isinstance(found, Policy)
    assert (found.id, found.subject) == ("networkpolicy/default/web", Who(namespaces=named("default")))


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ("{}", True, False),
        ("{egress: []}", True, False),
        ("{egress: [{}]}", True, True),
        ("{policyTypes: [Egress]}", False, True),
        ("{policyTypes: [Egress], ingress: [{}]}", False, True),
        ("{policyTypes: [Ingress], egress: [{}]}", True, False),
        ("{policyTypes: [Ingress, Egress]}", True, True),
        ("{policyTypes: []}", True, False),
    ],
)
def test_in_which_directions_it_isolates(spec: str, ingress: bool, egress: bool) -> None:
    found = policy(spec)
    assert (found.ingress is not None, found.egress is not None) == (ingress, egress)


def test_no_rules_allow_nothing_and_an_empty_one_all() -> None:
    assert policy("{ingress: []}").ingress == ()
    assert policy("{ingress: [{}]}").ingress == (Rule(action="allow"),)
    assert rule("{from: [], ports: []}") == rule("{from: , ports: }") == Rule(action="allow")


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("{podSelector: {}}", Peer(who=Who(namespaces=OWN))),
        ("{podSelector: {matchLabels: {a: b}}}", Peer(who=Who(selector="a == 'b'", namespaces=OWN))),
        ("{namespaceSelector: {}}", Peer(who=Who(namespaces=""))),
        (
            "{namespaceSelector: {matchLabels: {n: x}}, podSelector: {matchLabels: {a: b}}}",
            Peer(who=Who(selector="a == 'b'", namespaces="n == 'x'")),
        ),
        ("{ipBlock: {cidr: 10.1.2.3/16}}", Peer(cidrs=(parse_network("10.1.0.0/16"),))),
        (
            "{ipBlock: {cidr: 'fd00::/16', except: ['fd00:1::/32']}}",
            Peer(cidrs=(parse_network("fd00::/16"),), excepts=(parse_network("fd00:1::/32"),)),
        ),
    ],
)
def test_peers(peer: str, expected: Peer) -> None:
    assert rule(f"{{from: [{peer}]}}").peers == (expected,)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("{}", Traffic(protocol="tcp")),
        ("{protocol: SCTP}", Traffic(protocol="sctp")),
        ("{port: 80}", Traffic(protocol="tcp", ports=(PortRange(80, 80),))),
        ("{port: 80, endPort: 90, protocol: UDP}", Traffic(protocol="udp", ports=(PortRange(80, 90),))),
        ("{port: serve-80-tcp}", Traffic(protocol="tcp", ports=("serve-80-tcp",))),
    ],
)
def test_ports(port: str, expected: Traffic) -> None:
    assert rule(f"{{ports: [{port}]}}").traffic == (expected,)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, ""),
        ({"matchLabels": {"b": "2", "a": "1"}}, "a == '1' && b == '2'"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]}, "a in {'x', 'y'}"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": [""]}]}, "a not in {''}"),
        (
            {"matchExpressions": [{"key": "e.org/a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist"}]},
            "!has(b) && has(e.org/a)",
        ),
    ],
)
def test_label_selectors(selector: dict[str, object], text: str) -> None:
    assert from_kubernetes(selector) == text


BAD: dict[str, str] = {
    "{podSelctor: {}}": "spec: 'podSelctor' is not a field of it: did you mean podSelector?",
    "[]": "spec: a mapping is expected, not a list",
    "{podSelector: web}": "spec.podSelector: a mapping is expected, not 'web'",
    "{podSelector: {matchLabels: {app: true}}}": "spec.podSelector.matchLabels.app: a text is expected, not true",
    "{podSelector: {matchLabels: {app: -x}}}": "spec.podSelector.matchLabels.app: '-x': a label's value",
    "{podSelector: {matchLabels: {a/b/c: x}}}": "spec.podSelector.matchLabels: 'a/b/c': a label is called by",
    "{podSelector: {matchExpressions: [{key: a, operator: Is}]}}": "matchExpressions[0].operator: 'Is' is none of In,",
    "{podSelector: {matchExpressions: [{operator: In}]}}": "matchExpressions[0].key: it is missing",
    "{podSelector: {matchExpressions: [{key: a, operator: In}]}}": "matchExpressions[0].values: operator In needs",
    "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}}": "operator Exists takes none",
    "{policyTypes: [ingress]}": "spec.policyTypes[0]: 'ingress' is none of Ingress, Egress",
    "{policyTypes: [Ingress, Egress, Ingress]}": "spec.policyTypes: 3 are too many: at most 2",
    "{ingress: {}}": "spec.ingress: a list is expected, not a mapping",
    "{ingress: [{to: []}]}": "spec.ingress[0]: 'to' is not a field of it",
    "{egress: [{from: []}]}": "spec.egress[0]: 'from' is not a field of it",
    "{ingress: [{from: [{}]}]}": "spec.ingress[0].from[0]: it must specify a peer",
    "{ingress: [{from: [{podSelector: }]}]}": "spec.ingress[0].from[0]: it must specify a peer",
    "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}": "from[0].ipBlock: it stands alone",
    "{ingress: [{from: [{ipBlock: {}}]}]}": "from[0].ipBlock.cidr: it is missing",
    "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]}": "from[0].ipBlock.cidr: '10.0.0.1' is not a CIDR",
    "{ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}": "from[0].ipBlock.cidr: '010.0.0.0/8' is not an address",
    "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/08}}]}]}": "from[0].ipBlock.cidr: '10.0.0.0/08' is not an address",
    "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/33]}}]}]}": "ipBlock.except[0]: '10.1.0.0/33'",
    "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}": (
        "ipBlock.except[0]: 10.0.0.0/8 must be a strict subset of `cidr`"
    ),
    "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/8']}}]}]}": "must be a strict subset",
    "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}]}]}": "must be a strict subset",
    "{ingress: [{ports: [{protocol: ICMP}]}]}": "ports[0].protocol: 'ICMP' is none of TCP, UDP, SCTP",
    "{ingress: [{ports: [{port: 0}]}]}": "ports[0].port: 0 is not within 1 to 65535",
    "{ingress: [{ports: [{port: 65536}]}]}": "ports[0].port: 65536 is not within",
    "{ingress: [{ports: [{port: true}]}]}": "ports[0].port: a whole number is expected, not true",
    "{ingress: [{ports: [{port: 80.5}]}]}": "ports[0].port: a whole number is expected, not 80.5",
    "{ingress: [{ports: [{port: Web}]}]}": "ports[0].port: 'Web': a port's name has up to 15",
    "{ingress: [{ports: [{port: '80'}]}]}": "ports[0].port: '80': a port's name has up to 15",
    "{ingress: [{ports: [{port: 0123456789abcdef}]}]}": "a port's name has up to 15",
    "{ingress: [{ports: [{endPort: 90}]}]}": "ports[0].endPort: it needs a `port`",
    "{ingress: [{ports: [{port: web, endPort: 90}]}]}": "ports[0].endPort: it needs a `port` that is a number",
    "{ingress: [{ports: [{port: 91, endPort: 90}]}]}": "ports[0].endPort: 90 is less than `port`, which is 91",
}


@pytest.mark.parametrize(("spec", "fault"), BAD.items())
def test_bad_fields_are_named(spec: str, fault: str) -> None:
    found = reading(network_policy(spec))
    assert found.objects == ()
    (only,) = found.faults
    assert only.startswith("f.yaml, line 1: NetworkPolicy shop/web: ")
    assert fault in only
    assert only.isprintable()


def test_all_bad_items_are_named_at_once() -> None:
    found = reading(
        network_policy("{ingress: [{from: [{}, {podSelector: {}}, {}]}, {ports: [{port: 0}]}], egress: [{to: [{}]}]}"),
        network_policy("{podSelector: 5}", name="b"),
    )
    places = [fault.split(": ")[2] for fault in found.faults]
    assert places == [
        "spec.ingress[0].from[0]",
        "spec.ingress[0].from[2]",
        "spec.ingress[1].ports[0].port",
        "spec.egress[0].to[0]",
        "spec.podSelector",
    ]
    assert found.faults[-1].startswith("1.yaml, line 1: NetworkPolicy shop/b: ")
