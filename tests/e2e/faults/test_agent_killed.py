"""An agent that ends, however it does, leaves the data plane alone; one that starts finds everything as it should be."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.cluster import NODES, Cluster, cluster, populate, settings
from support.snapshot import difference, snapshot
from support.traffic import Traffic
from support.waiting import note, until


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("killed"), agents=False) as made:
        made.sh("node-1", "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
        for host in NODES:
            made.lab.agent(host).start()
        for host in NODES:
            made.lab.agent(host).wait_ready()
        populate(made)
        yield made


@pytest.fixture
def weft(reference: Cluster) -> Cluster:
    reference.mend()
    return reference


@contextmanager
def monitored(weft: Cluster, host: str, folder: Path) -> Iterator[Callable[[], list[str]]]:
    """What changes in a host's network meanwhile, by netlink's and nftables' own word. Learned neighbours are passed over;
    everything else counts, whoever did it."""
    paths = [folder / f"{host}-{tool}" for tool in ("ip", "nft")]
    until(lambda: not _ports_to_come(weft, host), 30, "bridges' ports to be what they will be")
    with ExitStack() as undo:
        for path, words in zip(paths, (["ip", "monitor", "all"], ["nft", "monitor"]), strict=True):
            with path.open("w") as file:
                process = weft.lab.host(host).popen(["stdbuf", "-oL", *words], stdout=file.fileno())
            undo.callback(process.communicate)
            undo.callback(process.kill)

        def heard() -> bool:
            weft.sh(host, "ip route add blackhole 192.0.2.99 table 99 && ip route del blackhole 192.0.2.99 table 99")
            weft.sh(host, "nft add table inet probe && nft delete table inet probe")
            return all(word in path.read_text() for path, word in zip(paths, ("192.0.2.99", "probe"), strict=True))

        until(heard, 20, "both monitors")
        start = [len(path.read_text()) for path in paths]

        def lines() -> list[str]:
            new = [line for p, n in zip(paths, start, strict=True) for line in p.read_text()[n:].splitlines()]
            return [line for line in new if not _noise(line)]

        yield lines


def _ports_to_come(weft: Cluster, host: str) -> list[str]:
    """Ports of bridges that came less than their bridge's forward delay (15 s) ago: after that the kernel tells of them once
    more, and nothing has changed."""
    links: list[dict[str, Any]] = json.loads(weft.sh(host, "ip -d -j link show type bridge_slave"))
    return [x["ifname"] for x in links if x and x["linkinfo"]["info_slave_data"]["forward_delay_timer"]]


def _noise(line: str) -> bool:
    """Learned neighbours, the kernel's own link-local addresses (known to be unique only seconds after a device came up),
    and our own test of the monitors."""
    learned = "NEIGH" in line and "permanent" not in line.lower()
    own = any(word in line for word in ("fe80:", "probe", "192.0.2.99"))
    return learned or own or not line.strip() or line.startswith(("# new generation", "    link/", "       valid_lft"))


def test_killed_and_started_again_changes_nothing(
    weft: Cluster, traffic: Callable[..., Traffic], tmp_path: Path
) -> None:
    before = snapshot(weft.lab.host("node-1"))
    assert "WEFT-FORWARD" in "".join(before), "iptables is in use on node-1"
    with traffic(weft) as running, monitored(weft, "node-1", tmp_path) as changes:
        weft.end("node-1", signal.SIGKILL)
        running.flows()
        weft.start("node-1")
        weft.settled()
        running.flows()
        assert (weft.metric("node-1", "weft_kernel_writes_total"), changes()) == (0, [])
        assert weft.status("node-1").repairs == 0
        assert weft.status("node-1").last_resync > 0
        assert weft.client("node-1").plan().commands == ()
        assert running.lost() == 0, running.losses()
        weft.sh("node-1", "ip route add 198.51.100.0/24 dev eth0; ip route del 198.51.100.0/24 dev eth0")
        until(changes, 10, "the monitor to tell of a change, which it would have done before as well")
    assert difference(before, snapshot(weft.lab.host("node-1"))) == ""
    note(
        f"agent killed: {sum(x.sent for x in running.losses())} pings, 0 lost; {running.retransmitted} segments resent"
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_all_agents_gone_and_back(weft: Cluster, traffic: Callable[..., Traffic], how: signal.Signals) -> None:
    with traffic(weft) as running:
        before = {host: snapshot(weft.lab.host(host)) for host in NODES}
        for host in NODES:
            weft.end(host, how)
        running.flows()
        assert not weft.lab.host("node-1").socket.exists() or how == signal.SIGKILL
        for host in NODES:
            assert difference(before[host], snapshot(weft.lab.host(host))) == "", host
        for host in NODES:
            weft.lab.agent(host).start()
        for host in NODES:
            weft.lab.agent(host).wait_ready()
        weft.settled()
        for host in NODES:
            assert weft.metric(host, "weft_kernel_writes_total") == 0
            assert difference(before[host], snapshot(weft.lab.host(host))) == "", host
        running.flows()
        assert running.lost() == 0, running.losses()


def test_what_changed_while_it_was_gone_is_caught_up_with(weft: Cluster, traffic: Callable[..., Traffic]) -> None:
    with traffic(weft, ("node-1/vx1", "node-2/vx2", 4)) as running:
        before = snapshot(weft.lab.host("node-1"))
        weft.end("node-1")
        weft.network("dr", NODES[1:])
        weft.start("node-1")
        weft.everywhere("dr")
        assert "weft.3" in weft.sh("node-1", "ip -o link")
        weft.end("node-1")
        weft.client("node-2").remove_network("dr")
        weft.start("node-1")
        weft.settled()
        until(lambda: snapshot(weft.lab.host("node-1")) == before, 10, "network dr to be gone from node-1")
        running.flows()
        assert running.lost() == 0


def test_a_second_agent_is_refused(weft: Cluster, tmp_path: Path) -> None:
    status, said = weft.weft("node-1", "agent", "run", "--node", "other", "--store", weft.lab.store)
    assert status != 0
    assert said.strip().splitlines() == [
        "weft: an agent is running on this host (/run/weft/agent.lock is locked): stop it first"
    ]
    status, said = weft.weft("node-1", "agent", "purge", "--yes")
    assert status != 0
    assert "an agent is running on this host" in said


def test_a_node_name_in_use_is_refused(weft: Cluster, tmp_path: Path) -> None:
    """Another host that is called the same: it must not take over the name, nor touch anything of the first."""
    weft.end("node-3", signal.SIGTERM)
    before = snapshot(weft.lab.host("node-1"))
    words = settings(tmp_path)("node-1", weft.lab.store)
    result = weft.lab.host("node-3").run(words, timeout=30)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("weft: the node name node-1 is in use by a running agent at 192.168.1.68: choose another"), (
        last
    )
    assert "Traceback" not in result.stderr
    assert difference(before, snapshot(weft.lab.host("node-1"))) == ""
    weft.start("node-3")
    weft.settled()
