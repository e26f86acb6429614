"""NetworkPolicy of networking.k8s.io/v1."""

from __future__ import annotations

from weft.documents.field import Field
from weft.policy.model import DEFAULT_NAMESPACE, Direction, Peer, Policy, PortRange, Rule, Traffic, Who
from weft.policy.read.labels import named, read_selector
from weft.policy.read.meta import read_meta
from weft.policy.read.parts import read_cidr, read_excepted, read_port, read_port_name

ORDER = 1_000.0
"""Of these policies in the tier "default", among which the order does not matter: as in Calico."""

_TYPES = ("Ingress", "Egress")
_PROTOCOLS = ("TCP", "UDP", "SCTP")


def read_network_policy(document: Field) -> Policy:
    meta, spec = read_meta(document), document["spec"]
    spec.of("podSelector", "policyTypes", "ingress", "egress")
    namespace = meta.namespace or DEFAULT_NAMESPACE
    types = [item.choice(_TYPES) for item in spec["policyTypes"].items(2)]
    ingress = _rules(spec["ingress"], "ingress", namespace)
    egress = _rules(spec["egress"], "egress", namespace)
    types = types or ["Ingress", *(["Egress"] if spec["egress"].items() else [])]
    return Policy(
        id=f"networkpolicy/{namespace}/{meta.name}",
        kind="NetworkPolicy",
        name=meta.name,
        namespace=namespace,
        order=ORDER,
        subject=Who(selector=read_selector(spec["podSelector"]), namespaces=named(namespace)),
        ingress=ingress if "Ingress" in types else None,
        egress=egress if "Egress" in types else None,
    )


def _rules(field: Field, direction: Direction, namespace: str) -> tuple[Rule, ...]:
    end = "from" if direction == "ingress" else "to"

    def rule(item: Field) -> Rule:
        item.of(end, "ports")
        peers = item[end].each(lambda peer: _peer(peer, namespace))
        return Rule(action="allow", peers=peers, traffic=item["ports"].each(_port))

    return field.each(rule)


def _peer(field: Field, namespace: str) -> Peer:
    field.of("podSelector", "namespaceSelector", "ipBlock")
    block, pods, namespaces = field["ipBlock"], field["podSelector"], field["namespaceSelector"]
    if not (block or pods or namespaces):
        field.refuse("it must specify a peer: podSelector, namespaceSelector or ipBlock")
    if not block:
        selected = read_selector(namespaces) if namespaces else named(namespace)
        return Peer(who=Who(selector=read_selector(pods), namespaces=selected))
    if pods or namespaces:
        block.refuse("it stands alone: write podSelector and namespaceSelector as an item of their own")
    cidr = read_cidr(block.of("cidr", "except")["cidr"])
    return Peer(cidrs=(cidr,), excepts=block["except"].each(lambda item: read_excepted(item, cidr)))


def _port(field: Field) -> Traffic:
    field.of("protocol", "port", "endPort")
    protocol = field["protocol"].choice(_PROTOCOLS, "TCP").lower()
    port, end = field["port"], field["endPort"]
    if not port:
        if end:
            end.refuse("it needs a `port`, where the range begins")
        return Traffic(protocol=protocol)
    if isinstance(port.value, str):
        if end:
            end.refuse("it needs a `port` that is a number")
        return Traffic(protocol=protocol, ports=(read_port_name(port),))
    first = read_port(port)
    last = read_port(end) if end else first
    if last < first:
        end.refuse(f"{last} is less than `port`, which is {first}")
    return Traffic(protocol=protocol, ports=(PortRange(first, last),))
