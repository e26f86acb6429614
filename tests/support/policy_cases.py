"""Cases of network policy over its whole grammar: documents as users write them, and what is changed step by step.

There are three namespaces x, y, z (label ns=NAME) with pods a, b, c each (label pod=NAME), each of which serves 80 and 81
by TCP, UDP and SCTP and calls them serve-80-tcp and so on. Most cases take the base policy (`base`) and change one thing of
it. The groups, and how many there are of each, follow cyclonus."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

Document = dict[str, Any]
Rules = list[Document]
Labels = Mapping[str, str]

NAMESPACES = ("x", "y", "z")
NAMES = ("a", "b", "c")
PODS = tuple(f"{ns}/{name}" for ns in NAMESPACES for name in NAMES)
DIRECTIONS = ("ingress", "egress")
SIDE = {"ingress": "from", "egress": "to"}

Address = Callable[[str], str]
"""Of a pod "NAMESPACE/NAME"; of one family."""


@dataclass(frozen=True)
class Step:
    """What is changed at once. `remove`: (kind, namespace, name). `pods`, `namespaces`: their new labels. `start`: pods that
    are made, with their labels; `stop`: pods that end."""

    apply: tuple[Document, ...] = ()
    remove: tuple[tuple[str, str, str], ...] = ()
    pods: Mapping[str, Labels] = field(default_factory=dict)
    namespaces: Mapping[str, Labels] = field(default_factory=dict)
    start: Mapping[str, Labels] = field(default_factory=dict)
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    name: str
    group: str
    steps: tuple[Step, ...]


# ------------------------------------------------------------------------------------------------------- documents


def labels(**wanted: str) -> Document:
    return {"matchLabels": wanted}


def among(key: str, *values: str, operator: str = "In") -> Document:
    expression: Document = {"key": key, "operator": operator}
    return {"matchExpressions": [{**expression, "values": list(values)} if values else expression]}


def peer(pods: Document | None = None, namespaces: Document | None = None) -> Document:
    both = {"podSelector": pods, "namespaceSelector": namespaces}
    return {key: value for key, value in both.items() if value is not None}


def port(number: int | str | None = None, protocol: str | None = None, end: int | None = None) -> Document:
    fields = {"protocol": protocol, "port": number, "endPort": end}
    return {key: value for key, value in fields.items() if value is not None}


def block(address: str, length: int, *holes: int) -> Document:
    """The prefix of `length` that the address is in; `holes`: but not the longer ones that it is in."""

    def around(bits: int) -> str:
        return str(ip_network(f"{address}/{bits + 96 if ':' in address else bits}", strict=False))

    found: Document = {"cidr": around(length)}
    return {"ipBlock": {**found, "except": list(map(around, holes))} if holes else found}


def policy(
    name: str, namespace: str, pods: Document | None = None, *, types: list[str] | None = None, **rules: Rules | None
) -> Document:
    """`rules`: ingress, egress; these are its types, where no others are told. None: without the section."""
    spec: Document = {
        "podSelector": pods or {},
        "policyTypes": types or [d.capitalize() for d in DIRECTIONS if d in rules],
    }
    spec |= {direction: found for direction, found in rules.items() if found is not None}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


DNS: Document = {"ports": [port(53, "UDP")]}
BC, AB = among("pod", "b", "c"), among("pod", "a", "b")
XY, YZ = among("ns", "x", "y"), among("ns", "y", "z")


def base(
    *,
    namespace: str = "x",
    pods: Document | None = None,
    ports: Mapping[str, Rules] | None = None,
    peers: Mapping[str, Rules] | None = None,
    rules: Mapping[str, Rules] | None = None,
) -> Document:
    """Of pod a: in from b and c of x and y, out to a and b of y and z, TCP 80 each; and DNS. `ports`, `peers`, `rules`: other
    ones of a direction."""
    usual = {"ingress": [peer(BC, XY)], "egress": [peer(AB, YZ)]}
    made: dict[str, Any] = {}
    for direction in DIRECTIONS:
        rule: Document = {SIDE[direction]: (peers or {}).get(direction, usual[direction])}
        rule["ports"] = (ports or {}).get(direction, [port(80, "TCP")])
        made[direction] = (rules or {}).get(direction, [rule] if direction == "ingress" else [rule, DNS])
    return policy("base", namespace, labels(pod="a") if pods is None else pods, **made)


# ----------------------------------------------------------------------------------------------------------- cases


def cases(address: Address) -> list[Case]:
    """All. They keep their order and names whatever the addresses are."""
    made = [_targets(), _rules(), _peers(address), _ports(), _conflicts(address), _actions(), _defaults(), _upstream()]
    return [case for group in made for case in group]


def one(group: str, name: str, *documents: Document) -> Case:
    return Case(f"{group}: {name}", group, (Step(apply=documents),))


def _targets() -> Iterator[Case]:
    for namespace in NAMESPACES:
        yield one("target", f"namespace {namespace}", base(namespace=namespace))
    yield one("target", "every pod", base(pods={}))
    yield one("target", "a label", base(pods=labels(pod="b")))
    yield one("target", "an expression", base(pods=BC))


def _rules() -> Iterator[Case]:
    for direction in DIRECTIONS:
        yield one("rules", f"{direction}, nothing", base(rules={direction: []}))
        yield one("rules", f"{direction}, everything", base(rules={direction: [{}]}))


def peers(address: Address) -> dict[str, Document]:
    selected = {"no": None, "every": {}, "some": among("pod", "b", "c")}
    homes = {"no": None, "every": {}, "some": among("ns", "x", "y")}
    found = {
        f"{p} pod, {n} namespace": peer(pods, namespaces)
        for (p, pods), (n, namespaces) in itertools.product(selected.items(), homes.items())
        if pods is not None or namespaces is not None
    }
    where = address("z/c")
    return {**found, "a prefix": block(where, 24), "a prefix with a hole": block(where, 24, 32)}


def _peers(address: Address) -> Iterator[Case]:
    known = peers(address)
    for direction in DIRECTIONS:
        yield one("peers", f"{direction}, an empty list", base(peers={direction: []}))
        for number in (1, 2):
            for names in itertools.combinations(known, number):
                chosen = [known[name] for name in names]
                yield one("peers", f"{direction}, {' + '.join(names)}", base(peers={direction: chosen}))


def ports() -> dict[str, Rules]:
    found: dict[str, Rules] = {"an empty list": []}
    for protocol, number in itertools.product((None, "TCP", "UDP", "SCTP"), (None, 80, 81)):
        found[f"{protocol or 'no'} protocol, {number or 'no'} port"] = [port(number, protocol)]
    for number, protocol in itertools.product((80, 81), ("TCP", "UDP", "SCTP")):
        found[f"named {number} {protocol}"] = [port(f"serve-{number}-{protocol.lower()}", protocol)]
    for last, protocol in itertools.product((80, 84), ("TCP", "UDP", "SCTP")):
        found[f"53 to {last} {protocol}"] = [port(53, protocol, last)]
    found["a name of another protocol"] = [port("serve-80-udp", "TCP")]
    found["a name that nobody has"] = [port("serve-7981-udp", "UDP")]
    found["a number that nobody serves"] = [port(7981, "TCP")]
    pairs = {
        "TCP 80 and TCP 81": (port(80, "TCP"), port(81, "TCP")),
        "TCP 80 and UDP 80": (port(80, "TCP"), port(80, "UDP")),
        "TCP 80 and UDP 81": (port(80, "TCP"), port(81, "UDP")),
        "TCP 80 and SCTP 81": (port(80, "TCP"), port(81, "SCTP")),
        "a number and a name": (port(80, "TCP"), port("serve-81-udp", "UDP")),
        "two names": (port("serve-80-tcp", "TCP"), port("serve-81-sctp", "SCTP")),
        "a protocol and a range": (port(None, "UDP"), port(79, "SCTP", 80)),
    }
    return found | {name: list(pair) for name, pair in pairs.items()}


def _ports() -> Iterator[Case]:
    for direction in DIRECTIONS:
        for name, chosen in ports().items():
            yield one("ports", f"{direction}, {name}", base(ports={direction: chosen}))


def _conflicts(address: Address) -> Iterator[Case]:
    """Rules of one kind against rules of another, on x/b and y/c."""
    world = "::/0" if ":" in address("x/a") else "0.0.0.0/0"
    nobody = "::/127" if ":" in world else "0.0.0.0/31"
    said: dict[str, Rules] = {"deny": [], "allow": [{}]}
    kinds: dict[str, list[Document]] = {
        "allow by pod": [peer(namespaces={})],
        "allow by address": [{"ipBlock": {"cidr": world}}],
        "deny by pod": [peer(namespaces=labels(never="is"))],
        "deny by address": [{"ipBlock": {"cidr": nobody}}],
    }
    ends: dict[str, Any] = {"egress": ("x", labels(pod="b")), "ingress": ("y", labels(pod="c"))}

    def say(direction: str, what: str) -> Document:
        rules: Any = said[what] if what in said else [{SIDE[direction]: kinds[what]}]
        namespace, pods = ends[direction]
        return policy(f"{what.replace(' ', '-')}-{direction}", namespace, pods, **{direction: rules})

    yield one("conflict", "ingress allowed, egress denied", say("egress", "deny"), say("ingress", "allow"))
    yield one("conflict", "egress allowed, ingress denied", say("egress", "allow"), say("ingress", "deny"))
    both = [("deny", what) for what in ("allow", "allow by pod", "allow by address")]
    both += [("deny by address", "allow by pod"), ("deny by pod", "allow by address")]
    for direction in DIRECTIONS:
        for one_says, other in both:
            documents = (say(direction, one_says), say(direction, other))
            yield one("conflict", f"{direction}, {one_says} and {other}", *documents)
        for what in ("deny by address", "deny by pod"):
            yield one("conflict", f"{direction}, {what}", say(direction, what))


def _actions() -> Iterator[Case]:
    first = Step(apply=(base(),))
    gone = Step(remove=(("networkpolicy", "x", "base"),))

    def steps(name: str, *after: Step, begin: Step = first) -> Case:
        return Case(f"action: {name}", "action", (begin, *after))

    yield steps("a policy is made and removed", gone)
    changed = base(ports={"ingress": [port("serve-81-udp", "UDP")]})
    yield steps("a policy is changed", Step(apply=(changed,)))
    more = {"y-2/a": {"pod": "a"}, "y-2/b": {"pod": "b"}}
    labelled = {"y-2": {"ns": "y"}}
    yield steps("a namespace comes and goes", Step(namespaces=labelled, start=more), Step(stop=tuple(more)))
    by_namespace = base(peers={"ingress": [peer(namespaces=labels(fresh="yes"))]})
    yield steps(
        "a namespace gets a label and loses it",
        Step(namespaces={"y": {"ns": "y", "fresh": "yes"}}),
        Step(namespaces={"y": {"ns": "y"}}),
        begin=Step(apply=(by_namespace,)),
    )
    yield steps("a pod comes and goes", Step(start={"x/d": {"pod": "d"}}), Step(stop=("x/d",)))
    by_pod = base(peers={"ingress": [peer(labels(fresh="yes"), YZ)]})
    yield steps(
        "a pod gets a label and loses it",
        Step(pods={"y/b": {"pod": "b", "fresh": "yes"}}),
        Step(pods={"y/b": {"pod": "b"}}),
        begin=Step(apply=(by_pod,)),
    )


def _defaults() -> Iterator[Case]:
    """By the label that every namespace has."""
    name = "kubernetes.io/metadata.name"
    for direction in DIRECTIONS:
        chosen = [peer(namespaces={"matchLabels": {name: "y"}})]
        yield one("default-label", direction, base(peers={direction: chosen}))


def _upstream() -> Iterator[Case]:
    """An example of Kubernetes' documentation, and what its conformance tests do."""

    def steps(name: str, *found: Step) -> Case:
        return Case(f"upstream: {name}", "upstream", found)

    a, inbound = labels(pod="a"), ["Ingress"]
    from_y = [peer(namespaces=labels(ns="y"))]
    from_xa = [peer(a, labels(ns="x"))]
    udp = [port(53, "UDP")]

    def one_of_y(pod: str) -> Document:
        return policy(f"from-xa-on-y{pod}", "y", labels(pod=pod), ingress=[{"from": from_xa}])

    yield one("example", "a web server", policy("web", "x", a, ingress=[{"ports": [port("serve-80-tcp")]}]))
    yield steps("deny all ingress", Step(apply=(policy("deny", "x", ingress=[]),)))
    yield steps("deny all but DNS", Step(apply=(policy("deny", "x", ingress=[], egress=[{"ports": udp}]),)))
    others = [{"from": [peer(BC, among("ns", "x", operator="NotIn"))]}]
    yield steps("pod and namespace selectors", Step(apply=(policy("some", "x", a, ingress=others),)))
    stacked = [policy(f"y-{n}", "x", a, ingress=[{"from": from_y, "ports": [port(n, "TCP")]}]) for n in (81, 80)]
    yield steps("two policies on one pod", Step(apply=(stacked[0],)), Step(apply=(stacked[1],)))
    yield steps("allow all", Step(apply=(policy("all", "x", ingress=[{}]),)))
    yield steps("a named port", Step(apply=(policy("all", "x", ingress=[{"ports": [port("serve-81-tcp")]}]),)))
    opened, closed = (policy("all", "x", ingress=rules) for rules in (list[Document]([{}]), list[Document]()))
    yield steps("allow all becomes deny all", Step(apply=(opened,)), Step(apply=(closed,)))
    fresh = policy("fresh", "x", a, ingress=[{"from": [peer(namespaces=labels(ns2="updated"))]}])
    yield steps("a namespace is updated", Step(apply=(fresh,)), Step(namespaces={"y": {"ns": "y", "ns2": "updated"}}))
    fresh = policy("fresh", "x", a, ingress=[{"from": [peer(labels(pod="b", pod2="updated"))]}])
    yield steps("a pod is updated", Step(apply=(fresh,)), Step(pods={"x/b": {"pod": "b", "pod2": "updated"}}))
    isolated = policy("isolated", "x", labels(target="isolated"), types=inbound, ingress=[])
    yield steps("a pod becomes isolated", Step(apply=(isolated,)), Step(pods={"x/a": {"target": "isolated"}}))
    egress: Rules = [{"ports": [port(80), port(53, "UDP")]}]
    both = policy("both", "x", a, ingress=[{"from": [peer(labels(pod="b"))]}], egress=egress)
    yield steps("both directions", Step(apply=(both,)))
    to_y = policy("to-ya", "x", a, egress=[{"to": [peer(a, labels(ns="y"))]}, {"ports": udp}])
    yield steps("egress denied, ingress allowed", Step(apply=(to_y, one_of_y("a"), one_of_y("b"))))
    everything = policy("deny-all", "x", ingress=[], egress=[])
    yield steps("nothing after removal", Step(apply=(everything,)), Step(remove=(("networkpolicy", "x", "deny-all"),)))
