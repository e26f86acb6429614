"""Programs of this host's endpoints and members of the sets that these name, kept as the cluster changes.

A change costs what it concerns. An endpoint with another label enters and leaves sets: that touches itself alone. A policy
that changes touches the endpoints of this host that it selects, or selected. Sets are there once for each namespace of this
host in which a program names them, and only as long as one does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product

import msgspec

from weft.base.net import IPAddress
from weft.model.network import Network
from weft.policy.build import program, unasked
from weft.policy.model import DIRECTIONS, Direction, Identity
from weft.policy.program import Chain, Lookup, Program, SetSpec, Use
from weft.policy.world import NO_NETWORK, World

Key = tuple[str, str]
"""(network, id) of an endpoint."""

Reach = Callable[[Mapping[str, Network], str], tuple[str, ...] | None]
"""The names of the networks whose endpoints those of one can have to do with; None: of all."""

NOTHING = Program()


class Local(msgspec.Struct, frozen=True):
    """An endpoint of this host. `spaces`: the namespaces in which its packets are asked."""

    identity: Identity
    spaces: tuple[str, ...]


class Dirty(msgspec.Struct):
    """What is different since it was asked for last: programs of endpoints, memberships of endpoints, sets of prefixes."""

    programs: set[Key] = msgspec.field(default_factory=set)
    members: set[Key] = msgspec.field(default_factory=set)
    sets: set[SetSpec] = msgspec.field(default_factory=set)


class Index:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.world = World()
        self._places: dict[str, int] = {}
        """Policies by id: in which order they are asked."""
        self.identities: dict[Key, Identity] = {}
        self._by_address: dict[IPAddress, dict[Key, Identity]] = {}
        self.local: dict[Key, Local] = {}
        self._selecting: dict[Key, frozenset[str]] = {}
        """The policies that select an endpoint of this host."""
        self._programs: dict[Key, dict[Direction, Program]] = {}
        self._users: dict[SetSpec, Counter[str]] = {}
        """How many programs name a set, in each namespace."""
        self._labels: dict[str, SetSpec] = {}
        self._members: dict[SetSpec, set[Key]] = {}
        self._chains: Counter[tuple[Chain, str]] = Counter()
        """Those with lookups: how many programs have one, in each namespace."""
        self._uses: dict[str, dict[tuple[Chain, str], tuple[tuple[Lookup, Use], ...]]] = {}
        """By the label of a set: the chains that look its members up, and how."""
        self._entered: dict[Key, set[SetSpec]] = {}
        self.dirty = Dirty()

    # What it says.

    def program(self, key: Key, direction: Direction) -> Program:
        return self._programs.get(key, {}).get(direction, NOTHING)

    def selecting(self, key: Key) -> frozenset[str]:
        """The ids of the policies that select an endpoint of this host."""
        return self._selecting.get(key, frozenset())

    def programs(self) -> Iterator[Program]:
        """Of all endpoints of this host that have one."""
        return (p for found in self._programs.values() for p in found.values() if p.chains)

    def entered(self, key: Key) -> Iterable[SetSpec]:
        """The sets that an endpoint is in."""
        return self._entered.get(key, ())

    def spaces(self, spec: SetSpec) -> Iterable[str]:
        """The namespaces in which a set is needed."""
        return self._users.get(spec, {}).keys()

    def specs(self) -> Iterable[SetSpec]:
        """All sets that programs name."""
        return self._users.keys()

    def labelled(self, label: str) -> SetSpec | None:
        """The set that is called so, as long as a program names it."""
        return self._labels.get(label)

    def uses(self, spec: SetSpec) -> Iterator[tuple[Chain, Lookup, Use, str]]:
        """Where the members of a set are looked up, each with the namespace."""
        for (chain, space), found in self._uses.get(spec.label, {}).items():
            yield from ((chain, lookup, use, space) for lookup, use in found)

    def prefixes(self, spec: SetSpec) -> Iterator[str]:
        """What is in a set of prefixes."""
        yield from spec.cidrs
        yield from self.world.addresses_of_nodes(spec.nodes) if spec.nodes is not None else ()
        yield from self.world.cidrs_of_sets(spec.sets) if spec.sets is not None else ()

    def at(self, address: IPAddress) -> Iterable[Identity]:
        """Who has an address, as far as it is known here. Networks may have the same addresses."""
        return self._by_address.get(address, {}).values()

    def networks(self) -> Iterator[str]:
        """Whose endpoints have to be known here: those of the networks that a set may be of."""
        for key, found in self._programs.items():
            if any(spec.who is not None for p in found.values() for spec in p.sets):
                reach = self._reach(self.world.networks, key[0])
                yield from self.world.networks if reach is None else reach

    def taken(self) -> Dirty:
        """What is different since then."""
        found, self.dirty = self.dirty, Dirty()
        return found

    # What it is told.

    def learn(self, world: World) -> None:
        """What policies say now."""
        old, self.world = self.world, world
        self._places = {id: place for place, id in enumerate(world.policies)}
        changed = {
            id for id in old.policies.keys() | world.policies.keys() if old.policies.get(id) != world.policies.get(id)
        }
        spaces = {
            name
            for name in old.namespaces.keys() | world.namespaces.keys()
            if old.labels_of(name) != world.labels_of(name)
        }
        all_anew = old.tiers != world.tiers or old.networks != world.networks
        for key, local in self.local.items():
            if all_anew or local.identity.namespace in spaces:
                self._select(key, local.identity)
            else:
                self._reselect(key, local.identity, changed)
        for key in [key for key, identity in self.identities.items() if identity.namespace in spaces]:
            self._enter(key, self.identities[key])
        if old.nodes != world.nodes or old.network_sets != world.network_sets:
            self.dirty.sets.update(spec for spec in self._users if spec.nodes is not None or spec.sets is not None)

    def put_local(self, key: Key, local: Local | None) -> None:
        """An endpoint of this host, or that there is none."""
        old = self.local.pop(key, None)
        if local is not None:
            self.local[key] = local
        if old is not None and (local is None or local.spaces != old.spaces):
            self._use(key, {}, old.spaces)
        if local is None:
            self._selecting.pop(key, None)
        elif old != local:
            self._select(key, local.identity)

    def put(self, key: Key, identity: Identity | None) -> None:
        """An endpoint of the cluster, or that there is none."""
        if (old := self.identities.pop(key, None)) == identity:
            if identity is not None:
                self.identities[key] = identity
            return
        for address in old.addresses if old else ():
            there = self._by_address[address]
            there.pop(key, None)
            if not there:
                del self._by_address[address]
        if identity is not None:
            self.identities[key] = identity
            for address in identity.addresses:
                self._by_address.setdefault(address, {})[key] = identity
        self._enter(key, identity)

    # Programs.

    def _select(self, key: Key, identity: Identity) -> None:
        self._selecting[key] = frozenset(p.id for p in self.world.selecting(identity))
        self._program(key)

    def _reselect(self, key: Key, identity: Identity, changed: Iterable[str]) -> None:
        before = self._selecting.get(key, frozenset())
        changed = frozenset(changed)
        said = (self.world.policies.get(id) for id in changed)
        now = frozenset(p.id for p in said if p is not None and self.world.concerns(p, identity))
        self._selecting[key] = (before - changed) | now
        if now or before & changed:
            self._program(key)

    def _program(self, key: Key) -> None:
        local = self.local[key]
        ids = sorted(self._selecting[key], key=self._places.__getitem__)
        policies, reach = [self.world.policies[id] for id in ids], self._reach(self.world.networks, key[0])
        found = {d: program(local.identity, self.world.stacked(policies, d), d, reach) for d in DIRECTIONS}
        if key[0] != NO_NETWORK and any(p.chains for p in found.values()):
            found = {d: p if p.chains else unasked(d) for d, p in found.items()}
        self._use(key, {d: p for d, p in found.items() if p.chains}, local.spaces)

    def _use(self, key: Key, programs: dict[Direction, Program], spaces: tuple[str, ...]) -> None:
        old = self._programs.pop(key, {})
        if programs:
            self._programs[key] = programs
        if old != programs:
            self.dirty.programs.add(key)
        before, after = ({spec for p in some.values() for spec in p.sets} for some in (old, programs))
        if not spaces:
            return  # its network is not known: there is nowhere to ask
        for spec in after - before:
            self._count(spec, spaces, 1)
        self._look_up(_looking_up(programs), spaces, 1)
        self._look_up(_looking_up(old), spaces, -1)
        for spec in before - after:
            self._count(spec, spaces, -1)

    def _look_up(self, chains: Iterable[Chain], spaces: Iterable[str], by: int) -> None:
        for at in product(chains, spaces):
            was = self._chains[at] > 0
            self._chains[at] += by
            if was == (self._chains[at] > 0):
                continue
            for label, found in _by_label(at[0]).items():
                users = self._uses.setdefault(label, {})
                if was:
                    del users[at]
                else:
                    users[at] = found
                if not users:
                    del self._uses[label]
                self.dirty.members |= self._members.get(self._labels[label], set())
            if was:
                del self._chains[at]

    # Sets.

    def _count(self, spec: SetSpec, spaces: Iterable[str], by: int) -> None:
        users = self._users.setdefault(spec, Counter())
        was, fresh = set(users), not users
        self._labels[spec.label] = spec
        users.update(dict.fromkeys(spaces, by))
        for space in [space for space, count in users.items() if count <= 0]:
            del users[space]
        if was == users.keys():
            return
        if fresh and spec.who is not None:
            self._fill(spec)
        self.dirty.members |= self._members.get(spec, set())
        if spec.who is None:
            self.dirty.sets.add(spec)
        if not users:
            del self._users[spec], self._labels[spec.label]
            for key in self._members.pop(spec, ()):
                self._leave(key, spec)

    def _fill(self, spec: SetSpec) -> None:
        """A set that nobody needed before."""
        found = self._members[spec] = {key for key, it in self.identities.items() if self._belongs(spec, it)}
        for key in found:
            self._entered.setdefault(key, set()).add(spec)

    def _enter(self, key: Key, identity: Identity | None) -> None:
        before = self._entered.pop(key, set())
        after = {spec for spec in self._users if spec.who and identity and self._belongs(spec, identity)}
        for spec in before - after:
            self._members[spec].discard(key)
        for spec in after - before:
            self._members[spec].add(key)
        if after:
            self._entered[key] = after
        if before or after:
            self.dirty.members.add(key)

    def _leave(self, key: Key, spec: SetSpec) -> None:
        there = self._entered[key]
        there.discard(spec)
        if not there:
            del self._entered[key]

    def _belongs(self, spec: SetSpec, identity: Identity) -> bool:
        if spec.who is None or not self.world.selects(spec.who, identity):
            return False
        return spec.kind == "addresses" or any(True for _ in named(spec, identity))


def _looking_up(programs: Mapping[Direction, Program]) -> Iterator[Chain]:
    return (chain for program in programs.values() for chain in program.chains if chain.lookups)


def _by_label(chain: Chain) -> dict[str, tuple[tuple[Lookup, Use], ...]]:
    found: dict[str, list[tuple[Lookup, Use]]] = {}
    for lookup in chain.lookups:
        for use in lookup.uses:
            found.setdefault(use.label, []).append((lookup, use))
    return {label: tuple(some) for label, some in found.items()}


def named(spec: SetSpec, identity: Identity) -> Iterator[int]:
    """The numbers of an endpoint's ports that a set of named ports is about."""
    return (p.port for p in identity.ports if (p.name, p.protocol) == (spec.port, spec.protocol))
