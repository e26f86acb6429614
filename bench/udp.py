"""Driver udp beside a pump in C that takes one packet with each call (`pump.c`), and beside driver vxlan.

Containers on node-1 and node-2 in Weft's network of driver udp, on node-5 and node-6 in one of driver vxlan, of another
cluster; on node-3 and node-4 the same bridges, veth pairs, routes and TUN device wired by hand, with that pump. Every round
measures each pair, one after the other in changing order; ratios are taken within a round. What the pumps take of the CPU is
what the kernel counts of their processes on both hosts while TCP runs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bench import crowd, labs
from bench.datapath import Progress, Samples
from bench.figures import Figure, Goal, Named, paired
from bench.traffic import PINGPONG_PORT, PYTHON, Pair, serving
from weft.base.errors import Failed, Unsupported
from weft.lab import Lab, flat
from weft.lab.inside import Inside

WEFT, LOOP, VXLAN = "weft", "C, a packet a call", "weft's vxlan"
_HOSTS = {WEFT: ("node-1", "node-2"), LOOP: ("node-3", "node-4"), VXLAN: ("node-5", "node-6")}
_SUBNETS = {WEFT: "10.64.0.0/16", VXLAN: "10.65.0.0/16"}
_BY_HAND, _PORT, _MTU = "10.66", 8299, 1472
_SOCKETS, _CROWD_SECONDS = 64, 1.5
_CROWD = str(Path(crowd.__file__).resolve())
_TICKS = """
import os, sys, pathlib
found = 0
for path in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if sys.argv[1].encode() in (path / "cmdline").read_bytes().split(b"\\0"):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            found += int(fields[11]) + int(fields[12])
    except OSError:
        pass
print(found / os.sysconf("SC_CLK_TCK"))
"""


class Effort(msgspec.Struct, frozen=True):
    """`mib` of each TCP run, `trips` of each round-trip run, `rounds` of everything."""

    rounds: int = 11
    mib: int = 512
    trips: int = 10_000


QUICK = Effort(rounds=3, mib=128, trips=2_000)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    agents, beside = _HOSTS[WEFT], _HOSTS[VXLAN]
    with built() as program, labs.up(flat(6), agents=agents, beside=beside) as lab, ExitStack() as stack:
        progress("udp: wiring")
        for name, driver in ((WEFT, "udp"), (VXLAN, "vxlan")):
            labs.create(lab, _HOSTS[name][0], driver, driver, _SUBNETS[name], {"masquerade": False})
            for host in _HOSTS[name]:
                lab.run(host, driver, network=driver)
        pairs = [
            _inside(lab, WEFT, "udp", labs.address(lab, "node-2", "udp")),
            stack.enter_context(by_hand(lab, program, _HOSTS[LOOP])),
            _inside(lab, VXLAN, "vxlan", labs.address(lab, "node-6", "vxlan")),
        ]
        for pair in pairs:
            stack.enter_context(serving(pair.server))
        found: dict[str, Samples] = defaultdict(lambda: defaultdict(list))
        for number in range(effort.rounds):
            progress(f"udp: round {number + 1} of {effort.rounds}")
            _round(lab, pairs, number, effort, found)
    return list(_figures(found))


@contextmanager
def built() -> Iterator[str]:
    """The pump in C. Raises Unsupported, Failed."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unsupported("there is no C compiler, which builds what driver udp is compared with: `apt install gcc`")
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/pump"
        source = str(Path(__file__).with_name("pump.c"))
        done = subprocess.run([compiler, "-O2", "-o", program, source], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"pump.c: {done.stderr.strip()}")
        yield program


@contextmanager
def by_hand(lab: Lab, program: str, hosts: Sequence[str]) -> Iterator[Pair]:
    """Containers on two hosts that are wired by hand, with the pump in C."""
    with ExitStack() as stack:
        for number in (1, 2):
            _wire(lab.host(hosts[number - 1]), number)
            stack.enter_context(_pump(lab, program, hosts, number))
        yield _inside(lab, LOOP, "hand", f"{_BY_HAND}.2.2", hosts)


