"""What policy allows, as its documents say: slow, by definition, and with nothing of Weft's code.

It reads the documents themselves (NetworkPolicy, ClusterNetworkPolicy, Weft's Policy and Tier) and what is known of the
pods, and answers for one packet at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Document = Mapping[str, Any]
Labels = Mapping[str, str]
NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Pod:
    """`ports`: (name, protocol) and the number that it has here."""

    namespace: str
    name: str
    labels: Labels
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """Of a packet. `pod`: None where the address is no pod's."""

    address: str
    pod: Pod | None = None


@dataclass(frozen=True)
class Packet:
    """The first one of a connection. `protocol`: "TCP" …; without a `port` it is of another kind, such as ICMP."""

    source: End
    target: End
    protocol: str
    port: int | None = None


@dataclass(frozen=True)
class World:
    """`namespaces`: the labels of each."""

    documents: Sequence[Document]
    namespaces: Mapping[str, Labels]

    def namespace(self, name: str) -> Labels:
        return {**self.namespaces.get(name, {}), NAME: name}

    def tiers(self) -> list[tuple[str, str]]:
        """(name, default action) of each, in order."""
        found = [(1_000.0, "admin", "Pass"), (1_000_000.0, "default", "Deny"), (10_000_000.0, "baseline", "Pass")]
        for d in self.documents:
            if d["kind"] == "Tier":
                found.append((d["spec"]["order"], d["metadata"]["name"], d["spec"].get("defaultAction", "Deny")))
        return [(name, default) for _, name, default in sorted(found)]


def allowed(world: World, packet: Packet) -> bool:
    """Whether it arrives: who sends it has to be allowed to, and so has who gets it."""
    if packet.source.address == packet.target.address:
        return True
    return all(_decided(world, packet, direction) for direction in ("egress", "ingress"))


def _decided(world: World, packet: Packet, direction: str) -> bool:
    subject, _ = _ends(packet, direction)
    if subject.pod is None:
        return True
    for tier, default in world.tiers():
        concerned = [d for d in world.documents if _tier(d) == tier and _concerns(world, d, direction, subject.pod)]
        actions = (_action(world, d, packet, direction) for d in sorted(concerned, key=_place))
        action = next(filter(None, actions), default if concerned else "Pass")
        if action != "Pass":
            return action in ("Allow", "Accept")
    return True


def _ends(packet: Packet, direction: str) -> tuple[End, End]:
    """Whom the policy is about, and the other one."""
    return (packet.source, packet.target) if direction == "egress" else (packet.target, packet.source)


def _tier(document: Document) -> str:
    """ "" of what is no policy."""
    default = "default" if document["kind"] in ("NetworkPolicy", "Policy") else ""
    return str((document.get("spec") or {}).get("tier", default)).lower()


def _place(document: Document) -> tuple[float, str, str]:
    spec, kind = document["spec"], str(document["kind"])
    order = 1000.0 if kind == "NetworkPolicy" else float(spec.get("priority", spec.get("order", "inf")))
    return order, kind.lower(), str(document["metadata"]["name"])


def _home(document: Document) -> str:
    default = "default" if document["kind"] == "NetworkPolicy" else ""
    return str(document["metadata"].get("namespace") or default)


def _concerns(world: World, document: Document, direction: str, pod: Pod) -> bool:
    spec, there = document["spec"], world.namespace(pod.namespace)
    if document["kind"] == "ClusterNetworkPolicy":
        return bool(spec.get(direction)) and _among(world, spec["subject"], pod)
    if document["kind"] == "NetworkPolicy":
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
        mine = _home(document) == pod.namespace and selects(spec.get("podSelector"), pod.labels)
        return direction.capitalize() in types and mine
    types = spec.get("types") or [d.capitalize() for d in ("ingress", "egress") if spec.get(d)] or ["Ingress"]
    mine = _home(document) == pod.namespace if _home(document) else says(spec.get("namespaceSelector"), there)
    return direction.capitalize() in types and mine and says(spec.get("selector"), pod.labels)


def _action(world: World, document: Document, packet: Packet, direction: str) -> str:
    """Of the first rule that decides; "" where none does."""
    fits = {"NetworkPolicy": _network_rule, "ClusterNetworkPolicy": _cluster_rule, "Policy": _own_rule}[
        document["kind"]
    ]
    for rule in document["spec"].get(direction) or ():
        if rule.get("action") != "Log" and fits(world, document, rule, packet, direction):
            return str(rule.get("action", "Allow"))
    return ""


# --------------------------------------------------------------------------------------------------- NetworkPolicy


def _network_rule(world: World, document: Document, rule: Document, packet: Packet, direction: str) -> bool:
    _, other = _ends(packet, direction)
    peers = rule.get("to" if direction == "egress" else "from") or [None]
    return any(
        (peer is None or _peer(world, document, peer, other))
        and (port is None or _port(port, packet, named=not (direction == "egress" and peer and "ipBlock" in peer)))
        for peer in peers
        for port in rule.get("ports") or [None]
    )


def _peer(world: World, document: Document, peer: Document, end: End) -> bool:
    if "ipBlock" in peer:
        return _inside(end, [peer["ipBlock"]["cidr"]]) and not _inside(end, peer["ipBlock"].get("except") or ())
    if end.pod is None:
        return False
    if "namespaceSelector" in peer:
        there = selects(peer["namespaceSelector"], world.namespace(end.pod.namespace))
    else:
        there = end.pod.namespace == _home(document)
    return there and selects(peer.get("podSelector"), end.pod.labels)


