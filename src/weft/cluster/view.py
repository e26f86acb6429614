"""The model as the store last told it: what one node needs of it.

Changes come from the store's watch, from listings, and from writes of our own, which are taken over at once, before or
after the watch tells them. Whatever the order of arrival, a key ends as its highest revision says. `listener` is told the
keys that really changed.

This node's own endpoints and leases are its own to remove. Where the store has one no more and this node did not remove it,
it is `lost`: what it said still counts here, so that what runs goes on, until `weft.endpoints.evidence` has found out what
happened and either writes it back or obeys.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from weft.base.errors import Invalid, WeftError
from weft.base.net import IPAddress, parse_address
from weft.datapaths import registry
from weft.datapaths.driver import Driver
from weft.model import (
    BgpPeer,
    BgpSecret,
    BgpSettings,
    Endpoint,
    Lease,
    Location,
    Network,
    Node,
    decode,
    encode,
    keys,
)
from weft.store.protocol import Change, Item

log = logging.getLogger(__name__)

Key = tuple[str, ...]
"""A store key, split at the slashes."""

DELETIONS = 10_000
"""So many of the last deletions are remembered at least: what was said before one may arrive after it."""

T = TypeVar("T")


class View:
    def __init__(self, me: str, listener: Callable[[set[Key]], None] = lambda _: None) -> None:
        self.me = me
        self.listener = listener
        self.nodes: dict[str, Node] = {}
        self.present: dict[str, str] = {}
        """Node name → instance, of those whose agent lives."""
        self.networks: dict[str, Network] = {}
        self.leases: dict[str, dict[str, Lease]] = {}
        """Network → node → lease."""
        self.endpoints: dict[str, Endpoint] = {}
        """This node's, by id."""
        self.locations: dict[str, dict[str, Location]] = {}
        """Network → endpoint's id → location; of followed networks."""
        self.located: dict[str, dict[IPAddress, str]] = {}
        """Network → address → whose it is, in words; of followed networks."""
        self._locators: dict[tuple[str, IPAddress], str] = {}
        """(Network, address) → the id of the location that says so."""
        self.followed: set[str] = set()
        """Networks with one subnet for all hosts that this node has to do with now."""
        self.bgp_peers: dict[str, BgpPeer] = {}
        self._bgp: dict[str, BgpSettings] = {}
        self.bgp_secret = ""
        """Once known it stays in force, whatever becomes of its key: sessions are not to end because of that."""
        self.floating: dict[str, tuple[IPAddress, str]] = {}
        """Every floating address, by its text, with the node that may announce it."""
        self.cursors: dict[str, dict[str, IPAddress]] = {}
        """Network → family → the address given last, on this node."""
        self._places: dict[str, dict[str, int]] = {}
        """Namespace's path → endpoint's id → cookie."""
        self.revisions: dict[str, int] = {}
        self._deleted: dict[str, int] = {}
        """Key → revision of its deletion, in order of arrival."""
        self.broken: dict[str, str] = {}
        """Store keys whose value cannot be read, with the reason."""
        self.lost: dict[str, int] = {}
        """Key → the revision of its deletion; 0 where the store was found without it."""
        self.on_loss: Callable[[], None] = lambda: None
        self.kept: set[str] = set()
        """Keys, none of them this node's own, that a store which was put back has no more. They still count."""
        self._removing: Counter[str] = Counter()
        self.unregistered = 0
        """The revision that deleted this node's own record last."""

    def prefixes(self) -> tuple[str, ...]:
        """What to follow in the store."""
        return (
            keys.NODES,
            keys.PRESENCE,
            keys.NETWORKS,
            keys.LEASES,
            keys.BGP,
            keys.FLOATING,
            keys.endpoints(self.me),
            keys.cursors(self.me),
        )

    def listed(self, prefixes: Iterable[str], items: Iterable[Item], revision: int, *, careful: bool = False) -> None:
        """All there is under `prefixes` at `revision`: what is not among `items` no longer exists. `careful`: the store was put
        back. What is missing is kept, and of what is this node's own the store's older word does not count."""
        items = tuple(items)
        present = {item.key for item in items}
        known = [key for key in self.revisions if key.startswith(tuple(prefixes)) and key not in present]
        if careful:
            items = tuple(item for item in items if not self._is_outdated(item))
            self.kept.update(key for key in known if self._is_others(key))
            known = [key for key in known if key not in self.kept]
        missing = [Change(key, None, revision) for key in known]
        self.apply(missing + [Change(item.key, item.value, item.revision) for item in items])
        self.lost.update((key, 0) for key in (self.lost if careful else known) if key in self.lost)

    def _is_outdated(self, item: Item) -> bool:
        """An own record that says something else than the view: then it is lost, and the revision is the older one's."""
        parts = item.key.split("/")
        if not self._is_own(parts) or not self._has(parts):
            return False
        mine = self.endpoints[parts[-1]] if parts[0] == "endpoints" else self.lease(parts[1], self.me)
        if encode(mine) == item.value:
            return False
        self.revisions[item.key] = item.revision
        self.lost[item.key] = 0
        return True

    def _is_others(self, key: str) -> bool:
        """A record that is not this node's, and that its writer does not lose all the time."""
        passing = key.startswith((keys.PRESENCE, keys.CURSORS)) or key == keys.node(self.me)
        return not passing and not self._is_own(key.split("/"))

    def presume(self, items: Iterable[Item]) -> None:
        """What was known before the agent's restart, for a careful listing to be compared with."""
        known = set[Key]()
        for item in items:
            try:
                self._put(item.key.split("/"), item.value)
            except WeftError as error:
                log.warning("%s, which was known here, cannot be read: %s", item.key, error)
                continue
            self.revisions[item.key] = -1
            known.add(tuple(item.key.split("/")))
        self.listener(known)

    def contradicted(self, items: Iterable[Item], revision: int) -> str:
        """The key of which a listing at `revision` says less than was known by then, as only a store does that was put back;
        "" if there is none."""
        for item in items:
            known = max(self.revisions.get(item.key, -1), self._deleted.get(item.key, -1))
            if item.revision < known <= revision:
                return item.key
        return ""

    def let_go(self) -> None:
        """What was kept is gone for good."""
        gone, self.kept = self.kept, set()
        for key in gone:
            self.revisions.pop(key, None)
            self._put(key.split("/"), None)
        if gone:
            self.listener({tuple(key.split("/")) for key in gone})

    def present_now(self, item: Item) -> None:
        """One key as it was just read."""
        self.apply([Change(item.key, item.value, item.revision)])

    def apply(self, changes: Iterable[Change]) -> None:
        """What was committed, in any order; from the watch, or by ourselves."""
        changed = {tuple(c.key.split("/")) for c in changes if self._is_news(c) and self._take(c)}
        if self.lost:
            changed |= self._drop([key for key in self.lost if _network_of(key) not in self.networks])
        if changed:
            self.listener(changed)
        if self.lost:
            self.on_loss()

    # Own records that the store has no more.

    def recall(self, items: Iterable[Item]) -> None:
        """What this node held before its agent's restart: lost, unless the store says otherwise."""
        for item in items:
            parts = item.key.split("/")
            if self._is_own(parts):
                try:
                    self._put(parts, item.value)
                    self.lost[item.key] = 0
                except WeftError as error:
                    log.warning("%s, which this node held, cannot be read: %s", item.key, error)

    @contextmanager
    def removing(self, removed: Iterable[str]) -> Iterator[None]:
        """Within, this node itself takes these keys out of the store."""
        some = list(removed)
        self._removing.update(some)
        try:
            yield
        finally:
            self._removing.subtract(some)
            self._removing += Counter()

    def obey(self, lost: Iterable[str]) -> None:
        """They are gone for good."""
        if changed := self._drop([key for key in lost if key in self.lost]):
            self.listener(changed)

    def _drop(self, lost: Iterable[str]) -> set[Key]:
        changed = set()
        for key in lost:
            del self.lost[key]
            self.revisions.pop(key, None)  # whatever the store says of it counts again
            self._put(key.split("/"), None)
            changed.add(tuple(key.split("/")))
        return changed

    def _is_own(self, parts: list[str]) -> bool:
        match parts:
            case ["endpoints", node, _, _] | ["leases", _, node]:
                return node == self.me
        return False

    def _has(self, parts: list[str]) -> bool:
        return parts[-1] in self.endpoints if parts[0] == "endpoints" else self.lease(parts[1], self.me) is not None

    def rewound(self, prefixes: Iterable[str] = ("",)) -> None:
        """The store was put back to an earlier state: what the next listing of these says counts, whatever its revisions."""
        some = tuple(prefixes)
        self.revisions.update((key, -1) for key in self.revisions if key.startswith(some))
        for key in [key for key in self._deleted if key.startswith(some)]:
            del self._deleted[key]

    def open(self, network: str) -> None:
        """Its locations are followed from now on."""
        self.followed.add(network)
        self.listener({("locations", network)})

    def close(self, network: str) -> None:
        """Its locations are not known any more."""
        self.followed.discard(network)
        prefix = keys.locations(network)
        gone = {tuple(key.split("/")) for key in self.revisions if key.startswith(prefix)}
        for key in gone:
            del self.revisions["/".join(key)]
            self.kept.discard("/".join(key))
            self._put(list(key), None)
        self.listener({("locations", network), *gone})

    def _is_news(self, change: Change) -> bool:
        return change.revision > max(self.revisions.get(change.key, -1), self._deleted.get(change.key, -1))

    def _take(self, change: Change) -> bool:
        """Store one value; whether it differs from the one before."""
        self._deleted.pop(change.key, None)
        self.kept.discard(change.key)
        parts = change.key.split("/")
        if change.value is None:
            self.revisions.pop(change.key, None)
            self._remember_deleted(change)
            if change.key == keys.node(self.me):
                self.unregistered = change.revision
            if self._is_own(parts) and not self._removing[change.key] and self._has(parts):
                self.lost.setdefault(change.key, change.revision)
                return False
        else:
            self.revisions[change.key] = change.revision
        self.lost.pop(change.key, None)
        self.broken.pop(change.key, None)
        try:
            return self._put(parts, change.value)
        except WeftError as error:
            self.broken[change.key] = str(error)
            log.warning("%s in the store cannot be read: %s", change.key, error)
            return self._put(change.key.split("/"), None)

    def _remember_deleted(self, change: Change) -> None:
        if len(self._deleted) >= 2 * DELETIONS:
            self._deleted = dict(islice(self._deleted.items(), DELETIONS, None))
        self._deleted[change.key] = change.revision

    def _put(self, parts: list[str], value: bytes | None) -> bool:
        def read(cls: type[T], **named: str) -> T | None:
            return None if value is None else _read(cls, value, named)

        match parts:
            case ["nodes", name]:
                return _set(self.nodes, name, read(Node, name=name))
            case ["presence", name]:
                return _set(self.present, name, None if value is None else value.decode(errors="replace"))
            case ["networks", name]:
                return _set(self.networks, name, read(Network, name=name))
            case ["leases", network, node]:
                return _set(self.leases.setdefault(network, {}), node, read(Lease, network=network, node=node))
            case ["endpoints", node, network, id] if node == self.me:
                return self._place(id, read(Endpoint, node=node, network=network, id=id))
            case ["locations", network, id]:
                return self._locate(network, id, read(Location))
            case ["bgp", *what]:
                return self._put_bgp(what, value)
            case ["claims", "floating", address]:
                return _set(self.floating, address, _floated(address, value))
            case ["cursors", _, network]:
                return _set(self.cursors, network, read(dict[str, IPAddress]))
        return False

    def _put_bgp(self, what: list[str], value: bytes | None) -> bool:
        def read(cls: type[T], **named: str) -> T | None:
            return None if value is None else _read(cls, value, named)

        match what:
            case ["settings"]:
                return _set(self._bgp, "settings", read(BgpSettings))
            case ["peers", name]:
                return _set(self.bgp_peers, name, read(BgpPeer, name=name))
            case ["secret"]:
                secret = read(BgpSecret)
                self.bgp_secret = secret.value if secret else self.bgp_secret
                return True
        return False

    def _place(self, id: str, endpoint: Endpoint | None) -> bool:
        old = self.endpoints.get(id)
        if old is not None:
            others = self._places[old.namespace.path]
            del others[id]
            if not others:
                del self._places[old.namespace.path]
        if endpoint is not None:
            self._places.setdefault(endpoint.namespace.path, {})[id] = endpoint.namespace.cookie
        return _set(self.endpoints, id, endpoint)

    def _locate(self, network: str, id: str, location: Location | None) -> bool:
        table, holders = self.locations.setdefault(network, {}), self.located.setdefault(network, {})
        old = table.get(id)
        for address in old.addresses if old else ():
            if self._locators.get((network, address)) == id:  # else the address's next holder is told already
                del self._locators[network, address], holders[address]
        if location is not None:
            holders.update(dict.fromkeys(location.addresses, f"a container on {location.node}"))
            self._locators.update(((network, address), id) for address in location.addresses)
        return _set(table, id, location)

    # What others ask.

    def driver(self, network: str) -> Driver:
        """What carries a network; of one that is not there or not understood, a driver that does nothing."""
        return registry.of(self.networks.get(network))

    @property
    def bgp(self) -> BgpSettings:
        return self._bgp.get("settings") or BgpSettings()

    def has_bgp_secret(self) -> bool:
        """Whether the store has it, and it can be read."""
        return self.revision(keys.BGP_SECRET) > 0 and keys.BGP_SECRET not in self.broken

    def home(self, network: str) -> str:
        """The network whose subnets, leases and data path a network uses."""
        found = self.networks.get(network)
        return network if found is None else found.home

    def lease(self, network: str, node: str) -> Lease | None:
        return self.leases.get(network, {}).get(node)

    def revision(self, key: str) -> int:
        return self.revisions.get(key, 0)

    def cookie(self, path: str) -> int:
        """Of the namespace that is meant by a path; 0 where none of our containers is."""
        cookies = tuple(self._places.get(path, {}).values())  # the kernel's thread asks: no iteration over a live dict
        return cookies[0] if cookies else 0

    def endpoints_of(self, network: str) -> Iterator[Endpoint]:
        return (e for e in self.endpoints.values() if e.network == network)

    def endpoints_at(self, home: str) -> Iterator[Endpoint]:
        """Those of a network and of all that share it."""
        return (e for e in self.endpoints.values() if self.home(e.network) == home)


def _read(cls: type[T], value: bytes, named: Mapping[str, str]) -> T:
    """`named`: what the key says, which the record has to say as well. Raises Invalid."""
    found = decode(cls, value)
    for field, name in named.items():
        if getattr(found, field) != name:
            raise Invalid(f"its {field} is '{getattr(found, field)}', but its key says '{name}'")
    return found


def _network_of(key: str) -> str:
    """Of an endpoint's key, or a lease's."""
    parts = key.split("/")
    return parts[2] if parts[0] == "endpoints" else parts[1]


def _floated(address: str, value: bytes | None) -> tuple[IPAddress, str] | None:
    """A claim says "ENDPOINT on NODE", and neither name has a space. Raises Invalid."""
    if value is None:
        return None
    return parse_address(address), value.decode(errors="replace").rpartition(" on ")[2]


def _set(table: dict[str, Any], name: str, value: Any) -> bool:
    if value is None:
        return table.pop(name, None) is not None
    before = table.get(name)
    table[name] = value
    return bool(before != value)
