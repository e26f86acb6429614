"""`weft init --join`: three booted hosts that keep the store themselves. The tests go on from each other, in order."""

from __future__ import annotations

import json
import shlex

import pytest

from support.machines import Machine, Machines
from support.waiting import until
from weft.setup.decide import SECRET
from weft.setup.told import CREATE

pytestmark = pytest.mark.timeout(900)  # where the hosts' Debian is installed first


@pytest.fixture(scope="module")
def join(hosts: Machines) -> str:
    return f"weft init --join {' '.join(machine.address for machine in hosts.values())}"


def voters(machine: Machine) -> list[str]:
    """The hosts whose voters vote and hear a leader."""
    found = json.loads(machine.sh("weft mesh voters -o json"))
    return sorted(voter["name"] for voter in found if voter["state"] in ("leader", "voter"))


def connected(machine: Machine) -> bool:
    """Whether the store answers it."""
    return bool(json.loads(machine.sh("weft status -o json"))["store"]["state"] == "connected")


def test_only_the_first_host_makes_the_secret(two: Machine, one: Machine, join: str) -> None:
    done = two.run(shlex.split(join), check=False)
    assert done.returncode == 1 and not two.file("/etc/weft").exists()
    assert f"`ssh {one.address} cat {SECRET} | {join} --mesh-secret -`" in done.stderr


def test_three_hosts_by_the_commands_that_the_first_one_names(hosts: Machines, one: Machine, join: str) -> None:
    done = one.run(shlex.split(join))
    said = done.stdout.splitlines()
    other = said[said.index("on each of the other hosts, with this host's secret:") + 1].strip()
    assert said[-1].strip() == CREATE and one.file(SECRET).stat().st_mode & 0o777 == 0o600
    fetch, _, command = other.partition(" | ")
    assert fetch == f"ssh {one.address} cat {SECRET}" and command == f"{join} --mesh-secret -"
    for machine in list(hosts.values())[1:]:
        machine.run(shlex.split(command), stdin=one.read(SECRET))
    for machine in hosts.values():
        until(lambda m=machine: m.run(["weft", "status", "--check"], check=False).returncode == 0, 60, machine.name)  # type: ignore[misc]
    # Two of three found the cluster. The third one, where it comes later, takes the data over before it votes.
    until(lambda: voters(one) == sorted(hosts), 60, lambda: f"three voters: {one.sh('weft mesh voters')}")


def test_containers_talk(hosts: Machines, one: Machine, three: Machine) -> None:
    one.sh(CREATE)
    for number, machine in enumerate(hosts.values(), 1):
        until(lambda m=machine: "blue" in m.sh("weft network ls -o json"), 20, "blue")  # type: ignore[misc]
        machine.sh(f"ip netns add c{number}; weft attach c{number} --network blue --dns")
    ping = ["ip", "netns", "exec", "c3", "ping", "-c1", "-W1", "c1"]
    until(lambda: three.run(ping, check=False).returncode == 0, 20, "by name")


def test_a_host_that_loses_its_power_is_back_with_its_voter(hosts: Machines, one: Machine, two: Machine) -> None:
    two.kill()
    until(lambda: voters(one) == [one.name, "node-3"] and connected(one), 20, "the others go on")
    two.start()
    until(
        lambda: two.run(["weft", "status", "--check"], check=False).returncode == 0,
        90,
        lambda: f"node-2 is back: {two.run(['weft', 'status', '--check'], check=False).stderr}",
    )
    until(lambda: voters(two) == sorted(hosts), 20, lambda: f"its voter is back: {two.sh('weft mesh voters')}")
