"""The truth table in a lab: networks with nine pods each, policy changed as users change it, and what packets do then."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from support.policy_cases import Case, Document
from support.policy_facts import Facts, key, named_ports, played
from support.probing import COMMAND, Probers, Table, differences
from support.reach import client, namespaces, weft
from support.waiting import until
from weft.api import types as t
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.model import NamedPort, PublishedPort
from weft.policy.model import TIERS

PLACES = ("node-1", "node-1", "node-2", "node-2", "node-2", "node-4", "node-4", "node-4", "node-1")
"""Of the pods, in their order: on each host two of one namespace and one of another."""
SECONDS = 20.0
"""For all agents to enforce what was written."""


@dataclass
class Pods:
    """Of one network. Names are "NAMESPACE/NAME", containers are called NETWORK-NAMESPACE-NAME."""

    lab: Lab
    network: str
    places: dict[str, str]
    probers: Probers
    addresses: dict[int, dict[str, str]] = field(default_factory=lambda: {4: {}, 6: {}})
    published: Mapping[str, tuple[PublishedPort, ...]] = field(default_factory=dict)

    def start(self, pods: Mapping[str, Mapping[str, str]]) -> None:
        """`pods`: with their labels. Waits for their probers."""
        by_host: dict[str, list[str]] = {}
        for pod in pods:
            by_host.setdefault(self.host(pod), []).append(pod)
        for host, found in by_host.items():
            namespaces(self.lab.host(host), [self.container(pod) for pod in found])
        with ThreadPoolExecutor(3) as pool:
            made = list(pool.map(lambda pod: self._attach(pod, pods[pod]), pods))
        for pod, info in zip(pods, made, strict=True):
            for address in info.addresses:
                self.addresses[address.version][pod] = str(address.ip)
            self.probers.start(pod, lambda pod=pod: self._prober(pod))
        self.probers.ready()

    def stop(self, pods: Sequence[str]) -> None:
        for pod in pods:
            self.probers.stop(pod)
            for known in self.addresses.values():
                known.pop(pod, None)
            client(self.lab, self.host(pod)).detach(self.container(pod), self.network)
            self.lab.host(self.host(pod)).must("end", ["ip", "netns", "del", self.container(pod)])

    def label(self, pod: str, before: Mapping[str, str], labels: Mapping[str, str]) -> None:
        words = [f"{name}={value}" for name, value in labels.items()]
        words += [f"{name}-" for name in before if name not in labels]
        said = weft(self.lab, self.host(pod), "endpoint", "label", f"{self.host(pod)}/{self.container(pod)}", *words)
        assert said.returncode == 0, said.stderr

    def move(self, pod: str, host: str) -> None:
        """It keeps its addresses."""
        moved = self.container(pod)
        self.probers.stop(pod)
        namespaces(self.lab.host(host), [moved])
        self.lab.host(host).must("lo", ["ip", "-n", moved, "link", "set", "lo", "up"])
        info = client(self.lab, host).move(moved, t.Move(target=moved))
        assert {str(a.ip) for a in info.addresses} == {known[pod] for known in self.addresses.values()}
        self.places[pod] = host
        self.probers.start(pod, lambda: self._prober(pod))
        self.probers.ready()

    def inside(self, pod: str) -> Inside:
        return self.lab.host(self.host(pod)).container(self.container(pod))

    def host(self, pod: str) -> str:
        return self.places.get(pod, PLACES[0])

    def container(self, pod: str) -> str:
        return f"{self.network}-{pod.replace('/', '-')}"

    def _attach(self, pod: str, labels: Mapping[str, str]) -> t.EndpointInfo:
        self.lab.host(self.host(pod)).must("lo", ["ip", "-n", self.container(pod), "link", "set", "lo", "up"])
        ports = tuple(NamedPort(name, p.lower(), number) for (name, p), number in named_ports(pod).items())
        request = t.Attach(
            target=self.container(pod),
            network=self.network,
            policy_namespace=pod.partition("/")[0],
            labels=dict(labels),
            named_ports=ports,
            ports=self.published.get(pod, ()),
        )
        return client(self.lab, self.host(pod)).attach(request)

    def _prober(self, pod: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return self.inside(pod).popen(COMMAND, stdin=pipe, stderr=pipe)


@dataclass
class Truth:
    """Several networks, all of whose pods have the same names and labels: one change of policy is about all."""

    lab: Lab
    hosts: Sequence[str]
    pods: dict[str, Pods]
    facts: Facts = field(default_factory=Facts)
    steps: int = 0

    # What is changed.

    def begin(self) -> None:
        """From whatever is there: without policies, and with the namespaces' labels, by which most select."""
        found = client(self.lab, self.hosts[0]).policies()
        builtin = {tier.name for tier in TIERS}
        refs = [p.id for p in found.policies] + [s.id for s in found.network_sets]
        refs += [f"tier/{tier.name}" for tier in found.tiers if tier.name not in builtin]
        if refs:
            done = weft(self.lab, self.hosts[0], "policy", "rm", *refs)
            assert done.returncode == 0, done.stderr
        self.facts = Facts(pods=self.facts.pods)
        self._write(Facts(namespaces={}), self.facts)
        self.enforced()

    def play(self, case: Case, families: Sequence[int], networks: Sequence[str]) -> dict[str, str]:
        """Every difference, as pictures, by step, network and family. `families`, `networks`: those that are probed."""
        wrong = {}
        try:
            for number, (_, facts) in enumerate(played(case), 1):
                self.become(facts)
                for family in families:
                    for network, picture in self.compare(family, networks).items():
                        wrong[f"step {number} in {network}, IPv{family}"] = picture
        except Exception:
            self.begin()
            raise
        return wrong

    def become(self, facts: Facts) -> None:
        """From whatever was so before. Waits until it is enforced."""
        fresh = {pod: labels for pod, labels in facts.pods.items() if pod not in self.facts.pods}
        gone = [pod for pod in self.facts.pods if pod not in facts.pods]
        changed = {p: new for p, new in facts.pods.items() if p in self.facts.pods and new != self.facts.pods[p]}
        for pods in self.pods.values():
            for pod, labels in changed.items():
                pods.label(pod, self.facts.pods[pod], labels)
            pods.stop(gone)
            pods.start(fresh)
        before, self.facts = self.facts, facts
        self._write(before, facts)
        self.enforced()

    def _write(self, before: Facts, after: Facts) -> None:
        """And the namespace `step`, which is no pod's: who has heard of it has heard of all before it."""
        removed = [d for k, d in before.documents.items() if k not in after.documents]
        spaces = {n: labels for n, labels in after.namespaces.items() if labels != before.namespaces.get(n)}
        documents = [namespace(name, labels) for name, labels in spaces.items()]
        documents += [d for k, d in after.documents.items() if d != before.documents.get(k)]
        self.steps += 1
        self.say("apply", [*documents, namespace("step", {"number": str(self.steps)})])
        if removed:
            self.say("rm", removed)

    def enforce(self, *documents: Document) -> None:
        """These are all there are."""
        self.become(replace(self.facts, documents={key(d): d for d in documents}))

    def say(self, command: str, documents: Sequence[Document]) -> str:
        """To `weft policy`, on the first host. Fails if it does."""
        text = yaml.safe_dump_all(documents, sort_keys=False)
        done = self.lab.host(self.hosts[0]).run([*self.lab.weft, "policy", command, "-f", "-"], input=text, timeout=60)
        assert done.returncode == 0, f"weft policy {command}: {done.stdout}{done.stderr}\n{text}"
        return done.stdout

    # What is seen.

    def enforced(self) -> None:
        """Waits until every agent has taken over what was last written about policy, and made rules of it."""
        with closing(sqlite3.connect(f"file:{self.lab.directory}/store/weft.db?mode=ro", uri=True)) as store:
            about = " OR ".join(f"key LIKE '{kind}/%'" for kind in ("policies", "tiers", "namespaces", "network-sets"))
            (wanted,) = store.execute(f"SELECT max(revision) FROM log WHERE {about}").fetchone()

        def lacking() -> str:
            for host in self.hosts:
                status = client(self.lab, host).status()
                if status.state != "converged" or status.store.revision < wanted:
                    return f"{host} is {status.state} at {status.store.revision} of {wanted}: {status.troubles}"
            return ""

        until(lambda: not lacking(), SECONDS, lambda: f"enforcement: {lacking()}")

    def compare(self, family: int, networks: Sequence[str]) -> dict[str, str]:
        """What differs from the oracle's table, by network."""
        with ThreadPoolExecutor(len(networks)) as pool:
            pictures = pool.map(lambda network: self._compare(self.pods[network], family), networks)
            return {network: picture for network, picture in zip(networks, pictures, strict=True) if picture}

    def _compare(self, pods: Pods, family: int) -> str:
        addresses = pods.addresses[family]
        expected: Table = self.facts.expected(addresses)
        return differences(expected, pods.probers.look(expected, addresses))


def namespace(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
