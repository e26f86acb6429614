"""Network policy on this host: three kinds of source.

    policy          an endpoint of this host that policies select: its chains, the sets that these name, what leads to them
    policy-member   an endpoint of the cluster: its place in the sets that it is in
    policy-set      a set of prefixes: what is in it

So an endpoint's label costs the sets that it enters or leaves, and no rule. What is looked up is kept by an index that
follows the view (`weft.policy.index`); locations are followed of those networks only whose endpoints a rule of this host
may ask for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from weft.base.net import FAMILIES, Family, IPNetwork, family, host_text, parse_network
from weft.cluster import footprint
from weft.cluster.changes import Changed
from weft.cluster.follower import Part
from weft.cluster.view import View
from weft.compile import own_policy
from weft.compile.contributor import Contributor, Needs
from weft.compile.known import Known
from weft.datapaths import _bypass, _short
from weft.datapaths.driver import Gate, Host, Site
from weft.hoststate import Contribution, Key, Object
from weft.hoststate.union import Source
from weft.model import Endpoint, keys, records
from weft.policy import record
from weft.policy.bridged import bridged
from weft.policy.implicit import implicit
from weft.policy.index import Dirty, Index, Local, named
from weft.policy.index import Key as Place
from weft.policy.model import DIRECTIONS, Identity
from weft.policy.program import Chain, Lookup, SetSpec, Use
from weft.policy.reach import reach
from weft.policy.render import Renderer, renderer
from weft.policy.world import World

POLICY, MEMBER, SET = "policy", "policy-member", "policy-set"

_WORLD = (
    record.POLICIES,
    record.TIERS,
    record.NAMESPACES,
    record.NETWORK_SETS,
    records.NODES,
    records.NETWORKS,
)


class Policies:
    """The index of a view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.index = Index(reach)
        self._dirty = Dirty()
        self.gates: dict[Place, tuple[Gate, ...]] = {}
        """Where the packets of this host's endpoints are asked."""
        self._learn()
        for endpoint in view.endpoints.values():
            self._endpoint(endpoint.network, endpoint.id)
        for network, found in view.locations.items():
            for id in found:
                self._identity(network, id)

    def update(self, changed: Changed) -> None:
        if changed.any(_WORLD):
            self._learn()
            if changed.of(records.NETWORKS):
                for endpoint in self._view.endpoints.values():
                    self._endpoint(endpoint.network, endpoint.id)
        for at in changed.of(records.ENDPOINTS):
            self._endpoint(at.network, at.id)
            self._identity(at.network, at.id)
        for place in changed.of(records.LOCATIONS):
            self._identity(place.network, place.id)

    def taken(self, kind: str) -> Iterator[Source]:
        """The sources of a kind that say something else since they were asked for last."""
        new = self.index.taken()
        self._dirty.programs |= new.programs
        self._dirty.members |= new.members
        self._dirty.sets |= new.sets
        match kind:
            case "policy":
                found, self._dirty.programs = self._dirty.programs, set()
                yield from (Source(POLICY, *key) for key in found)
            case "policy-member":
                found, self._dirty.members = self._dirty.members, set()
                yield from (Source(MEMBER, *key) for key in found)
            case _:
                sets, self._dirty.sets = self._dirty.sets, set()
                yield from (Source(SET, "", spec.label) for spec in sets)

    def _learn(self) -> None:
        view = self._view
        self.index.put_local(own_policy.place(view), own_policy.itself(view))
        self.index.learn(
            World(
                policies=(*view.table(record.POLICIES).by("id").values(), *implicit(view.networks)),
                tiers=view.table(record.TIERS).by("name").values(),
                namespaces=view.table(record.NAMESPACES).by("name"),
                network_sets=[
                    s
                    for some in view.table(record.NETWORK_SETS).by("namespace", "name").values()
                    for s in some.values()
                ],
                nodes=view.nodes,
                networks=view.networks,
            )
        )

    def _endpoint(self, network: str, id: str) -> None:
        endpoint = self._view.endpoints.get(id)
        local = None
        self.gates.pop((network, id), None)
        if endpoint is not None:
            found = self.gates[network, id] = gates(self._view, endpoint)
            local = Local(identity_of(endpoint), tuple(dict.fromkeys(gate.ns for gate in found)))
        self.index.put_local((network, id), local)

    def _identity(self, network: str, id: str) -> None:
        location = self._view.locations.get(network, {}).get(id)
        endpoint = self._view.endpoints.get(id)
        if location is not None:
            self.index.put((network, id), record.identity(keys.Located(network, id), location))
        else:
            self.index.put((network, id), identity_of(endpoint) if endpoint else None)


