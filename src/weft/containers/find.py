"""From what a user calls a container to its network namespace.

A pid, a namespace's path, a name below /run/netns (ip-netns(8)), or the id or name of a container of an engine on this host.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import msgspec

from weft.base.errors import Invalid, NotFound
from weft.base.nearby import did_you_mean
from weft.base.numbers import is_number
from weft.hoststate import HOST
from weft.kernel.kinds import own_netns
from weft.kernel.plumbing import netns
from weft.model import Namespace

ENGINES = (
    ("docker", "inspect", "--type", "container", "-f", "{{.State.Pid}} {{.Name}}"),
    ("podman", "inspect", "--type", "container", "-f", "{{.State.Pid}} {{.Name}}"),
)
"""Commands that print "PID NAME" of a container whose id or name follows. The pid is 0 when it does not run."""
PATIENCE = 10.0
"""Seconds for an engine to answer."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A container's namespace, found. `name`: fit for an endpoint's name; `links`: the devices in it. `routed`: it
    has a default route, of whatever family. `host`: the namespace is the host's own, by whatever path it was found."""

    name: str
    namespace: Namespace
    links: tuple[str, ...]
    routed: bool = False
    host: bool = False


def find(reference: str) -> Target:
    """Raises NotFound, with what was tried; Denied; Invalid for a namespace of Weft's own."""
    path, name = _path_of(reference)
    links, routed = netns.call(path, lambda: (tuple(name for _, name in socket.if_nameindex()), _routed()))
    cookie = netns.cookie(path)
    host = cookie == netns.cookie(HOST)
    if own_netns.is_ours(path):
        raise Invalid(f"{reference} is a network namespace of Weft's own: attach a container's")
    return Target(name=_fit(name), namespace=Namespace(path=path, cookie=cookie), links=links, routed=routed, host=host)


def _routed() -> bool:
    """Of the calling thread's namespace. The two files are described in proc_net(5)."""
    table = Path("/proc/thread-self/net")
    v4 = [line.split() for line in _lines(table / "route")[1:]]  # device, destination, … the eighth is the mask
    v6 = [line.split() for line in _lines(table / "ipv6_route")]  # destination, its length, … the device is last
    return any(f[1] == f[7] == "00000000" for f in v4) or any(
        set(f[0]) == {"0"} and f[1] == "00" and f[9] != "lo" for f in v6
    )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _path_of(reference: str) -> tuple[str, str]:
    if not reference.isprintable():
        raise NotFound(f"nothing is called {reference} here: a container's name has no such characters")
    if is_number(reference):
        return f"/proc/{reference}/ns/net", f"pid-{reference}"
    if reference.startswith("/"):
        return reference, reference.rstrip("/").rsplit("/", 1)[-1]
    if "/" not in reference:
        for folder in netns.NAMED:
            if (folder / reference).exists():
                return str(folder / reference), reference
    pid, name = ask_engines(reference)
    return f"/proc/{pid}/ns/net", name


class Unknown(NotFound):
    """No engine has a container of that name."""


def ask_engines(reference: str) -> tuple[int, str]:
    """The first process and the name of a container that runs. Raises Unknown; NotFound where it does not run."""
    tried = [f"namespace {netns.NAMED[0]}/{reference}"]
    for command in ENGINES:
        if shutil.which(command[0]) is None:
            continue
        tried.append(f"{command[0]} container")
        try:
            answer = subprocess.run([*command, "--", reference], capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        match answer.stdout.split():
            case [pid, name] if answer.returncode == 0 and pid != "0":
                return int(pid), name.lstrip("/")
            case ["0", name]:
                raise NotFound(f"container {name.lstrip('/')} is not running: start it first")
    raise Unknown(f"nothing is called {reference} here: {_nearby(reference)}no {', no '.join(tried)}")


def _nearby(reference: str) -> str:
    """Which namespace may have been meant."""
    named = [path.name for folder in netns.NAMED if folder.is_dir() for path in folder.iterdir()]
    meant = did_you_mean(reference, named)
    return f"{meant} there is " if meant else ""


def _fit(name: str) -> str:
    """An endpoint's name (`weft.base.names.check_name`) as near to `name` as can be."""
    fit = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")[:63].rstrip("._-")
    return fit or "container"
