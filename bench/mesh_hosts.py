"""Hosts of a mesh as a benchmark sees them: which processes run there, what these take and send, how the others stand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from select import select

import msgspec

from bench import labs
from weft.api.mesh import MeshPeer
from weft.api.types import Attach, SetBgp
from weft.base.errors import Failed, WeftError
from weft.lab import Lab
from weft.lab.process import PROC, Process
from weft.mesh import ports

AGENT, ETCD, PUMP = "agent", "etcd", "pump"
SENT = {
    "membership": (ports.MEMBERS,),
    "store": (ports.VOTER, ports.VOTERS, ports.RELAY),
    "probes": (ports.SLEEVE, ports.KERNEL),
}
"""For what a host sends, by ports. Nothing but probes goes through tunnels while containers are silent."""
_TABLE, _CUT = "inet bench", "inet bench-cut"
_PATIENCE, _PAUSE = 60.0, 0.02


class Taken(msgspec.Struct, frozen=True):
    """Since the start: octets of packets that left for other hosts, with headers of IP, by what for; seconds of the processor,
    by program."""

    octets: dict[str, float]
    cpu: dict[str, float]


def until(done: Callable[[], object], what: str, seconds: float = _PATIENCE) -> float:
    """When it came true, on the monotonic clock. An agent that refuses, or does not answer yet, has not. Raises Failed."""
    deadline, why = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if done():
                return time.monotonic()
        except WeftError as error:
            why = f": {error}"
        select([], [], [], _PAUSE)
    raise Failed(f"waited {seconds:.0f} s for {what}{why}")


# What runs there.


def program(words: list[str]) -> str:
    """Of Weft's, by its command line; "" for another one."""
    if Path(words[0]).name == "etcd":
        return ETCD
    if "weft.tunnel" in words:
        return PUMP
    return AGENT if {"weft", "agent", "run"} <= set(words) else ""


def processes(lab: Lab, host: str) -> dict[str, list[Process]]:
    """Those of Weft in the host's own network namespace, by program."""
    namespace, found = (PROC / str(lab.host(host).holder.pid) / "ns/net").readlink(), dict[str, list[Process]]()
    for place in PROC.glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            ours = program(words) if (place / "ns/net").readlink() == namespace else ""
        except OSError:
            continue  # it has ended
        process = Process.of(int(place.name)) if ours else None
        if process:
            found.setdefault(ours, []).append(process)
    return found


def votes(lab: Lab, host: str) -> bool:
    return ETCD in processes(lab, host)


def memory(lab: Lab, host: str) -> dict[str, float]:
    """Resident sets in MB, by program."""
    return {name: sum(labs.memory(p.pid) for p in each) for name, each in processes(lab, host).items()}


def count(lab: Lab, host: str) -> None:
    """From now on, what leaves by the uplink."""
    lines = [f"add table {_TABLE}", *(f"add counter {_TABLE} {name}" for name in SENT)]
    lines.append(f"add chain {_TABLE} out {{ type filter hook output priority 300; }}")
    for name, numbers in SENT.items():
        which = f"{{ {', '.join(map(str, numbers))} }}"
        for end in ("dport", "sport"):
            match = f'oifname "eth0" meta l4proto {{ tcp, udp }} th {end} {which}'
            lines.append(f"add rule {_TABLE} out {match} counter name {name} accept")
    lab.host(host).must("counters", ["nft", "-f", "-"], input="\n".join(lines))


def taken(lab: Lab, host: str) -> Taken:
    shown = json.loads(lab.host(host).must("counters", ["nft", "-j", "list", "counters", "table", *_TABLE.split()]))
    counters = [entry["counter"] for entry in shown["nftables"] if "counter" in entry]
    return Taken(
        octets={counter["name"]: float(counter["bytes"]) for counter in counters},
        cpu={name: sum(labs.cpu(p.pid) for p in each) for name, each in processes(lab, host).items()},
    )


# How it stands.


def standing(lab: Lab, host: str) -> dict[str, str]:
    """Of each member, as `weft mesh status` tells it there."""
    return {member.name: member.standing for member in labs.client(lab, host).mesh().members}


def converged(lab: Lab, host: str, others: int) -> bool:
    """It hears so many others, has the store, and its kernel has what it wants."""
    alive = [name for name, how in standing(lab, host).items() if how == "alive"]
    status = labs.client(lab, host).status()
    return len(alive) > others and status.state == "converged" and status.store.state == "connected"


def leader(lab: Lab, host: str) -> str:
    """ "" where nobody leads."""
    voters = labs.client(lab, host).mesh().voters
    return next((voter.name for voter in voters if voter.state == "leader"), "")


def write(lab: Lab, host: str, number: int) -> bool:
    """Something that the store does not hold yet, if numbers go up. Raises WeftError where that fails."""
    labs.client(lab, host).set_bgp(SetBgp(hold_time=90 + number % 2))
    return True


def peer(lab: Lab, host: str, other: str) -> MeshPeer | None:
    return next((p for p in labs.client(lab, host).mesh_peers() if p.name == other), None)


def by(lab: Lab, one: str, two: str, way: str) -> bool:
    """Whether both ends send so."""
    ends = peer(lab, one, two), peer(lab, two, one)
    return all(end is not None and end.way == way for end in ends)


# What is done to it.


def attach(lab: Lab, host: str, name: str, network: str) -> str:
    """A container, whose namespace there is; its address. Retried while the agent is not there yet."""
    client, found = labs.client(lab, host), list[str]()

    def attached() -> bool:
        found.append(str(client.attach(Attach(target=name, network=network)).addresses[0].ip))
        return True

    until(attached, f"{host} to attach {name}")
    return found[0]


def cut(lab: Lab, at: str, source: str) -> None:
    """The kernel's way from there to this host, in this direction."""
    chain = f"add chain {_CUT} c {{ type filter hook prerouting priority -400; }}"
    rule = f"add rule {_CUT} c ip saddr {source} udp dport {ports.KERNEL} drop"
    lab.host(at).must("cut", ["nft", "-f", "-"], input="\n".join([f"add table {_CUT}", chain, rule]))


def mend(lab: Lab, at: str) -> None:
    lab.host(at).must("mend", ["nft", "delete", "table", *_CUT.split()])