def _wire(host: Inside, number: int) -> None:
    """Host number 1 or 2 of those wired by hand, but for the pump."""
    net = f"{_BY_HAND}.{number}"
    lines = [
        "netns add hand",
        "tuntap add dev hand mode tun",
        f"link set hand mtu {_MTU} up",
        f"address add {net}.0/32 dev hand",
        f"route add {_BY_HAND}.0.0/16 dev hand",
        f"link add hand-br mtu {_MTU} type bridge",
        "link set hand-br up",
        f"address add {net}.1/24 dev hand-br",
        f"link add to-hand mtu {_MTU} type veth peer name eth0 mtu {_MTU} netns hand",
        "link set to-hand master hand-br up",
    ]
    host.must("links", ["ip", "-batch", "-"], input="\n".join(lines))
    inside = [
        "link set lo up",
        "link set eth0 up",
        f"address add {net}.2/24 dev eth0",
        f"route add default via {net}.1",
    ]
    host.must("container", ["ip", "-n", "hand", "-batch", "-"], input="\n".join(inside))
    host.must("forwarding", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])


@contextmanager
def _pump(lab: Lab, program: str, hosts: Sequence[str], number: int) -> Iterator[None]:
    mine, other = (str(lab.topology.place(hosts[n - 1]).addresses[0].ip) for n in (number, 3 - number))
    words = [program, "hand", mine, str(_PORT), f"{_BY_HAND}.{3 - number}.0/24={other}"]
    with labs.started(lab.host(hosts[number - 1]), words):
        yield


def _inside(lab: Lab, name: str, container: str, address: str, hosts: Sequence[str] = ()) -> Pair:
    one, two = (lab.host(host).container(container) for host in hosts or _HOSTS[name])
    return Pair(name, one, two, address)


def _round(lab: Lab, pairs: Sequence[Pair], number: int, effort: Effort, found: dict[str, Samples]) -> None:
    shift = number % len(pairs)
    order = [*pairs[shift:], *pairs[:shift]]
    for streams in (1, 4):
        for pair in order:
            before = _cpu(lab, pair.name)
            found[f"TCP, {streams} stream{'s' * (streams > 1)}"][pair.name].append(pair.throughput(effort.mib, streams))
            spent = _cpu(lab, pair.name) - before
            found[f"CPU of both pumps, {streams} stream{'s' * (streams > 1)}"][pair.name].append(
                spent / (effort.mib * 1.048576e-3)
            )
    for pair in order:
        found["round trip p50"][pair.name].append(pair.round_trips(effort.trips)[50])
    for pair in order:
        found[f"round trips of {_SOCKETS} flows"][pair.name].append(_crowd(pair))


def _cpu(lab: Lab, name: str) -> float:
    """Seconds that the pumps of both hosts have taken. A lab's hosts see each other's processes: one of them is asked."""
    word = {WEFT: "weft.tunnel", LOOP: "hand"}.get(name)
    if word is None:
        return 0.0
    words = [sys.executable, "-I", "-S", "-c", _TICKS, word]
    return float(lab.host(_HOSTS[name][0]).must("cpu", words))


def _crowd(pair: Pair) -> float:
    place: Inside = pair.client
    words = [*PYTHON, _CROWD, pair.address, str(PINGPONG_PORT), str(_SOCKETS), str(_CROWD_SECONDS)]
    return float(json.loads(place.must("crowd", words)))


_FIVEFOLD, _AS_MUCH = Goal("ratio", least=5.0), Goal("ratio", least=1.0)
_MEASURES: dict[str, tuple[str, Goal | None]] = {
    "TCP, 1 stream": ("Gbit/s", _FIVEFOLD),
    "TCP, 4 streams": ("Gbit/s", _FIVEFOLD),
    "round trip p50": ("µs", Goal("ratio", most=1.05)),
    f"round trips of {_SOCKETS} flows": ("1/s", _AS_MUCH),
    "CPU of both pumps, 1 stream": ("s/GB", None),
    "CPU of both pumps, 4 streams": ("s/GB", None),
}


def _figures(found: dict[str, Samples]) -> Iterator[Figure]:
    for measure, (unit, goal) in _MEASURES.items():
        samples = found[measure]
        yield paired(Named("udp", measure, unit, LOOP), samples[WEFT], samples[LOOP], goal)
        if not measure.startswith("CPU"):
            yield paired(Named("udp", "", unit, VXLAN), samples[WEFT], samples[VXLAN])
