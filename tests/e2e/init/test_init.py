"""`weft init` on three booted hosts whose store is an etcd over TLS with a user. The tests go on from each other, in order."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.guarded import PASSWORD, GuardedEtcd, guarded_etcd
from support.machines import GATEWAY, Machine, Machines
from support.waiting import until
from weft.setup.told import CREATE

pytestmark = pytest.mark.timeout(900)  # where the hosts' Debian is installed first

SETTINGS = "/etc/weft/weft.toml"
MINE = """# rack 7, see the inventory
segment = "rack-7"   # by hand

#store = "later"
log-level = "info"
"""


@pytest.fixture(scope="module")
def etcd(hosts: Machines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedEtcd]:
    with hosts.wire.entered(), guarded_etcd(tmp_path_factory.mktemp("etcd"), GATEWAY) as server:
        for machine in hosts.values():
            machine.write("/etc/ssl/etcd-ca.pem", server.ca.read_text())
        yield server


@pytest.fixture
def init(etcd: GuardedEtcd) -> str:
    return f"weft init --store {etcd.url} --store-ca /etc/ssl/etcd-ca.pem --store-password-file -"


def run(machine: Machine, line: str, stdin: str = f"{PASSWORD}\n") -> subprocess.CompletedProcess[str]:
    return machine.run(shlex.split(line), stdin=stdin, check=False)


def pid(machine: Machine) -> str:
    return machine.sh("systemctl show --value -p MainPID weft-agent").strip()


def state(machine: Machine) -> str:
    return str(json.loads(machine.sh("weft status -o json"))["state"])


def segment(machine: Machine, node: str) -> str:
    """As this host knows it of that one."""
    return str(json.loads(machine.sh(f"weft node show {node} -o json"))["segment"])


def is_untouched(machine: Machine) -> bool:
    enabled = machine.run(["systemctl", "is-enabled", "weft-agent"], check=False).stdout.strip()
    active = machine.run(["systemctl", "is-active", "weft-agent"], check=False).stdout.strip()
    return (enabled, active, machine.file("/etc/weft").exists()) == ("disabled", "inactive", False)


def refused(machine: Machine, line: str, says: str, stdin: str = f"{PASSWORD}\n") -> None:
    """With one line for what is wrong; nothing is changed."""
    before = is_untouched(machine)
    done = run(machine, line, stdin)
    errors = [text for text in done.stderr.splitlines() if not text.startswith("warning: ")]
    assert done.returncode == 1 and says in errors[0], done.stderr
    assert len(errors) <= 2 and "Traceback" not in done.stderr
    assert is_untouched(machine) == before


def test_what_is_wrong_is_told_before_anything_is_changed(one: Machine, etcd: GuardedEtcd, init: str) -> None:
    assert is_untouched(one)
    refused(one, init, "error: store: ", "wrong\n")
    refused(one, init, "nothing came from stdin", "")
    refused(one, init.replace(f":{etcd.port}", ":9"), "error: store: ")
    refused(one, init.replace("/etc/ssl/etcd-ca.pem", "/etc/ssl/none.pem"), "/etc/ssl/none.pem")
    one.write("/root/open", f"{PASSWORD}\n", 0o644)
    refused(one, init.replace("-file -", "-file open"), "/root/open can be read or written by other users")
    refused(one, f"{init} --iface eth7", "error: uplink: ")


def test_a_dry_run_changes_nothing(one: Machine, init: str) -> None:
    done = run(one, f"{init} --dry-run")
    assert done.returncode == 0 and done.stdout.endswith("nothing was changed (--dry-run)\n")
    assert "/etc/weft/store-password: the password of the store, readable by root only" in done.stdout
    assert is_untouched(one)


def test_an_agent_that_does_not_start_leaves_nothing(three: Machine, init: str) -> None:
    three.write("/run/systemd/system/weft-agent.service.d/broken.conf", "[Service]\nExecStart=\nExecStart=false\n")
    three.sh("systemctl daemon-reload")
    done = run(three, init)
    assert done.returncode == 1 and "weft-agent.service does not start" in done.stderr
    assert is_untouched(three)
    three.sh("rm -r /run/systemd/system/weft-agent.service.d; systemctl daemon-reload")


def test_the_first_host(one: Machine, init: str) -> None:
    done = run(one, init)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[-2:] == ["next:", f"  {CREATE}"]
    assert any(line.startswith(f"node node-1 at {one.address}, {one.address6} (eth0): converged; ") for line in said)
    assert PASSWORD not in one.read(SETTINGS) + done.stdout
    assert one.file("/etc/weft/store-password").stat().st_mode & 0o777 == 0o600
    assert one.sh("systemctl is-enabled weft-agent").strip() == "enabled"


def test_settings_and_comments_of_a_person_stay(two: Machine, init: str) -> None:
    two.write(SETTINGS, MINE)
    assert run(two, init).returncode == 0
    lines = two.read(SETTINGS).splitlines()
    assert [line for line in lines if line in MINE.splitlines()] == MINE.splitlines()
    assert lines[lines.index('#store = "later"') + 1].startswith('store = "etcds://weft@')
    assert segment(two, "node-2") == "rack-7"


def test_one_that_was_killed_half_way_is_repeated(three: Machine, init: str) -> None:
    words = ["nsenter", "-t", str(three.leader), "--all", "sh", "-c", f"echo $$; exec {init}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as half:
        assert half.stdin and half.stdout
        half.stdin.write(f"{PASSWORD}\n")
        half.stdin.close()
        inside = half.stdout.readline().strip()
        until(three.file("/etc/weft/store-password").exists, 60, "half of it is done")
        three.run(["kill", "-KILL", inside])
        half.stdout.read()
    done = run(three, init)
    assert done.returncode == 0, done.stderr
    assert state(three) == "converged"


def test_the_next_command_is_the_one_that_it_names(hosts: Machines, one: Machine, two: Machine, three: Machine) -> None:
    one.sh(CREATE)
    for number, machine in enumerate(hosts.values(), 1):
        until(lambda m=machine: "blue" in m.sh("weft network ls -o json"), 20, "blue")  # type: ignore[misc]
        machine.sh(f"ip netns add c{number}; weft attach c{number} --network blue")
    for host, other in ((one, two), (two, three), (three, one)):
        found = json.loads(other.sh("weft endpoint ls -o json"))
        (mine,) = [e for e in found if e["node"] == other.name]
        for address in mine["addresses"]:
            name = f"c{host.name[-1]}"
            ping = f"ip netns exec {name} ping -c1 -W1 {address.partition('/')[0]}"
            until(lambda h=host, p=ping: h.run(p.split(), check=False).returncode == 0, 20, f"{host.name}: {ping}")  # type: ignore[misc]
    for machine in hosts.values():
        until(lambda m=machine: m.run(["weft", "status", "--check"], check=False).returncode == 0, 20, "status --check")  # type: ignore[misc]


def test_the_same_again_changes_nothing(one: Machine, init: str) -> None:
    before, agent = one.read(SETTINGS), pid(one)
    done = run(one, init)
    assert done.returncode == 0 and done.stdout.startswith("nothing to change: the agent runs with these settings\n")
    assert done.stdout.endswith("  weft attach CONTAINER --network blue\n")
    assert (one.read(SETTINGS), pid(one)) == (before, agent)


def test_a_host_with_containers_stays_in_its_cluster(one: Machine) -> None:
    before = one.read(SETTINGS)
    done = run(one, "weft init --store sqlite:///var/lib/weft/other.db")
    assert done.returncode == 1
    assert "weft: this host has 1 container in the networks of etcds://" in done.stderr
    assert "`systemctl stop weft-agent && weft agent purge`" in done.stderr and len(done.stderr.splitlines()) == 1
    assert one.read(SETTINGS) == before and state(one) == "converged"


def test_reload_applies_what_it_can_and_names_the_rest(one: Machine, two: Machine) -> None:
    agent, settings = pid(one), one.read(SETTINGS)
    one.write(SETTINGS, settings + 'segment = "rack-8"\nresync = 30\ntenure = 90000\n')
    one.sh("systemctl reload weft-agent")
    until(lambda: segment(two, "node-1") == "rack-8", 20, "labels elsewhere")
    log = one.journal("weft-agent")
    assert "setting changed: resync = 30 (was 60)" in log
    assert "setting changed, which needs a restart of the agent: tenure = 90000 (was 86400)" in log
    one.write(SETTINGS, settings + 'segmnt = "rack-9"\n')
    one.sh(f"kill -HUP {agent}")
    until(
        lambda: "those from before hold: unknown setting 'segmnt': did you mean segment?" in one.journal("weft-agent"),
        20,
        "said",
    )
    assert pid(one) == agent and segment(two, "node-1") == "rack-8"
    one.write(SETTINGS, settings)
    one.sh("systemctl reload weft-agent")


def test_after_a_reboot_the_agent_is_back_and_containers_are_not(one: Machine, two: Machine) -> None:
    two.reboot()
    until(lambda: two.run(["weft", "status", "--check"], check=False).returncode == 0, 60, "the agent is back")
    until(
        lambda: [e["node"] for e in json.loads(two.sh("weft endpoint ls -o json"))] == ["node-1", "node-3"], 20, "gone"
    )
    assert "c2" not in two.sh("ip netns")
    two.sh("ip netns add c2; weft attach c2 --network blue")
    (found,) = [e for e in json.loads(one.sh("weft endpoint ls -o json")) if e["node"] == "node-2"]
    ping = ["ip", "netns", "exec", "c1", "ping", "-c1", "-W1", found["addresses"][0].partition("/")[0]]
    until(lambda: one.run(ping, check=False).returncode == 0, 20, "they talk again")


def test_it_is_taken_off_again(three: Machine) -> None:
    three.sh("ip netns del c3; systemctl disable --quiet --now weft-agent; weft agent purge --yes")
    assert "weft" not in three.sh("ip -br link") and not Path(three.file("/run/weft/weft.sock")).exists()
