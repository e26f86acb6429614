"""What `weft plan` prints does, pasted into a shell, what Weft would; `weft agent purge` takes all of it back."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from support import wanted
from support.reach import OUTSIDE, Container, client, converged, make_network, ping, run, weft
from support.snapshot import Snapshot, difference, snapshot
from weft.lab import Lab
from weft.lab.inside import Inside

# Each line by itself, as an operator would paste it.
_PASTE = """
while IFS= read -r line; do
    said=$(bash -c "$line" 2>&1 </dev/null) || { echo "$line: $said" >&2; exit 1; }
done
"""
HERE = "node-3"


@dataclass(frozen=True)
class Story:
    """Of node-3: before there was a network; with all of them; after purge; after the commands of `plan`; and after the
    agent's return, with what that cost it."""

    containers: list[Container]
    bare: Snapshot
    made: Snapshot
    purged: Snapshot
    commands: list[str]
    pasted: Snapshot
    adopted: Snapshot
    writes: float
    repairs: int


def metric(host: Inside, name: str) -> float:
    text = host.must("metrics", ["curl", "-sS", "--unix-socket", "/run/weft/weft.sock", "http://weft/metrics"])
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    host = lab.host(HERE)
    for program in ("iptables-nft", "ip6tables-nft"):
        host.must("policy", [program, "-P", "FORWARD", "DROP"])
    bare = snapshot(host)
    containers = build(lab)
    made = snapshot(host)
    agent = lab.agent(HERE)
    agent.end(signal.SIGTERM)
    purge = weft(lab, HERE, "agent", "purge", "--yes")
    assert (purge.returncode, purge.stderr) == (0, "")
    purged = snapshot(host)
    commands = host.must("plan", [sys.executable, wanted.__file__, HERE, lab.store]).splitlines()
    host.must("the commands", ["bash", "-c", _PASTE], input="\n".join([*commands, ""]))
    pasted = snapshot(host)
    agent.start()
    agent.wait_ready()
    converged(lab)
    status = client(lab, HERE).status()
    yield Story(
        containers,
        bare,
        made,
        purged,
        commands,
        pasted,
        snapshot(host),
        metric(host, "weft_kernel_writes_total"),
        status.repairs,
    )


def build(lab: Lab) -> list[Container]:
    """Networks of every kind; in each a container on node-2 and one on node-3. What leads to sockets of the agent's, by which
    containers ask for names, is in no plan while there is none."""
    make_network(lab, "over", "vxlan", "10.1.0.0/16", "fd00:1::/48", dns="off")
    make_network(
        lab, "six", "vxlan", "10.2.0.0/16", vni="2", underlay="ipv6", port="4789", direct_routing="true", dns="off"
    )
    make_network(lab, "inner", "vxlan", "10.3.0.0/16", "fd00:3::/48", vni="3", internal=True, dns="off")
    make_network(lab, "flat", "host-gw", "10.4.0.0/16", "fd00:4::/48", dns="off")
    make_network(lab, "local", "bridge", "fd00:5::/48", dns="off")
    places = [(host, name) for name in ("over", "six", "inner", "flat", "local") for host in ("node-2", HERE)]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda p: run(lab, p[0], f"{p[1]}-{p[0][-1]}", p[1]), places))


def test_purge_restores_what_was_before(story: Story) -> None:
    """But for the agent's own socket nothing is left; other people's rules are."""
    assert difference(story.bare, story.purged) == ""
    assert "iptables :FORWARD DROP" in {re.sub(r" \[.*", "", line) for line in story.purged}


def test_there_is_a_lot_to_do(story: Story) -> None:
    """Each kind of object is among it, so that the next test says something."""
    text = "\n".join(story.commands)
    for start in (
        "ip link add name weft-over ",
        "ip link add name weft.1 .*type vxlan id 1 local 192.168.1.245 dev eth0 dstport 8472 nolearning",
        "ip link add name weft.2 .*type vxlan id 2 local fd00:192:168:1::245 dev eth0 dstport 4789 nolearning",
        r"ip link add name weft\S+ .*type veth peer name eth0 netns over-3",
        "ip -n over-3 link set dev eth0 ",
        "ip address add ",
        "ip -n over-3 address add ",
        "ip route add .* dev weft.1 onlink",
        "ip -6 route add .* dev weft.1 onlink",
        "ip route add .* via 192.168.1.254 dev eth0",
        "ip -n over-3 route add 0.0.0.0/0",
        "ip neigh add ",
        "bridge fdb add ",
        "sysctl -w ",
        "nft 'add set ",
        "nft 'add element ",
        "nft 'add chain ",
        "iptables-nft ",
        "ip6tables-nft ",
    ):
        assert re.search(f"^{start}", text, re.MULTILINE), start


def test_the_commands_do_what_weft_would(story: Story) -> None:
    assert difference(story.made, story.pasted) == ""


def test_the_agent_takes_it_over_and_changes_nothing(lab: Lab, story: Story) -> None:
    """But for what no tool can make, which a plan says in words: programs, and what goes with them."""
    in_words = [line for line in story.commands if line.startswith("#")]
    assert all(line.startswith("# fast path: ") for line in in_words)
    assert (story.writes, story.repairs) == (len(in_words), 0)
    assert difference(story.pasted, story.adopted) == ""
    done = weft(lab, HERE, "plan")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_and_packets_flow(story: Story) -> None:
    by_name = {c.name: c for c in story.containers}
    for name, families in (("over", (4, 6)), ("six", (4,)), ("inner", (4, 6)), ("flat", (4, 6))):
        here, there = by_name[f"{name}-3"], by_name[f"{name}-2"]
        for family in families:
            assert ping(here.inside, there.address(family)).ttl == 62, f"{name} v{family}"
            assert ping(there.inside, here.address(family)).ttl == 62, f"{name} v{family}"
            assert ping(here.inside, OUTSIDE[family], wait=1 if name == "inner" else 5).ok == (name != "inner")
    assert ping(by_name["local-3"].inside, OUTSIDE[6]).ok


def test_a_plan_is_empty_where_all_is_in_place(lab: Lab, story: Story) -> None:
    for node in ("node-1", "node-2", "node-4"):
        assert client(lab, node).plan().commands == ()
