"""Ten thousand containers on other hosts join a network that this host has a container in.

For each of them the host gets a neighbour and an FDB entry in the network's namespace. The part that writes what the
others' agents would runs inside the lab: `python -m bench.remote STORE COUNT`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from bench import agent, labs, simulated
from bench.figures import Figure, Goal, Named, paired, single
from weft.alloc.addresses import mac_for
from weft.base.errors import Failed
from weft.base.net import IPAddress
from weft.lab import Host, flat
from weft.model import Location, encode, keys
from weft.model.endpoint import endpoint_id
from weft.store.protocol import Put
from weft.store.url import StoreOptions, open_store

HOST, HAND = "node-1", "hand"
NETWORK = simulated.NETWORK
PER_NODE = 100
_FIRST = 1_000
_LEASE, _LEASE_SECONDS = 4_713, 3_600.0
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    endpoints: int = 10_000
    rounds: int = 3


QUICK = Effort(endpoints=2_000, rounds=1)


class Round(msgspec.Struct, kw_only=True):
    """Seconds: from the first commit of the others' to the last entry in the kernel; of it, until the last commit; an attach
    of this host's first container, which returns when all of them are there; by `ip -batch` and `bridge -batch`. MB: of
    the agent before and afterwards."""

    programmed: float
    written: float
    attach: float
    by_batch: float
    before: float
    after: float


def run(effort: Effort, progress: Progress) -> list[Figure]:
    rounds = []
    for number in range(effort.rounds):
        progress(f"overlay-remote: round {number + 1} of {effort.rounds}")
        rounds.append(_round(effort.endpoints))
    group = f"{effort.endpoints:,} containers elsewhere join a network"
    attach = [r.attach for r in rounds]
    programmed, by_batch = [r.programmed for r in rounds], [r.by_batch for r in rounds]
    written, after = [r.written for r in rounds], [r.after for r in rounds]
    more = [r.after - r.before for r in rounds]
    return [
        paired(Named(group, "first commit → all programmed", "s", "ip/bridge -batch"), programmed, by_batch),
        single(Named(group, "of it, until the last commit", "s"), sorted(written)[len(written) // 2], written),
        paired(Named(group, "attach of this host's first container", "s", "ip/bridge -batch"), attach, by_batch),
        single(Named(group, "memory, agent", "MB"), max(after), after, Goal("value", most=400.0)),
        single(Named(group, "more than before", "MB"), max(more), more),
    ]


def _round(count: int) -> Round:
    with labs.up(flat(2), agents=(HOST,), store="etcd") as lab:
        host = lab.host(HOST)
        labs.create(lab, HOST, NETWORK.name, NETWORK.driver, str(NETWORK.subnets[0]))
        lab.run(HOST, "first", network=NETWORK.name, ip=["10.20.0.2"])
        by_batch = _by_batch(host, count)
        before = agent.memory(lab)
        words = labs.module("entries", f"/run/netns/weft-{NETWORK.name}", str(count))
        with labs.started(host, words) as entries:
            # What the other hosts would do is not this host's work, but it has its CPUs to share with them.
            said = lab.host("node-2").must("others", labs.module("remote", lab.store, str(count)))
            times = labs.result(entries, dict[str, float])
        began, ended = json.loads(said)
        _all_there(host, count)
        after = agent.memory(lab)
        lab.rm(HOST, "first")
        return Round(
            programmed=max(times.values()) - began,
            written=ended - began,
            attach=_first_attach(host, count),
            by_batch=by_batch,
            before=before,
            after=after,
        )


def _first_attach(host: Host, count: int) -> float:
    clock = json.loads(host.must("attach", labs.module("attaching", NETWORK.name, "1", "clock")))
    _all_there(host, count)
    [called], [replied] = clock["called"].values(), clock["replied"].values()
    return float(replied - called)


def _all_there(host: Host, count: int) -> None:
    """Each of them, in the kernel, though it keeps no more than `neigh.gc_thresh3` (1024) of those that are not permanent.
    Raises Failed."""
    ns = f"weft-{NETWORK.name}"
    neighbours = json.loads(host.must("neighbours", ["ip", "-n", ns, "-j", "neigh", "show", "dev", "vxlan0"]))
    entries = json.loads(host.must("fdb", ["bridge", "-n", ns, "-j", "fdb", "show", "dev", "vxlan0"]))
    there = {n["lladdr"] for n in neighbours if "PERMANENT" in n["state"]} & {e["mac"] for e in entries if "dst" in e}
    wanted = {mac_for(address) for address in _addresses(count)}
    if not there >= wanted:
        raise Failed(f"{len(wanted - there)} of {count} containers have no entries in the kernel")


def _addresses(count: int) -> Iterator[IPAddress]:
    return (NETWORK.subnets[0].network_address + _FIRST + n for n in range(count))


# By ip and bridge.


def _by_batch(host: Host, count: int) -> float:
    """Seconds, in a namespace like Weft's."""
    lines = [f"netns add {HAND}", f"-n {HAND} link add br0 type bridge"]
    for line in lines:
        host.must("by hand", ["ip", *line.split()])
    tunnel = "type vxlan id 99 dstport 4999 proxy l2miss l3miss"
    host.must("by hand", ["ip", "-n", HAND, "link", "add", "vxlan0", *tunnel.split()])
    host.must("by hand", ["ip", "-n", HAND, "link", "set", "vxlan0", "master", "br0", "up"])
    pairs = [(address, mac_for(address)) for address in _addresses(count)]
    neighbours = "\n".join(f"neighbour add {a} lladdr {mac} dev vxlan0 nud permanent" for a, mac in pairs)
    entries = "\n".join(
        f"fdb add {mac} dev vxlan0 dst 172.16.0.{n // PER_NODE + 1} self permanent" for n, (_, mac) in enumerate(pairs)
    )
    start = time.perf_counter()
    host.must("by hand", ["ip", "-n", HAND, "-batch", "-"], input=neighbours)
    host.must("by hand", ["bridge", "-n", HAND, "-batch", "-"], input=entries)
    took = time.perf_counter() - start
    host.must("by hand", ["ip", "netns", "delete", HAND])
    return took


# The other hosts.


async def join(url: str, count: int) -> tuple[float, float]:
    """As the others' agents write it, a hundred containers a node; when it began and when it ended."""
    store = open_store(url, StoreOptions())
    await store.grant(_LEASE, _LEASE_SECONDS)
    nodes = [simulated.node(100 + number) for number in range(-(-count // PER_NODE))]
    try:
        for node in nodes:
            ops = [Put(keys.node(node.name), encode(node), _LEASE), Put(keys.presence(node.name), b"simulated", _LEASE)]
            await store.commit([], ops)
        places = (_location(nodes[n // PER_NODE].name, n, address) for n, address in enumerate(_addresses(count)))
        began = time.monotonic()
        while some := list(islice(places, 100)):
            await store.commit([], [Put(key, value, _LEASE) for key, value in some])
        return began, time.monotonic()
    finally:
        await store.close()


def _location(node: str, number: int, address: IPAddress) -> tuple[str, bytes]:
    found = Location(node=node, mac=mac_for(address), addresses=(address,))
    return keys.location(NETWORK.name, endpoint_id(NETWORK.name, node, number, "eth0")), encode(found)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(join(sys.argv[1], int(sys.argv[2])))))
