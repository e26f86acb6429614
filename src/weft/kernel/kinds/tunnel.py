"""What programs that carry tunnels go by: read and written as files, one for each device, and one for where hosts are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from weft.base.errors import Failed
from weft.hoststate import HOST, Key, Object, Sleeve, SleeveHost, SleeveStation, Tunnel, TunnelPrefix
from weft.kernel.kinds.kind import Kind, Part, Phase, Work
from weft.reconcile.kinds.table import describe
from weft.reconcile.kinds.tunnel import line_of
from weft.reconcile.protocol import Change, Failure, Op, Remove
from weft.tunnel import sleeve, table

Line = Tunnel | TunnelPrefix | Sleeve | SleeveStation | SleeveHost
_KINDS: tuple[type[Line], ...] = (Tunnel, TunnelPrefix, Sleeve, SleeveStation, SleeveHost)
_FIRST = Tunnel | Sleeve


def read(folder: Path) -> dict[Key, Object]:
    """What is no table is as if it were not there. Raises Failed."""
    found: dict[Key, Object] = {}
    try:
        for path in table.files(folder):
            found |= _read(path)
    except OSError as error:
        raise Failed(f"cannot read {folder}: {error.strerror}") from None
    return found


def _read(path: Path) -> dict[Key, Line]:
    """Nothing of what is gone, or no table. Raises OSError."""
    with suppress(FileNotFoundError, ValueError):
        return {obj.key: obj for obj in _objects(path.name, path.read_text())}
    return {}


def _objects(name: str, text: str) -> Iterator[Line]:
    """Raises ValueError."""
    if name == sleeve.HOSTS:
        yield from (SleeveHost(number=n, **p._asdict()) for n, p in sleeve.parse_hosts(text).items())
    elif text.startswith(sleeve.FIRST):
        known = sleeve.parse(text)
        about = {key: value for key, value in known._asdict().items() if key != "stations"}
        yield Sleeve(dev=name, **about)
        for mac, stations in known.stations.items():
            yield from (SleeveStation(dev=name, mac=mac, **each._asdict()) for each in stations)
    else:
        tunnel = table.parse(text)
        yield Tunnel(dev=name, local=tunnel.local, port=tunnel.port, mtu=tunnel.mtu)
        yield from (TunnelPrefix(dev=name, prefix=prefix, remote=remote) for prefix, remote in tunnel.prefixes.items())


def apply(folder: Path, ops: Sequence[Op]) -> Iterator[Failure]:
    """Each file once, as a whole."""
    by_file: dict[str, list[Op]] = {}
    for op in ops:
        obj = _of(op)
        by_file.setdefault(sleeve.HOSTS if isinstance(obj, SleeveHost) else obj.dev, []).append(op)
    for name, group in by_file.items():
        try:
            _rewrite(folder / name, group)
        except OSError as error:
            why = f"cannot write {folder / name}: {error.strerror}"
            yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {why}") for op in group)


def _rewrite(path: Path, ops: Sequence[Op]) -> None:
    """Raises OSError."""
    known = _read(path)
    for op in ops:
        obj = _of(op)
        if isinstance(op, Remove):
            known.pop(obj.key, None)
        else:
            known[obj.key] = obj
    first = [obj for obj in known.values() if isinstance(obj, _FIRST)]
    others = [obj for obj in known.values() if not isinstance(obj, _FIRST)]
    if first or (others and path.name == sleeve.HOSTS):
        table.put(path, map(line_of, (*first, *others)))
    else:
        table.remove(path)


def _of(op: Op) -> Line:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, Line)
    return obj


def kinds(folder: Path) -> tuple[Kind, ...]:
    """They are in the host's own namespace only."""

    def ask(ns: str, _wanted: Sequence[Object]) -> Mapping[Key, Object]:
        return read(folder) if ns == HOST else {}

    def write(_work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
        return apply(folder, ops)

    part, phase = Part("tunnels", ask), Phase("tunnels", write)
    return tuple(Kind(name=kind.kind, phase=phase, part=part) for kind in _KINDS)
