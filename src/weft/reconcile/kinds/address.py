"""Addresses, with the routes that the kernel makes of them by itself."""

from __future__ import annotations

from functools import partial

import msgspec

from weft.hoststate import PROTO, Address
from weft.hoststate.connected import Connected, connected
from weft.hoststate.paths import MAIN
from weft.reconcile.kinds.kind import Kind, on_device
from weft.reconcile.kinds.shell import join, run_in
from weft.reconcile.protocol import Change, Create, Op, Remove


def _commands(op: Op, obj: Address) -> list[str]:
    """Commands cannot say Weft's mark (`ip address add … proto 87` came with iproute2 6.4): what is made by hand lacks it."""
    v6 = ":" in obj.address
    if isinstance(op, Change):
        made = msgspec.structs.replace(obj, routed=True)
        if v6:
            return [*_commands(Remove(made), made), *_commands(Create(made), made)]
        return [
            *map(partial(_connected, obj), connected(obj)),
            run_in(obj.ns, f"ip address replace {obj.address} dev {obj.dev}"),
        ]
    made_already = obj.address.startswith("fe80:")  # by the kernel, as soon as the device has a carrier
    verb = "del" if isinstance(op, Remove) else "replace" if made_already else "add"
    nodad = "nodad" if v6 and isinstance(op, Create) else ""
    return [run_in(obj.ns, join(f"ip address {verb} {obj.address} dev {obj.dev}", nodad))]


def _connected(address: Address, route: Connected) -> str:
    """As the kernel makes it of a v4 address."""
    words = (
        "ip route append",
        route.type if route.type != "unicast" else "",
        f"{route.prefix} dev {address.dev} proto kernel scope {'host' if route.type == 'local' else 'link'}",
        f"src {address.address.partition('/')[0]}",
        f"table {route.table}" if route.table != MAIN else "",
    )
    return run_in(address.ns, join(*words))


ADDRESS = Kind(
    of=Address,
    commands=_commands,
    words=lambda rest: " on ".join(rest[::-1]),
    is_ours=lambda address: address.proto == PROTO,
    hosts=on_device,
    ipv6_on=lambda address: address.dev if ":" in address.address else "",
)
