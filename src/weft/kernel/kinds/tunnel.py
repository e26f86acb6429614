"""What programs that carry tunnels go by: read and written as files, one for each device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from weft.base.errors import Failed
from weft.hoststate import HOST, Key, Object, Tunnel, TunnelPrefix
from weft.kernel.kinds.kind import Kind, Part, Phase, Work
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op, Remove
from weft.tunnel import table
from weft.tunnel.table import Table


def read(folder: Path) -> dict[Key, Object]:
    """What is no table is as if it were not there. Raises Failed."""
    found: dict[Key, Object] = {}
    try:
        for path in table.files(folder):
            with suppress(FileNotFoundError, ValueError):
                for obj in _objects(path.name, table.read(path)):
                    found[obj.key] = obj
    except OSError as error:
        raise Failed(f"cannot read {folder}: {error.strerror}") from None
    return found


def _objects(dev: str, known: Table) -> Iterator[Tunnel | TunnelPrefix]:
    yield Tunnel(dev=dev, local=known.local, port=known.port, mtu=known.mtu)
    yield from (TunnelPrefix(dev=dev, prefix=prefix, remote=remote) for prefix, remote in known.prefixes.items())


def apply(folder: Path, ops: Sequence[Op]) -> Iterator[Failure]:
    """Each file once, as a whole."""
    by_device: dict[str, list[Op]] = {}
    for op in ops:
        by_device.setdefault(_of(op).dev, []).append(op)
    for dev, group in by_device.items():
        try:
            _rewrite(folder / dev, group)
        except OSError as error:
            why = f"cannot write {folder / dev}: {error.strerror}"
            yield from (Failure(_of(op).key, f"{describe(_of(op).key)}: {why}") for op in group)


def _rewrite(path: Path, ops: Sequence[Op]) -> None:
    """Raises OSError."""
    known: Table | None = None
    with suppress(FileNotFoundError, ValueError):
        known = table.read(path)
    prefixes = dict(known.prefixes) if known else {}
    for op in ops:
        obj = _of(op)
        if isinstance(obj, Tunnel):
            gone = isinstance(op, Remove)
            known = None if gone else Table(obj.local, obj.port, obj.mtu)
        elif isinstance(op, Remove):
            prefixes.pop(obj.prefix, None)
        else:
            prefixes[obj.prefix] = obj.remote
    if known is None:
        table.remove(path)
        return
    table.write(path, known._replace(prefixes=prefixes))


def _of(op: Op) -> Tunnel | TunnelPrefix:
    obj = op.new if isinstance(op, Change) else op.obj
    assert isinstance(obj, Tunnel | TunnelPrefix)
    return obj


def kinds(folder: Path) -> tuple[Kind, ...]:
    """They are in the host's own namespace only."""

    def ask(ns: str, _wanted: Sequence[Object]) -> Mapping[Key, Object]:
        return read(folder) if ns == HOST else {}

    def write(_work: Work, ops: Sequence[Op]) -> Iterator[Failure]:
        return apply(folder, ops)

    part, phase = Part("tunnels", ask), Phase("tunnels", write)
    return (Kind(name="tunnel", phase=phase, part=part), Kind(name="tunnel-prefix", phase=phase, part=part))
