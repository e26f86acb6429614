"""What bridges show to rules. It comes before the bridge's ports, so that no packet of theirs goes past the rules."""

from __future__ import annotations

from weft.hoststate import BridgeFilter, Key
from weft.reconcile.kinds.kind import Kind, link_key, on_device
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Op, Remove


def _commands(op: Op, obj: BridgeFilter) -> list[str]:
    v4, v6 = (obj.ipv4, obj.ipv6) if not isinstance(op, Remove) else (False, False)
    return [run_in(obj.ns, f"ip link set dev {obj.dev} type bridge nf_call_iptables {v4:d} nf_call_ip6tables {v6:d}")]


def _joins(obj: BridgeFilter) -> tuple[Key, int]:
    """After a new bridge, before devices that become its ports."""
    return link_key(obj.ns, obj.dev), 1


BRIDGE_FILTER = Kind(
    of=BridgeFilter, commands=_commands, words=lambda rest: f"of {rest[0]}", hosts=on_device, joins=_joins
)
