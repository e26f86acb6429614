"""Tunnels that a program carries: lines of the files that it goes by. They are no worse for the device's going, so they do not
stand on it; but they are made after it, and go before."""

from __future__ import annotations

from weft.hoststate import Key, Tunnel, TunnelPrefix
from weft.reconcile.kinds.kind import Kind, on_device
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.tunnel import table

FOLDER = f"/run/weft/{table.FOLDER}"


def _tunnel(op: Op, obj: Tunnel) -> list[str]:
    file = f"{FOLDER}/{obj.dev}"
    line = table.first_line(obj.local, obj.port, obj.mtu)
    match op:
        case Create():
            return [run_in(obj.ns, f"mkdir -p {FOLDER}"), run_in(obj.ns, f"echo '{line}' > {file}")]
        case Change():
            return [run_in(obj.ns, f"sed -i '1c {line}' {file}")]
        case Remove():
            return [run_in(obj.ns, f"rm {file}")]


def _prefix(op: Op, obj: TunnelPrefix) -> list[str]:
    file, line = f"{FOLDER}/{obj.dev}", table.line(obj.prefix, obj.remote)
    match op:
        case Create():
            return [run_in(obj.ns, f"echo '{line}' >> {file}")]
        case Change():
            return [run_in(obj.ns, f"sed -i '\\|^prefix {obj.prefix} |c {line}' {file}")]
        case Remove():
            return [run_in(obj.ns, f"sed -i '\\|^prefix {obj.prefix} |d' {file}")]


def _needs(obj: TunnelPrefix) -> tuple[Key, ...]:
    return (*on_device(obj), ("tunnel", obj.ns, obj.dev))


TUNNEL = Kind(of=Tunnel, commands=_tunnel, needs=on_device, told="never")
PREFIX = Kind(
    of=TunnelPrefix,
    commands=_prefix,
    words=lambda rest: f"{rest[1]} by {rest[0]}",
    needs=_needs,
    told="never",
)
