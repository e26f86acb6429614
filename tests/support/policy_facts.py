"""What is so after each step of a case, and the table that follows of it by the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from support import oracle
from support.oracle import End, Labels, Packet, Pod, World
from support.policy_cases import NAMESPACES, PODS, Case, Document, Step
from support.probing import PORTS, PROTOCOLS, Probe, Table

Key = tuple[str, str, str]
"""(kind in lower case, namespace, name)"""


def key(document: Document) -> Key:
    metadata = document["metadata"]
    return str(document["kind"]).lower(), str(metadata.get("namespace", "")), str(metadata["name"])


def named_ports(pod: str) -> dict[tuple[str, str], int]:
    """By name and protocol. All call 80 and 81 alike, and `web` is not the same everywhere."""
    usual = {(f"serve-{n}-{p.lower()}", p): n for n, p in itertools.product(PORTS, PROTOCOLS)}
    return usual | {("web", "TCP"): 81 if pod.endswith("/c") else 80}


@dataclass(frozen=True)
class Facts:
    documents: Mapping[Key, Document] = field(default_factory=dict)
    pods: Mapping[str, Labels] = field(default_factory=lambda: {pod: {"pod": pod[-1]} for pod in PODS})
    namespaces: Mapping[str, Labels] = field(default_factory=lambda: {ns: {"ns": ns} for ns in NAMESPACES})

    def after(self, step: Step) -> Facts:
        documents = {k: d for k, d in self.documents.items() if k not in step.remove}
        pods = {**self.pods, **step.pods, **step.start}
        return Facts(
            documents | {key(d): d for d in step.apply},
            {pod: labels for pod, labels in pods.items() if pod not in step.stop},
            {**self.namespaces, **step.namespaces},
        )

    def expected(self, addresses: Mapping[str, str], pods: frozenset[str] | None = None) -> Table:
        """Who reaches whom. `addresses`: of the pods, of one family; `pods`: of these only."""
        world = World(list(self.documents.values()), self.namespaces)
        ends = {name: self._end(name, addresses) for name in self.pods if pods is None or name in pods}
        return frozenset(
            Probe(source, target, protocol, port)
            for source, target, protocol, port in itertools.product(ends, ends, PROTOCOLS, PORTS)
            if oracle.allowed(world, Packet(ends[source], ends[target], protocol, port))
        )

    def _end(self, name: str, addresses: Mapping[str, str]) -> End:
        namespace, _, short = name.partition("/")
        pod = Pod(namespace, short, self.pods[name], named_ports(name))
        return End(addresses[name], pod)


def played(case: Case) -> Iterator[tuple[Step, Facts]]:
    """Each step, and what is so afterwards."""
    facts = Facts()
    for step in case.steps:
        facts = facts.after(step)
        yield step, facts
