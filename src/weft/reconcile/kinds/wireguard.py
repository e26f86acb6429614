"""WireGuard's devices as such, and their peers. No key but the public ones is ever shown."""

from __future__ import annotations

from weft.hoststate import WireguardEnd, WireguardPeer
from weft.reconcile.kinds.kind import Kind, on_device
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Op, Remove

HIDDEN = "'(hidden)'"


def _end(op: Op, obj: WireguardEnd) -> list[str]:
    if isinstance(op, Remove):
        return [run_in(obj.ns, f"wg set {obj.dev} listen-port 0 private-key /dev/null")]
    return [run_in(obj.ns, f"wg set {obj.dev} listen-port {obj.port} private-key {HIDDEN}")]


def _peer(op: Op, obj: WireguardPeer) -> list[str]:
    which = f"wg set {obj.dev} peer {obj.public}"
    if isinstance(op, Remove):
        return [run_in(obj.ns, f"{which} remove")]
    where = f"[{obj.endpoint}]" if ":" in obj.endpoint else obj.endpoint
    said = f"preshared-key {HIDDEN} endpoint {where}:{obj.port} allowed-ips {','.join(obj.allowed)}"
    return [run_in(obj.ns, f"{which} {said}")]


END = Kind(of=WireguardEnd, commands=_end, carries=True, hosts=on_device, told="never")
PEER = Kind(
    of=WireguardPeer,
    commands=_peer,
    words=lambda rest: f"{rest[1]} of {rest[0]}",
    hosts=on_device,
    needs=lambda obj: (*on_device(obj), ("wireguard", obj.ns, obj.dev)),
    told="never",
)
