"""ClusterNetworkPolicy: what each form means, and what of it is refused where."""

from __future__ import annotations

import pytest

from support.policies import cluster_policy, objects, reading
from weft.base.net import parse_network
from weft.policy.model import Peer, Policy, PortRange, Rule, Traffic, Who

ALL = "tier: Admin, priority: 5, subject: {namespaces: {}}"


def policy(spec: str) -> Policy:
    (found,) = objects(cluster_policy(f"{{{spec}}}"))
    assert isinstance(found, Policy)
    return found


def egress(rule: str) -> tuple[Rule, ...]:
    found = policy(f"{ALL}, egress: [{rule}]").egress
    assert found is not None
    return found


def test_what_a_policy_says() -> None:
    found = policy("tier: Baseline, priority: 0, subject: {namespaces: {matchLabels: {a: b}}}")
    assert (found.id, found.tier, found.order) == ("clusternetworkpolicy//all", "baseline", 0)
    assert found.subject == Who(namespaces="a == 'b'")
    assert (found.ingress, found.egress) == (None, None), "without rules it does not isolate"
    both = policy(
        "tier: Admin, priority: 1000, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}}"
    )
    assert (both.tier, both.subject) == ("admin", Who(selector="a == 'b'", namespaces=""))


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("{namespaces: {}}", Peer(who=Who(namespaces=""))),
        (
            "{pods: {namespaceSelector: {matchLabels: {n: x}}, podSelector: {}}}",
            Peer(who=Who(namespaces="n == 'x'")),
        ),
        ("{nodes: {matchLabels: {role: edge}}}", Peer(nodes="role == 'edge'")),
        (
            "{networks: [10.0.0.0/8, 'fd00::/8']}",
            Peer(cidrs=(parse_network("10.0.0.0/8"), parse_network("fd00::/8"))),
        ),
    ],
)
def test_peers(peer: str, expected: Peer) -> None:
    assert egress(f"{{action: Deny, to: [{peer}]}}") == (Rule(action="deny", peers=(expected,)),)


def test_protocols() -> None:
    (found,) = egress(
        "{name: x, action: Accept, to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}, "
        "{udp: {destinationPort: {range: {start: 1, end: 2}}}}, {destinationNamedPort: web}]}"
    )
    assert (found.name, found.action) == ("x", "allow")
    assert found.traffic == (
        Traffic(protocol="tcp", ports=(PortRange(80, 80),)),
        Traffic(protocol="udp", ports=(PortRange(1, 2),)),
        *(Traffic(protocol=name, ports=("web",)) for name in ("tcp", "udp", "sctp")),
    )


def test_a_kind_of_peer_that_is_not_known_closes() -> None:
    """Of a later version: nobody gets in by it, and nobody past it."""
    known = Peer(cidrs=(parse_network("10.0.0.0/8"),))
    peers = "{galaxies: {}}, {networks: [10.0.0.0/8]}"
    assert egress("{action: Accept, to: [{galaxies: {}}]}") == ()
    assert egress(f"{{action: Accept, to: [{peers}]}}") == (Rule(action="allow", peers=(known,)),)
    assert egress("{action: Deny, to: [{}]}") == (Rule(action="deny"),)
    assert egress(f"{{action: Pass, to: [{peers}]}}") == (Rule(action="pass"),)
    found = reading(cluster_policy(f"{{{ALL}, ingress: [{{action: Deny, from: [{{networks: [10.0.0.0/8]}}]}}]}}"))
    (note,) = found.notes
    assert "spec.ingress[0].from[0]: this kind of peer ('networks') is not known" in note
    (closed,) = found.objects
    assert isinstance(closed, Policy) and closed.ingress == (Rule(action="deny"),)


TO = "to: [{namespaces: {}}]"
BAD: dict[str, str] = {
    "priority: 5, subject: {namespaces: {}}": "spec.tier: it is missing",
    "tier: admin, priority: 5, subject: {namespaces: {}}": "spec.tier: 'admin' is none of Admin, Baseline",
    "tier: Admin, subject: {namespaces: {}}": "spec.priority: it is missing",
    "tier: Admin, priority: 1001, subject: {namespaces: {}}": "spec.priority: 1001 is not within 0 to 1000",
    "tier: Admin, priority: 5": "spec.subject: it is missing",
    "tier: Admin, priority: 5, subject: {}": "spec.subject: exactly one of namespaces, pods is expected, not none",
    "tier: Admin, priority: 5, subject: {namespaces: {}, pods: {}}": "not namespaces, pods",
    "tier: Admin, priority: 5, subject: {pods: {podSelector: {}}}": "spec.subject.pods.namespaceSelector: it is missing",
    f"{ALL}, egress: [{{{TO}}}]": "spec.egress[0].action: it is missing",
    f"{ALL}, egress: [{{action: Allow, {TO}}}]": "spec.egress[0].action: 'Allow' is none of Accept, Deny, Pass",
    f"{ALL}, egress: [{{action: Deny}}]": "spec.egress[0].to: at least one peer is expected",
    f"{ALL}, egress: [{{action: Deny, to: []}}]": "spec.egress[0].to: at least one peer is expected",
    f"{ALL}, egress: [{{action: Deny, from: []}}]": "spec.egress[0]: 'from' is not a field",
    f"{ALL}, egress: [{{action: Deny, to: [{{networks: []}}]}}]": "to[0].networks: at least one CIDR",
    f"{ALL}, egress: [{{action: Deny, to: [{{networks: [10.0.0.0]}}]}}]": "to[0].networks[0]: '10.0.0.0' is not a CIDR",
    f"{ALL}, egress: [{{action: Accept, to: [{{domainNames: ['a.org']}}]}}]": "to[0].domainNames: names of domains",
    f"{ALL}, egress: [{{action: Deny, {TO}, protocols: []}}]": "protocols: at least one protocol is expected",
    f"{ALL}, egress: [{{action: Deny, {TO}, protocols: [{{}}]}}]": "protocols[0]: exactly one of tcp, udp, sctp,",
    f"{ALL}, egress: [{{action: Deny, {TO}, protocols: [{{tcp: {{}}}}]}}]": "protocols[0].tcp.destinationPort: it is",
    f"{ALL}, egress: [{{action: Deny, {TO}, protocols: [{{tcp: {{destinationPort: {{range: {{start: 5, end: 5}}}}}}}}]}}]": (
        "destinationPort.range.end: 5 must be greater than `start`"
    ),
    f"{ALL}, egress: [{{action: Deny, to: [{{nodes: {{}}}}], protocols: [{{destinationNamedPort: web}}]}}]": (
        "protocols[0].destinationNamedPort: it cannot be used together with spec.egress[0].to[0]"
    ),
    f"{ALL}, egress: [{', '.join(['{}'] * 26)}]": "spec.egress: 26 are too many: at most 25",
}


@pytest.mark.parametrize(("spec", "fault"), BAD.items())
def test_bad_fields_are_named(spec: str, fault: str) -> None:
    found = reading(cluster_policy(f"{{{spec}}}"))
    assert found.objects == ()
    (only,) = found.faults
    assert only.startswith("f.yaml, line 1: ClusterNetworkPolicy all: ")
    assert fault in only


def test_it_is_in_no_namespace() -> None:
    text = cluster_policy(f"{{{ALL}}}").replace("{name: all", "{name: all, namespace: shop")
    assert "metadata.namespace: 'shop': this kind is in no namespace" in reading(text).faults[0]
