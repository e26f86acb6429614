"""Open vSwitch's database, asked over its socket: JSON-RPC as RFC 7047 has it. Of its methods Weft needs one.

The messages are JSON values, one behind the other, with nothing between them.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weft.base.errors import Denied, Failed, Unsupported

DATABASE: Final = "Open_vSwitch"
TIMEOUT: Final = 10.0
"""Seconds for an answer."""
_CHUNK = 1 << 16

Row = Mapping[str, Any]
Operation = Mapping[str, Any]


def path() -> Path:
    """Of its socket: where Open vSwitch's own tools look for it (ovs-vsctl(8))."""
    return Path(os.environ.get("OVS_RUNDIR") or "/var/run/openvswitch", "db.sock")


def answers() -> bool:
    """Whether there is an Open vSwitch on this host, and runs."""
    try:
        with Ovsdb():
            return True
    except (Unsupported, Denied, Failed):
        return False


class Ovsdb:
    """One connection. Raises Unsupported (it does not run), Denied, Failed."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout)
        self._id = 0
        try:
            self._sock.connect(str(path()))
        except PermissionError:
            self._sock.close()
            raise Denied(f"no permission to speak to Open vSwitch at {path()}: run as root") from None
        except OSError as error:
            self._sock.close()
            why = f"Open vSwitch does not answer at {path()} ({error.strerror or error})"
            raise Unsupported(f"{why}: start it (systemctl start openvswitch-switch)") from None

    def __enter__(self) -> Ovsdb:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def transact(self, *operations: Operation) -> list[Row]:
        """All of them or none (RFC 7047 section 4.1.3). What each had to say."""
        results = self._call("transact", [DATABASE, *operations])
        try:
            for result in results:
                if result is not None and "error" in result:
                    raise Failed(f"Open vSwitch refused: {result.get('details') or result['error']}")
            return list(results)
        except (TypeError, AttributeError):
            raise unreadable() from None

    def _call(self, method: str, params: Sequence[Any]) -> Any:
        self._id += 1
        try:
            self._sock.sendall(json.dumps({"method": method, "params": params, "id": self._id}).encode())
            answer = self._answer()
        except OSError as error:
            raise Failed(f"Open vSwitch at {path()}: {error.strerror or 'no answer'}") from None
        if (refusal := answer.get("error")) is not None:
            said = refusal.get("details") or refusal.get("error") if isinstance(refusal, dict) else refusal
            raise Failed(f"Open vSwitch refused: {said}")
        if "result" not in answer:
            raise unreadable()
        return answer["result"]

    def _answer(self) -> Row:
        """The next message. (The server itself asks nothing on a local socket.)"""
        data = b""
        while True:
            more = self._sock.recv(_CHUNK)
            if not more:
                raise Failed(f"Open vSwitch at {path()} hung up")
            data += more
            if data.endswith(b"}"):
                try:
                    answer: Row = json.loads(data)
                except ValueError:
                    continue  # a brace within
                return answer


def unreadable() -> Failed:
    return Failed(
        f"what answers at {path()} does not speak as Open vSwitch's database: see who listens there (ss -xlp)"
    )


def select(table: str, *columns: str) -> Operation:
    """All rows of a table."""
    return {"op": "select", "table": table, "where": [], "columns": [*columns]}


def as_map(pairs: Mapping[str, str]) -> list[Any]:
    """As a value of a column of that type (RFC 7047 section 5.1)."""
    return ["map", [[name, value] for name, value in pairs.items()]]


def of_map(value: Sequence[Any]) -> dict[str, str]:
    return dict(value[1])


def of_set(value: Sequence[Any]) -> list[Any]:
    """A set with one element is that element."""
    return list(value[1]) if value and value[0] == "set" else [value]
