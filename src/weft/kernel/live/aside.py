"""Packets of some addresses are kept off the short way while somebody looks at them: there neither rules nor captures see them.

Their addresses go into sets of Weft's own that the chain which lets flows take the short way asks first. The elements end by
themselves after the sets' timeout, so whoever is killed leaves none.
"""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from weft.base.errors import NotFound, WeftError
from weft.base.net import IPAddress, family
from weft.hoststate import NftElement, NftSet
from weft.hoststate.firewall import BRIDGE, INET, WATCHED, WATCHED_FOR, Table
from weft.kernel.kinds import nft_wire
from weft.kernel.plumbing import netns
from weft.kernel.plumbing.nfnl import Nftables

TABLES = INET, BRIDGE
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}


class Aside:
    """Of one host. `forget`: what goes a short way in a namespace is asked anew; blocks, raises WeftError."""

    def __init__(self, forget: Callable[[str], None]) -> None:
        self._forget = forget
        self._held: Counter[tuple[str, IPAddress]] = Counter()
        self._lock = threading.Lock()

    def put(self, spaces: Collection[str], addresses: Collection[IPAddress]) -> list[str]:
        """From when it returns their packets take the ordinary way in these namespaces. Why not, a sentence for each namespace
        where it is so. Blocks."""
        if not addresses:
            return []
        with self._lock:
            self._held.update((ns, address) for ns in spaces for address in addresses)
            return [line for ns in spaces for line in self._put(ns, addresses)]

    def _put(self, ns: str, addresses: Collection[IPAddress]) -> Iterator[str]:
        try:
            if netns.call(ns, lambda: _write(addresses, new=True)):
                self._forget(ns)
        except NotFound:
            return
        except WeftError as error:
            yield f"packets that take a short way in {ns or 'the host' + chr(39) + 's own namespace'}: {error}"

    def back(self, spaces: Collection[str], addresses: Collection[IPAddress]) -> None:
        """What was put aside before; what others still look at stays. Blocks."""
        if not addresses:
            return
        with self._lock:
            self._held.subtract((ns, address) for ns in spaces for address in addresses)
            for ns in spaces:
                free = [address for address in addresses if self._held[ns, address] <= 0]
                with suppress(WeftError):  # they end by themselves
                    netns.call(ns, lambda free=free: _write(free, new=False))  # type: ignore[misc] # mypy infers no type for the default
            self._held = +self._held


def _write(addresses: Collection[IPAddress], *, new: bool) -> bool:
    """In the thread's namespace. Whether there are such sets."""
    there = False
    with Nftables() as kernel:
        for table in TABLES:
            for address in addresses:
                there |= _one(kernel, table, address, new=new)
    return there


def _one(kernel: Nftables, table: Table, address: IPAddress, *, new: bool) -> bool:
    number = family(address)
    of = NftSet(name=WATCHED[number], type=(_TYPES[number],), timeout=WATCHED_FOR, table=table)
    element = NftElement(set=of.name, value=str(address), table=table)
    refused = kernel.transaction([nft_wire.elements(of, [nft_wire.encoder(of)(element)], new=new)], None)
    for _, refusal in refused:
        if refusal.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
            raise refusal
    return not refused
