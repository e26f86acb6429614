"""What others decided inside a container's namespace, after Weft had made its interface.

A container engine calls several plugins one after the other, and a container may set sysctls of its own. What they did to our
interface is wanted, and to put it back would be to undo it. It is told from damage by what it leaves behind:

- a route of ours that is gone from the main table and stands in another one was moved there (CNI's plugins sbr and vrf do so,
  with our mark on some of them);
- an address or a route of IPv6 cannot stand on a device whose sysctl disable_ipv6 somebody has set;
- a sysctl that is set only when its device is made is not looked at once that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from weft.hoststate import HOST, PROTO, Key, Object, Route
from weft.hoststate.paths import MAIN, is_own_table
from weft.kernel.plumbing.spaces import Space
from weft.reconcile.kinds.table import KINDS


class Decided:
    """Collected during one reading."""

    def __init__(self) -> None:
        self._moved: set[Key] = set()
        self._ipv6_off: set[tuple[str, str]] = set()
        """(namespace, device)"""

    def elsewhere(self, route: Route, desired: Mapping[Key, Object]) -> bool:
        """Whether it is somebody else's: without our mark, or a copy of one of ours in another table than ours are in."""
        if is_own_table(route.table) or route.key in desired:
            return route.proto != PROTO
        if route.ns != HOST:
            self._moved.add(msgspec.structs.replace(route, table=MAIN).key)
        return True

    def look_at(self, space: Space) -> None:
        if space.ns != HOST:
            self._ipv6_off.update((space.ns, d.name) for d in space.devices().values() if d.marked and d.ipv6_off)

    def waived(self, desired: Mapping[Key, Object], objects: Mapping[Key, Object]) -> dict[Key, str]:
        """What of `desired` is not in `objects` and need not be, and why, where users should know."""
        return dict(self._waived(desired, objects))

    def _waived(self, desired: Mapping[Key, Object], objects: Mapping[Key, Object]) -> Iterator[tuple[Key, str]]:
        yield from ((key, "") for key in self._moved if key in desired and key not in objects)
        for key, obj in desired.items():
            if key in objects:
                continue
            kind = KINDS[key[0]]
            if (maker := kind.settled_with(obj)) is not None and maker in objects:
                yield key, ""
            elif self._ipv6_off and (dev := kind.ipv6_on(obj)) and (obj.ns, dev) in self._ipv6_off:
                yield key, f"IPv6 is switched off on {dev} (sysctl net.ipv6.conf.{dev}.disable_ipv6)"
