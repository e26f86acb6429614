"""What a host knows of the others when it is started again."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from weft.base.errors import Failed
from weft.mesh.swim import kept


def test_what_is_written_is_read(tmp_path: Path) -> None:
    others = kept.those([("node-3", ip_address("fd00::3"), 6785), ("node-2", ip_address("10.0.0.2"), 6785)])
    written = kept.Kept(instance="a" * 16, members=others)
    kept.write(tmp_path / "mesh", written)
    assert kept.read(tmp_path / "mesh") == written
    assert written.places == [("10.0.0.2", 6785), ("fd00::3", 6785)]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / kept.FILE).write_text('{"instance": "a", "members": [{"name": "x", "address": "nowhere", "port": 1}]}')
    with pytest.raises(Failed, match=r"members\.json cannot be read"):
        kept.read(tmp_path)
