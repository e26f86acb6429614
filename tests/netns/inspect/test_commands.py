"""`weft netns` and `weft links` as a user calls them; there is no agent."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from support.inspected import held_by_process
from support.labs import WEFT
from support.namespaces import Home, Namespace

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def weft(tmp_path: Path) -> Run:
    def run(*words: str, prefix: tuple[str, ...] = (), **about: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "WEFT_SOCKET": str(tmp_path / "none.sock"), **about}
        return subprocess.run(
            [*prefix, *WEFT, *words], capture_output=True, text=True, timeout=60, check=False, env=env
        )

    return run


@pytest.fixture
def web(netns: Home) -> Iterator[tuple[Namespace, int]]:
    """A container, with a process in it, and eth0 whose other end is here."""
    place = netns.new()
    netns.sh(f"ip link add host0 type veth peer name eth0 netns {place.path}")
    with held_by_process(place) as pid:
        yield place, pid


def test_a_command_runs_inside_and_its_exit_status_is_passed_on(web: tuple[Namespace, int], weft: Run) -> None:
    place, pid = web
    inode = Path(place.path).stat().st_ino
    for name in (str(pid), f"pid-{pid}", f"/proc/{pid}/ns/net", f"net:[{inode}]", place.path):
        done = weft("netns", name, "--", "sh", "-c", "readlink /proc/self/ns/net; ls /sys/class/net; exit 7")
        assert (done.returncode, done.stderr) == (7, "")
        assert done.stdout.split() == [f"net:[{inode}]", "eth0", "lo"]


def seen_beside() -> tuple[list[str], list[str]]:
    """The devices in /sys, and what is mounted below it: elsewhere, other tests mount things of their own meanwhile."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return os.listdir("/sys/class/net"), [line for line in mounts if line.split()[4].startswith("/sys")]  # noqa: PTH208


def test_what_it_sees_beside_the_namespace_stays(web: tuple[Namespace, int], weft: Run) -> None:
    """Its mounts of its own end with it: /sys here shows what it did, and control groups are there in both."""
    before = seen_beside()
    groups = weft("netns", str(web[1]), "--", "ls", "/sys/fs/cgroup").stdout.split()
    assert groups == sorted(os.listdir("/sys/fs/cgroup"))  # noqa: PTH208
    assert before == seen_beside()


def test_signals_end_the_command_as_they_would_without(web: tuple[Namespace, int], weft: Run) -> None:
    """Python ignores SIGPIPE; what runs inside must not."""
    done = weft("netns", str(web[1]), "--", "grep", "SigIgn", "/proc/self/status")
    assert int(done.stdout.split()[1], 16) & 1 << (13 - 1) == 0
    assert weft("netns", str(web[1]), "--", "sh", "-c", "kill -TERM $$").returncode == -15


def test_without_a_command_it_is_the_user_s_shell(web: tuple[Namespace, int], weft: Run, tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\nreadlink /proc/self/ns/net\n")
    shell.chmod(0o755)
    done = weft("netns", str(web[1]), SHELL=str(shell))
    assert done.stdout == f"net:[{Path(web[0].path).stat().st_ino}]\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("nobody", "--", "true"), 4, "is called nobody: `weft netns` lists those there are"),
        (("net:[1]", "--", "true"), 4, "is called net:[1]: `weft netns` lists those there are"),
        (("99999999", "--", "true"), 4, "no network namespace here is called 99999999"),
        (("a/b",), 4, "no network namespace here is called a/b"),
        (("/etc/passwd",), 4, "/etc/passwd is not a network namespace"),
        (("/no/such",), 4, "no network namespace /no/such"),
        (("../..",), 4, "../.. is a directory, no network namespace: name one that is in it"),
        (("a\nb",), 4, "no network namespace here is called 'a\\nb'"),
        (("",), 4, "no network namespace here is called ''"),
        (("{here}", "--", "no-such-command"), 127, "no-such-command: there is no such command"),
        (("{here}", "--", "/etc/passwd"), 126, "/etc/passwd cannot be run: Permission denied"),
        (("ls", "--", "true"), 2, "there is nothing to run with ls"),
        (("default", "-o", "json"), 2, "it is about lists"),
        (("ls", "-o", "xml"), 2, "xml"),
    ],
)
def test_bad_input_is_one_line(netns: Home, weft: Run, words: tuple[str, ...], status: int, said: str) -> None:
    done = weft("netns", *(word.format(here=os.getpid()) for word in words))
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert status == 2 or done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "no link nosuch in any namespace here"),
        (("4294967296",), "no link 4294967296 in any namespace here"),
        (("eth0@if3", "--in", "{here}"), "no link eth0@if3 in namespace pid-"),
        (("lo", "--in", "nobody"), "no network namespace here is called nobody"),
        (("",), "no link '' in any namespace here"),
        (("--in", ""), "no network namespace here is called ''"),
    ],
)
def test_a_link_that_is_not_there(netns: Home, weft: Run, words: tuple[str, ...], said: str) -> None:
    done = weft("links", *(word.format(here=os.getpid()) for word in words))
    assert done.returncode == 4 and said in done.stderr.splitlines()[-1]


