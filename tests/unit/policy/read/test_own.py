"""Weft's own kinds: what each form means, and what of it is refused where."""

from __future__ import annotations

import pytest

from support.policies import objects, own, own_policy, reading
from weft.base.net import parse_network
from weft.policy.model import Namespace, NetworkSet, Peer, Policy, PortRange, Rule, Tier, Traffic, Who
from weft.policy.objects import document
from weft.policy.read import Document, read
from weft.policy.read.labels import named


def policy(spec: str, namespace: str = "") -> Policy:
    (found,) = objects(own_policy(f"{{{spec}}}", namespace=namespace))
    assert isinstance(found, Policy)
    return found


def ingress(rule: str, namespace: str = "") -> Rule:
    found = policy(f"ingress: [{{action: Deny, {rule}}}]", namespace).ingress
    assert found
    return found[0]


def test_what_a_policy_says() -> None:
    found = policy("tier: audit, order: 10.5, selector: role == 'db', namespaceSelector: has(x), networks: [red, blue]")
    assert (found.id, found.kind, found.tier, found.order) == ("policy//mine", "Policy", "audit", 10.5)
    assert found.subject == Who(selector="role == 'db'", namespaces="has(x)", networks=("blue", "red"))
    assert (found.ingress, found.egress) == ((), None)


def test_in_a_namespace_it_is_about_that_alone() -> None:
    found = policy("selector: all()", "shop")
    assert (found.id, found.subject) == ("policy/shop/mine", Who(selector="all()", namespaces=named("shop")))
    assert policy("selector: all()").subject == Who(selector="all()", namespaces=None)
    assert (policy("").tier, policy("").order) == ("default", None)


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ("", (True, False)),
        ("egress: [{action: Allow}]", (False, True)),
        ("ingress: [{action: Allow}]", (True, False)),
        ("ingress: [{action: Allow}], egress: [{action: Allow}]", (True, True)),
        ("types: [Egress]", (False, True)),
        ("types: [Egress, Ingress]", (True, True)),
        ("types: [Ingress], egress: []", (True, False)),
    ],
)
def test_in_which_directions_it_has_a_say(spec: str, directions: tuple[bool, bool]) -> None:
    found = policy(spec)
    assert (found.ingress is not None, found.egress is not None) == directions


NETS = (parse_network("10.0.0.0/8"), parse_network("fd00::/8"))


@pytest.mark.parametrize(
    ("source", "namespace", "peers", "no_peers"),
    [
        ("{}", "", (), ()),
        ("{}", "shop", (), ()),
        ("{selector: a == 'b'}", "", (Peer(who=Who(selector="a == 'b'")),), ()),
        ("{selector: a == 'b'}", "shop", (Peer(who=Who(selector="a == 'b'", namespaces=named("shop"))),), ()),
        (
            "{selector: a == 'b', namespaceSelector: all()}",
            "shop",
            (Peer(who=Who(selector="a == 'b'", namespaces="all()")),),
            (),
        ),
        ("{namespaceSelector: has(x)}", "", (Peer(who=Who(namespaces="has(x)")),), ()),
        ("{networks: [blue]}", "", (Peer(who=Who(networks=("blue",))),), ()),
        ("{notSelector: has(a)}", "", (), (Peer(who=Who(selector="has(a)")),)),
        (
            "{notSelector: has(a)}",
            "shop",
            (Peer(who=Who(namespaces=named("shop"))),),
            (Peer(who=Who(selector="has(a)")),),
        ),
        ("{nets: [10.0.0.0/8, 'fd00::/8']}", "", (Peer(cidrs=NETS),), ()),
        ("{nets: [10.0.0.0/8, 'fd00::/8']}", "shop", (Peer(cidrs=NETS),), ()),
        ("{notNets: [10.0.0.0/8, 'fd00::/8']}", "", (), (Peer(cidrs=NETS),)),
        ("{nodes: all()}", "", (Peer(nodes="all()"),), ()),
        ("{networkSets: has(a), nets: [10.0.0.0/8]}", "", (Peer(sets="has(a)", cidrs=NETS[:1]),), ()),
    ],
)
def test_peers(source: str, namespace: str, peers: tuple[Peer, ...], no_peers: tuple[Peer, ...]) -> None:
    found = ingress(f"source: {source}", namespace)
    assert (found.peers, found.no_peers) == (peers, no_peers)
    turned = policy(f"egress: [{{action: Log, destination: {source}}}]", namespace).egress
    assert turned == (Rule(action="log", peers=peers, no_peers=no_peers),)


