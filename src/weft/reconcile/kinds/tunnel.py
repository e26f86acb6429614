"""Tunnels that a program carries: lines of the files that it goes by. They are no worse for the device's going, so they do not
stand on it; but they are made after it, and go before."""

from __future__ import annotations

import msgspec

from weft.hoststate import Key, Sleeve, SleeveHost, SleeveStation, Tunnel, TunnelPrefix
from weft.hoststate.paths import ALL
from weft.reconcile.kinds.kind import Kind, on_device, within
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.tunnel import sleeve, table

FOLDER = f"/run/weft/{table.FOLDER}"
_MAKE = f"mkdir -p {FOLDER}"


def line_of(obj: Tunnel | TunnelPrefix | Sleeve | SleeveStation | SleeveHost) -> str:
    """As it is in its file."""
    match obj:
        case Tunnel():
            return table.first_line(obj.local, obj.port, obj.mtu)
        case TunnelPrefix():
            return table.line(obj.prefix, obj.remote)
        case Sleeve():
            return sleeve.first_line(obj.network, obj.number, obj.local, obj.port, obj.mtu, obj.encrypted)
        case SleeveStation():
            return sleeve.station(obj.mac, sleeve.Station(obj.number, obj.direct))
        case SleeveHost():
            return sleeve.host(obj.number, sleeve.Place(obj.remote, obj.via, obj.mtu))


def _first(op: Op, obj: Tunnel | Sleeve) -> list[str]:
    file, line = f"{FOLDER}/{obj.dev}", line_of(obj)
    match op:
        case Create():
            return [run_in(obj.ns, _MAKE), run_in(obj.ns, f"echo '{line}' > {file}")]
        case Change():
            return [run_in(obj.ns, f"sed -i '1c {line}' {file}")]
        case Remove():
            return [run_in(obj.ns, f"rm {file}")]


def _further(op: Op, obj: TunnelPrefix | SleeveStation | SleeveHost) -> list[str]:
    """The words that its line begins with are what it is told apart by."""
    words = 3 if isinstance(obj, SleeveStation) and obj.mac == ALL else 2
    begin = " ".join(line_of(obj).split()[:words])
    name = sleeve.HOSTS if isinstance(obj, SleeveHost) else obj.dev
    file = f"{FOLDER}/{name}"
    match op:
        case Create():
            make = [run_in(obj.ns, _MAKE)] if isinstance(obj, SleeveHost) else []
            return [*make, run_in(obj.ns, f"echo '{line_of(obj)}' >> {file}")]
        case Change():
            return [run_in(obj.ns, f"sed -i '\\|^{begin}\\b|c {line_of(obj)}' {file}")]
        case Remove():
            return [run_in(obj.ns, f"sed -i '\\|^{begin}\\b|d' {file}")]


def _under(kind: str, obj: TunnelPrefix | SleeveStation) -> tuple[Key, ...]:
    return (*on_device(obj), (kind, obj.ns, obj.dev))


TUNNEL = Kind(of=Tunnel, commands=_first, needs=on_device, told="never")
PREFIX = Kind(
    of=TunnelPrefix,
    commands=_further,
    words=lambda rest: f"{rest[1]} by {rest[0]}",
    needs=lambda obj: _under("tunnel", obj),
    told="never",
)
SLEEVE = msgspec.structs.replace(TUNNEL, of=Sleeve)
STATION = Kind(
    of=SleeveStation,
    commands=_further,
    words=lambda rest: " ".join((rest[1], "by", rest[0], *rest[2:])),
    needs=lambda obj: _under("sleeve", obj),
    told="never",
)
HOST = Kind(of=SleeveHost, commands=_further, needs=within, told="never")
