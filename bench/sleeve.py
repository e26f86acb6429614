"""Frames that the pump carries, in clear and sealed, beside a pump in C that takes one packet with each call (`pump.c`), and
beside the kernel's VXLAN.

Eight hosts in pairs, all wired by hand: a container on a bridge, and in the bridge a TAP device with Weft's pump, or a VXLAN
device; the pump in C has a TUN device and a route (`bench.udp`). Every round measures each pair, one after the other in
changing order; ratios are taken within a round.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import labs, udp
from bench.datapath import Progress, Samples
from bench.figures import Figure, Goal, Named, paired
from bench.traffic import Pair, serving
from weft.lab import Lab, flat
from weft.lab.inside import Inside
from weft.tunnel import sleeve, table
from weft.tunnel.sleeve import Place, Sleeve, Station

CLEAR, SEALED, LOOP, VXLAN = "weft", "weft, encrypted", "C, a packet a call", "VXLAN by hand"
_HOSTS = {
    CLEAR: ("node-1", "node-2"),
    LOOP: ("node-3", "node-4"),
    SEALED: ("node-5", "node-6"),
    VXLAN: ("node-7", "node-8"),
}
_MTU = {CLEAR: 1376, SEALED: 1376, VXLAN: 1450}
_SUBNET, _DEVICE, _PORT = "10.67.0", "hand-way", 6783
_ATTEMPTS = 20
_MACS = "02:67:00:00:00:01", "02:67:00:00:00:02"


def run(effort: udp.Effort, progress: Progress) -> list[Figure]:
    with udp.built() as program, labs.up(flat(8)) as lab, ExitStack() as stack:
        progress("sleeve: wiring")
        pairs = [
            stack.enter_context(_sleeve(lab, CLEAR)),
            stack.enter_context(udp.by_hand(lab, program, _HOSTS[LOOP])),
            stack.enter_context(_sleeve(lab, SEALED)),
            _vxlan(lab),
        ]
        for pair in pairs:
            stack.enter_context(serving(pair.server))
        found: dict[str, Samples] = defaultdict(lambda: defaultdict(list))
        for number in range(effort.rounds):
            progress(f"sleeve: round {number + 1} of {effort.rounds}")
            shift = number % len(pairs)
            order = [*pairs[shift:], *pairs[:shift]]
            for pair in order:
                found["TCP, 1 stream"][pair.name].append(pair.throughput(effort.mib, 1))
            for pair in order:
                found["TCP, 4 streams"][pair.name].append(pair.throughput(effort.mib, 4))
            for pair in order:
                found["round trip p50"][pair.name].append(pair.round_trips(effort.trips)[50])
    return list(_figures(found))


def _wire(place: Inside, number: int, make: str, mtu: int) -> None:
    """The carrier is made by `make`; in its bridge is a container with this number."""
    lines = [
        "netns add hand",
        make,
        f"link add hand-br mtu {mtu} type bridge",
        f"link set {_DEVICE} mtu {mtu} master hand-br up",
        "link set hand-br up",
        f"link add to-hand mtu {mtu} type veth peer name eth0 address {_MACS[number]} mtu {mtu} netns hand",
        "link set to-hand master hand-br up",
    ]
    place.must("links", ["ip", "-batch", "-"], input="\n".join(lines))
    inside = ["link set lo up", "link set eth0 up", f"address add {_SUBNET}.{number + 1}/24 dev eth0"]
    place.must("container", ["ip", "-n", "hand", "-batch", "-"], input="\n".join(inside))


def _pair(lab: Lab, name: str) -> Pair:
    one, two = (lab.host(host).container("hand") for host in _HOSTS[name])
    return Pair(name, one, two, f"{_SUBNET}.2")


def _underlay(lab: Lab, name: str) -> list[str]:
    return [str(lab.topology.place(host).addresses[0].ip) for host in _HOSTS[name]]


@contextmanager
def _sleeve(lab: Lab, name: str) -> Iterator[Pair]:
    underlay = _underlay(lab, name)
    with ExitStack() as stack:
        for number, host in enumerate(_HOSTS[name]):
            place, other = lab.host(host), 1 - number
            _wire(place, number, f"tuntap add dev {_DEVICE} mode tap", _MTU[name])
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "tunnel"
            at = (Station(other + 1),)
            stations = {_MACS[other]: at, sleeve.ALL: at}
            sealed = name == SEALED
            found = Sleeve(7, number + 1, underlay[number], _PORT, _MTU[name], sealed, stations)
            sleeve.give_key(folder, b"k" * 32)
            table.put(folder / sleeve.HOSTS, [sleeve.host(other + 1, Place(underlay[other]))])
            table.put(folder / _DEVICE, sleeve.lines(found))
            pump = shlex.join([sys.executable, "-m", "weft.tunnel", str(folder)])
            stack.enter_context(labs.started(place, ["sh", "-c", f"echo ready; exec {pump}"]))
        pair = _pair(lab, name)
        for _ in range(_ATTEMPTS):  # the pumps are about to start
            if not pair.client.run(["ping", "-c1", "-W1", "-q", pair.address]).returncode:
                break
        yield pair


def _vxlan(lab: Lab) -> Pair:
    underlay = _underlay(lab, VXLAN)
    for number, host in enumerate(_HOSTS[VXLAN]):
        ends = f"local {underlay[number]} remote {underlay[1 - number]}"
        make = f"link add {_DEVICE} type vxlan id 7 {ends} dstport 6784"
        _wire(lab.host(host), number, make, _MTU[VXLAN])
    return _pair(lab, VXLAN)


_THREEFOLD = Goal("ratio", least=3.0)


def _figures(found: dict[str, Samples]) -> Iterator[Figure]:
    for measure, unit in (("TCP, 1 stream", "Gbit/s"), ("TCP, 4 streams", "Gbit/s"), ("round trip p50", "µs")):
        samples = found[measure]
        goal = _THREEFOLD if unit == "Gbit/s" else None
        yield paired(Named("sleeve", measure, unit, LOOP), samples[CLEAR], samples[LOOP], goal)
        yield paired(Named("sleeve", "", unit, VXLAN), samples[CLEAR], samples[VXLAN])
        yield paired(Named("sleeve, encrypted", measure, unit, LOOP), samples[SEALED], samples[LOOP])
        yield paired(Named("sleeve, encrypted", "", unit, VXLAN), samples[SEALED], samples[VXLAN])