def identity_of(endpoint: Endpoint) -> Identity:
    """Of one of this host, as its record says now."""
    return record.identity(keys.Located(endpoint.network, endpoint.id), footprint.location(endpoint))


def policies(view: View) -> Index:
    """What policies say and whom they select, as far as this host has to know."""
    return view.derived(Policies).index


def gates(view: View, endpoint: Endpoint) -> tuple[Gate, ...]:
    """Where an endpoint's packets are asked."""
    home = view.networks.get(view.home(endpoint.network))
    return () if home is None else view.driver(home.name).gates(home, endpoint)


def guards(known: Known, endpoint: Endpoint) -> Iterator[Key]:
    """Of the rules without which an endpoint is not closed, where policies select it."""
    index, ask = policies(known.view), _renderer(known)
    if ask is None:
        return
    asked = [d for d in DIRECTIONS if index.program((endpoint.network, endpoint.id), d).chains]
    for gate in gates(known.view, endpoint) if asked else ():
        yield from (obj.key for obj in bridged(gate.ns, gate.bridge))
        for direction, address in product(asked, gate.addresses):
            yield from ask.keys(address, direction, gate.ns)


def renderer_of(host: Host | None) -> Renderer | None:
    """By what a host enforces policy; None where nothing is known of it yet."""
    return renderer(host.policy, host.iptables, ipv6=host.ipv6) if host else None


def _renderer(known: Known) -> Renderer | None:
    return renderer_of(known.host)


# -- what each source wants ---------------------------------------------------------------------------------------------


def _policy(known: Known, source: Source) -> Contribution | None:
    if (source.network, source.name) == own_policy.place(known.view):
        return own_policy.contribution(known, policies(known.view))
    endpoint, ask = known.view.endpoints.get(source.name), _renderer(known)
    if endpoint is None or known.host is None or ask is None:
        return None
    return Contribution(
        objects=tuple(_programs(known, endpoint, known.host, ask)), problems=tuple(unasked(known.view, endpoint))
    )


def unasked(view: View, endpoint: Endpoint) -> Iterator[str]:
    """In a line: what policy says of a container whose packets pass no rules of its host is not kept."""
    home = view.networks.get(view.home(endpoint.network))
    chosen = policies(view).selecting((endpoint.network, endpoint.id))
    if home is not None and chosen and not view.driver(home.name).passed:
        yield (
            f"policy {', '.join(sorted(chosen))} selects {endpoint.name} in network {endpoint.network}, whose packets pass no "
            f"rules of their host (driver {home.driver}), so it cannot be kept: attach the container to another network, or "
            "have the policy select others"
        )


def _programs(known: Known, endpoint: Endpoint, host: Host, ask: Renderer) -> Iterator[Object]:
    index, found = policies(known.view), {}
    site = known.site(known.view.home(endpoint.network))
    for direction in DIRECTIONS:
        program = index.program((endpoint.network, endpoint.id), direction)
        if program.chains:
            found[direction] = program
    for gate in gates(known.view, endpoint) if found else ():
        yield from ask.base(gate.ns)
        yield from _short.tracked(host, gate.ns)
        yield from bridged(gate.ns, gate.bridge)
        if isinstance(site, Site):
            yield from _bypass.tracked(site, gate.addresses, gate.ns)
        for address in gate.addresses:
            yield from ask.itself(address, gate.ns)
        for direction, program in found.items():
            for chain in program.chains:
                yield from ask.chain(chain, gate.ns)
            for spec in program.sets:
                yield from ask.table_set(spec, gate.ns)
            for address in gate.addresses:
                yield from ask.dispatch(address, direction, program.chains[0], gate.ns)


