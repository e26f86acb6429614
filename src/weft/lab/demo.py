"""`./dev demo`: the main job, shown with the very commands a user would type.

Brings the reference lab up, makes a network of every data path that there is, connects containers across the hosts,
shows who reaches whom and one packet's way, and takes the lab down again.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time

from weft.datapaths.registry import DRIVERS

NAME = "demo"
HOSTS = ("node-1", "node-2", "node-3", "node-4")
OPTIONS = {"routed": " -O encap=vxlan-cross-subnet"}
"""That a driver is shown with."""
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


BGP_SECONDS = 30


class Failure(Exception):
    """A command of the demonstration did not do what it should have."""


def main() -> int:
    began = time.monotonic()
    environment = {**os.environ, "WEFT_LAB_NAME": NAME}
    try:
        _run("lab down", environment, quiet=True)
        _say("Four hosts, a router between two of their segments, and an outside host; an agent on each node.")
        _run("lab up", environment)
        for number, driver in enumerate(_shown(), 1):
            _network(number, driver, environment)
        _say("What an operator sees on node-1:")
        _run("lab exec node-1 -- weft status", environment)
        _say("One packet's way, from the live state of each kernel it passes:")
        _run("lab exec node-1 -- weft trace node-1/vxlan-1 node-4/vxlan-4", environment)
        _say("The way out, masqueraded: `outside` has no route to any container.")
        _run("lab exec node-1/vxlan-1 -- ping -c 1 -W 2 203.0.113.10", environment)
    except Failure as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    finally:
        _run("lab down", environment)
    print(f"\n{BOLD}All of it worked, in {time.monotonic() - began:.0f} s.{PLAIN} This machine is as it was before.")
    print("Go on with: .venv/bin/weft lab up; .venv/bin/weft lab --help; docs/")
    return 0


def _shown() -> list[str]:
    """Drivers that need nothing but this lab, and no network that is there already."""
    bare = (name for name, used in DRIVERS.items() if not (used.addresses.made_elsewhere or used.targets))
    return sorted(name for name in bare if DRIVERS[name].passed)


def _network(number: int, driver: str, environment: dict[str, str]) -> None:
    name = f"net-{driver}"
    _say(f"{DRIVERS[driver].name}: {DRIVERS[driver].summary}")
    words = f"--subnet 10.{number}.0.0/16 --subnet fd00:{number}::/48{OPTIONS.get(driver, '')}"
    _run(f"lab exec node-1 -- weft network create {name} --driver {driver} {words}", environment)
    for host in HOSTS:
        _run(f"lab run {host} {driver}-{host[-1]} --network {name}", environment)
    if driver == "bridge":
        print(f"{DIM}(one host's containers only, by its nature){PLAIN}")
        _run(f"lab run node-1 {driver}-5 --network {name}", environment)
        _run(
            f"lab exec node-1/{driver}-1 -- ping -c 1 -W 2 {_address('node-1', f'{driver}-5', environment)}",
            environment,
        )
        return
    if driver == "host-gw":
        print(
            f"{DIM}(node-4 is behind a router, where host routes do not reach; its agent and the others say so){PLAIN}"
        )
        _run(f"lab rm node-4 {driver}-4", environment)
        _run(f"lab exec node-4 -- weft network show {name}", environment)
    if driver == "routed":
        print(f"{DIM}(to node-2 and node-3 by BGP's routes; node-4 is behind a router: through a tunnel){PLAIN}")
        _wait_for_bgp(environment)
        _run("lab exec node-1 -- weft bgp peers", environment)
        _run(f"lab exec node-1 -- ip route show root 10.{number}.0.0/16", environment)
    _run(f"lab matrix --network {name}", environment)


def _address(host: str, container: str, environment: dict[str, str]) -> str:
    words = [sys.executable, "-m", "weft", "lab", "exec", f"{host}/{container}", "--", "hostname", "-I"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.split()[0]


def _wait_for_bgp(environment: dict[str, str]) -> None:
    """Until all sessions of all hosts are up. Raises Failure."""
    began = time.monotonic()
    for host in HOSTS:
        words = [sys.executable, "-m", "weft", "lab", "exec", host, "--", "weft", "bgp", "peers", "-o", "json"]
        while True:
            done = subprocess.run(words, env=environment, capture_output=True, text=True)
            sessions = json.loads(done.stdout) if done.returncode == 0 else []
            if sessions and all(session["state"] == "Established" for session in sessions):
                break
            if time.monotonic() - began > BGP_SECONDS:
                raise Failure(f"BGP sessions of {host} are not up after {BGP_SECONDS} s: `weft bgp peers` says why")
            threading.Event().wait(0.2)


def _say(text: str) -> None:
    print(f"\n{BOLD}{text}{PLAIN}", flush=True)


def _run(command: str, environment: dict[str, str], *, quiet: bool = False) -> None:
    """Raises Failure."""
    if not quiet:
        print(f"{DIM}$ weft {command}{PLAIN}", flush=True)
    words = [sys.executable, "-m", "weft", *shlex.split(command)]
    status = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL if quiet else None).returncode
    if status and not quiet:
        raise Failure(f"`weft {command}` ended with exit status {status}")


if __name__ == "__main__":
    sys.exit(main())
