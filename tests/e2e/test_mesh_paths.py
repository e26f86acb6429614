"""Which way packets of driver mesh go between two hosts when a way is cut, in one direction or both, or loses large packets;
and what that costs a ping of a hundred a second."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from support.reach import UNDERLAY, Container, client, make_network, run_everywhere, weft
from support.waiting import note, until
from weft.api.mesh import MeshPeer
from weft.lab import Lab

PATIENT = 30.0
"""Seconds on a machine that is busy. What is promised (docs/paths.md) is shown by the simulated time of tests/unit/paths."""
EACH, A_FEW = 0.01, 30
"""Seconds between two pings, at least. Those of them that may be lost without a way being cut."""
SLACK = 5.0
"""Seconds that both agents may take to see, agree and write, on top of what they wait for, on a machine that is busy."""


@pytest.fixture(scope="module")
def containers(lab: Lab) -> Iterator[dict[str, Container]]:
    make_network(lab, "office", "mesh", "172.111.222.0/24")
    yield {c.host: c for c in run_everywhere(lab, "office")}


def peer(lab: Lab, host: str, other: str) -> MeshPeer | None:
    return next((p for p in client(lab, host).mesh_peers() if p.name == other), None)


def way(lab: Lab, a: str, b: str) -> set[str]:
    """By which each end says that it sends, and the other one."""
    ends = peer(lab, a, b), peer(lab, b, a)
    return {word for end in ends if end for word in (end.way,)} if all(ends) else set()


def both(lab: Lab, a: str, b: str, wanted: str) -> float:
    """Seconds until both ends send so."""
    took = until(lambda: way(lab, a, b) == {wanted}, PATIENT, lambda: f"{wanted}: {peer(lab, a, b)}, {peer(lab, b, a)}")
    note(f"{a} and {b} by {wanted} after {took:.1f} s")
    return took


def cut(lab: Lab, at: str, *rules: str) -> None:
    """What of the packets that come to this host is lost on the way."""
    chain = "add chain inet cut c { type filter hook prerouting priority -400; }"
    lines = ["add table inet cut", chain, "flush chain inet cut c"]
    lines += [f"add rule inet cut c {rule} drop" for rule in rules]
    lab.host(at).run(["nft", "-f", "-"], input="\n".join(lines), check=True, timeout=30)


def lost(said: str) -> list[tuple[int, int]]:
    """(first, how many) of the pings that were lost in a row, of those before the last that came."""
    came = sorted({int(found) for found in re.findall(r"icmp_seq=(\d+) ttl", said)})
    return [(before + 1, after - before - 1) for before, after in pairwise(came) if after - before > 1]


def settled(lab: Lab) -> None:
    def good() -> bool:
        found = [p for host in ("node-1", "node-2", "node-4") for p in client(lab, host).mesh_peers()]
        return len(found) == 9 and all(p.mtu and p.way == "kernel" and not p.why for p in found)

    until(good, PATIENT, "all on their best way")


def test_each_way_is_found_left_and_taken_again(lab: Lab, containers: dict[str, Container], tmp_path: Path) -> None:
    """From node-1 to node-2 first the kernel's port is cut, one way, then all; to node-4 large packets get lost meanwhile."""
    settled(lab)
    one, two, four = (containers[f"node-{n}"] for n in (1, 2, 4))
    ours = f"ip saddr {UNDERLAY['node-1'][4]}"
    log = tmp_path / "ping"
    with log.open("w") as out:
        ping = one.inside.popen(["ping", "-n", "-i", str(EACH), two.address(4)], stdout=out.fileno())
    try:
        cut(lab, "node-2", f"{ours} udp dport 6784")
        cut(lab, "node-4", f"{ours} ip length > 1400")
        waits = [both(lab, "node-1", "node-2", "sleeve")]
        said = weft(lab, "node-1", "mesh", "peers").stdout
        assert re.search(
            r"→ 192.168.1.254 node-2 established sleeve mtu=1376 rtt=[0-9.]+ms\n +fastdp: node-2 hears no", said
        )
        both(lab, "node-1", "node-4", "sleeve")
        until(
            lambda: (found := peer(lab, "node-1", "node-4")) and 1300 < found.mtu < 1376,
            PATIENT,
            "the size that passes",
        )
        large = one.inside.run(["ping", "-c3", "-i", "0.2", "-M", "want", "-s", "1348", four.address(4)], timeout=30)
        assert " 0 received" not in large.stdout, "who is told what fits cuts it"
        cut(lab, "node-2", ours)
        waits.append(both(lab, "node-1", "node-2", "relay"))
        assert peer(lab, "node-1", "node-2").via in ("node-3", "node-4")  # type: ignore[union-attr]
        cut(lab, "node-2")
        cut(lab, "node-4")
        back = [both(lab, "node-1", other, "kernel") for other in ("node-2", "node-4")]
    finally:
        ping.send_signal(signal.SIGINT)
        ping.communicate(timeout=30)
    said = log.read_text()
    note(f"back after {back}, lost in a row: {lost(said)}")
    gaps = [many for _, many in lost(said) if many > A_FEW]
    assert 0 < len(gaps) <= len(waits), "packets are lost when a way is cut, not when it is taken again"
    assert sum(gaps) * EACH < sum(waits) + SLACK
    assert "0 received" not in said


def test_an_agent_that_begins_anew_sends_as_the_last_one_did(lab: Lab, containers: dict[str, Container]) -> None:
    settled(lab)
    cut(lab, "node-2", f"ip saddr {UNDERLAY['node-3'][4]} udp dport 6784")
    both(lab, "node-2", "node-3", "sleeve")
    agent = lab.agent("node-3")
    agent.end(signal.SIGKILL)
    agent.start()
    agent.wait_ready()
    until(lambda: peer(lab, "node-3", "node-2"), PATIENT, "the agent")
    assert way(lab, "node-2", "node-3") == {"sleeve"}
    ping = ["ping", "-c1", "-W1", containers["node-3"].address(4)]
    until(lambda: not containers["node-2"].inside.run(ping, timeout=30).returncode, PATIENT, "an answer")
    assert way(lab, "node-2", "node-3") == {"sleeve"}
    cut(lab, "node-2")
