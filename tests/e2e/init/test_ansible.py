"""The Ansible role on booted hosts, by Ansible's local connection, from the package to containers that talk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import package
from support.machines import Machine, Machines, machines, room
from support.waiting import until

ROOT = Path(__file__).parents[3]
SECRET = "5f" * 32
WEFT = "/usr/bin/weft"
CREATE = "weft network create blue --driver vxlan --subnet 10.20.0.0/16"

pytestmark = pytest.mark.timeout(900)  # where the hosts' Debian is installed first, and the package built


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Two hosts that see the package, the role, and the Python environment that has Ansible."""
    seen = {path: str(path) for path in {ROOT, Path(sys.prefix), package.built().weft.parent}}
    with machines(
        tmp_path_factory.mktemp("hosts"), ["node-1", "node-2"], room(["etcd-server", "python3-apt"]), seen
    ) as found:
        for machine in found.values():
            machine.sh("systemctl disable --quiet --now etcd 2>/dev/null")
        yield found


def play(machine: Machine, fresh: Machines, **more: Any) -> dict[str, int]:
    """What Ansible counts of one host. Fails where it does."""
    variables = {
        "weft_package": str(package.built().weft),
        "weft_join": [m.address for m in fresh.values()],
        "weft_mesh_secret": SECRET,
        "weft_settings": {"log-level": "info", "metrics": f"{machine.address}:9473"},
        "weft_no_log": False,
        **more,
    }
    machine.write(
        "/root/play.yml", json.dumps([{"hosts": "all", "gather_facts": False, "roles": ["weft"], "vars": variables}])
    )
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", "/root/play.yml"]
    environment = [f"ANSIBLE_ROLES_PATH={ROOT / 'packaging/ansible'}", "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3"]
    done = machine.run(["env", *environment, *command], check=False, seconds=400)
    assert done.returncode == 0, f"{done.stderr}{done.stdout[-3000:]}"
    recap = next(line for line in done.stdout.splitlines() if line.startswith("localhost"))
    return {name: int(count) for name, _, count in (word.partition("=") for word in recap.split() if "=" in word)}


def test_two_hosts_from_the_package_to_containers_that_talk(fresh: Machines) -> None:
    for machine in fresh.values():
        counted = play(machine, fresh)
        assert counted["failed"] == 0 and counted["changed"] >= 3
        assert machine.sh("systemctl is-active weft-agent").strip() == "active"
        assert SECRET not in machine.read("/etc/weft/weft.toml")
    one, two = fresh.values()
    until(lambda: one.run([WEFT, "status", "--check"], check=False).returncode == 0, 60, "node-1 is well")
    one.sh(CREATE)
    for number, machine in enumerate(fresh.values(), 1):
        until(lambda m=machine: "blue" in m.sh("weft network ls -q"), 30, "blue")  # type: ignore[misc]
        machine.sh(f"ip netns add c{number}; weft attach c{number} --network blue --dns")
    ping = ["ip", "netns", "exec", "c2", "ping", "-c1", "-W1", "c1"]
    until(lambda: two.run(ping, check=False).returncode == 0, 30, "by name")


def test_again_changes_nothing(fresh: Machines) -> None:
    one = fresh["node-1"]
    before = one.sh("systemctl show --value -p MainPID weft-agent")
    assert play(one, fresh)["changed"] == 0
    assert one.sh("systemctl show --value -p MainPID weft-agent") == before


def test_a_setting_is_changed_without_a_restart(fresh: Machines) -> None:
    one = fresh["node-1"]
    before = one.sh("systemctl show --value -p MainPID weft-agent")
    assert play(one, fresh, weft_settings={"log-level": "debug"})["changed"] >= 1
    assert 'log-level = "debug"' in one.read("/etc/weft/weft.toml").splitlines()
    assert one.sh("systemctl show --value -p MainPID weft-agent") == before


def test_contradictions_are_refused_before_anything_is_done(fresh: Machines) -> None:
    with pytest.raises(AssertionError, match="give weft_store, or weft_join with weft_mesh_secret"):
        play(fresh["node-1"], fresh, weft_store="etcds://weft@10.0.0.5:2379")
