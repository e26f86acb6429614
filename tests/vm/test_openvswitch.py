"""Ports of Open vSwitch whose datapath is in the kernel: there all of them have one device as their master."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.namespaces import Home
from support.plugged import scene_of

MODULES = "openvswitch", "veth", "bridge"


@pytest.mark.parametrize("plug", ["ovs", "hybrid"])
def test_containers_reach_each_other_and_nothing_is_left(netns: Home, tmp_path: Path, plug: str) -> None:
    subprocess.run(["modprobe", "--all", *MODULES], check=True, timeout=100)
    with scene_of(netns, plug, tmp_path, "system") as scene:
        scene.comes_and_goes(lambda: "ovs-system" in {link.get("master") for link in netns.json("ip", "-j", "link")})
