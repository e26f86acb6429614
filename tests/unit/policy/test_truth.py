"""Every case of the truth table without a kernel: documents are read, and what the model says of each probe is what the
oracle says, which knows the documents alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from ipaddress import ip_address

import pytest

from support.policy_cases import PODS
from support.policy_every import Case, every_case
from support.policy_facts import Facts, named_ports, played
from support.probing import PORTS, PROTOCOLS, Probe, Table, differences
from weft.policy.evaluate import Judge
from weft.policy.model import Identity, NamedPort, Namespace, NetworkSet, Policy, Tier
from weft.policy.read import Document, read
from weft.policy.verdict import End, Packet
from weft.policy.world import World

NAMES = [*PODS, "y-2/a", "y-2/b", "x/d"]
ADDRESSES = {name: f"10.1.{i // 3}.{i % 3 + 2}" for i, name in enumerate(NAMES)}


def said(facts: Facts, addresses: Mapping[str, str]) -> Table:
    """By the model."""
    reading = read(Document("test", document) for document in facts.documents.values())
    assert reading.faults == ()
    kinds = [[o for o in reading.objects if isinstance(o, kind)] for kind in (Policy, Tier, NetworkSet)]
    namespaces = {name: Namespace(name=name, labels=dict(labels)) for name, labels in facts.namespaces.items()}
    judge = Judge(World(kinds[0], tiers=kinds[1], network_sets=kinds[2], namespaces=namespaces))
    ends = {name: _end(facts, name, addresses[name]) for name in facts.pods}
    return frozenset(
        Probe(source, target, protocol, port)
        for source, target, protocol, port in itertools.product(ends, ends, PROTOCOLS, PORTS)
        if judge.allowed(ends[source], ends[target], Packet(protocol=protocol.lower(), port=port))
    )


def _end(facts: Facts, pod: str, address: str) -> End:
    namespace, _, _ = pod.partition("/")
    ports = tuple(NamedPort(name, p.lower(), number) for (name, p), number in named_ports(pod).items())
    labels = dict(facts.pods[pod])
    where = ip_address(address)
    known = Identity(
        id=pod, name=pod, network="n", node="n1", addresses=(where,), namespace=namespace, labels=labels, ports=ports
    )
    return End(address=where, identity=known)


@pytest.mark.parametrize("case", every_case(ADDRESSES), ids=lambda case: case.name)
def test_what_the_model_says(case: Case) -> None:
    for _, facts in played(case):
        assert differences(facts.expected(ADDRESSES), said(facts, ADDRESSES)) == ""
