"""`weft trace` where much has to be read: a host with a thousand containers and ten thousand rules of a packet filter, and a
cluster of four hosts.

On the crowded host two containers are on two bridges, and the packet passes all of the rules, of which none is for it. No agent
runs there. What it is compared with is an operator's look at the same tables: `ip`, `bridge` and `nft` print them, once, and
nobody has read a line of it yet.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from bench import labs
from bench.figures import Figure, Goal, Named, paired
from bench.inspect import Spent, figures, host, timed
from weft.lab import Lab
from weft.lab.topology import flat

Progress = Callable[[str], None]
SCRIPT = "ip, bridge and nft print the tables"
_SECONDS, _CLUSTER_SECONDS = 1.0, 2.0


class Effort(msgspec.Struct, frozen=True):
    containers: int = 1000
    rules: int = 10_000
    rounds: int = 5


QUICK = Effort(containers=200, rules=2_000, rounds=2)
_HOST = """
mount -t tmpfs none /run && mkdir /run/netns || exit
sysctl -qw net.ipv4.ip_forward=1 || exit
for b in 0 1; do ip link add br$b type bridge && ip addr add 10.$b.0.1/16 dev br$b && ip link set br$b up; done || exit
for i in $(seq {count}); do echo "netns add c$i"; done | ip -batch - || exit
for i in $(seq {count}); do
    echo "link add v$i master br$((i % 2)) up type veth peer name eth0 netns c$i"
done | ip -batch - || exit
for i in $(seq {count}); do
    printf 'addr add 10.%d.%d.%d/16 dev eth0\\nlink set eth0 up\\nroute add default via 10.%d.0.1\\n' \\
        $((i % 2)) $((1 + i / 250)) $((1 + i % 250)) $((i % 2)) | ip -n c$i -batch - || exit
done
{{
    echo 'table ip acl {{ chain forward {{ type filter hook forward priority 0; policy accept;'
    for i in $(seq {rules}); do
        echo "ip saddr 10.1.0.0/16 ip daddr 10.0.0.0/16 tcp dport $((1000 + i % 5000)) drop"
    done
    echo '}}'; echo '}}'
}} | nft -f - || exit
ip netns exec c2 python3 -m http.server 80 >/dev/null 2>&1 &
until ip netns exec c2 ss -Hltn | grep -q .; do sleep 0.1; done
echo ready
read -r _
"""
_PRINT = """
ip -d link; ip addr; ip route show table all; ip rule; ip neigh; bridge fdb; bridge -d link; nft -a list ruleset
for c in c1 c2; do
    ip -n $c -d link; ip -n $c addr; ip -n $c route show table all; ip -n $c neigh
    ip netns exec $c nft list ruleset
done
"""


def run(effort: Effort, progress: Progress) -> list[Figure]:
    return [*_crowded(effort, progress), *_cluster(effort, progress)]


def _crowded(effort: Effort, progress: Progress) -> Iterator[Figure]:
    progress(f"trace: {effort.containers} containers, {effort.rules} rules")
    found: list[tuple[Spent, Spent]] = []
    with host(_HOST.format(count=effort.containers, rules=effort.rules)) as pid:
        for number in range(effort.rounds + 1):
            progress(f"trace: round {number} of {effort.rounds}")
            ours = timed(pid, [sys.executable, "-m", "weft", "trace", "c1", "c2", "--proto", "tcp", "--port", "80"])
            if number:  # the first warms up
                found.append((ours, timed(pid, ["sh", "-c", _PRINT])))
    group = f"{effort.containers:,} containers, {effort.rules:,} rules"
    yield from figures(group, "one trace", SCRIPT, found, Goal("value", most=_SECONDS))


def _cluster(effort: Effort, progress: Progress) -> Iterator[Figure]:
    """The whole command, and beside it a command that asks the local agent alone."""
    progress("trace: a cluster of four hosts")
    traced, asked = [], []
    with _four() as (lab, origin, target):
        for number in range(effort.rounds + 1):
            progress(f"trace: round {number} of {effort.rounds}, four hosts")
            trace = _seconds(lab, origin, ["trace", "c1", target])
            if number:
                traced.append(trace)
                asked.append(_seconds(lab, origin, ["status"]))
    yield paired(Named("4 hosts", "one trace", "s", "weft status"), traced, asked, Goal("value", most=_CLUSTER_SECONDS))


@contextmanager
def _four() -> Iterator[tuple[Lab, str, str]]:
    """A lab on etcd, a container on each host. The host of c1, and the name of a container on another one."""
    topology = flat(4)
    names = [host.name for host in topology.hosts]
    first = names[0]
    with labs.up(topology, agents=names, store="etcd") as lab:
        labs.create(lab, first, "blue", "vxlan", "10.30.0.0/16")
        for number, name in enumerate(names, 1):
            lab.run(name, f"c{number}", network="blue")
        yield lab, first, f"c{len(names)}"


def _seconds(lab: Lab, where: str, words: Sequence[str]) -> float:
    began = time.perf_counter()
    lab.inside(where).must("weft", [sys.executable, "-m", "weft", *words])
    return time.perf_counter() - began
