"""`weft-cni` as a whole process, and `bridge` with `host-local`, Go's reference plugins, which do the same work.

Runs inside a host of a lab that has Debian's containernetworking-plugins: `python -m bench.cni_calls EXECUTABLE NETWORK
COUNT` prints milliseconds as JSON. ADD and DEL of each are taken in turns, in an order that changes from round to round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from weft.cni import launcher

PLUGINS = Path("/usr/lib/cni")
ORDER = ("", "bridge_", "plain_")
WARM_UP = 3
"""Rounds that do not count: the first ones make bridges and tables."""
STATE = "/run/bench-cni"
"""A host of a lab has a /run of its own."""


class Times(msgspec.Struct):
    """Milliseconds, one for each container. `plain`: bridge without masquerading; `start`: an interpreter that does nothing."""

    add: list[float] = []
    delete: list[float] = []
    bridge_add: list[float] = []
    bridge_delete: list[float] = []
    plain_add: list[float] = []
    plain_delete: list[float] = []
    start: list[float] = []


def configs(network: str) -> dict[str, dict[str, object]]:
    def bridge(name: str, third: int, masquerade: bool) -> dict[str, object]:
        ipam = {
            "type": "host-local",
            "subnet": f"10.{third}.0.0/16",
            "dataDir": STATE,
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        more = {"bridge": name, "isGateway": True, "ipMasq": masquerade, "ipam": ipam}
        return {"cniVersion": "1.0.0", "name": name, "type": "bridge", **more}

    ours: dict[str, object] = {"cniVersion": "1.0.0", "name": "net", "type": "weft-cni", "network": network}
    return {"": ours, "bridge_": bridge("masq0", 61, True), "plain_": bridge("plain0", 62, False)}


def call(executable: Path, command: str, config: dict[str, object], name: str) -> float:
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": name,
        "CNI_NETNS": f"/run/netns/{name}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(PLUGINS),
        "PATH": os.environ["PATH"],
    }
    stdin = json.dumps(config).encode()
    start = time.perf_counter()
    done = subprocess.run([executable], input=stdin, env=environment, capture_output=True)
    took = (time.perf_counter() - start) * 1000
    if done.returncode:
        raise SystemExit(f"{executable} {command}: {done.stdout.decode()} {done.stderr.decode()}")
    return took


def measure(executable: Path, network: str, count: int) -> Times:
    times, ready = Times(), configs(network)
    programs = {"": executable, "bridge_": PLUGINS / "bridge", "plain_": PLUGINS / "bridge"}
    for number in range(count + WARM_UP):
        first = number % len(ORDER)
        order = ORDER[first:] + ORDER[:first]
        start = time.perf_counter()
        subprocess.run([launcher.interpreter(), "-S", "-I", "-c", "pass"], check=True)
        took = {"start": (time.perf_counter() - start) * 1000}
        names = {prefix: f"c{number}{prefix.strip('_')}" for prefix in order}
        for name in names.values():
            subprocess.run(["ip", "netns", "add", name], check=True)
        for what, command in (("add", "ADD"), ("delete", "DEL")):
            for prefix, name in names.items():
                took[prefix + what] = call(programs[prefix], command, ready[prefix], name)
        for name in names.values():
            subprocess.run(["ip", "netns", "delete", name], check=True)
        if number >= WARM_UP:
            for key, value in took.items():
                getattr(times, key).append(value)
    return times


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
