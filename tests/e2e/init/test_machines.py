"""Booted hosts are what a host is: what other tests of this folder stand on."""

from __future__ import annotations

import json
from pathlib import Path

from support.machines import GATEWAY6, machines, room
from support.waiting import until


def test_hosts_reach_each_other_keep_their_files_and_lose_their_networks_with_a_reboot(tmp_path: Path) -> None:
    with machines(tmp_path, ["node-1", "node-2"], room()) as found:
        one, two = found.values()
        assert one.sh("systemctl is-system-running; hostname").split() == ["running", "node-1"]
        one.run(["ping", "-c1", "-W2", two.address])
        two.run(["ping", "-c1", "-W2", GATEWAY6])
        one.write("/etc/kept", "here\n")
        one.sh("ip netns add gone")
        boot, leader = one.read("/proc/sys/kernel/random/boot_id"), one.leader
        one.reboot()
        assert (one.read("/etc/kept"), one.sh("ip netns")) == ("here\n", "")
        assert one.read("/proc/sys/kernel/random/boot_id") != boot
        assert [link["ifname"] for link in json.loads(one.sh("ip -j link"))] == ["lo", "eth0"]
        one.run(["ping", "-c1", "-W2", two.address6])
        leaders = [leader, one.leader, two.leader]
    until(lambda: not [p for p in leaders if Path(f"/proc/{p}/ns/net").exists()], 10, "nothing of them runs any more")
