"""The machine itself is the same before, during and after."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from support.labs import eventually, processes_of, weft
from weft.lab import Lab

COMMANDS = (
    ["ip", "-j", "-d", "link"],
    ["ip", "-j", "address"],
    ["ip", "-j", "route", "show", "table", "all"],
    ["ip", "-6", "-j", "route", "show", "table", "all"],
    ["ip", "-j", "rule"],
    ["ip", "netns", "list"],
    ["nft", "list", "ruleset"],
)
COUNTERS = ("nf_conntrack_count", "kernel.random")
TIMES = ("valid_life_time", "preferred_life_time", "expires")


def of_the_machine() -> dict[str, object]:
    found: dict[str, object] = {}
    for command in COMMANDS:
        if shutil.which(command[0]):
            out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            found[" ".join(command)] = _timeless(json.loads(out or "[]")) if "-j" in command else out
    found["sysctl"] = _sysctls()
    found["mounts"] = Path("/proc/self/mountinfo").read_text()
    found["/run"] = sorted(p.name for p in Path("/run").iterdir())
    found["/var/lib"] = sorted(p.name for p in Path("/var/lib").iterdir())
    return found


def _sysctls() -> list[str]:
    result = subprocess.run(["sysctl", "-a"], capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith("net.")]
    assert len(lines) > 100
    return [line for line in lines if not any(counter in line for counter in COUNTERS)]


def _timeless(value: object) -> object:
    if isinstance(value, list):
        return [_timeless(each) for each in value]
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key not in TIMES}
    return value


def test_the_machine_does_not_change(base: Path) -> None:
    before = of_the_machine()
    with Lab.up(agents=False) as lab:
        node = lab.host("node-1")
        busy = """
            ip netns add c1; ip link add br0 type bridge; ip link add v0 type vxlan id 1 dstport 8472 dev eth0
            sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=2; ip route add 10.0.0.0/8 via 192.168.1.1
            nft add table inet t; mount -t tmpfs none /mnt
        """
        node.run(["bash", "-ec", busy], check=True)
        assert of_the_machine() == before
    assert of_the_machine() == before
    assert processes_of(base / "default") == []
    assert not base.exists()


def test_nothing_is_left_by_the_front_end(base: Path) -> None:
    before = of_the_machine()
    assert weft("lab", "up", "--no-agents").returncode == 0
    assert of_the_machine() == before
    weft("lab", "exec", "node-1", "--", "true")
    assert weft("lab", "down").returncode == 0
    assert eventually(lambda: processes_of(base / "default") == [])
    assert of_the_machine() == before
    assert not base.exists()
