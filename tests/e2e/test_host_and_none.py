"""Drivers host and none: networks without subnets. And who is in the host's own namespace is attached to no other."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator

import pytest

from support.reach import client, refused, shown, weft
from support.waiting import until
from weft.lab import Lab
from weft.lab.topology import flat

NODE = "node-1"


@pytest.fixture(scope="module")
def lab(lab_base: str) -> Iterator[Lab]:
    """One host."""
    with Lab.up(flat(1), name="bare", store="sqlite") as found:
        for name, driver, more in (("h", "host", ""), ("n", "none", ""), ("br", "bridge", "--subnet 10.1.0.0/16")):
            said = weft(found, NODE, *f"network create {name} --driver {driver} {more}".split())
            assert said.returncode == 0, said.stderr
            assert said.stdout.strip() == f"created network {name}: {driver}{', 10.1.0.0/16' if more else ''}"
        yield found


@pytest.fixture
def process(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """One in the host's namespace."""
    one = lab.host(NODE).popen(["sh", "-c", "echo $$; exec sleep 100"])
    yield one
    end(lab, one)


NUMBERS: dict[int, str] = {}
"""Of processes in the host, by the number of what runs them outside."""


def pid(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    if process.pid not in NUMBERS:
        NUMBERS[process.pid] = process.stdout.readline().strip()
    return NUMBERS[process.pid]


def end(lab: Lab, process: subprocess.Popen[str]) -> None:
    lab.host(NODE).run(["kill", pid(process)])
    process.communicate(timeout=10)


def agent_pid(lab: Lab) -> str:
    """As the host has it."""
    look = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q ' agent ru[n]' && echo ${p#/proc/}; done; true"
    return lab.host(NODE).run(["sh", "-c", look], check=True).stdout.split()[0]


def links(lab: Lab) -> list[tuple[int, str]]:
    return [(link["ifindex"], link["ifname"]) for link in shown(lab.host(NODE), "ip -j link")]


def test_networks_have_no_subnets(lab: Lab) -> None:
    found = {n.name: n for n in client(lab, NODE).networks()}
    assert (found["h"].subnets, found["n"].subnets, found["h"].problems, found["n"].problems) == ((), (), (), ())
    until(lambda: client(lab, NODE).status().state == "converged", 20, "what can be done without is made behind")
    assert weft(lab, NODE, "network", "show", "h").returncode == 0
    rows = {row[0]: row for row in map(str.split, weft(lab, NODE, "network", "ls").stdout.splitlines()[1:])}
    assert rows["n"][1:3] == ["none", "-"] and rows["br"][1:3] == ["bridge", "10.1.0.0/16"]
    here = {row[0]: row for line in weft(lab, NODE, "status").stdout.splitlines() if (row := line.split())}
    assert here["n"][:4] == ["n", "none", "-", "0"] and here["h"][:3] == ["h", "host", "-"]


def test_a_container_of_the_host_has_its_addresses_and_nothing_is_made(
    lab: Lab, process: subprocess.Popen[str]
) -> None:
    before, target = links(lab), pid(process)
    assert weft(lab, NODE, "attach", target, "--network", "h", "--name", "web").returncode == 0
    found = client(lab, NODE).endpoint("web")
    assert {str(a) for a in found.addresses} == {str(a) for a in client(lab, NODE).status().addresses}
    assert (found.interface, found.host_interface, found.mac, found.resolver) == ("eth0", "", "", "")
    again = weft(lab, NODE, "attach", target, "--network", "h")
    assert again.returncode == 0 and len(client(lab, NODE).endpoints(network="h")) == 1
    assert links(lab) == before and weft(lab, NODE, "plan").stdout == ""
    assert weft(lab, NODE, "detach", target).returncode == 0
    assert client(lab, NODE).endpoints(network="h") == () and links(lab) == before


def test_two_in_the_hosts_namespace_are_two(lab: Lab, process: subprocess.Popen[str]) -> None:
    other = lab.host(NODE).popen(["sh", "-c", "echo $$; exec sleep 100"])
    try:
        for target in (pid(process), pid(other)):
            assert weft(lab, NODE, "attach", target, "--network", "h").returncode == 0
        assert len(client(lab, NODE).endpoints(network="h")) == 2
        first = client(lab, NODE).endpoints(network="h")[0]
        assert weft(lab, NODE, "detach", first.container).returncode == 0
        (left,) = client(lab, NODE).endpoints(network="h")
        assert weft(lab, NODE, "detach", left.container).returncode == 0
    finally:
        end(lab, other)


def test_none_has_its_loopback_device_up(lab: Lab) -> None:
    lab.host(NODE).run(["ip", "netns", "add", "alone"], check=True)
    said = weft(lab, NODE, "attach", "alone", "--network", "n")
    assert said.stdout == "attached alone to n: no addresses on lo\n", said
    (lo,) = shown(lab.host(NODE), "ip -n alone -j link")
    assert (lo["ifname"], "UP" in lo["flags"]) == ("lo", True)
    assert lab.host(NODE).run(["ip", "netns", "exec", "alone", "ping", "-c1", "-W1", "127.0.0.1"]).returncode == 0
    assert weft(lab, NODE, "attach", "alone", "--network", "n").returncode == 0
    assert weft(lab, NODE, "plan").stdout == ""
    assert weft(lab, NODE, "detach", "alone").returncode == 0
    assert client(lab, NODE).endpoints(network="n") == ()
    lab.host(NODE).run(["ip", "netns", "del", "alone"], check=True)


def test_a_port_that_leads_elsewhere_is_told(lab: Lab, process: subprocess.Popen[str]) -> None:
    host, target = lab.host(NODE), pid(process)
    host.run(["ip", "netns", "add", "pub"], check=True)
    assert weft(lab, NODE, *shlex.split("attach pub --network br --publish 8080:80")).returncode == 0
    told = refused(lab, f"attach {target} --network h --publish 80")
    assert told.startswith("network h: ports of its containers are the host's own (driver host)")
    told = refused(lab, f"attach {target} --network h --name web --port-name http=8080/tcp")
    assert told.startswith("port 8080/tcp of this host leads to pub in network br") and "web" in told
    assert weft(lab, NODE, "detach", "pub").returncode == 0
    host.run(["ip", "netns", "del", "pub"], check=True)


WRONG = [
    ("network create x --driver host --subnet 10.9.0.0/16", "network x: driver host gives no addresses (10.9.0.0/16)"),
    ("network create x --driver none --mtu 1400", "network x: driver none makes no interface: leave --mtu out"),
    ("network create x --driver none -O dns=on", "dns=on means nothing where no addresses are given: leave -O dns out"),
    ("network create x --driver none -O reserve=10.9.0.0/24", "reserve=10.9.0.0/24 means nothing where no addresses"),
    ("network create x --driver host --internal", "network x: Weft keeps nothing apart from containers of driver host"),
    ("network create x --driver bridge", "network x: no subnet: give --subnet"),
    (
        "attach c --network n --ip 10.9.0.2",
        "network n: driver none gives neither interface nor addresses: leave --ip out",
    ),
    ("attach c --network n --interface eth0", "network n: driver none gives neither interface nor addresses"),
    (
        "attach c --network n --mac 02:00:00:00:00:01",
        "network n: driver none gives no interface a MAC address of its own",
    ),
    ("attach c --network n --publish 80", "network n: packets of its containers do not pass their host (driver none)"),
    ("attach c --network h", "c has a network namespace of its own, and driver host is for containers in the host's"),
]


@pytest.mark.parametrize("words", [words for words, _ in WRONG])
def test_what_makes_no_sense_is_refused_in_a_line(lab: Lab, words: str) -> None:
    lab.host(NODE).run(["ip", "netns", "add", "c"])
    status = 2 if "--driver bridge" in words else 1
    done = weft(lab, NODE, *shlex.split(words))
    assert done.returncode in (1, status), done
    assert dict(WRONG)[words] in done.stderr.replace("weft: ", "") or "--subnet" in done.stderr, done.stderr
    assert "x" not in [n.name for n in client(lab, NODE).networks()]


def test_the_hosts_own_namespace_is_refused_by_whatever_name(lab: Lab, process: subprocess.Popen[str]) -> None:
    """And what is there of Weft's stays as it is."""
    host, agent = lab.host(NODE), agent_pid(lab)
    host.must("a mount", ["touch", "/run/weft-bound"])
    host.must("a mount", ["mount", "--bind", "/proc/self/ns/net", "/run/weft-bound"])
    before = links(lab)
    for target in (pid(process), agent, "/proc/self/ns/net", f"/proc/{agent}/ns/net", "/run/weft-bound"):
        for network in ("br", "n"):
            told = refused(lab, f"attach {target} --network {network}")
            assert "is in the host's own network namespace, which Weft does not attach" in told
    host.must("a mount", ["umount", "/run/weft-bound"])
    assert links(lab) == before and not client(lab, NODE).endpoints(network="br")
