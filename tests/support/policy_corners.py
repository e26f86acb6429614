"""Cases of our own beside `support.policy_cases`: what is easily overlooked in NetworkPolicy, and ClusterNetworkPolicy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from support.policy_cases import (
    AB,
    BC,
    SIDE,
    Address,
    Case,
    Document,
    Rules,
    Step,
    among,
    base,
    block,
    labels,
    one,
    peer,
    policy,
    port,
)

A = labels(pod="a")


def cases(address: Address) -> list[Case]:
    return [*_types(), *_blocks(address), *_corners(), *_changes(), *_cluster(), *_order(), *_mixed(address)]


def corner(name: str, *steps: Step | Document) -> Case:
    return Case(f"corner: {name}", "corner", tuple(s if isinstance(s, Step) else Step(apply=(s,)) for s in steps))


def _types() -> Iterator[Case]:
    """Which directions a policy is about."""

    def spec(name: str, **fields: Any) -> Case:
        document = policy("types", "x", A)
        document["spec"] = {"podSelector": A, **fields}
        return corner(name, document)

    from_y: Rules = [{"from": [peer(namespaces=labels(ns="y"))]}]
    to_y: Rules = [{"to": [peer(namespaces=labels(ns="y"))]}]
    yield spec("no types, ingress", ingress=from_y)
    yield spec("no types, egress", egress=to_y)
    yield spec("no types, an empty egress", egress=[])
    yield spec("no types, nothing")
    yield spec("egress alone, with an ingress that is ignored", policyTypes=["Egress"], ingress=from_y, egress=to_y)
    yield spec("both types, neither section", policyTypes=["Ingress", "Egress"])
    yield spec("both types, one section", policyTypes=["Ingress", "Egress"], ingress=from_y)


def _blocks(address: Address) -> Iterator[Case]:
    def blocks(name: str, *found: Document, direction: str = "ingress") -> Case:
        return corner(name, policy("blocks", "x", A, **{direction: [{SIDE[direction]: list(found)}]}))

    one_pod, other = address("y/a"), address("z/b")
    yield blocks("one address", block(one_pod, 32))
    yield blocks("one address, egress", block(one_pod, 32), direction="egress")
    yield blocks("a prefix and one address in it", block(one_pod, 31), block(one_pod, 32))
    yield blocks("a hole that another item fills in part", block(one_pod, 16, 30), block(one_pod, 32))
    yield blocks("two holes", block(one_pod, 16, 31), block(other, 16, 32), direction="egress")
    yield blocks("a hole in a hole's prefix", block(one_pod, 8, 30, 32))
    whole, *parts = ("::/0", "::/1", "8000::/1") if ":" in one_pod else ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1")
    halves: Document = {"ipBlock": {"cidr": whole, "except": parts}}
    yield blocks("nothing but holes", halves)
    first = policy("first", "x", A, ingress=[{"from": [block(one_pod, 16, 32)]}])
    second = policy("second", "x", A, ingress=[{"from": [block(one_pod, 32)], "ports": [port(81, "UDP")]}])
    yield corner("a hole that another policy fills", Step(apply=(first, second)))
    yield corner(
        "overlapping prefixes of two policies",
        Step(apply=(first, policy("b", "x", {}, egress=[{"to": [block(other, 20)]}]))),
    )


def _corners() -> Iterator[Case]:
    yield corner("an empty port is all of TCP", base(ports={"ingress": [{}], "egress": [{}]}))
    for direction in SIDE:
        yield corner(f"a name with several numbers, {direction}", base(ports={direction: [port("web")]}))
    yield corner(
        "a name, to wherever", policy("named", "x", A, egress=[{"ports": [port("web"), port("serve-80-sctp", "SCTP")]}])
    )
    yield corner("a range of both", base(ports={"ingress": [port(80, "TCP", 81)], "egress": [port(81, "UDP", 81)]}))
    rules: Rules = [
        {"from": [peer(A)], "ports": [port(80, "TCP")]},
        {"from": [peer(namespaces=labels(ns="y"))], "ports": [port(81, "UDP"), port(80, "SCTP")]},
        {"ports": [port(81, "SCTP")]},
    ]
    yield corner("several rules", policy("several", "x", {}, ingress=rules))
    absent = [peer(among("none", "b", operator="NotIn"), among("ns", "x", "z", operator="NotIn"))]
    yield corner("not in, of what is not there", policy("absent", "x", A, ingress=[{"from": absent}]))
    lacking = [
        peer(
            AB,
            {"matchExpressions": [{"key": "ns", "operator": "Exists"}, {"key": "other", "operator": "DoesNotExist"}]},
        )
    ]
    yield corner(
        "exists and does not", policy("lacking", "x", among("pod", operator="Exists"), egress=[{"to": lacking}])
    )
    strict = {**labels(pod="b"), **among("pod", "b", "c")}
    yield corner("labels and expressions", policy("strict", "x", strict, ingress=[{"from": [peer(strict, {})]}]))
    nobody = policy("nobody", "x", labels(pod="none"), ingress=[], egress=[])
    yield corner("a policy of no pod", nobody)
    homeless = policy("homeless", "x", {}, ingress=[])
    del homeless["metadata"]["namespace"]
    yield corner("no namespace is the one called default", homeless)
    yield corner("each namespace has one", Step(apply=tuple(base(namespace=ns, pods={}) for ns in "xyz")))
    many = [
        policy(f"p{n}", "x", A, ingress=[{"from": [peer(BC)], "ports": [port(n, "TCP")]}]) for n in range(60, 100, 2)
    ]
    yield corner("twenty policies of one pod", Step(apply=tuple(many)))


def _changes() -> Iterator[Case]:
    yield corner("a selector is changed", base(), base(pods=labels(pod="b")), base(namespace="x", pods={}))
    yield corner(
        "a pod leaves what is selected", base(pods=BC), Step(pods={"x/b": {"pod": "gone"}, "x/a": {"pod": "c"}})
    )
    yield corner(
        "a namespace loses all labels", base(), Step(namespaces={"y": {}}), Step(namespaces={"y": {"ns": "y"}})
    )
    yield corner(
        "isolated before it starts", policy("all", "x", {}, ingress=[], egress=[]), Step(start={"x/d": {"pod": "d"}})
    )
    swapped = base(rules={"ingress": [{}], "egress": []})
    yield corner("the directions change places", base(rules={"ingress": [], "egress": [{}]}), swapped)
    back = Step(apply=(base(),))
    yield corner("there and back", back, Step(remove=(("networkpolicy", "x", "base"),)), back)


# -------------------------------------------------------------------------------------------- ClusterNetworkPolicy


def cluster(name: str, tier: str, priority: int, subject: Document, **rules: Rules) -> Document:
    spec: Document = {"tier": tier, "priority": priority, "subject": subject, **rules}
    version = "policy.networking.k8s.io/v1alpha2"
    return {"apiVersion": version, "kind": "ClusterNetworkPolicy", "metadata": {"name": name}, "spec": spec}


def rule(action: str, side: str, *peers: Document, protocols: Rules | None = None) -> Document:
    found: Document = {"action": action, side: list(peers)}
    return {**found, "protocols": protocols} if protocols else found


def homes(*names: str) -> Document:
    return {"namespaces": among("ns", *names)}


def pods(selector: Document, *names: str) -> Document:
    return {"pods": {"namespaceSelector": among("ns", *names) if names else {}, "podSelector": selector}}


def at(protocol: str, number: int, last: int | None = None) -> Document:
    where: Document = {"number": number} if last is None else {"range": {"start": number, "end": last}}
    return {protocol: {"destinationPort": where}}


X, EVERYONE = homes("x"), {"namespaces": {}}


def _cluster() -> Iterator[Case]:
    """One policy."""

    def admin(name: str, subject: Document, **rules: Rules) -> Case:
        return one("cluster", name, cluster("one", "Admin", 10, subject, **rules))

    yield admin("deny a namespace, ingress", X, ingress=[rule("Deny", "from", homes("y"))])
    yield admin("deny a namespace, egress", X, egress=[rule("Deny", "to", homes("y"))])
    yield admin("a port", X, ingress=[rule("Deny", "from", EVERYONE, protocols=[at("tcp", 80)])])
    several = [at("udp", 80), at("sctp", 80, 81), at("tcp", 70, 80)]
    yield admin("ports of several protocols", X, egress=[rule("Deny", "to", homes("y", "z"), protocols=several)])
    named = [{"destinationNamedPort": "web"}, {"destinationNamedPort": "serve-81-sctp"}]
    yield admin("named ports, ingress", X, ingress=[rule("Deny", "from", EVERYONE, protocols=named)])
    yield admin("named ports, egress", X, egress=[rule("Deny", "to", EVERYONE, protocols=named)])
    first = [rule("Accept", "from", pods(A, "y")), rule("Deny", "from", homes("y", "z"))]
    yield admin("the first rule that fits", X, ingress=first)
    yield admin("of some pods", pods(BC, "x", "y"), ingress=[rule("Deny", "from", pods(A))])
    yield admin("both directions", pods(A), ingress=[rule("Deny", "from", X)], egress=[rule("Deny", "to", homes("z"))])
    yield admin("nothing said is nothing done", EVERYONE, ingress=[], egress=[])


def _order() -> Iterator[Case]:
    """Several, and with NetworkPolicy."""
    deny, accept, leave = (rule(action, "from", homes("y")) for action in ("Deny", "Accept", "Pass"))

    def said(name: str, tier: str, priority: int, *rules: Document) -> Document:
        return cluster(name, tier, priority, X, ingress=list(rules))

    def case(name: str, *documents: Document) -> Case:
        return one("cluster", name, *documents)

    isolated = policy("isolated", "x", A, ingress=[{"from": [peer(A, labels(ns="y"))]}])
    yield case("the lower priority first", said("late", "Admin", 20, deny), said("early", "Admin", 10, accept))
    yield case("of equal ones by name", said("b", "Admin", 10, accept), said("a", "Admin", 10, deny))
    yield case("accepted before a policy denies", said("open", "Admin", 10, accept), isolated)
    yield case("denied before a policy allows", said("shut", "Admin", 10, deny), isolated)
    yield case("passed to a policy", said("pass", "Admin", 10, leave), said("shut", "Admin", 20, deny), isolated)
    yield case("passed to the baseline", said("pass", "Admin", 10, leave), said("base", "Baseline", 5, deny))
    yield case("baseline only of pods without a policy", said("base", "Baseline", 5, deny), isolated)
    yield case(
        "baseline that accepts before it denies", said("base", "Baseline", 5, rule("Accept", "from", pods(A)), deny)
    )
    steps = (said("one", "Admin", 10, deny), said("one", "Admin", 10, accept, deny), said("one", "Baseline", 10, deny))
    gone = Step(remove=(("clusternetworkpolicy", "", "one"),))
    yield Case("cluster: changed", "cluster", (*(Step(apply=(d,)) for d in steps), gone))
    relabelled = (Step(namespaces={"z": {"ns": "y"}}), Step(pods={"y/a": {"pod": "q"}}))
    yield Case("cluster: labels", "cluster", (Step(apply=(said("one", "Admin", 1, deny), isolated)), *relabelled))


def _mixed(address: Address) -> Iterator[Case]:
    where = block(address("y/a"), 32)["ipBlock"]["cidr"], block(address("z/b"), 31)["ipBlock"]["cidr"]
    nets = rule("Deny", "to", {"networks": list(where)}, protocols=[at("tcp", 80), at("udp", 81)])
    yield one("cluster", "networks", cluster("nets", "Admin", 10, X, egress=[nets]))
    three = (
        cluster(
            "admin", "Admin", 1, EVERYONE, egress=[rule("Pass", "to", X), rule("Deny", "to", pods(labels(pod="c")))]
        ),
        base(pods=BC),
        cluster(
            "baseline", "Baseline", 1, EVERYONE, ingress=[rule("Deny", "from", homes("z"), protocols=[at("tcp", 80)])]
        ),
    )
    yield one("cluster", "all three tiers", *three)
