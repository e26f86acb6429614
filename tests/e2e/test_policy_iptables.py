"""Hosts whose settings say policy = "iptables", one with each back end, and rules of others in it: what passes, what does
not, what becomes of what others do, and of another setting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.cluster import NODES, Cluster, cluster, settings
from support.talk import HELD, NEVER, Flood
from support.waiting import note, until
from tests.e2e.test_policy_change import ALL, HOSTS, Scene, documents, ended
from weft.kernel.plumbing import netns

ALLOWED = HELD[1]
TOOLS = {"node-1": "nft", "node-2": "legacy"}
THEIRS = (
    "-P FORWARD DROP; {0} -N DOCKER-USER; {0} -A FORWARD -j DOCKER-USER; {0} -A FORWARD -i eth0 -s 192.0.2.1 -j DROP"
)
SLOW = 5.0
"""Seconds in which what takes less than one has to be done on a busy machine."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("iptables")


@pytest.fixture(scope="module")
def hosts(folder: Path) -> Iterator[Cluster]:
    with cluster(folder, agents=False, policy="iptables") as found:
        for host, backend in TOOLS.items():
            for tool in (f"iptables-{backend}", f"ip6tables-{backend}"):
                theirs = THEIRS.format(tool) if tool.startswith("iptables") else "-P FORWARD DROP"
                found.sh(host, f"{tool} {theirs}")
        for host in NODES:
            found.start(host)
        yield found


@pytest.fixture(scope="module")
def before(hosts: Cluster) -> dict[str, list[str]]:
    return {host: theirs(hosts, host) for host in HOSTS}


@pytest.fixture(scope="module")
def scene(hosts: Cluster, before: dict[str, list[str]]) -> Iterator[Scene]:
    assert all(before.values())
    with ExitStack() as undo:
        made = Scene(hosts.lab, undo)
        made.apply(documents(ALL))
        hosts.settled(HOSTS)
        yield made


def theirs(hosts: Cluster, host: str) -> list[str]:
    """What is not ours in the filter table."""
    lines = hosts.sh(host, f"iptables-{TOOLS[host]}-save -t filter").splitlines()
    return [line.partition(" [")[0] for line in lines if not line.startswith("#") and "WEFT" not in line]


def shut(scene: Scene, port: int) -> list[str]:
    """The ways by which it is not reached."""
    found = []
    for path in scene.paths:
        try:
            path.held(port).close()
        except OSError as error:
            found.append(f"{path.name} ({error})")
    return found


def opened(scene: Scene, port: int) -> list[str]:
    """The ways by which it is reached; none is waited for long."""
    found = []
    for path in scene.paths:
        with suppress(OSError):
            netns.call(path.source, lambda path=path: path.connect(port, 0.3)).close()  # type: ignore[misc]
            found.append(path.name)
    return found


def test_what_policies_allow_passes_and_nothing_else(scene: Scene, before: dict[str, list[str]]) -> None:
    until(lambda: not shut(scene, ALLOWED), 10, lambda: f"{shut(scene, ALLOWED)} to be open")
    assert opened(scene, NEVER[0]) == []
    hosts = scene.cluster
    for host, backend in TOOLS.items():
        first = hosts.sh(host, f"iptables-{backend} -S FORWARD").splitlines()[1]
        assert first == "-A FORWARD -j WEFT-POLICY"
        assert theirs(hosts, host) == before[host]
        assert "policies" not in hosts.sh(host, "nft list chains inet")
        _, said = hosts.weft(host, "status")
        assert "through iptables" in said
        _, said = hosts.weft(host, "doctor")
        assert "iptables and ipset are there" in said


def test_open_connections_end_when_they_are_forbidden(scene: Scene) -> None:
    held = scene.open(ALLOWED)
    scene.apply(documents([port for port in ALL if port != ALLOWED]))
    ended(held)
    assert opened(scene, ALLOWED) == []
    scene.apply(documents(ALL))
    until(lambda: not shut(scene, ALLOWED), 10, lambda: f"{shut(scene, ALLOWED)} to be open")
    for each in held:
        each.close()


HARM = {
    "all rules flushed": "iptables-{0} -F; ip6tables-{0} -F",
    "our chains flushed": "iptables-{0} -F WEFT-POLICY",
    "sets flushed": "for s in $(ipset list -n | grep weft-); do ipset flush $s; done",
    "the jump gone": "iptables-{0} -D FORWARD -j WEFT-POLICY",
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("harm", HARM)
def test_what_somebody_does_is_put_right_and_told(scene: Scene, host: str, harm: str) -> None:
    hosts = scene.cluster
    hosts.settled([host])
    right, repairs = state(hosts, host), hosts.status(host).repairs
    hosts.sh(host, HARM[harm].format(TOOLS[host]))
    began = time.monotonic()
    until(lambda: state(hosts, host) == right, SLOW, "it to be put right")
    note(f"{harm} on {host}: put right in {time.monotonic() - began:.2f} s")
    until(lambda: hosts.status(host).repairs > repairs, SLOW, "the repair to be counted")
    assert opened(scene, NEVER[0]) == []


def state(hosts: Cluster, host: str) -> list[str]:
    """What is ours of rules and sets."""
    script = f"iptables-{TOOLS[host]}-save -t filter; ip6tables-{TOOLS[host]}-save -t filter; ipset save"
    return sorted(
        line for line in hosts.sh(host, script).splitlines() if "weft-" in line or ("-A" in line and "WEFT" in line)
    )


def test_another_setting_leaves_no_moment_open(scene: Scene, folder: Path) -> None:
    hosts = scene.cluster
    for policy in ("nftables", "iptables"):
        settings(folder, policy=policy)
        with ExitStack() as undo:
            floods = [
                undo.enter_context(Flood(path, NEVER[0], 0.3)) for path in scene.paths if "published" not in path.name
            ]
            wrong = [path.server.wrong for path in scene.paths]
            for host in HOSTS:
                hosts.end(host)
                hosts.start(host)
            hosts.settled(HOSTS)
            until(lambda: not shut(scene, ALLOWED), 10, lambda: f"{shut(scene, ALLOWED)} to be open")
        assert floods
        assert [path.server.wrong for path in scene.paths] == wrong
        for host in HOSTS:
            ours = state(hosts, host)
            assert any("WEFT-POLICY" in line for line in ours) is (policy == "iptables")
            assert any(line.startswith("add weft-") for line in ours) is (policy == "iptables")
            assert ("policies" in hosts.sh(host, "nft list chains inet")) is (policy == "nftables")


def test_purge_leaves_what_is_others(scene: Scene) -> None:
    hosts = scene.cluster
    for host in HOSTS:
        hosts.sh(host, f"iptables-{TOOLS[host]} -A FORWARD -j DOCKER-USER")
        before = theirs(hosts, host)
        hosts.end(host)
        status, said = hosts.weft(host, "agent", "purge", "--yes")
        assert (status, "ipset" in said) == (0, True), said
        assert state(hosts, host) == [] and theirs(hosts, host) == before
        assert hosts.sh(host, "ipset list -n") == ""
