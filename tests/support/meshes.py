"""A lab whose hosts keep their store themselves: its voters, cuts between hosts, and whether something can be written."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from support.reach import NODES, UNDERLAY, client
from support.waiting import until
from weft.api import mesh as m
from weft.api import types as t
from weft.base.errors import WeftError
from weft.lab import Lab
from weft.mesh import ports

TOGETHER = 40.0
"""Seconds for all to be as before."""


def status(lab: Lab, host: str) -> m.MeshStatus:
    return client(lab, host).mesh()


def heard(lab: Lab, host: str) -> list[str]:
    """The members that count as alive there."""
    return [member.name for member in status(lab, host).members if member.standing == "alive"]


def together(lab: Lab, hosts: Sequence[str] = NODES, seconds: float = TOGETHER) -> float:
    """Until each of these hosts hears all of them, has a store, and sees the others' agents in there."""

    def missing() -> str:
        try:
            return apart()
        except WeftError as error:  # an agent that is starting
            return str(error)

    def apart() -> str:
        for host in hosts:
            if (found := heard(lab, host)) != list(hosts):
                return f"{host} hears {found}: {status(lab, host)}"
            if (store := client(lab, host).status().store).state != "connected":
                return f"{host}: {store}"
            if away := [node.name for node in client(lab, host).nodes() if not node.alive]:
                return f"{host} misses {away}"
        return ""

    return until(lambda: not missing(), seconds, missing)


def write(lab: Lab, host: str) -> str:
    """Why nothing can be written there; "" where something was."""
    try:
        agent = client(lab, host)
        hold = agent.bgp_settings().hold_time
        agent.set_bgp(t.SetBgp(hold_time=90 if hold == 30 else 30))
    except WeftError as error:
        return str(error)
    return ""


def writes(lab: Lab, host: str, seconds: float = TOGETHER) -> float:
    """Seconds until something can be written there."""
    reasons = [""]

    def wrote() -> bool:
        reasons[0] = write(lab, host)
        return not reasons[0]

    return until(wrote, seconds, lambda: f"a write at {host}: {reasons[0]}")


def leader(lab: Lab, host: str = "node-1") -> str:
    return next((voter.name for voter in status(lab, host).voters if voter.state == "leader"), "")


def voter_pid(lab: Lab, host: str) -> int:
    """In the lab's pid namespace; 0 for none."""
    said = lab.host(host).run(["ss", "-Hltnp", f"sport = {ports.VOTER}"], check=True).stdout
    return int(said.partition("pid=")[2].partition(",")[0] or 0)


def kill_voter(lab: Lab, host: str) -> None:
    if pid := voter_pid(lab, host):
        lab.host(host).run(["kill", "-KILL", str(pid)], check=True)


def power_off(lab: Lab, hosts: Sequence[str]) -> None:
    """Of all that runs there for Weft."""
    for host in hosts:
        lab.agent(host).end(signal.SIGKILL)
        kill_voter(lab, host)


def power_on(lab: Lab, hosts: Sequence[str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda host: lab.agent(host).start(), hosts))


@contextlib.contextmanager
def cut(lab: Lab, side: Sequence[str], other: Sequence[str], *ports: int) -> Iterator[None]:
    """Nothing goes from these hosts to those, nor back. `ports`: only nothing to these TCP ports of the others."""
    rules = ["table inet cut {", " chain out { type filter hook output priority 0;"]
    only = f"tcp dport {{ {', '.join(map(str, ports))} }} " if ports else ""
    for host in other:
        rules += [f"  ip daddr {UNDERLAY[host][4]} {only}drop", f"  ip6 daddr {UNDERLAY[host][6]} {only}drop"]
    rules += [" }", " chain in { type filter hook input priority -200;"]
    for host in other if not ports else ():
        rules += [f"  ip saddr {UNDERLAY[host][4]} drop", f"  ip6 saddr {UNDERLAY[host][6]} drop"]
    text = "\n".join([*rules, " }", "}"])
    for host in side:
        lab.host(host).must("cut", ["nft", "-f", "-"], input=text)
    try:
        yield
    finally:
        for host in side:
            lab.host(host).must("mend", ["nft", "delete", "table", "inet", "cut"])
