"""Audit of floating addresses: claims and endpoints that do not agree with each other. Pure, as `weft.ipam.audit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from weft.base.net import IPAddress
from weft.cluster.footprint import holder
from weft.ipam.audit import Audit, Fault, Fix, as_seen, seen
from weft.model import Endpoint, keys
from weft.store.protocol import Absent, Delete, Item, Put


def faults(audit: Audit) -> Iterator[Fault]:
    holders = defaultdict[IPAddress, list[tuple[Endpoint, Item]]](list)
    for endpoint, item in audit.endpoints:
        for address in endpoint.floating:
            holders[address].append((endpoint, item))
    for address, item in audit.floating.items():
        if address not in holders:
            yield _of_nobody(address, item)
    for address, found in holders.items():
        if len(found) > 1:
            yield _duplicate(address, found)
        elif address not in audit.floating:
            yield _unclaimed(audit, address, *found[0])


def _of_nobody(address: IPAddress, item: Item) -> Fault:
    return Fault(
        network="",
        kind="floating-claim-without-endpoint",
        subject=str(address),
        node="",
        text=f"claimed for {item.value.decode(errors='replace')}, which is no endpoint with this floating address",
        witness=(seen(item),),
        fix=Fix((as_seen(item),), (Delete(item.key),)),
    )


def _duplicate(address: IPAddress, found: list[tuple[Endpoint, Item]]) -> Fault:
    names = ", ".join(f"{e.name} on {e.node}" for e, _ in found)
    return Fault(
        network="",
        kind="floating-duplicate",
        subject=str(address),
        node="",
        text=f"{names} have the same floating address: `weft endpoint unfloat` takes it from all but one",
        witness=tuple(seen(item) for _, item in found),
    )


def _unclaimed(audit: Audit, address: IPAddress, endpoint: Endpoint, item: Item) -> Fault:
    claim = keys.floating_claim(address)
    return Fault(
        network=endpoint.network,
        kind="endpoint-without-floating-claim",
        subject=str(address),
        node=endpoint.node,
        text=f"{endpoint.name} has a floating address that others may be given",
        witness=(seen(item),),
        fix=audit.bound(endpoint.node, (Absent(claim), as_seen(item)), Put(claim, holder(endpoint))),
    )
