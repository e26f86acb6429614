"""Audit of names: claims and endpoints that do not agree with each other. Pure, as `weft.ipam.audit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from weft.cluster.footprint import holder
from weft.ipam.audit import Audit, Fault, Fix, as_seen, seen
from weft.model import Endpoint, keys
from weft.store.protocol import Absent, Delete, Item, Put


def faults(audit: Audit) -> Iterator[Fault]:
    called = defaultdict[str, list[tuple[Endpoint, Item]]](list)
    for endpoint, item in audit.endpoints:
        called[keys.name_claim(endpoint.network, endpoint.name)].append((endpoint, item))
    for key, item in audit.names.items():
        if key not in called:
            yield _of_nobody(key, item)
    for key, found in called.items():
        if len(found) > 1:
            yield _duplicate(found)
        elif found[0][0].name_claimed and key not in audit.names:
            yield _unclaimed(audit, key, *found[0])


def _of_nobody(key: str, item: Item) -> Fault:
    _, _, network, name = key.split("/", 3)
    return Fault(
        network=network,
        kind="name-claim-without-endpoint",
        subject=name,
        node="",
        text=f"claimed for {item.value.decode(errors='replace')}, which is no endpoint of this name",
        witness=(seen(item),),
        fix=Fix((as_seen(item),), (Delete(item.key),)),
    )


def _duplicate(found: list[tuple[Endpoint, Item]]) -> Fault:
    first = found[0][0]
    nodes = ", ".join(sorted(e.node for e, _ in found))
    return Fault(
        network=first.network,
        kind="name-duplicate",
        subject=first.name,
        node="",
        text=f"endpoints on {nodes} have the same name: detach all but one and attach them with another --name",
        witness=tuple(seen(item) for _, item in found),
    )


def _unclaimed(audit: Audit, claim: str, endpoint: Endpoint, item: Item) -> Fault:
    return Fault(
        network=endpoint.network,
        kind="endpoint-without-name-claim",
        subject=endpoint.name,
        node=endpoint.node,
        text=f"{endpoint.name} has a name that others may be given",
        witness=(seen(item),),
        fix=audit.bound(endpoint.node, (Absent(claim), as_seen(item)), Put(claim, holder(endpoint))),
    )
