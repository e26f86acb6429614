"""What answers at the socket of Open vSwitch's database, and is not it."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from weft.base.errors import Failed
from weft.kernel.kinds import ovs

ANSWERS: list[Any] = [
    {},
    {"id": 1, "result": None, "error": None},
    {"id": 1, "result": [], "error": None},
    {"id": 1, "result": [1, 2, 3], "error": None},
    {"id": 1, "result": [{}, {}, {}], "error": None},
    {"id": 1, "result": [{"rows": [{"name": "br-int"}]}, {"rows": []}, {"rows": []}], "error": None},
    {"id": "echo", "method": "echo", "params": []},
]


def _answer(server: socket.socket, answer: Any) -> None:
    with server, server.accept()[0] as asking:
        asking.recv(1 << 16)
        asking.sendall(json.dumps(answer).encode())


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_an_answer_that_is_not_open_vswitchs(answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "db.sock"))
        server.listen()
        server.settimeout(10)
        thread = threading.Thread(target=_answer, args=(server, answer))
        thread.start()
        with (
            ovs.Ovsdb() as db,
            pytest.raises(Failed, match=r"what answers at .*/db\.sock does not speak as Open vSwitch"),
        ):
            ovs._look(db)
        thread.join(10)