@pytest.mark.parametrize(
    ("rule", "traffic", "no_traffic"),
    [
        ("protocol: TCP", (Traffic(protocol="tcp"),), ()),
        ("protocol: 6", (Traffic(protocol="tcp"),), ()),
        ("protocol: 47", (Traffic(protocol="47"),), ()),
        ("protocol: UDPLite", (Traffic(protocol="udplite"),), ()),
        ("notProtocol: ICMPv6", (), (Traffic(protocol="icmpv6"),)),
        (
            "protocol: TCP, destination: {ports: [80, '90:99', web, 0]}",
            (Traffic(protocol="tcp", ports=(PortRange(80, 80), PortRange(90, 99), "web", PortRange(0, 0))),),
            (),
        ),
        (
            "protocol: UDP, destination: {ports: ['1:99'], notPorts: [53]}",
            (Traffic(protocol="udp", ports=(PortRange(1, 99),)),),
            (Traffic(protocol="udp", ports=(PortRange(53, 53),)),),
        ),
        ("protocol: ICMP, icmp: {type: 8}", (Traffic(protocol="icmp", icmp_type=8),), ()),
        (
            "protocol: ICMPv6, notICMP: {type: 128, code: 0}",
            (Traffic(protocol="icmpv6"),),
            (Traffic(protocol="icmpv6", icmp_type=128, icmp_code=0),),
        ),
    ],
)
def test_traffic(rule: str, traffic: tuple[Traffic, ...], no_traffic: tuple[Traffic, ...]) -> None:
    found = ingress(rule)
    assert (found.traffic, found.no_traffic) == (traffic, no_traffic)


def test_actions() -> None:
    found = policy("ingress: [{action: Allow, name: a}, {action: Deny}, {action: Log}, {action: Pass}]").ingress
    assert found is not None
    assert [(rule.action, rule.name) for rule in found] == [("allow", "a"), ("deny", ""), ("log", ""), ("pass", "")]


BAD: dict[str, str] = {
    "selektor: x": "spec: 'selektor' is not a field of it: did you mean selector?",
    "selector: a = 'b'": "spec.selector: selector 'a = 'b'': at character 3",
    "namespaceSelector: '!'": "spec.namespaceSelector: selector '!': at its end",
    "networks: [Blue!]": "spec.networks[0]: 'Blue!' is not a network name",
    "tier: isolation": "spec.tier: in isolation is what networks say themselves",
    "order: first": "spec.order: a number is expected, not 'first'",
    "order: true": "spec.order: a number is expected, not true",
    "types: [Both]": "spec.types[0]: 'Both' is none of Ingress, Egress",
    "types: [Ingress], egress: [{action: Deny}]": "spec.egress: Egress is not among spec.types",
    "hosts: all(), selector: all()": "spec.selector: a policy is about hosts or about containers, not both",
    "hosts: all(), networks: [blue]": "spec.networks: a policy is about hosts or about containers, not both",
    "hosts: rack=a": "spec.hosts: selector 'rack=a': at character 5",
    "ingress: [{}]": "spec.ingress[0].action: it is missing",
    "ingress: [{action: allow}]": "spec.ingress[0].action: 'allow' is none of Allow, Deny, Log, Pass",
    "ingress: [{action: Deny, source: {ports: [80]}}]": "source.ports: ports of the source are not supported",
    "ingress: [{action: Deny, source: {nets: [1.2.3]}}]": "spec.ingress[0].source.nets[0]: '1.2.3' is not a CIDR",
    "ingress: [{action: Deny, source: {labels: x}}]": "spec.ingress[0].source: 'labels' is not a field of it",
    "ingress: [{action: Deny, destination: {selector: x}}]": "destination.selector: of an ingress rule this end is what",
    "egress: [{action: Deny, source: {nets: []}}]": "source.nets: of an egress rule this end is what the policy selects",
    "ingress: [{action: Deny, source: {nodes: all(), selector: all()}}]": "source.nodes: no endpoint is a node",
    "ingress: [{action: Deny, destination: {ports: [80]}}]": "destination.ports: it needs a `protocol` that has ports",
    "ingress: [{action: Deny, protocol: ICMP, destination: {ports: [80]}}]": "(TCP, UDP, SCTP), not 'ICMP'",
    "ingress: [{action: Deny, protocol: TCP, destination: {ports: []}}]": "at least one port is expected",
    "ingress: [{action: Deny, protocol: TCP, destination: {ports: ['9:1']}}]": "ports[0]: '9:1': a range of ports goes",
    "ingress: [{action: Deny, protocol: TCP, destination: {ports: ['1:65536']}}]": "up to 65535",
    "ingress: [{action: Deny, protocol: tcp}]": "protocol: 'tcp' is none of TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite",
    "ingress: [{action: Deny, protocol: 256}]": "protocol: 256 is not within 1 to 255",
    "ingress: [{action: Deny, notProtocol: 0}]": "notProtocol: 0 is not within 1 to 255",
    "ingress: [{action: Deny, icmp: {type: 8}}]": "icmp: it needs a `protocol` ICMP or ICMPv6",
    "ingress: [{action: Deny, protocol: ICMP, icmp: {code: 0}}]": "icmp.code: it needs a `type`",
    "ingress: [{action: Deny, protocol: ICMP, icmp: {type: 255}}]": "icmp.type: 255 is not within 0 to 254",
}


