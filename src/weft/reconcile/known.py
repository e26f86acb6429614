"""What is known of the kernel, found by what it stands on too: so what goes with one device costs what goes, not a look at
all there is.

Found by are devices and namespaces only. What stands on other things (a rule's set, say) is many on one, and mostly goes alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from weft.hoststate import Key, Object
from weft.reconcile import relations
from weft.reconcile.kinds.table import CARRIERS

_FOUND_BY = frozenset({"link", "netns"})


class Known(dict[Key, Object]):
    """Objects by their keys. To be changed by the methods here only."""

    def __init__(self) -> None:
        super().__init__()
        self._on: dict[Key, set[Key]] = {}
        """Of devices and namespaces: what has to do with them."""

    def __setitem__(self, key: Key, obj: Object) -> None:
        old = self.get(key)
        if old is not obj:
            if old is not None:
                self._drop(key, old)
            self._add(key, obj)
            super().__setitem__(key, obj)

    def __delitem__(self, key: Key) -> None:
        self.pop(key)

    def pop(self, key: Key, default: Any = None) -> Any:
        """`default` also where nothing else is said: nobody asks for what has to be there."""
        if key in self:
            self._drop(key, self[key])
        return super().pop(key, default)

    def update(self, others: Mapping[Key, Object]) -> None:  # type: ignore[override] # no more is needed
        for key, obj in others.items():
            if self.get(key) is not obj:
                self[key] = obj

    def become(self, objects: Mapping[Key, Object]) -> None:
        """From now on it is these. Most are the very same as before, and cost no more than a look."""
        for key in [key for key in self if key not in objects]:
            self.pop(key)
        self.update(objects)

    def fall(self, hosts: Set[Key]) -> set[Key]:
        """`hosts` and what vanishes with them."""
        if any(host[0] not in _FOUND_BY for host in hosts):
            return relations.fall(hosts, self)
        fallen, left = set(hosts), list(hosts)
        while left:
            host = left.pop()
            for key in self._on.get(host, ()):
                if key not in fallen and host in relations.hosts_of(self[key]):
                    fallen.add(key)
                    if key[0] in CARRIERS:
                        left.append(key)
        return fallen

    def losing(self, fallen: Set[Key]) -> dict[Key, Object]:
        """Those that stay, but not as they are, when others have fallen: what is left of each."""
        near = {key for host in fallen for key in self._on.get(host, ()) if key in self}
        return relations.losing(fallen, {key: self[key] for key in near})

    def _add(self, key: Key, obj: Object) -> None:
        for host in _near(obj):
            self._on.setdefault(host, set()).add(key)

    def _drop(self, key: Key, obj: Object) -> None:
        for host in _near(obj):
            on = self._on[host]
            on.discard(key)
            if not on:
                del self._on[host]


def _near(obj: Object) -> Iterator[Key]:
    """Devices and namespaces with which it has to do, each once."""
    hosts: Iterable[Key] = relations.hosts_of(obj)
    needed = [key for key in relations.needs(obj) if key not in hosts] if obj.kind == "link" else ()
    return (key for key in (*hosts, *needed) if key[0] in _FOUND_BY)
