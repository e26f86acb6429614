"""What a newer version wrote and this one does not know is told."""

from __future__ import annotations

import logging
from ipaddress import ip_interface
from pathlib import Path

import msgspec
import pytest

from support.agents import network
from weft.agent import versions
from weft.cluster.view import View
from weft.model import Node, encode, keys
from weft.store.protocol import Change


def test_order_of_versions() -> None:
    assert versions.is_newer("0.10.0", "0.9.2") and versions.is_newer("1.0.0", "0.9.2+3")
    assert not versions.is_newer("0.9.2", "0.9.2")
    assert not versions.is_newer("", "0.1.0") and not versions.is_newer("banana", "0.1.0")


def test_a_host_that_goes_back_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING):
        versions.note_start(tmp_path)
        versions.note_start(tmp_path)
        assert not caplog.messages
        (tmp_path / versions.FILE).write_text("99.1.0\n")
        versions.note_start(tmp_path)
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("this host ran Weft 99.1.0 before")
    versions.note_start(tmp_path)
    assert len(caplog.messages) == 1


def _newer(value: object) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(encode(value)), "offload": "off"})


def test_fields_without_effect_are_named_with_who_knows_them() -> None:
    view = View("node-1")
    other = Node(name="node-2", addresses=(ip_interface("192.168.1.2/24"),), uplink="eth0", version="99.1.0")
    view.apply(
        [
            Change(keys.network("blue"), _newer(network("blue")), 1),
            Change(keys.network("red"), _newer(network("red")), 2),
            Change(keys.node("node-2"), _newer(other), 3),
            Change(keys.network("green"), b"{}", 4),
        ]
    )
    [note] = versions.notes(view)
    assert note.startswith("networks: 2 records have the field offload, which Weft ")
    assert note.endswith("it stays, and has no effect on this host; node-2 runs 99.1.0")
    assert versions.hint(view) == " (did a newer Weft write it?; node-2 runs 99.1.0)"
    assert list(view.broken) == [keys.network("green")]


def test_nothing_is_said_where_all_is_known() -> None:
    view = View("node-1")
    view.apply([Change(keys.network("blue"), encode(network("blue")), 1)])
    assert (list(versions.notes(view)), versions.hint(view)) == ([], "")
