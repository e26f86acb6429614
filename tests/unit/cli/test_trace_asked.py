"""Whom `weft trace` asks where the agent, or its store, cannot tell: this host alone, and it says so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import typer

from weft.base.errors import NotFound, Unavailable
from weft.cli import trace_asked
from weft.trace.collect import Agent
from weft.trace.path import Trace

SILENT = "etcd at 192.168.1.1:2379: Deadline Exceeded"


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    """An agent whose store does not answer."""
    agent = SimpleNamespace()
    monkeypatch.setattr(trace_asked, "client", lambda ctx: agent)
    monkeypatch.setattr(trace_asked, "session", lambda ctx: SimpleNamespace(socket=""))
    monkeypatch.setattr(trace_asked, "Hosts", lambda *told, **more: SimpleNamespace(notes=()))
    return agent  # type: ignore[return-value]


def test_a_name_that_this_host_does_not_know_may_be_others(silent: Agent) -> None:
    def follow(agent: Agent) -> Trace:
        raise Unavailable(SILENT) if agent is silent else NotFound("web is no service")

    with pytest.raises(NotFound, match=f"web is no service; only this host was looked at: {SILENT}"):
        trace_asked.asked(typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None))), (), (), follow)
