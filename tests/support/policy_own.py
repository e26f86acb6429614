"""Cases of Weft's own policies, which say more than Kubernetes' do: deny, pass, log, order, tiers, negation, network sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from support.policy_cases import Address, Case, Document, Rules, Step, block, labels, one, peer, policy

A, DENY, ALLOW = "pod == 'a'", {"action": "Deny"}, {"action": "Allow"}


def own(name: str, namespace: str = "", selector: str = "", **spec: Any) -> Document:
    """`spec`: its fields, with their names."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    said = {"selector": selector, **spec} if selector else spec
    return {"apiVersion": "weft/v1", "kind": "Policy", "metadata": metadata, "spec": said}


def tier(name: str, order: float, default: str) -> Document:
    spec = {"order": order, "defaultAction": default}
    return {"apiVersion": "weft/v1", "kind": "Tier", "metadata": {"name": name}, "spec": spec}


def network_set(name: str, nets: list[str], **said: str) -> Document:
    return {
        "apiVersion": "weft/v1",
        "kind": "NetworkSet",
        "metadata": {"name": name, "labels": said},
        "spec": {"nets": nets},
    }


def of(action: str, *, source: Document | None = None, destination: Document | None = None, **said: Any) -> Document:
    ends = {"source": source, "destination": destination}
    return {"action": action, **said, **{name: end for name, end in ends.items() if end}}


def cases(address: Address) -> list[Case]:
    return [*_rules(), *_peers(address), *_tiers(), *_changes()]


def case(name: str, *documents: Document) -> Case:
    return one("own", name, *documents)


def _rules() -> Iterator[Case]:
    from_b, to_y = {"selector": "pod == 'b'"}, {"namespaceSelector": "ns == 'y'"}

    def ingress(name: str, *rules: Document) -> Case:
        return case(name, own("one", "x", A, ingress=list(rules)))

    yield ingress("deny before allow", of("Deny", source=from_b), ALLOW)
    yield ingress("a port is denied", of("Deny", protocol="TCP", destination={"ports": [80]}), ALLOW)
    ports = {"ports": ["serve-80-sctp", "81:90"]}
    yield ingress("ports by name and range", of("Allow", protocol="SCTP", destination=ports))
    yield ingress("ports that are not", of("Allow", protocol="TCP", destination={"notPorts": ["web"]}))
    yield ingress("a protocol that is not", of("Allow", notProtocol="UDP"))
    yield ingress("logged on the way", {"action": "Log"}, of("Log", protocol="TCP"), of("Allow", protocol="UDP"))
    yield case("egress", own("one", "x", A, egress=[of("Deny", destination=to_y), ALLOW]))
    yield case("egress to names", own("one", "x", egress=[of("Allow", protocol="TCP", destination={"ports": ["web"]})]))
    types = own("one", "x", A, types=["Ingress", "Egress"], egress=[ALLOW])
    yield case("both types, rules of one", types)
    yield case("of all namespaces", own("one", selector="pod in {'a', 'b'}", ingress=[of("Allow", source=from_b)]))
    by_namespace = own("one", namespaceSelector="ns != 'x'", ingress=[of("Deny", source={"selector": A}), ALLOW])
    yield case("of some namespaces", by_namespace)


def _peers(address: Address) -> Iterator[Case]:
    near, far = (block(address(pod), 32)["ipBlock"]["cidr"] for pod in ("y/a", "z/b"))

    def source(name: str, *more: Document, namespace: str = "x", **said: Any) -> Case:
        return case(name, *more, own("one", namespace, "pod starts with 'a'", ingress=[of("Allow", source=said)]))

    yield source("not a selector, in a namespace", notSelector="pod == 'b'")
    yield source("not a selector, anywhere", namespace="", notSelector="pod == 'b' && ns != 'y'")
    yield source("in a selector and not in another", selector="has(pod)", notSelector=A, namespaceSelector="all()")
    yield source("nets", nets=[near, far])
    yield source("nets that are not", notNets=[near, far])
    yield source("nets and a selector", nets=[near, far], selector="pod == 'b'", namespaceSelector="ns in {'y', 'z'}")
    yield source(
        "a network set", network_set("set", [near], zone="here"), network_set("none", [far]), networkSets="has(zone)"
    )


def _tiers() -> Iterator[Case]:
    early, late = tier("early", 10, "Deny"), tier("late", 2_000_000, "Pass")
    from_y = {"namespaceSelector": "ns == 'y'"}
    isolated = policy("isolated", "x", labels(pod="a"), ingress=[{"from": [peer(namespaces=labels(ns="z"))]}])

    def say(name: str, at: str, *rules: Document, order: float | None = None) -> Document:
        ordered = {} if order is None else {"order": order}
        return own(name, "x", tier=at, ingress=list(rules), **ordered)

    yield case("a tier that denies what is left", early, say("one", "early", of("Allow", source=from_y)))
    yield case("passed on", early, say("one", "early", of("Pass", source=from_y), of("Deny", protocol="UDP")), isolated)
    yield case("a late tier", late, say("one", "late", of("Deny", source=from_y)), isolated)
    yield case(
        "by order", say("b", "default", DENY, order=2), say("a", "default", of("Allow", source=from_y), order=1.5)
    )
    yield case("before a network policy", say("own", "default", of("Deny", source=from_y), order=1), isolated)
    yield case("after a network policy", say("own", "default", of("Allow", source=from_y), order=2000), isolated)
    passing = say("own", "default", of("Pass", source=from_y), order=1)
    yield case("passed over a network policy", passing, isolated)


def _changes() -> Iterator[Case]:
    early = tier("early", 10, "Deny")
    rules: list[Rules] = [[ALLOW], [of("Allow", protocol="UDP"), DENY], []]
    documents = [own("one", "x", tier="early", types=["Ingress"], ingress=r) for r in rules]
    steps = [Step(apply=(early, documents[0])), *(Step(apply=(d,)) for d in documents[1:])]
    later = Step(apply=(tier("early", 10, "Pass"),))
    gone = Step(remove=(("policy", "x", "one"),))
    yield Case("own: changed", "own", (*steps, later, gone))
