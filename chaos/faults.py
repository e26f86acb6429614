"""What goes wrong, and what it may cost.

A fault begins, stays for a while, and ends. Most are a line of shell in the host's namespaces: what a clumsy
administrator, another program or a dying machine does. `Cost` is what docs/chaos.md promises about the packets of
containers that nobody touches; whatever is lost besides is a violation.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from chaos.world import World

Place = Literal["one", "all", "router"]
Act = Callable[[World, str, int], None]
"""(lab, host, pick): see `chaos.plan.Step`."""
ETCD_PORT = 2379


@dataclass(frozen=True)
class Cost:
    """For containers on the hosts of the fault. `during`: packets may be lost while it lasts; `after`: and for so many
    seconds more. `drivers`: only in networks of these; () for all. `leaks`: what is forbidden may pass in that time."""

    during: bool = False
    after: float = 0.0
    drivers: tuple[str, ...] = ()
    leaks: bool = False


NOTHING = Cost()
REPAIRED = Cost(during=True, after=1.0)
"""Somebody deleted what packets need: it is back within a second."""
OPENED = Cost(during=True, after=1.0, leaks=True)
REROUTED = Cost(during=True, after=10.0)
"""BGP has to find its sessions again."""


def nothing(world: World, host: str, pick: int) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """`seconds`: how long it stays, from and to. `at`: one host, drawn for each step, all of them at once, or the router,
    where etcd is. `alone`: no operations meanwhile. `undoes`: its end comes after the operations and may undo what they have
    written, so that they are done again. `long`: for long runs only."""

    name: str
    begin: Act
    end: Act = nothing
    cost: Cost = NOTHING
    seconds: tuple[float, float] = (0.0, 0.0)
    at: Place = "one"
    alone: bool = False
    undoes: bool = False
    long: bool = False


_TOOLS = r"""
devices() { grep -l '^weft' /sys/class/net/*/ifalias 2>/dev/null | cut -d/ -f5 | sort; }
of() { for d in $(devices); do ip -d link show "$d" | grep -q " $1 " && echo "$d"; done; }
boxes() { ls /run/netns | grep -v '^weft-' | grep -v '^spare$' | sort; }
one() { mapfile -t all; [ ${#all[@]} -eq 0 ] || echo "${all[$((PICK % ${#all[@]}))]}"; }
spaces() { ls /run/netns | grep '^weft-'; }
"""


def shell(script: str) -> Act:
    """Commands that fail are passed over: what they are to delete may not be there."""

    def act(world: World, host: str, pick: int) -> None:
        world.sh(host, f"PICK={pick}\n{_TOOLS}\n{{ {script}\n}} >/dev/null 2>&1; true")

    return act


# Agents.


def _end_agent(how: signal.Signals, world: World, host: str, pick: int) -> None:
    world.lab.agent(host).end(how)


def _start_agent(world: World, host: str, pick: int) -> None:
    world.start_agent(host)


def _signal_agent(number: signal.Signals, world: World, host: str, pick: int) -> None:
    process = world.lab.agent(host).process()
    if process:
        process.signal(number)


_killed, _stopped = partial(_end_agent, signal.SIGKILL), partial(_end_agent, signal.SIGTERM)
_frozen, _thawed = partial(_signal_agent, signal.SIGSTOP), partial(_signal_agent, signal.SIGCONT)

_AGENTS = (
    Fault("agent killed", _killed, _start_agent, seconds=(0.0, 2.0)),
    Fault("agent stopped", _stopped, _start_agent, seconds=(0.0, 2.0)),
    Fault("agent frozen", _frozen, _thawed, seconds=(0.5, 3.0)),
    Fault("all agents killed", _killed, _start_agent, seconds=(0.0, 2.0), at="all"),
    Fault("all agents frozen", _frozen, _thawed, seconds=(0.5, 3.0), at="all"),
    Fault("agent frozen past its presence", _frozen, _thawed, seconds=(14.0, 18.0), long=True),
    Fault("agent killed again and again", nothing, lambda w, h, p: w.kill_while_starting(h, p)),
)

# BIRD. `hold time` is 9 s: a BIRD that is silent for less ends no session.

_BIRD = "$(cat /run/w/bird.pid)"
_BIRDS = (
    Fault("BIRD killed", shell(f"kill -KILL {_BIRD}")),
    Fault("BIRD ended", shell(f"kill -TERM {_BIRD}"), cost=Cost(during=True, after=10.0, drivers=("routed",))),
    Fault("BIRD frozen", shell(f"kill -STOP {_BIRD}"), shell(f"kill -CONT {_BIRD}"), seconds=(1.0, 3.0)),
    Fault("BIRD's socket removed", shell("rm -f /run/w/bird.ctl"), seconds=(0.0, 1.0)),
    Fault("BIRD's pid file removed", shell("rm -f /run/w/bird.pid"), seconds=(0.0, 1.0)),
)

# The store.


def _cut(world: World, host: str, pick: int) -> None:
    rules = "; ".join(
        f"add chain inet chaos {hook} {{ type filter hook {hook} priority 0; }}; "
        f"add rule inet chaos {hook} tcp {port} {ETCD_PORT} drop"
        for hook, port in (("output", "dport"), ("input", "sport"))
    )
    world.sh(host, f"nft 'add table inet chaos; {rules}'")


_uncut = shell("nft delete table inet chaos")
_STORE = (
    Fault("etcd killed", lambda w, h, p: w.etcd_end(signal.SIGKILL), lambda w, h, p: w.etcd_start(),
          seconds=(0, 3), at="router"),
    Fault("etcd stopped", lambda w, h, p: w.etcd_end(signal.SIGTERM), lambda w, h, p: w.etcd_start(),
          seconds=(0, 3), at="router"),
    Fault("etcd paused", lambda w, h, p: w.etcd_signal(signal.SIGSTOP), lambda w, h, p: w.etcd_signal(signal.SIGCONT),
          seconds=(0.5, 4), at="router"),
    Fault("etcd paused past presence", lambda w, h, p: w.etcd_signal(signal.SIGSTOP),
          lambda w, h, p: w.etcd_signal(signal.SIGCONT), seconds=(14, 18), long=True, at="router"),
    Fault("host cut off from etcd", _cut, _uncut, seconds=(0.5, 4)),
    Fault("host cut off from etcd past its presence", _cut, _uncut, seconds=(14, 18), long=True),
    Fault("all hosts cut off from etcd", _cut, _uncut, seconds=(0.5, 4), at="all"),
    Fault("etcd restored from a backup", lambda w, h, p: w.etcd_save(), lambda w, h, p: w.etcd_restore(),
          alone=True, at="router"),
    Fault("etcd emptied, and restored from the agents", lambda w, h, p: w.etcd_empty(),
          lambda w, h, p: w.restore_from_agents(), at="router", seconds=(0, 2), alone=True),
    Fault("etcd restored from an older backup", lambda w, h, p: w.etcd_save(), lambda w, h, p: w.etcd_restore(),
          undoes=True, at="router"),
)  # fmt: skip

# What somebody else deletes on a host.

_DELETED = (
    Fault("rules flushed", shell("nft flush table inet weft"), cost=OPENED),
    Fault("rules deleted", shell("nft delete table inet weft"), cost=OPENED),
    Fault("all rules flushed", shell("nft flush ruleset"), cost=OPENED),
    Fault("routes flushed", shell("for f in 4 6; do ip -$f route flush proto 87; done"), cost=REPAIRED),
    Fault("BIRD's routes flushed", shell("for f in 4 6; do ip -$f route flush proto bird; done"), cost=REPAIRED),
    Fault("a subnet's own route deleted",
          shell("d=$(of bridge | one); for f in 4 6; do ip -$f route flush dev $d proto kernel scope link; done"),
          cost=REPAIRED),
    Fault("neighbours flushed", shell(
        "for d in $(devices); do ip neigh flush dev $d nud all; done\n"
        "for n in $(spaces); do for d in vxlan0 br0; do ip -n $n neigh flush dev $d nud all; done; done"),
        cost=REPAIRED),
    Fault("FDB flushed", shell(
        "for d in $(of vxlan); do bridge fdb flush dev $d self; done\n"
        "for n in $(spaces); do bridge -n $n fdb flush dev vxlan0 self; done"), cost=REPAIRED),
    Fault("token buckets deleted", shell(
        "for d in $(devices); do tc qdisc del dev $d root; tc qdisc del dev $d ingress; done")),
    Fault("addresses flushed", shell("d=$(of bridge | one); ip addr flush dev $d scope global"), cost=REPAIRED),
    Fault("a device deleted", shell("ip link del $(devices | one)"), cost=REPAIRED),
    Fault("all devices deleted", shell("for d in $(devices); do ip link del $d; done"), cost=OPENED),
    Fault("a device taken down", shell("ip link set $(devices | one) down"), cost=REPAIRED),
    Fault("a container's routes flushed", shell(
        "b=$(boxes | one); for f in 4 6; do ip -n $b -$f route flush table main; done"), cost=REPAIRED),
    Fault("a container's addresses flushed", shell("ip -n $(boxes | one) addr flush scope global"), cost=REPAIRED),
    Fault("a container's device deleted", shell("ip -n $(boxes | one) link del eth0"), cost=REPAIRED),
    Fault("an overlay's device deleted", shell("ip -n $(spaces | one) link del vxlan0"), cost=REPAIRED),
    Fault("an overlay's namespace deleted", shell("ip netns del $(spaces | one)"), cost=REPAIRED),
    Fault("forwarding switched off",
          shell("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0"), cost=REPAIRED),
    Fault("connections forgotten", shell("conntrack -F")),
)  # fmt: skip

# The machine.

_MACHINE = (
    Fault("uplink taken down", lambda w, h, p: w.lab.link(h, False), lambda w, h, p: w.lab.link(h, True),
          cost=REROUTED, seconds=(0, 3)),
    Fault("cable pulled", lambda w, h, p: w.lab.link(h, False, cable=True), lambda w, h, p: w.lab.link(h, True),
          cost=REROUTED, seconds=(0, 3)),
    Fault("uplink bounced", shell("ip link set eth0 down; ip link set eth0 up"), lambda w, h, p: w.lab.link(h, True),
          cost=REROUTED),
    Fault("/run full", shell("cat /dev/zero >/run/chaos-full"), shell("rm -f /run/chaos-full"), seconds=(1, 4)),
)  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_AGENTS, *_BIRDS, *_STORE, *_DELETED, *_MACHINE)