def test_lists_as_json_yaml_and_tables(web: tuple[Namespace, int], weft: Run) -> None:
    name = f"pid-{web[1]}"
    listed = {n["name"]: n for n in json.loads(weft("netns", "ls", "-o", "json").stdout)}
    (here,) = [n["name"] for n in listed.values() if n["this"]]
    assert os.getpid() in listed[here]["pids"] and listed[name]["pids"] == [web[1]]
    links = [link for link in json.loads(weft("links", "-o", "json").stdout) if link["namespace"] == name]
    assert [link["name"] for link in links] == ["lo", "eth0"]
    assert links[1]["peer"] == {"namespace": here, "ifindex": 2, "name": "host0"}
    assert links == yaml.safe_load(weft("links", "--in", name, "-o", "yaml").stdout)
    assert f"\n{name} " in weft("netns").stdout
    row = next(line for line in weft("links").stdout.splitlines() if line.startswith(f"{name} ") and "eth0" in line)
    assert row.split() == [name, "2", "eth0", "veth", "down", "-", "host0", "in", here]


def test_one_link_with_its_way(web: tuple[Namespace, int], weft: Run) -> None:
    done = weft("links", "eth0", "--in", str(web[1]))
    name = f"pid-{web[1]}"
    assert done.stdout.splitlines()[-3:] == [
        f"eth0 in {name} (veth)",
        f"  its other end host0 in pid-{os.getpid()} (veth)",
        "    nothing leads on from here",
    ]
    assert f"link       eth0, ifindex 2, in {name}\n" in done.stdout
    (found,) = json.loads(weft("links", "2", "--in", str(web[1]), "-o", "json").stdout)
    assert found["link"]["name"] == "eth0"
    assert (found["way"]["how"], found["way"]["next"][0]["name"]) == ("start", "host0")


def test_the_ways_of_all_that_fit_as_tables(web: tuple[Namespace, int], netns: Home, weft: Run) -> None:
    """eth0 behind a bridge with a VXLAN device in one namespace, and without a bridge in another."""
    switch = netns.new()
    netns.sh(f"ip link add host1 type veth peer name eth1 netns {web[0].path}")
    netns.sh(f"ip link set host1 netns {switch.path}")
    for line in (
        "ip link add br0 type bridge",
        "ip link set host1 master br0 mtu 1450",
        "ip link add vx7 type vxlan id 7 dstport 4789 local 192.0.2.1",
        "ip link set vx7 master br0 mtu 1400",
    ):
        switch.sh(line)
    with held_by_process(switch) as pid:
        name, behind = f"pid-{web[1]}", f"pid-{pid}"
        done = weft("links", "--in", name, "--way")
        one, other = done.stdout.split("\n\n")
        assert [line.split()[:6] for line in one.splitlines()[2:]] == [
            ["1", name, "eth0", "veth", "1500", "-"],
            ["2", f"pid-{os.getpid()}", "host0", "veth", "1500", "-"],
        ]
        assert [line.split()[:6] for line in other.splitlines()[2:]] == [
            ["1", name, "eth1", "veth", "1500", "-"],
            ["2", behind, "host1", "veth", "1450", "br0"],
            ["3", behind, "br0", "bridge", "1400", "-"],
            ["4", behind, "vx7", "vxlan", "1400", "br0"],
        ]
        assert "vni 7, port 4789, local 192.0.2.1" in other
        found = json.loads(weft("links", "--in", name, "--way", "-o", "json").stdout)
        assert [each["way"]["next"][0]["name"] for each in found] == ["host0", "host1"]
        assert found[1]["way"]["next"][0]["master"] == "br0"
    refused = weft("links", "--way")
    assert (refused.returncode, refused.stdout) == (2, "") and "say of which link" in refused.stderr


def test_a_link_that_is_in_several_namespaces_has_a_row_for_each(web: tuple[Namespace, int], weft: Run) -> None:
    rows = [line.split() for line in weft("links", "lo").stdout.splitlines()]
    assert {f"pid-{os.getpid()}", f"pid-{web[1]}"} <= {row[0] for row in rows}
    assert {row[2] for row in rows[1:]} == {"lo"}
    assert all(each["way"] is None for each in json.loads(weft("links", "lo", "-o", "json").stdout))


def test_without_root_it_shows_what_it_may_and_says_so(web: tuple[Namespace, int], weft: Run) -> None:
    prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "PYTHONDONTWRITEBYTECODE=1")
    if subprocess.run([*prefix, *WEFT, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("the repository is not for everybody to read")
    done = weft("links", prefix=prefix)
    assert done.returncode == 0
    assert "processes may not be looked at: namespaces that only they are in are missing: run as root" in done.stderr
    assert "host0" in done.stdout and "cannot be seen" in done.stdout
    refused = weft("netns", str(web[1]), "--", "true", prefix=prefix)
    assert refused.returncode != 0 and refused.stderr.count("\n") == 1
