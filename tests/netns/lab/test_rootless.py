"""Without root: in a user namespace of the lab's own, or in one that is there already."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

import weft
from support.labs import _CLI, eventually, processes_of

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; the other tests ran rootless")


@pytest.fixture
def python(base: Path) -> list[str]:
    """An interpreter that anybody may run, and a place for the labs that anybody may write to."""
    base.parent.chmod(0o777)
    paths = [str(Path(package.__file__).parents[1]) for package in (weft, msgspec) if package.__file__]
    command = ["env", f"PYTHONPATH={os.pathsep.join(paths)}", f"HOME={base.parent}"]
    for candidate in (sys.executable, "/usr/bin/python3"):
        found = [*command, candidate, "-c", _CLI, "lab"]
        if subprocess.run([*NOBODY, *found, "--help"], capture_output=True, check=False).returncode == 0:
            return found
    return pytest.skip("nobody may run this Python, nor does /usr/bin/python3 have its version")


def said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@root
def test_an_ordinary_user(base: Path, python: list[str]) -> None:
    command = [*NOBODY, *python]
    assert "lab default is up" in said([*command, "up", "--no-agents"])
    assert (base / "default").stat().st_uid == 65534
    assert "ttl=63" in said([*command, "exec", "node-1", "--", "ping", "-c1", "-W1", "192.168.0.33"])
    assert "ttl=63" in said([*command, "exec", "node-1", "--", "ping", "-c1", "-W1", "fd00:192:168::33"])
    busy = """
        ip netns add c1; ip link add br0 type bridge; ip link add v0 type vxlan id 1 dstport 8472 dev eth0
        nft add table inet t; sysctl -qw net.ipv4.ip_forward=1
    """
    said([*command, "exec", "node-1", "--", "bash", "-ec", busy])
    assert "c1" in said([*command, "ls", "-o", "json"])
    assert "is down" in said([*command, "down"])
    assert eventually(lambda: processes_of(base / "default") == [])
    assert not base.exists()


@root
def test_within_a_user_namespace_that_is_there_already(base: Path, python: list[str]) -> None:
    inner = [*NOBODY, "unshare", "-Urnm", *python]
    script = '"$@" up --no-agents && "$@" exec node-1 -- ping -c1 -W1 192.168.0.33 && "$@" down'
    out = said([*inner[: -len(python)], "bash", "-c", script, "-", *python])
    assert "ttl=63" in out and "is down" in out
    assert not base.exists()


@contextmanager
def where_user_namespaces_are_forbidden() -> Iterator[list[str]]:
    """A user namespace with all ids, and no further one below it (user_namespaces(7), namespaces(7))."""
    with subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        proc = Path(f"/proc/{holder.pid}")
        own = Path("/proc/self/ns/user").readlink()
        assert eventually(lambda: (proc / "ns/user").readlink() != own)
        for kind in ("uid_map", "gid_map"):
            (proc / kind).write_text("0 0 65536")
        enter = ["nsenter", "--target", str(holder.pid), "--user", "--"]
        said([*enter, "bash", "-c", "echo 0 >/proc/sys/user/max_user_namespaces"])
        yield enter
        assert holder.stdin
        holder.stdin.close()


@root
def test_user_namespaces_are_forbidden(base: Path, python: list[str]) -> None:
    with where_user_namespaces_are_forbidden() as enter:
        result = subprocess.run([*enter, *NOBODY, *python, "up"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("weft: a lab without root needs user namespaces, which are switched off here")
    assert line.endswith("run `sudo sysctl -w user.max_user_namespaces=10000`, or the lab as root")
    assert not base.exists()
