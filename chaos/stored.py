"""The store's keys against the model: what is claimed is in use, and nothing is left of what was removed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator

from chaos.model import HOSTS, Model
from chaos.world import World
from weft.model import claims, keys

_ROOT = "weft/"
_NETWORK_AT = {keys.NETWORKS: 0, keys.LEASES: 0, keys.LOCATIONS: 0, keys.CURSORS: 1}
"""Where in a key's path after its kind the network is named."""


def dump(world: World) -> dict[str, bytes]:
    """Everything in the store, by key."""
    said = json.loads(world.etcdctl("get", "--prefix", "", "-w", "json"))
    found = {}
    for item in said.get("kvs", ()):
        key = base64.b64decode(item["key"]).decode().strip("/")
        found[key.removeprefix(_ROOT)] = base64.b64decode(item.get("value", ""))
    return found


def stored(world: World, model: Model) -> Iterator[str]:
    kept = dump(world)
    records = Counter(tuple(key.split("/")[1:3]) for key in kept if key.startswith(keys.ENDPOINTS))
    wanted = Counter((box.host, box.net) for box in model.boxes.values())
    for node, net in wanted | records:
        if wanted[node, net] != records[node, net]:
            yield f"store: {records[node, net]} records for {wanted[node, net]} containers of {net} on {node}"
    yield from (f"store: {key} is left over" for key, value in kept.items() if left_over(key, value, model))
    yield from _addresses(world, kept, model)


def left_over(key: str, value: bytes, model: Model) -> bool:
    """Whether it is of a network or a node that there is no more. Addresses that cool down free themselves."""
    kind, *parts = key.split("/")
    if f"{kind}/" == keys.NODES:
        return parts[0] not in HOSTS
    at = _NETWORK_AT.get(f"{kind}/")
    if kind == "claims" and parts[0] in ("addresses", "subnets"):
        at = 1 if not claims.is_passing(value) else None
    return at is not None and parts[at] not in model.nets


def _addresses(world: World, kept: dict[str, bytes], model: Model) -> Iterator[str]:
    """Each address and floating address that is claimed belongs to a container."""
    found = world.client(HOSTS[0]).endpoints()
    used = {keys.address_claim(e.network, a.ip) for e in found for a in e.addresses}
    used |= {keys.floating_claim(a) for e in found for a in e.floating}
    for key, value in kept.items():
        if key.startswith(("claims/addresses/", keys.FLOATING)) and key not in used and not claims.is_passing(value):
            yield f"store: {key} is claimed for {value.decode(errors='replace')}, which is no container's"
    floating = {keys.floating_claim(a) for b in model.boxes.values() for a in b.floating_addresses}
    yield from (f"store: {key} is not claimed" for key in floating - kept.keys())
