"""Weft's own policies, `weft/v1`, which say more than Kubernetes' do. They are written as Calico's are.

    spec:
      tier, order                             "default", and last
      selector, namespaceSelector, networks   whose traffic it is about; all that is said has to hold
      hosts                                   or: the hosts whose own traffic it is about, by labels of nodes
      types                                   [Ingress, Egress]; else those that have rules
      ingress, egress                         rules, tried in order

A rule has `action`, `name`, `protocol`, `notProtocol`, `icmp`, `notICMP`, `source` and `destination`. The other end of the
connection (`source` of an ingress rule, `destination` of an egress rule) has `selector`, `notSelector`, `namespaceSelector`,
`networks`, `nets`, `notNets`, `nodes`, `networkSets`; `destination` also `ports` and `notPorts`. All of it has to hold.
"""

from __future__ import annotations

from weft.base.names import check_name
from weft.documents.field import Field
from weft.policy import selector
from weft.policy.model import TIERS, Action, Direction, Peer, Policy, Rule, Who
from weft.policy.read.labels import named
from weft.policy.read.meta import Meta, read_meta
from weft.policy.read.parts import read_cidr
from weft.policy.read.traffic import read_no_traffic, read_traffic

ISOLATION = TIERS[0].name
_ACTIONS: dict[str, Action] = {"Allow": "allow", "Deny": "deny", "Log": "log", "Pass": "pass"}
_TYPES = {"Ingress": "ingress", "Egress": "egress"}
_SPEC = ("tier", "order", "selector", "namespaceSelector", "networks", "hosts", "types", "ingress", "egress")
_RULE = ("action", "name", "protocol", "notProtocol", "icmp", "notICMP", "source", "destination")
_PORTS = ("ports", "notPorts")
_PEER = ("selector", "notSelector", "namespaceSelector", "networks", "nets", "notNets", "nodes", "networkSets")
_NETS = 256


def read_policy(document: Field) -> Policy:
    meta, spec = read_meta(document), document["spec"].required().of(*_SPEC)
    types = _types(spec)
    return Policy(
        id=f"policy/{meta.namespace}/{meta.name}",
        kind="Policy",
        name=meta.name,
        namespace=meta.namespace,
        tier=_tier(spec["tier"]),
        order=spec["order"].number() if spec["order"] else None,
        subject=None if spec["hosts"] else _subject(spec, meta),
        hosts=_hosts(spec, meta),
        ingress=_rules(spec["ingress"], "ingress", meta) if "ingress" in types else None,
        egress=_rules(spec["egress"], "egress", meta) if "egress" in types else None,
    )


def _tier(field: Field) -> str:
    """Whether there is such a tier is not known here."""
    name = field.text("default")
    return (
        name if name != ISOLATION else field.refuse(f"in {name} is what networks say themselves: choose another tier")
    )


def _types(spec: Field) -> set[str]:
    """Where none are listed: those that have rules; and "ingress" where none has."""
    listed = {_TYPES[item.choice(tuple(_TYPES))] for item in spec["types"].items(2)}
    with_rules = {name for name in _TYPES.values() if spec[name].items()}
    if listed:
        for name in sorted(with_rules - listed):
            spec[name].refuse(f"{name.capitalize()} is not among spec.types")
    return listed or with_rules or {"ingress"}


def _hosts(spec: Field, meta: Meta) -> str | None:
    field = spec["hosts"]
    for name in ("selector", "namespaceSelector", "networks"):
        if field and spec[name]:
            spec[name].refuse("a policy is about hosts or about containers, not both: write two")
    if field and meta.namespace:
        field.refuse("hosts are in no namespace: leave metadata.namespace out")
    return _selector_or_none(field)


def _subject(spec: Field, meta: Meta) -> Who:
    if meta.namespace and spec["namespaceSelector"]:
        spec["namespaceSelector"].refuse("the policy is in a namespace, and about that alone: leave one of both out")
    return Who(
        selector=_selector(spec["selector"]),
        namespaces=named(meta.namespace) if meta.namespace else _selector_or_none(spec["namespaceSelector"]),
        networks=_networks(spec["networks"]),
    )


def _rules(field: Field, direction: Direction, meta: Meta) -> tuple[Rule, ...]:
    return field.each(lambda item: _rule(item, direction, meta))


def _rule(field: Field, direction: Direction, meta: Meta) -> Rule:
    field.of(*_RULE)
    source, destination = field["source"], field["destination"]
    _only_other_end(source, destination, direction)
    end = source if direction == "ingress" else destination
    peer, not_peers = _peer(end, meta), _not_peers(end)
    return Rule(
        action=_ACTIONS[field["action"].choice(tuple(_ACTIONS))],
        name=field["name"].text(),
        peers=() if peer == Peer() else (peer,),
        no_peers=not_peers,
        traffic=read_traffic(field),
        no_traffic=read_no_traffic(field),
    )


def _only_other_end(source: Field, destination: Field, direction: Direction) -> None:
    """The end that the policy selects is not selected again."""
    for name in _PORTS:
        if source[name]:
            source[name].refuse("ports of the source are not supported: give the destination's")
    own, other, known = (destination, source, _PORTS) if direction == "ingress" else (source, destination, ())
    for name in own.names():
        if name not in known and name in _PEER:
            own[name].refuse(f"of an {direction} rule this end is what the policy selects: say it in spec.{name}")
    own.of(*known)
    other.of(*_PEER, *(_PORTS if direction == "egress" else ()))


def _peer(end: Field, meta: Meta) -> Peer:
    """What has to fit; nothing said where all fits. In a namespace, selectors are about endpoints of that namespace only,
    where `namespaceSelector` does not say otherwise."""
    selects = any(end[name] for name in ("selector", "notSelector", "networks", "namespaceSelector"))
    positive = any(end[name] for name in ("selector", "networks", "namespaceSelector"))
    who = None
    if positive or (selects and meta.namespace):
        namespaces = _selector_or_none(end["namespaceSelector"])
        own = named(meta.namespace) if meta.namespace else None
        who = Who(
            selector=_selector(end["selector"]),
            namespaces=own if namespaces is None else namespaces,
            networks=_networks(end["networks"]),
        )
    if who is not None and end["nodes"]:
        end["nodes"].refuse("no endpoint is a node: write a rule for each")
    return Peer(
        who=who,
        cidrs=end["nets"].each(read_cidr, _NETS),
        nodes=_selector_or_none(end["nodes"]),
        sets=_selector_or_none(end["networkSets"]),
    )


def _not_peers(end: Field) -> tuple[Peer, ...]:
    found = []
    if end["notSelector"]:
        found.append(Peer(who=Who(selector=_selector(end["notSelector"]))))
    if end["notNets"].items():
        found.append(Peer(cidrs=end["notNets"].each(read_cidr, _NETS)))
    return tuple(found)


def _selector(field: Field) -> str:
    return field.as_said(selector.check)


def _selector_or_none(field: Field) -> str | None:
    return _selector(field) if field else None


def _networks(field: Field) -> tuple[str, ...]:
    return tuple(sorted({item.required().as_said(_network) for item in field.items(_NETS)}))


def _network(name: str) -> str:
    return check_name("network", name)
