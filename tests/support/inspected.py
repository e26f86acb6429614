"""`weft netns` and `weft links` in a lab's host, as data."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.namespaces import Namespace
from weft.lab.host import Host
from weft.lab.lab import WEFT


def weft(host: Host, *words: str) -> Any:
    done = host.run([*WEFT, *words, "-o", "json"], timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def namespaces(host: Host) -> dict[str, dict[str, Any]]:
    """All, by name."""
    return {n["name"]: n for n in weft(host, "netns", "ls")}


def inside(host: Host, name: str) -> str:
    """The network namespace that one gets to by this name, as `net:[INODE]`."""
    done = host.run([*WEFT, "netns", name, "--", "readlink", "/proc/self/ns/net"])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def of_pid(host: Host, pid: str | int) -> str:
    return host.run(["readlink", f"/proc/{pid}/ns/net"]).stdout.strip()


def way(host: Host, name: str, link: str = "eth0") -> list[tuple[str, str, str, str]]:
    """Hop by hop, the first where it branches: how one gets there, the link, its kind and its namespace."""
    (found,) = weft(host, "links", link, "--in", name)
    hops, hop = [], found["way"]
    while hop:
        hops.append((hop["how"], hop["name"], hop["kind"], hop["namespace"]))
        hop = hop["next"][0] if hop["next"] else None
    return hops


@contextmanager
def held_by_process(place: Namespace) -> Iterator[int]:
    """The pid of a process that is in there, until the block ends."""
    command = ["nsenter", f"--net={place.path}", "sh", "-c", "echo ready; exec sleep 100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()
