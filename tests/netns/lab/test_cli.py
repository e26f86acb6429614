"""`weft lab …` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.labs import WEFT, weft
from weft.base.errors import Conflict, Failed
from weft.lab import Lab, flat

WIRE = """
ip netns add c1
ip link add v type veth peer name eth0 netns c1
ip link set v up
ip address add 10.{0}.0.1/24 dev v
ip address add fd10:{0}::1/64 dev v nodad
ip -n c1 address add 10.{0}.0.2/24 dev eth0
ip -n c1 address add fd10:{0}::2/64 dev eth0 nodad
ip -n c1 link set eth0 up
ip -n c1 route add default via 10.{0}.0.1
ip -n c1 route add default via fd10:{0}::1
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip route add 10.{1}.0.0/24 via 192.168.1.1{1}
ip route add fd10:{1}::/64 via fd00:192:168:1::1{1}
"""
"""By hand what a data path does: a container in node-{0}, routes to that of node-{1}."""


def test_up_exec_down() -> None:
    up = weft("lab", "up", "--no-agents", "--hosts", "1")
    assert up.returncode == 0 and up.stdout.startswith("lab default is up: node-1, outside, router.")
    assert weft("lab", "up", "--no-agents").returncode == 1
    assert weft("lab", "exec", "node-1", "--", "bash", "-c", "exit 7").returncode == 7
    fed = subprocess.run([*WEFT, "lab", "exec", "node-1", "cat"], input="x", capture_output=True, text=True, check=True)
    assert fed.stdout == "x"
    [row] = [r for r in json.loads(weft("lab", "ls", "-o", "json").stdout) if r["host"] == "node-1"]
    assert row["addresses"] == ["192.168.1.11/24", "fd00:192:168:1::11/64"]
    assert row["agent"] is None and row["containers"] == []
    assert weft("lab", "down").stdout == "lab default is down\n"
    again = weft("lab", "down")
    assert (again.returncode, again.stdout) == (0, "no lab default was up\n")


def test_an_interrupt_is_for_the_command() -> None:
    with Lab.up(flat(1), agents=False):
        script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"
        command = [*WEFT, "lab", "exec", "node-1", "--", "bash", "-c", script]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stdout and process.stdout.readline() == "ready\n"
            subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)  # as a terminal does
            assert process.stdout.read() == "caught\n"
            assert process.wait(5) == 5


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        ("exec node-9 -- true", 4, "no host 'node-9' in lab 'default': it has node-1, outside, router"),
        ("exec node-1/c9 -- true", 4, "no container 'c9' on node-1: it has none; `weft lab run node-1 c9 --network N`"),
        ("link router down", 4, "'router' has no uplink: those with one are node-1, outside"),
        ("agent outside stop", 4, "outside runs no agent: those with one are node-1"),
        ("rm node-1 c9", 4, "no container 'c9' on node-1"),
        ("store stop", 4, "lab 'default' has no etcd: bring it up with `weft lab up --store etcd`"),
        ("exec --name other node-1 -- true", 4, "no lab 'other' is up: start it with `weft lab up --name other`"),
        ("up --name Bad/Name", 1, "'Bad/Name' is not a lab name"),
        ("up --topology /nowhere.toml", 4, "no topology file /nowhere.toml"),
        ("up --hosts 0", 1, "0 hosts: choose 1 to 100"),
        ("up --store nosuch", 2, "nosuch"),
        ("link node-1 sideways", 2, "sideways"),
    ],
)
def test_wrong_words(words: str, status: int, complaint: str) -> None:
    with Lab.up(flat(1), agents=False):
        result = weft("lab", *words.split())
    assert result.returncode == status
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_matrix() -> None:
    with Lab.up(flat(2), agents=False) as lab:
        for own, other in ((1, 2), (2, 1)):
            lab.host(f"node-{own}").run(["bash", "-ec", WIRE.format(own, other)], check=True)
        good = weft("lab", "matrix", "-o", "json")
        pings = json.loads(good.stdout)
        assert good.returncode == 0
        assert [(p["source"], p["family"], p["ok"]) for p in pings] == [
            (source, family, True) for source in ("node-1/c1", "node-2/c1") for family in (4, 6)
        ]
        lab.host("node-1").run(["ip", "-6", "route", "del", "fd10:2::/64"], check=True)
        bad = weft("lab", "matrix")
        assert bad.returncode == 1
        assert "no answer: node-1/c1 to node-2/c1 (fd10:2::2)" in bad.stdout
        assert "2 of 4 pings answered, 2 containers" in bad.stdout


def says(script: str) -> tuple[str, ...]:
    """A stand-in for `weft` in a host."""
    return (sys.executable, "-c", script)


def test_run_is_all_or_nothing_and_rm_ends_what_runs() -> None:
    with Lab.up(flat(1), agents=False) as lab:
        node = lab.host("node-1")
        lab.weft = says("import sys; sys.exit('weft: no address is left')")
        with pytest.raises(Failed, match="node-1: no address is left"):
            lab.run("node-1", "c1", network="web")
        assert node.containers() == [] and lab.network_of("node-1", "c1") is None

        lab.weft = says("import sys; open('/run/weft/said', 'a').write(' '.join(sys.argv[1:]) + '\\n')")
        lab.run("node-1", "c1", network="web", ip=["10.0.0.9"])
        assert node.containers() == ["c1"] and lab.network_of("node-1", "c1") == "web"
        with pytest.raises(Conflict, match="node-1 already has a container 'c1'"):
            lab.run("node-1", "c1", network="web")
        with node.container("c1").popen(["sleep", "100"]) as process:
            assert node.run(["bash", "-c", "until ip netns pids c1 | grep -q .; do :; done"], timeout=5).returncode == 0
            lab.rm("node-1", "c1")
            assert process.wait(5) == -9
        assert node.containers() == []
        said = (node.own / "run-weft/said").read_text().splitlines()
        assert said == ["attach c1 --network web --ip 10.0.0.9", "detach c1"]


def test_rm_goes_on_when_detaching_fails() -> None:
    with Lab.up(flat(1), agents=False) as lab:
        lab.weft = says("")
        lab.run("node-1", "c1", network="web")
        lab.weft = says("import sys; sys.exit('weft: the agent cannot be reached')")
        with pytest.raises(Failed, match="the agent cannot be reached"):
            lab.rm("node-1", "c1")
        assert lab.host("node-1").containers() == []


def test_two_labs_at_once(base: Path) -> None:
    with ThreadPoolExecutor() as pool:
        one, two = pool.map(lambda name: Lab.up(flat(2), name=name, agents=False), ["one", "two"])
    one.host("node-1").run(["ip", "netns", "add", "c1"], check=True)
    assert two.host("node-1").containers() == []
    one.down()
    assert two.host("node-1").run(["ping", "-c1", "-W1", "192.168.1.12"]).returncode == 0
    assert [row["lab"] for row in json.loads(weft("lab", "ls", "-o", "json").stdout)] == ["two"] * 4
    two.down()
    assert not base.exists()


@pytest.mark.parametrize("verb", ["ls", "up", "down", "exec node-1 true"])
def test_verbs_are_refused_inside_of_the_lab(verb: str) -> None:
    """There its processes have other pids; nothing is harmed."""
    with Lab.up(flat(1), agents=False) as lab:
        refused = lab.host("node-1").run([*WEFT, "lab", *verb.split()])
        assert refused.returncode == 1
        assert "lab 'default' cannot be led from within: use `weft lab` outside of its hosts" in refused.stderr
        assert lab.host("node-1").run(["true"]).returncode == 0
