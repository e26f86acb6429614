"""The model as the store last told it: what one node needs of it.

Changes come from the store's watch, from listings, and from writes of our own, which are taken over at once, before the
watch repeats them. Whatever the order of arrival, a key ends as its highest revision says. `listener` is told the keys that
really changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from weft.base.errors import WeftError
from weft.base.net import IPAddress
from weft.model import Endpoint, Lease, Network, Node, decode, keys
from weft.store.protocol import Change, Item

log = logging.getLogger(__name__)

Key = tuple[str, ...]
"""A store key, split at the slashes."""


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
        self.cursors: dict[str, dict[str, IPAddress]] = {}
        """Network → family → the address given last, on this node."""
        self.revisions: dict[str, int] = {}
        self._ahead: dict[str, int] = {}
        """Keys known to be deleted at a revision that the watch has not reached."""
        self.broken: dict[str, str] = {}
        """Store keys whose value cannot be read, with the reason."""

    def prefixes(self) -> tuple[str, ...]:
        """What to follow in the store."""
        return (
            keys.NODES,
            keys.PRESENCE,
            keys.NETWORKS,
            keys.LEASES,
            keys.endpoints(self.me),
            keys.cursors(self.me),
        )

    def listed(self, prefixes: Iterable[str], items: Iterable[Item], revision: int) -> None:
        """All there is under `prefixes` at `revision`: what is not among `items` no longer exists."""
        items = tuple(items)
        present = {item.key for item in items}
        known = [key for key in self.revisions if key.startswith(tuple(prefixes)) and key not in present]
        missing = [Change(key, None, revision) for key in known]
        self.written(missing + [Change(item.key, item.value, item.revision) for item in items])

    def written(self, changes: Iterable[Change]) -> None:
        """Take over what is known ahead of the watch: what that still has from before is then passed over."""
        changes = tuple(changes)
        self.apply(changes)
        self._ahead.update({c.key: c.revision for c in changes if c.value is None})

    def present_now(self, item: Item) -> None:
        """One key as it was just read."""
        self.written([Change(item.key, item.value, item.revision)])

    def apply(self, changes: Iterable[Change]) -> None:
        changed = {tuple(c.key.split("/")) for c in changes if self._is_news(c) and self._take(c)}
        if changed:
            self.listener(changed)

    def _is_news(self, change: Change) -> bool:
        ahead = self._ahead.get(change.key, 0)
        if change.revision >= ahead:
            self._ahead.pop(change.key, None)
        return change.revision > ahead and change.revision > self.revisions.get(change.key, 0)

    def _take(self, change: Change) -> bool:
        """Store one value; whether it differs from the one before."""
        if change.value is None:
            self.revisions.pop(change.key, None)
        else:
            self.revisions[change.key] = change.revision
        self.broken.pop(change.key, None)
        try:
            return self._put(change.key.split("/"), change.value)
        except WeftError as error:
            self.broken[change.key] = str(error)
            log.warning("%s in the store cannot be read: %s", change.key, error)
            return self._put(change.key.split("/"), None)

    def _put(self, parts: list[str], value: bytes | None) -> bool:
        match parts:
            case ["nodes", name]:
                return _set(self.nodes, name, value and decode(Node, value))
            case ["presence", name]:
                return _set(self.present, name, value and value.decode())
            case ["networks", name]:
                return _set(self.networks, name, value and decode(Network, value))
            case ["leases", network, node]:
                return _set(self.leases.setdefault(network, {}), node, value and decode(Lease, value))
            case ["endpoints", _, _, id]:
                return _set(self.endpoints, id, value and decode(Endpoint, value))
            case ["cursors", _, network]:
                return _set(self.cursors, network, value and decode(dict[str, IPAddress], value))
        return False

    # What others ask.

    def lease(self, network: str, node: str) -> Lease | None:
        return self.leases.get(network, {}).get(node)

    def revision(self, key: str) -> int:
        return self.revisions.get(key, 0)

    def endpoints_of(self, network: str) -> Iterator[Endpoint]:
        return (e for e in self.endpoints.values() if e.network == network)


def _set(table: dict[str, Any], name: str, value: Any) -> bool:
    if value is None:
        return table.pop(name, None) is not None
    before = table.get(name)
    table[name] = value
    return bool(before != value)
