"""The fast path's programs under an agent: there a moment after an attach, put back when taken away by hand, found and kept by
the next agent, gone with a purge."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from support.reach import Container, client, converged, make_network, ping, run, weft
from support.waiting import until
from weft.lab import Lab
from weft.lab.inside import Inside

HERE = "node-1"
_PINS = "ls -1 /run/weft/bpf/host/links /run/weft/bpf/host/programs 2>/dev/null | sort"


@pytest.fixture(scope="module")
def two(lab: Lab) -> Iterator[list[Container]]:
    make_network(lab, "blue", "host-gw", "10.7.0.0/16", "fd00:7::/48")
    yield [run(lab, host, f"blue-{host[-1]}", "blue") for host in (HERE, "node-2")]


def pins(host: Inside) -> list[str]:
    return [line for line in host.must("pins", ["sh", "-c", _PINS]).splitlines() if line and not line.endswith(":")]


def complete(host: Inside) -> bool:
    found = pins(host)
    links = [name for name in found if name.endswith(("-ingress", "-egress"))]
    return {"eth0-ingress", "eth0-egress"} <= set(links) and sum(name.startswith("weft") for name in links) >= 2


def test_they_are_there_a_moment_after_an_attach(lab: Lab, two: list[Container]) -> None:
    until(lambda: complete(lab.host(HERE)), 20, lambda: f"all programs, of {pins(lab.host(HERE))}")
    counts = client(lab, HERE).status().objects
    for kind in ("bpf-map", "bpf-program", "bpf-link", "fast-home"):
        assert counts[kind].desired == counts[kind].actual > 0 and counts[kind].failed == 0, kind
    assert ping(two[0].inside, two[1].address(4)).ok


def test_what_is_taken_away_by_hand_is_put_back(lab: Lab, two: list[Container]) -> None:
    host = lab.host(HERE)
    host.must("harm", ["sh", "-c", "rm /run/weft/bpf/host/links/eth0-ingress /run/weft/bpf/host/programs/fast-*"])
    assert not complete(host)
    until(lambda: complete(host), 20, "what was taken away by hand")
    assert any(re.fullmatch(r"fast-[0-9a-f]+", name) for name in pins(host))


def test_the_next_agent_keeps_them_and_a_purge_takes_them_along(lab: Lab, two: list[Container]) -> None:
    host, before = lab.host(HERE), pins(lab.host(HERE))
    lab.agent(HERE).end(signal.SIGKILL)
    assert pins(host) == before, "they outlive it"
    lab.agent(HERE).start()
    lab.agent(HERE).wait_ready()
    converged(lab)
    assert pins(host) == before
    lab.agent(HERE).end(signal.SIGKILL)
    gone = weft(lab, HERE, "agent", "purge", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert pins(host) == []
    assert "/run/weft/bpf" not in host.must("mounts", ["cat", "/proc/mounts"])