def _member(known: Known, source: Source) -> Contribution | None:
    index, key, ask = policies(known.view), (source.network, source.name), _renderer(known)
    identity = index.identities.get(key)
    if identity is None or ask is None:
        return None
    objects: list[Object] = []
    for spec in index.entered(key):
        for address in identity.addresses:
            for ns, value in product(index.spaces(spec), _as_member(spec, identity, str(address))):
                objects += ask.element(spec, family(address), value, ns)
    for (chain, lookup, use), ns in _first(index, key):
        for address in identity.addresses:
            objects += ask.looked_up(chain, lookup, use, address, ns)
    return Contribution(objects=tuple(objects))


def _first(index: Index, key: Place) -> Iterator[tuple[tuple[Chain, Lookup, Use], str]]:
    """Where an endpoint is looked up: of several lines of a chain for the same port the first."""
    found: dict[tuple[str, str, str, int], tuple[Chain, Lookup, Use]] = {}
    for spec in index.entered(key):
        for chain, lookup, use, ns in index.uses(spec):
            place = ns, lookup.label, use.protocol, use.port
            if place not in found or use.line < found[place][2].line:
                found[place] = chain, lookup, use
    return ((what, place[0]) for place, what in found.items())


def _as_member(spec: SetSpec, identity: Identity, address: str) -> Iterator[str]:
    if spec.kind == "addresses":
        yield address
    else:
        yield from (f"{address} . {spec.protocol} . {port}" for port in named(spec, identity))


def _set(known: Known, source: Source) -> Contribution | None:
    index, ask = policies(known.view), _renderer(known)
    spec = index.labelled(source.name)
    if spec is None or ask is None:
        return None
    objects: list[Object] = []
    for fam, value in _apart(map(parse_network, index.prefixes(spec))):
        for ns in index.spaces(spec):
            objects += ask.element(spec, fam, value, ns)
    return Contribution(objects=tuple(objects))


def _apart(prefixes: Iterator[IPNetwork]) -> Iterator[tuple[Family, str]]:
    """The same addresses in prefixes that do not overlap."""
    found = list(prefixes)
    for fam in FAMILIES:
        same: list[Any] = [prefix for prefix in found if prefix.version == fam]
        yield from ((fam, host_text(prefix)) for prefix in ipaddress.collapse_addresses(same))


# -- the contributors ---------------------------------------------------------------------------------------------------


def _touched(kind: str) -> Callable[[View, Changed], Iterator[Source]]:
    return lambda _view, changed: (Source(kind, at.network, at.id) for at in changed.of(records.ENDPOINTS))


def _of_network(view: View, network: str) -> Iterator[Source]:
    yield from (Source(POLICY, e.network, e.id) for e in view.endpoints_at(network))
    yield from _itself(view)


def _itself(view: View) -> Iterator[Source]:
    return iter((Source(POLICY, *own_policy.place(view)),))


def _pending(kind: str) -> Callable[[View], Iterator[Source]]:
    return lambda view: view.derived(Policies).taken(kind)


def _everything(view: View) -> Iterator[Source]:
    return (Source(MEMBER, *key) for key in policies(view).identities)


def _all_sets(view: View) -> Iterator[Source]:
    return (Source(SET, "", spec.label) for spec in policies(view).specs() if spec.who is None)


def _parts(view: View) -> Iterator[Part]:
    return ((records.LOCATIONS, name) for name in policies(view).networks())


CONTRIBUTORS = (
    Contributor(
        name=POLICY,
        contribute=_policy,
        touched=_touched(POLICY),
        of_network=_of_network,
        everything=_itself,
        pending=_pending(POLICY),
        needs=Needs((*_WORLD, records.ENDPOINTS), _parts),
    ),
    Contributor(
        name=MEMBER, contribute=_member, touched=_touched(MEMBER), everything=_everything, pending=_pending(MEMBER)
    ),
    Contributor(name=SET, contribute=_set, everything=_all_sets, pending=_pending(SET)),
)
