"""All kinds of faults that Weft can name, by group: what users see, how it shows, what mends it.

The walk (`Outcome.fault`), the doctor (`Finding.fault`) and watched packets name kinds by their id. docs/faults.md is made
from this table.
"""

from __future__ import annotations

from weft.faults.kind import Kind
from weft.faults.kinds import devices, filters, hosts, routes, tunnels

GROUPS: dict[str, tuple[Kind, ...]] = {
    "Devices, bridges and neighbours": devices.KINDS,
    "Addresses and routes": routes.KINDS,
    "Tunnels and the wire between hosts": tunnels.KINDS,
    "Filters, NAT and conntrack": filters.KINDS,
    "Sockets, services and hosts": hosts.KINDS,
}

KINDS: dict[str, Kind] = {kind.id: kind for kinds in GROUPS.values() for kind in kinds}


def by_drop(reason: str, function: str) -> tuple[Kind, ...]:
    """Kinds that a drop with this reason (as the kernel's enum skb_drop_reason names it, without SKB_DROP_REASON_) in this
    function is evidence of: those that name both, before those that name one of them."""
    found = [
        (bool(wanted_reason) + bool(wanted_function), kind)
        for kind in KINDS.values()
        for wanted_reason, wanted_function in kind.drops
        if wanted_reason in ("", reason) and wanted_function in ("", function)
    ]
    best = max((weight for weight, _ in found), default=0)
    return tuple(dict.fromkeys(kind for weight, kind in found if weight == best))
