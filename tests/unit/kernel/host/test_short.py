"""What programs repeat at the moment: entries that have not ended, of the generation that counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.bpf.layout import KEY4, KEY6, Entry
from weft.hoststate import HOST
from weft.kernel.host import fastpath
from weft.kernel.host.short import Direction, Short
from weft.kernel.kinds import bpf_names

WEB, DB = bytes((10, 1, 0, 2)), bytes((10, 1, 0, 3))
WEB6, DB6 = bytes(15) + b"\2", bytes(15) + b"\3"
SOON = 1 << 62
GENERATION = 7


def entry(until: int = SOON, generation: int = GENERATION, slot: int = 0) -> Entry:
    return Entry(until, generation, 3, 4, 0, 1500, bytes(14), slot)


KEPT = {
    4: [
        (KEY4.pack(WEB, DB, 40_000, 80, 6), entry()),
        (KEY4.pack(DB, WEB, 80, 40_000, 6), entry(slot=1)),
        (KEY4.pack(WEB, DB, 40_001, 80, 6), entry(until=time.monotonic_ns() - 1)),
        (KEY4.pack(WEB, DB, 40_002, 80, 6), entry(generation=GENERATION - 1)),
    ],
    6: [(KEY6.pack(WEB6, DB6, 0, 0, 0), entry(slot=9))],
}


def test_entries_that_count_with_their_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def entries(ns: str, family: int, run: Path) -> Iterator[tuple[bytes, Entry]]:
        assert (ns, run) == (HOST, tmp_path)
        return iter(KEPT[family])

    monkeypatch.setattr(fastpath, "entries", entries)
    monkeypatch.setattr(bpf_names, "slots", lambda _: {"blue": 0, "red": 1})
    monkeypatch.setattr(bpf_names, "control", lambda _: (GENERATION, 0))
    assert Short(tmp_path).repeated(HOST) == {
        Direction(6, WEB, DB, 40_000, 80): "blue",
        Direction(6, DB, WEB, 80, 40_000): "red",
        Direction(0, WEB6, DB6): "",
    }


def test_a_host_without_any_has_nothing(tmp_path: Path) -> None:
    short = Short(tmp_path)
    assert (list(short.spaces()), short.counts(HOST), short.repeated(HOST)) == ([], {}, {})
