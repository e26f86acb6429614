"""The units under a real systemd: what they may not do, and what has to work all the same."""

from __future__ import annotations

import json
import re

import pytest

from support.machines import Machine, Machines
from support.waiting import until

pytestmark = pytest.mark.timeout(900)  # where the hosts' Debian is installed first

EXPOSURE = {"weft-agent": 6.8, "weft-docker": 1.6}
"""At most, as `systemd-analyze security` counts: 10 is no limit at all."""


@pytest.fixture(scope="module")
def host(hosts: Machines) -> Machine:
    hosts["node-1"].sh("weft init")
    return hosts["node-1"]


@pytest.mark.parametrize("unit", EXPOSURE)
def test_how_exposed_it_is(host: Machine, unit: str) -> None:
    said = host.sh(f"systemd-analyze security {unit} --no-pager")
    found = re.search(r"exposure level for .*: ([0-9.]+)", said)
    assert found and float(found[1]) <= EXPOSURE[unit], said


def test_systemd_understands_every_line(host: Machine) -> None:
    done = host.run(
        ["systemd-analyze", "verify", *(f"/etc/systemd/system/{unit}.service" for unit in EXPOSURE)], check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_named_namespaces_that_the_agent_makes_are_the_hosts_and_the_other_way_round(host: Machine) -> None:
    assert host.sh("readlink /proc/1/ns/mnt") == host.sh(
        "readlink /proc/$(systemctl show --value -p MainPID weft-agent)/ns/mnt"
    )


def test_the_doctor_finds_the_same_as_without_limits(host: Machine) -> None:
    """What it asks the kernel is not kept from it: kernel features, clock, tables."""
    bounded = {f["check"]: f["result"] for f in json.loads(host.sh("weft doctor -o json"))}
    host.sh("systemctl stop weft-agent")
    free = {f["check"]: f["result"] for f in json.loads(host.sh("weft doctor -o json"))}
    host.sh("systemctl start weft-agent")
    assert {name: bounded[name] for name in free.keys() & bounded.keys()} == {
        n: free[n] for n in free.keys() & bounded.keys()
    }
    assert {name for name in free if name.startswith(("kernel: ", "tool: ", "clock"))} <= bounded.keys()


def test_what_comes_after_it_finds_it_ready(host: Machine) -> None:
    host.write(
        "/run/systemd/system/asks.service",
        "[Unit]\nWants=weft-agent.service\nAfter=weft-agent.service\n[Service]\nType=oneshot\nExecStart=weft status\n",
    )
    host.sh("systemctl stop weft-agent; systemctl daemon-reload; systemctl start asks")


def test_hangups_never_end_it(host: Machine) -> None:
    """Not while it starts either: from the moment on when systemd could send one by name."""
    before = host.sh("systemctl show --value -p NRestarts weft-agent")
    host.sh("systemctl restart --no-block weft-agent")
    until(lambda: host.sh("systemctl is-active weft-agent || true").strip() == "active", 30, "it has started")
    pid = host.sh("systemctl show --value -p MainPID weft-agent").strip()
    host.sh(f"for i in 1 2 3 4 5; do kill -HUP {pid}; done; systemctl reload weft-agent")
    until(lambda: "the settings are read again" in host.journal("weft-agent"), 20, "it is told")
    assert host.sh("systemctl show --value -p MainPID weft-agent").strip() == pid
    assert host.sh("systemctl show --value -p NRestarts weft-agent") == before


def test_the_plugin_for_docker_serves_under_its_limits(host: Machine) -> None:
    begun = host.run(["systemctl", "start", "weft-docker"], check=False)
    assert begun.returncode == 0, host.sh("journalctl -u weft-docker -n 40 --no-pager || systemctl status weft-docker")
    script = (
        "import http.client, socket; c = http.client.HTTPConnection('x'); c.sock = socket.socket(socket.AF_UNIX); "
        "c.sock.connect('/run/docker/plugins/weft.sock'); c.request('POST', '/Plugin.Activate'); "
        "print(c.getresponse().read().decode())"
    )
    assert "NetworkDriver" in host.run(["python3", "-c", script]).stdout
    host.sh("systemctl stop weft-docker")
