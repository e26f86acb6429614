"""Flowtables of ours made to forget what is in them (linux/netfilter/nf_tables.h).

The kernel asks no rule about a connection that is in a flowtable, and lets nobody take a single one out. So the flowtable is
made anew, with all its devices, in one transaction with the rules that add to it: no packet is lost, since those that find no
flowtable go the ordinary way. There each connection is asked about again, and what may go on is added again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import msgspec

from weft.base.errors import Failed
from weft.hoststate import NftFlowDevice, NftFlowtable
from weft.hoststate.firewall import Table
from weft.kernel.kinds import nft_wire
from weft.kernel.kinds.nft_wire import Adding
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message
from weft.kernel.plumbing.nfnl import Nftables
from weft.kernel.plumbing.tools import Started

Listed = tuple[NftFlowtable, list[NftFlowDevice]]
_TRIES = 10
_MEANWHILE = errno.ERESTART, errno.ENOENT, errno.ENODEV
"""Others changed rules, a device ended."""


def forget(ns: str, started: Started = lambda _port: None) -> None:
    """Of a namespace; nothing where there is no flowtable of ours. `started` is told the port of the socket by which it is
    done. Blocks. Raises Denied, Failed; NotFound where the namespace is gone."""

    def inside() -> None:
        with Nftables() as kernel:
            started(kernel.port)
            renew(kernel)

    netns.call(ns, inside)


def renew(kernel: Nftables) -> None:
    """The same, of the namespace that `kernel` speaks to. Raises Failed."""
    why = ""
    for _ in range(_TRIES):
        generation = kernel.generation()
        found = listed(kernel) if generation is not None else []
        refused = kernel.transaction(list(_anew(kernel, found)), generation) if found else []
        if not refused:
            return
        why = refused[0][1].text
        if refused[0][1].errno not in _MEANWHILE:
            break
    raise Failed(f"flowtables cannot be emptied: {why}")


def listed(kernel: Nftables) -> list[Listed]:
    """All of ours, with their devices. None where the kernel has no flowtables."""

    def decode(data: bytes, start: int, end: int) -> Listed | None:
        return nft_wire.decode_flowtable(data, start, end, "")

    return kernel.dump(u.NFT_MSG_GETFLOWTABLE, nft_wire.all_flowtables(), decode)


def _anew(kernel: Nftables, found: Sequence[Listed]) -> Iterator[Message]:
    tables = dict.fromkeys(flowtable.table for flowtable, _ in found)
    places = [place for table in tables for place in _adding(kernel, table)]
    yield from (nft_wire.del_rule(place) for place in places)
    yield from (nft_wire.del_flowtable(flowtable) for flowtable, _ in found)
    for flowtable, devices in found:
        yield nft_wire.new_flowtable(flowtable)
        yield from (nft_wire.flow_device(device, new=True) for device in devices)
    yield from (nft_wire.new_rule(place) for place in reversed(places))  # several in a row go behind the same one


def _adding(kernel: Nftables, table: Table) -> Iterable[Adding]:
    """The rules that add to a flowtable, in their order."""
    after: dict[str, int] = {}
    request = nft_wire.all_of(table.family)
    for rule in kernel.dump(u.NFT_MSG_GETRULE, request, partial(nft_wire.decode_adding, table=table)):
        if rule.expressions:
            yield msgspec.structs.replace(rule, after=after.get(rule.chain, 0))
        else:
            after[rule.chain] = rule.handle
