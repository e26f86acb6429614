"""ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2: what administrators say before and after NetworkPolicies."""

from __future__ import annotations

from collections.abc import Callable

from weft.documents.field import Field, said
from weft.policy.model import Action, Direction, Peer, Policy, PortRange, Rule, Traffic, Who
from weft.policy.read.labels import read_selector
from weft.policy.read.meta import without_namespace
from weft.policy.read.parts import PORTED, read_cidr, read_port, read_port_name

_MOST = 25
"""Rules in a direction, peers and protocols of a rule, CIDRs of a peer."""
_ACTIONS: dict[str, Action] = {"Accept": "allow", "Deny": "deny", "Pass": "pass"}


def read_cluster_policy(document: Field) -> Policy:
    meta, spec = without_namespace(document), document["spec"].required()
    spec.of("tier", "priority", "subject", "ingress", "egress")
    return Policy(
        id=f"clusternetworkpolicy//{meta.name}",
        kind="ClusterNetworkPolicy",
        name=meta.name,
        tier=spec["tier"].choice(("Admin", "Baseline")).lower(),
        order=float(spec["priority"].integer(0, 1000)),
        subject=_pods(spec["subject"].required().one_of("namespaces", "pods")),
        ingress=_rules(spec["ingress"], "ingress"),
        egress=_rules(spec["egress"], "egress"),
    )


def _rules(field: Field, direction: Direction) -> tuple[Rule, ...] | None:
    """None without rules: it has no effect in that direction. So has an empty list of rules that can fit nothing."""
    found = field.each(lambda item: _rule(item, direction), _MOST)
    return tuple(rule for rule in found if rule is not None) if field.value else None


def _rule(field: Field, direction: Direction) -> Rule | None:
    """None where it can fit nothing."""
    end = "from" if direction == "ingress" else "to"
    field.of("name", "action", end, "protocols")
    action = _ACTIONS[field["action"].choice(tuple(_ACTIONS))]
    name = field["name"].text()
    if len(name) > 100:
        field["name"].refuse(f"{len(name)} characters are too many: at most 100")
    if not field[end].items(_MOST):
        field[end].refuse("at least one peer is expected")
    peers = field[end].each(lambda item: _peer(item, direction), _MOST)
    if field["protocols"].value == []:
        field["protocols"].refuse("at least one protocol is expected")
    protocols = field["protocols"].each(lambda item: _protocol(item, field[end]), _MOST)
    traffic = tuple(one for several in protocols for one in several)
    known = tuple(peer for peer in peers if peer is not None)
    if len(known) < len(peers):  # a kind of peer that is not known here: nobody gets in by it, and nobody past it
        if action != "allow":
            known = ()
        elif not known:
            return None
    return Rule(action=action, name=name, peers=known, traffic=traffic)


def _peer(field: Field, direction: Direction) -> Peer | None:
    """None where its kind is not known."""
    kinds = _EGRESS if direction == "egress" else _INGRESS
    names = field.names()
    if "domainNames" in names and direction == "egress":
        field["domainNames"].refuse("names of domains are not supported: give `networks`, the CIDRs behind them")
    there = [name for name in names if name in kinds and field[name]]
    if not there:
        shown = ", ".join(map(said, names)) or "nothing"
        field.note(
            f"this kind of peer ({shown}) is not known: as Accept the rule lets nobody in by it, otherwise it is for all"
        )
        return None
    return kinds[there[0]](field.one_of(*kinds))


def _pods(field: Field) -> Who:
    """`namespaces` or `pods`."""
    if field.path.endswith(".namespaces"):
        return Who(namespaces=read_selector(field))
    field.of("namespaceSelector", "podSelector")
    return Who(
        selector=read_selector(field["podSelector"].required()),
        namespaces=read_selector(field["namespaceSelector"].required()),
    )


def _endpoints(field: Field) -> Peer:
    return Peer(who=_pods(field))


def _networks(field: Field) -> Peer:
    if not field.items(_MOST):
        field.refuse("at least one CIDR is expected")
    return Peer(cidrs=field.each(read_cidr, _MOST))


def _nodes(field: Field) -> Peer:
    return Peer(nodes=read_selector(field))


_INGRESS: dict[str, Callable[[Field], Peer]] = {"namespaces": _endpoints, "pods": _endpoints}
_EGRESS: dict[str, Callable[[Field], Peer]] = {**_INGRESS, "nodes": _nodes, "networks": _networks}


def _protocol(field: Field, peers: Field) -> tuple[Traffic, ...]:
    """`peers`: of the rule. A named port is one of whichever protocol has it."""
    found = field.one_of(*PORTED, "destinationNamedPort")
    protocol = found.path.rpartition(".")[2]
    if protocol != "destinationNamedPort":
        port = found.of("destinationPort")["destinationPort"].required()
        return (Traffic(protocol=protocol, ports=(_port(port),)),)
    name = read_port_name(found)
    for item in peers.items(_MOST):
        if item["networks"] or item["nodes"]:
            found.refuse(f"it cannot be used together with {item.path}: only endpoints have names for their ports")
    return tuple(Traffic(protocol=protocol, ports=(name,)) for protocol in PORTED)


def _port(field: Field) -> PortRange:
    found = field.one_of("number", "range")
    if not isinstance(found.value, dict):
        port = read_port(found)
        return PortRange(port, port)
    found.of("start", "end")
    first, last = read_port(found["start"]), read_port(found["end"])
    if last <= first:
        found["end"].refuse(f"{last} must be greater than `start`, which is {first}")
    return PortRange(first, last)
