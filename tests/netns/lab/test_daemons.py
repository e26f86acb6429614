"""Agents and etcd in a lab; the agent is a stand-in that answers GET /v1/status."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from support.labs import eventually, fake_agent
from weft.base.errors import Failed, NotFound, Unsupported
from weft.lab import Lab, flat


def test_agents_are_started_where_they_belong(base: Path) -> None:
    with Lab.up(flat(2), command=fake_agent) as lab:
        agent = lab.agent("node-2")
        assert lab.store == f"sqlite://{base}/default/store/weft.db"
        assert agent.log.read_text().startswith(f"agent node-2 {lab.store}\n")
        assert agent.answers(), "its socket is reached from outside of the host"
        process = agent.process()
        assert process and agent.process() == process
        with pytest.raises(NotFound, match="router runs no agent: those with one are node-1, node-2"):
            lab.agent("router")


def test_an_agent_is_killed_and_started_again(base: Path) -> None:
    with Lab.up(flat(1), command=fake_agent) as lab:
        agent = lab.agent("node-1")
        first = agent.process()
        assert agent.end(signal.SIGKILL)
        assert agent.process() is None and agent.known() and not agent.answers()
        assert not agent.end(signal.SIGTERM)
        agent.start()
        agent.wait_ready()
        assert agent.process() not in (None, first)
        agent.start()  # it runs: nothing to do
        assert agent.log.read_text().count("agent node-1") == 2


def test_an_agent_that_never_answers_is_given_up(base: Path) -> None:
    with Lab.up(flat(1), agents=False) as lab:
        lab.agent_command = lambda host, url: ["bash", "-c", "echo thinking; sleep 100"]
        agent = lab.agent("node-1")
        agent.start()
        assert eventually(lambda: agent.log.read_text() != "")
        with pytest.raises(Failed, match="node-1: agent does not answer after 0 s: thinking"):
            agent.wait_ready(0.1)


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd-server is not installed")
def test_etcd_is_reached_from_all_nodes_and_keeps_its_data() -> None:
    health = "exec 3<>/dev/tcp/192.168.1.1/2379; printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    with Lab.up(store="etcd", agents=False) as lab:
        assert lab.store == "etcd://192.168.1.1:2379"
        for host in ("node-1", "node-4"):
            assert '"true"' in lab.host(host).run(["timeout", "5", "bash", "-c", health]).stdout
        etcd = lab.need_etcd()
        assert etcd.end(signal.SIGTERM)
        assert lab.host("node-1").run(["timeout", "5", "bash", "-c", health]).returncode != 0
        etcd.start()
        etcd.wait_ready()
        assert '"true"' in lab.host("node-4").run(["timeout", "5", "bash", "-c", health]).stdout
        assert "restarting" in etcd.log.read_text(), "it found its data"


def test_etcd_is_missing(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match="etcd is not installed: `apt install etcd-server`"):
        Lab.up(store="etcd", agents=False)
    assert not base.exists()
