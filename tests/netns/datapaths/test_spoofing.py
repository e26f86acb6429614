"""When the rules about what ports take come to a host whose containers are busy, nothing honest is lost."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

from support import lab
from support.namespaces import Home
from support.routed import Host, Router, ping
from weft.hoststate.firewall import BRIDGE


def test_containers_that_run_go_on_when_the_rules_come(netns: Home, tmp_path: Path) -> None:
    """As after an upgrade: their elements are there before the rule that drops what has none."""
    with closing(Host(netns, Router(netns), "node-1", lab.network("bridge"), tmp_path)) as host:
        endpoints = [host.attach(f"c{n}", n) for n in range(2, 42)]
        host.converge()
        target = str(endpoints[0].addresses[0].ip)
        assert ping(host.containers["c41"], target)
        host.ns.sh(f"nft delete table {BRIDGE}")
        words = ["nsenter", f"--net={host.containers['c41'].path}", "ping", "-n", "-i", "0.002", "-W", "1", target]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as asking:
            assert asking.stdout is not None
            for _ in range(20):
                assert asking.stdout.readline()
            host.restart()
            assert len(host.converge().ops) > len(endpoints)
            for _ in range(20):
                assert asking.stdout.readline()
            asking.send_signal(2)
            said = asking.stdout.read()
        sent, received = (int(part.split()[0]) for part in said.split("---\n")[-1].split(", ")[:2])
        assert 30 <= sent <= received + 1, said  # the last one may be under way
