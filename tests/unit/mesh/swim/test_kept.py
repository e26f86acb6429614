"""What a host knows of the others when it is started again."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from weft.base.errors import Failed
from weft.mesh.swim import kept
from weft.mesh.swim.wire import Alive


def claim(name: str, address: str) -> Alive:
    return Alive(name=name, uid="u", instance="i", incarnation=0, address=ip_address(address).packed, port=6785)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert kept.read(tmp_path) is None
    written = kept.Kept(instance="a" * 16).knowing([claim("node-3", "fd00::3"), claim("node-2", "10.0.0.2")])
    kept.write(tmp_path / "mesh", written)
    assert kept.read(tmp_path / "mesh") == written == written.knowing([])
    assert written.places == [("10.0.0.2", 6785), ("fd00::3", 6785)]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / kept.FILE).write_text('{"instance": "a", "members": [{"name": "x", "address": "nowhere", "port": 1}]}')
    with pytest.raises(Failed, match=r"members\.json cannot be read"):
        kept.read(tmp_path)