def _inside(end: End, prefixes: Sequence[str]) -> bool:
    return any(ip_address(end.address) in ip_network(prefix, strict=False) for prefix in prefixes)


def _port(port: Document, packet: Packet, *, named: bool) -> bool:
    protocol, wanted = port.get("protocol") or "TCP", port.get("port")
    if packet.protocol != protocol or packet.port is None:
        return False
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return named and _called(wanted, packet)
    return int(wanted) <= packet.port <= int(port.get("endPort") or wanted)


def _called(name: str, packet: Packet) -> bool:
    pod = packet.target.pod
    return packet.port is not None and pod is not None and pod.ports.get((name, packet.protocol)) == packet.port


# -------------------------------------------------------------------------------------------- ClusterNetworkPolicy


def _among(world: World, group: Document, pod: Pod | None) -> bool:
    if pod is None:
        return False
    there = world.namespace(pod.namespace)
    if "namespaces" in group:
        return selects(group["namespaces"], there)
    pods = group["pods"]
    return selects(pods.get("namespaceSelector"), there) and selects(pods.get("podSelector"), pod.labels)


def _cluster_rule(world: World, document: Document, rule: Document, packet: Packet, direction: str) -> bool:
    _, other = _ends(packet, direction)
    peers, protocols = rule["to" if direction == "egress" else "from"], rule.get("protocols")
    fits = any(_inside(other, p["networks"]) if "networks" in p else _among(world, p, other.pod) for p in peers)
    return fits and (not protocols or any(_protocol(p, packet) for p in protocols))


def _protocol(wanted: Document, packet: Packet) -> bool:
    if "destinationNamedPort" in wanted:
        return _called(wanted["destinationNamedPort"], packet)
    ((protocol, ports),) = wanted.items()
    if packet.protocol != protocol.upper() or packet.port is None:
        return False
    port = (ports or {}).get("destinationPort")
    if port is None:
        return True
    span = port.get("range") or {"start": port["number"], "end": port["number"]}
    return bool(span["start"] <= packet.port <= span["end"])


# ----------------------------------------------------------------------------------------------------- Weft's own


def _own_rule(world: World, document: Document, rule: Document, packet: Packet, direction: str) -> bool:
    _, other = _ends(packet, direction)
    end = rule.get("destination" if direction == "egress" else "source") or {}
    to = rule.get("destination") or {}
    said = (
        rule.get("protocol", packet.protocol) == packet.protocol,
        rule.get("notProtocol") != packet.protocol,
        "ports" not in to or any(_number(p, packet) for p in to["ports"]),
        "notPorts" not in to or not any(_number(p, packet) for p in to["notPorts"]),
        "nets" not in end or _inside(other, end["nets"]),
        "notNets" not in end or not _inside(other, end["notNets"]),
        "networkSets" not in end or any(_inside(other, nets) for nets in _sets(world, end["networkSets"])),
        _who(world, document, end, other.pod),
    )
    return all(said)


def _who(world: World, document: Document, end: Document, pod: Pod | None) -> bool:
    """In a namespace, a selector is about that namespace, where `namespaceSelector` does not say otherwise."""
    selects_some = "selector" in end or "namespaceSelector" in end or ("notSelector" in end and _home(document))
    if pod is None:
        return not selects_some
    there = world.namespace(pod.namespace)
    if "namespaceSelector" in end:
        fits = says(end["namespaceSelector"], there)
    else:
        fits = not (selects_some and _home(document)) or pod.namespace == _home(document)
    unwanted = "notSelector" in end and says(end["notSelector"], pod.labels)
    return fits and says(end.get("selector"), pod.labels) and not unwanted


def _number(wanted: int | str, packet: Packet) -> bool:
    if packet.port is None:
        return False
    if isinstance(wanted, str) and ":" not in wanted:
        return _called(wanted, packet)
    first, _, last = str(wanted).partition(":")
    return int(first) <= packet.port <= int(last or first)


def _sets(world: World, selector: str) -> Iterator[list[str]]:
    for d in world.documents:
        if d["kind"] == "NetworkSet" and says(selector, d["metadata"].get("labels") or {}):
            yield d["spec"]["nets"]


# ----------------------------------------------------------------------------------------------------- selectors


def selects(selector: Document | None, labels: Labels) -> bool:
    """A label selector of Kubernetes; None and an empty one select everything."""
    return all(_requirements(selector or {}, labels))


def _requirements(selector: Document, labels: Labels) -> Iterator[bool]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield labels.get(key) == value
    for wanted in selector.get("matchExpressions") or ():
        key, values = wanted["key"], wanted.get("values") or ()
        yield {
            "In": key in labels and labels[key] in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[wanted["operator"]]


_SAID = (
    (r"has\(([\w./-]+)\)", r"('\1' in L)"),
    (r"all\(\)", "True"),
    (r"([\w./-]+) (==|!=|in|not in) ('[^']*'|\{[^}]*\})", r"(L.get('\1') \2 \3)"),
    (r"([\w./-]+) contains ('[^']*')", r"(\2 in L.get('\1', ''))"),
    (r"([\w./-]+) (starts|ends) with ('[^']*')", r"L.get('\1', '').\2with(\3)"),
    (r"!(?!=)", " not "),
    (r"&&", " and "),
    (r"\|\|", " or "),
)


def says(selector: str | None, labels: Labels) -> bool:
    """A selector of Weft's, by making an expression of Python of it; None and "" select everything."""
    text = (selector or "all()").strip()
    for pattern, meaning in _SAID:
        text = re.sub(pattern, meaning, text)
    return bool(eval(text, {"__builtins__": {}}, {"L": labels}))