@pytest.mark.parametrize(("spec", "fault"), BAD.items())
def test_bad_fields_are_named(spec: str, fault: str) -> None:
    found = reading(own_policy(f"{{{spec}}}"))
    assert found.objects == ()
    (only,) = found.faults
    assert only.startswith("f.yaml, line 1: Policy mine: spec")
    assert fault in only


def test_a_policy_about_hosts() -> None:
    found = policy("hosts: has(rack), egress: [{action: Deny}]")
    assert (found.hosts, found.subject, found.egress) == ("has(rack)", None, (Rule(action="deny"),))
    assert policy("hosts: ''").hosts == ""
    (fault,) = reading(own_policy("{hosts: all()}", namespace="shop")).faults
    assert "Policy shop/mine: spec.hosts: hosts are in no namespace" in fault


def test_a_namespace_is_not_selected_twice() -> None:
    (fault,) = reading(own_policy("{namespaceSelector: all()}", namespace="shop")).faults
    assert "Policy shop/mine: spec.namespaceSelector: the policy is in a namespace" in fault


class TestWhatPoliciesRestOn:
    def test_tiers(self) -> None:
        texts = own("Tier", "{order: 5, defaultAction: Pass}", "audit"), own("Tier", "{order: 0.5}", "first")
        assert objects(*texts) == (Tier(name="audit", order=5, default="pass"), Tier(name="first", order=0.5))

    def test_network_sets(self) -> None:
        text = own("NetworkSet", "{nets: [10.0.0.1/8, 10.0.0.0/8, 'fd00::/8']}", "out", "shop", "{a: b}")
        expected = NetworkSet(name="out", namespace="shop", labels={"a": "b"}, cidrs=NETS)
        assert objects(text) == (expected,)

    def test_namespaces(self) -> None:
        text = (
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a, kubernetes.io/metadata.name: shop}}"
            "\nspec: {finalizers: [kubernetes]}\nstatus: {phase: Active}"
        )
        (found,) = objects(text)
        assert found == Namespace(name="shop", labels={"team": "a"})

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            (own("Tier", "{}", "a"), "Tier a: spec.order: it is missing"),
            (own("Tier", "{order: 1, defaultAction: Allow}", "a"), "spec.defaultAction: 'Allow' is none of Deny, Pass"),
            (own("Tier", "{order: 1}", "default"), "metadata.name: tier default is always there"),
            (own("Tier", "{order: 1}", "a", "shop"), "metadata.namespace: 'shop': this kind is in no namespace"),
            (own("NetworkSet", "{cidrs: []}", "a"), "spec: 'cidrs' is not a field of it: there are nets"),
            (own("NetworkSet", "{nets: [a/b]}", "a"), "spec.nets[0]: 'a/b' is not an address"),
            (own("NetworkSet", "{nets: []}", "a", labels="{x: 1}"), "metadata.labels.x: a text is expected, not 1"),
            (
                "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {kubernetes.io/metadata.name: b}}",
                "metadata.labels.kubernetes.io/metadata.name: of every namespace it is its name, 'a'",
            ),
        ],
    )
    def test_bad_fields_are_named(self, text: str, fault: str) -> None:
        (only,) = reading(text).faults
        assert fault in only

    @pytest.mark.parametrize(
        "text",
        [
            own("Tier", "{order: 5, defaultAction: Pass}", "audit"),
            own("NetworkSet", "{nets: [10.0.0.0/8]}", "out", labels="{a: b}"),
            own("NetworkSet", "{nets: ['fd00::/8']}", "out", "shop"),
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}",
            own_policy("{selector: all(), ingress: [{action: Deny}]}"),
        ],
    )
    def test_the_document_of_each_says_the_same(self, text: str) -> None:
        (found,) = objects(text)
        assert read([Document("again", document(found))]).objects == (found,)
