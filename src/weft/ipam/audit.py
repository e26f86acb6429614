"""Audit of who has which address: claims, leases and endpoints that do not agree with each other.

Pure: from what the store lists to faults, each with the transaction that puts it right. Agents write endpoint, claim and
route in one transaction, so a fault is what no agent left behind: a store that was edited, restored in parts, or a defect.

A snapshot's listings are of different moments while agents work, so what one snapshot says may be half of a change. What
two in a row say of keys that were not written in between (`witness`) was so at one moment, whatever the order of listing:
each of those keys was there all the time from one snapshot to the next, and in between the other side was looked at. And
since nobody writes one side alone, what was so at one moment stays so until the fix, which the same revisions guard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from weft.alloc import blocks as alloc
from weft.base.errors import WeftError
from weft.base.names import stable_id
from weft.base.net import IPAddress, IPNetwork, host_prefix, parse_network
from weft.cluster.footprint import holder, location
from weft.datapaths import registry
from weft.model import Endpoint, Lease, Location, Network, Node, claims, decode, encode, keys
from weft.services.model import Service
from weft.store.protocol import Absent, Delete, Guard, Item, NothingNewer, Op, Put, Unchanged

T = TypeVar("T")


class Fix(msgspec.Struct, frozen=True):
    guards: tuple[Guard, ...]
    ops: tuple[Op, ...]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """`witness`: keys with their revisions that it rests on. `fix`: None where only the user can choose."""

    network: str
    kind: str
    subject: str
    node: str
    text: str
    witness: tuple[tuple[str, int], ...]
    fix: Fix | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        return self.network, self.kind, self.subject, self.node, self.witness


class Listings(msgspec.Struct, kw_only=True):
    """Items by what they are. `endpoints_at`: the revision of the listing of endpoints."""

    nodes: tuple[Item, ...]
    networks: tuple[Item, ...]
    leases: tuple[Item, ...]
    endpoints: tuple[Item, ...]
    locations: tuple[Item, ...]
    subnets: tuple[Item, ...]
    addresses: tuple[Item, ...]
    floating: tuple[Item, ...]
    names: tuple[Item, ...]
    services: tuple[Item, ...]
    endpoints_at: int


class Audit:
    def __init__(self, snapshot: Listings) -> None:
        self._s = snapshot
        self._unreadable: list[tuple[Item, str]] = []
        self._known = {i.key for i in (*snapshot.nodes, *snapshot.networks)}
        self.nodes = {_last(i.key): node for node, i in self._read(Node, snapshot.nodes)}
        self.networks = {_last(i.key): network for network, i in self._read(Network, snapshot.networks)}
        self.endpoints = self._read(Endpoint, snapshot.endpoints)
        self.locations = self._read(Location, snapshot.locations)
        self.leases = {(lease.network, lease.node): (lease, i) for lease, i in self._read(Lease, snapshot.leases)}
        self.subnets = {(_middle(i.key), b): i for b, i in self._read_keys(claims.subnet, snapshot.subnets)}
        self.addresses = {(_middle(i.key), a): i for a, i in self._read_keys(claims.address, snapshot.addresses)}
        self.floating = dict(self._read_keys(keys.floating_address, snapshot.floating))
        self.names = {item.key: item for item in snapshot.names}
        self.services = self._read(Service, snapshot.services)
        self.living: dict[tuple[str, IPAddress], list[tuple[Endpoint, Item]]] = defaultdict(list)
        """(Home, address) → endpoints that have it."""
        for endpoint, item in self.endpoints:
            if self.claimed(endpoint.network):
                for address in endpoint.addresses:
                    self.living[self.home(endpoint.network), address.ip].append((endpoint, item))

    def _read(self, cls: type[T], items: Iterable[Item]) -> list[tuple[T, Item]]:
        found = []
        for item in items:
            try:
                found.append((decode(cls, item.value), item))
            except WeftError as error:
                self._unreadable.append((item, str(error)))
        return found

    def _read_keys(self, of: Callable[[str], T], items: Iterable[Item]) -> list[tuple[T, Item]]:
        """Claims say what they are about by their keys."""
        found = []
        for item in items:
            try:
                found.append((of(item.key), item))
            except WeftError as error:
                self._unreadable.append((item, str(error)))
        return found

    def _gone(self, key: str) -> bool:
        """Of a node or a network."""
        return key not in self._known

    def home(self, network: str) -> str:
        found = self.networks.get(network)
        return network if found is None else found.home

    def claimed(self, network: str) -> bool:
        """Whether its addresses are claimed."""
        return registry.of(self.networks.get(network)).addresses.claimed

    def blocks(self, network: str) -> bool:
        return registry.of(self.networks.get(network)).addresses.blocks

    def strict(self, network: str) -> bool:
        return registry.of(self.networks.get(network)).addresses.strict

    def faults(self) -> Iterator[Fault]:
        """Of networks whose addresses are claimed, and of those that are no more."""
        for item, error in self._unreadable:
            text = f"cannot be read: {error}"
            yield Fault(network="", kind="unreadable", subject=item.key, node="", text=text, witness=(seen(item),))
        yield from self._of_claims()
        yield from self._of_endpoints()
        yield from self._of_block_claims()
        for lease, item in self.leases.values():
            if self.blocks(lease.network) or self._gone(keys.network(lease.network)):
                yield from self._of_lease(lease, item)
        yield from self._of_locations()
        yield from self._of_unlocated()

    # Addresses.

    def _of_claims(self) -> Iterator[Fault]:
        for (network, address), item in self.addresses.items():
            guards: list[Guard] = [as_seen(item)]
            if claims.is_service(item.value):
                continue  # `weft.ipam.audit_services` says what is wrong with it
            if self._gone(keys.network(network)):
                guards.append(Absent(keys.network(network)))
            elif not self.claimed(network) or claims.is_passing(item.value) or (network, address) in self.living:
                continue
            yield Fault(
                network=network,
                kind="claim-without-endpoint",
                subject=str(address),
                node="",
                text=f"claimed for {item.value.decode(errors='replace')}, which is no endpoint with this address",
                witness=(seen(item),),
                fix=Fix(tuple(guards), (Delete(item.key),)),
            )

    def _of_endpoints(self) -> Iterator[Fault]:
        for (home, address), found in self.living.items():
            item = self.addresses.get((home, address))
            if len(found) > 1:
                names = ", ".join(f"{e.name} on {e.node}" for e, _ in found)
                text = f"{names} have the same address: detach all but one of them"
                witness = tuple(seen(i) for _, i in found)
                yield Fault(network=home, kind="duplicate", subject=str(address), node="", text=text, witness=witness)
            elif item is None or claims.is_passing(item.value):
                endpoint, own = found[0]
                claim = keys.address_claim(home, address)
                guard: Guard = Absent(claim) if item is None else as_seen(item)
                yield Fault(
                    network=endpoint.network,
                    kind="endpoint-without-claim",
                    subject=str(address),
                    node=endpoint.node,
                    text=f"{endpoint.name} has an address that others may be given",
                    witness=(seen(own), *([seen(item)] if item else [])),
                    fix=self.bound(endpoint.node, (guard, as_seen(own)), Put(claim, holder(endpoint))),
                )
        for endpoint, item in self.endpoints:
            if self._gone(keys.node(endpoint.node)) or self._gone(keys.network(endpoint.network)):
                yield self._orphan(endpoint, item)

    def _orphan(self, endpoint: Endpoint, item: Item) -> Fault:
        """Of a node or a network that is no more."""
        node = self._gone(keys.node(endpoint.node))
        what = f"node {endpoint.node}" if node else f"network {endpoint.network}"
        gone = keys.node(endpoint.node) if node else keys.network(endpoint.network)
        ops: list[Op] = [Delete(item.key)]
        guards: list[Guard] = [as_seen(item), Absent(gone)]
        home = self.home(endpoint.network)
        held = [self.addresses.get((home, a.ip)) for a in endpoint.addresses] if self.claimed(endpoint.network) else []
        for claim, address in zip(held, endpoint.addresses, strict=False):
            if claim is not None and len(self.living[home, address.ip]) == 1:
                guards.append(as_seen(claim))
                ops.append(Delete(claim.key))
        return Fault(
            network=endpoint.network,
            kind="endpoint-of-nobody",
            subject=endpoint.name,
            node=endpoint.node,
            text=f"there is no {what} any more",
            witness=(seen(item),),
            fix=Fix(tuple(guards), (*ops, Delete(keys.location(endpoint.network, endpoint.id)))),
        )

    # Blocks.

    def _of_block_claims(self) -> Iterator[Fault]:
        for (network, block), item in self.subnets.items():
            node = item.value.decode(errors="replace")
            gone = self._gone(keys.network(network))
            if node == claims.SERVICES or (not gone and not self.blocks(network)):
                continue
            lease, held = self.leases.get((network, node), (None, None))
            if lease is not None and block in lease.subnets:
                continue
            guard = as_seen(held) if held else Absent(keys.lease(network, node))
            yield Fault(
                network=network,
                kind="block-without-lease",
                subject=str(block),
                node=node,
                text=f"claimed by {node}, to which it is not routed",
                witness=(seen(item),),
                fix=Fix((as_seen(item), guard), (Delete(item.key),)),
            )

    def _of_lease(self, lease: Lease, item: Item) -> Iterator[Fault]:
        network, node = lease.network, lease.node
        if self._gone(keys.node(node)) or self._gone(keys.network(network)):
            yield self._orphaned(lease, item)
        if node not in self.nodes or network not in self.networks:
            return
        faults, stolen, guards, ops = list[tuple[str, str, str]](), list[IPNetwork](), list[Guard](), list[Op]()
        for block in lease.subnets:
            claim, key = self.subnets.get((network, block)), keys.subnet_claim(network, block)
            if claim is None:
                faults.append(("block-without-claim", str(block), f"routed to {node}, but others may take it"))
                guards.append(Absent(key))
                ops.append(Put(key, node.encode(), self._tenure(node)))
            elif (other := claim.value.decode(errors="replace")) != node:
                faults.append(("block-of-another", str(block), f"routed to {node}, but claimed by {other}"))
                stolen.append(block)
        left = alloc.without(lease, stolen)
        here = [
            (h, a.ip) for e, _ in self.endpoints for h in [self.home(e.network)] if e.node == node for a in e.addresses
        ]
        living = {address for home, address in here if home == network}
        for address in sorted(living, key=str):
            if alloc.outside(left, address) and self.strict(network):
                yield self._astray(network, node, address, item)
            elif alloc.outside(left, address) and _alone(address) not in left.hosts:
                faults.append(("not-routed", str(address), f"lives on {node}, and no route leads there"))
                left = alloc.with_given(left, [alloc.Given(address, host=True)])
        idle = [h for h in left.hosts if h.network_address not in living]
        for host in idle:
            faults.append(
                ("route-without-endpoint", str(host.network_address), f"routed to {node}, where it does not live")
            )
        left = alloc.without(left, gone=[h.network_address for h in idle])
        if left != lease:
            ops.append(Put(item.key, encode(left), self._tenure(node)))
        guards += [as_seen(item), NothingNewer(keys.endpoints(node), self._s.endpoints_at)]
        fix = Fix(tuple(guards), tuple(ops))
        for kind, subject, text in faults:
            yield Fault(
                network=network, kind=kind, subject=subject, node=node, text=text, witness=(seen(item),), fix=fix
            )

    def _astray(self, network: str, node: str, address: IPAddress, item: Item) -> Fault:
        """Whoever has the block it is in may give it again."""
        return Fault(
            network=network,
            kind="in-no-own-block",
            subject=str(address),
            node=node,
            text=f"lives on {node}, and is in none of its blocks: detach the container and attach it again",
            witness=(seen(item),),
        )

    def _orphaned(self, lease: Lease, item: Item) -> Fault:
        node = self._gone(keys.node(lease.node))
        gone = keys.node(lease.node) if node else keys.network(lease.network)
        what = f"node {lease.node}" if node else f"network {lease.network}"
        return Fault(
            network=lease.network,
            kind="lease-of-nobody",
            subject=", ".join(map(str, lease.subnets)) or "-",
            node=lease.node,
            text=f"there is no {what} any more",
            witness=(seen(item),),
            fix=Fix((as_seen(item), Absent(gone)), (Delete(item.key),)),
        )

    def _of_locations(self) -> Iterator[Fault]:
        there = {(e.network, e.id) for e, _ in self.endpoints}
        for found, item in self.locations:
            network, id = _middle(item.key, 1), _last(item.key)
            if (network, id) not in there:
                yield Fault(
                    network=network,
                    kind="location-without-endpoint",
                    subject=", ".join(map(str, found.addresses)),
                    node=found.node,
                    text=f"said to be on {found.node}, where no such endpoint is",
                    witness=(seen(item),),
                    fix=Fix((as_seen(item),), (Delete(item.key),)),
                )

    def _of_unlocated(self) -> Iterator[Fault]:
        """Endpoints of which the other hosts know nothing, or something else than there is: policy there misses them."""
        located = {(_middle(item.key, 1), _last(item.key)): (found, item) for found, item in self.locations}
        for endpoint, own in self.endpoints:
            wanted, key = location(endpoint), keys.location(endpoint.network, endpoint.id)
            found, item = located.get((endpoint.network, endpoint.id), (None, None))
            gone = self._gone(keys.node(endpoint.node)) or self._gone(keys.network(endpoint.network))
            if found == wanted or gone or any(key == item.key for item, _ in self._unreadable):
                continue
            yield Fault(
                network=endpoint.network,
                kind="endpoint-without-location",
                subject=", ".join(str(a.ip) for a in endpoint.addresses),
                node=endpoint.node,
                text=f"{endpoint.name} is not known to other hosts as it is",
                witness=(seen(own), *([seen(item)] if item else [])),
                fix=self.bound(
                    endpoint.node,
                    (as_seen(own), as_seen(item) if item else Absent(key)),
                    Put(key, encode(wanted)),
                ),
            )

    # Pieces.

    def _tenure(self, node: str) -> int:
        return stable_id("tenure", self.nodes[node].instance, node)

    def bound(self, node: str, guards: tuple[Guard, ...], op: Put) -> Fix | None:
        """Written as the node itself would; a node that is no more writes nothing."""
        if node not in self.nodes:
            return None
        return Fix(guards, (msgspec.structs.replace(op, lease=self._tenure(node)),))


def lasting(before: Iterable[Fault], after: Iterable[Fault]) -> list[Fault]:
    """What both say."""
    known = {fault.identity for fault in before}
    return [fault for fault in after if fault.identity in known]


def of_networks(faults: Iterable[Fault], networks: Mapping[str, Network], wanted: str) -> list[Fault]:
    """Those of one network, and of what shares it; "" is all."""
    if not wanted:
        return list(faults)
    home = networks[wanted].home if wanted in networks else wanted
    return [f for f in faults if f.network in (wanted, home)]


def _alone(address: IPAddress) -> IPNetwork:
    return parse_network(host_prefix(address))


def seen(item: Item) -> tuple[str, int]:
    return item.key, item.revision


def as_seen(item: Item) -> Guard:
    return Unchanged(item.key, item.revision)


def _last(key: str) -> str:
    return key.rsplit("/", 1)[1]


def _middle(key: str, index: int = 2) -> str:
    """A claim's network: claims/KIND/NETWORK/WHAT."""
    return key.split("/")[index]
