from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.canned import ANSWERS, NOW
from support.canned_agent import CannedAgent, canned_agent
from weft.cli import main


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Weft = Callable[..., Ran]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedAgent]:
    with canned_agent(tmp_path / "weft.sock", ANSWERS) as running:
        monkeypatch.setenv("WEFT_SOCKET", running.socket)
        yield running


@pytest.fixture
def weft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Weft:
    """Runs the command in this process, as if on a terminal of 100 columns without colour."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("WEFT_DEBUG", raising=False)
    monkeypatch.setattr("weft.cli.output.time", SimpleNamespace(time=lambda: NOW + 0.5))

    def run(*argv: str) -> Ran:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout.isatty", lambda: True, raising=False)
            status = main(argv)
        out, err = capsys.readouterr()
        return Ran(status, out, err)

    return run
