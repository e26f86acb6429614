"""Membership: what it costs and how soon it tells, for 4, 20 and 300 members.

Members are simulated (tests/support/simulator.py): the code that decides, packs and seals is the real one, time and network are
not. So seconds are those that the protocol takes with ways of 0.2 to 2 ms; the processor's time is this machine's, without the
kernel's for sending and receiving. Octets are those of datagrams and exchanges, without headers of IP, UDP and TCP.
Some members on real sockets, all in one process, show what is left out: event loop, calls, kernel.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from statistics import median

import msgspec

from bench.figures import Figure, Goal, Named, single
from bench.stats import percentile

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.simulator import Simulator
from weft.mesh.secret import Secret
from weft.mesh.swim import Swim
from weft.mesh.swim.core import Core
from weft.mesh.swim.wire import Everything, alive, encode, read_stream

Progress = Callable[[str], None]
JOINED = 3.0
"""Seconds: as long as a host that comes may wait for its first packet."""
_SETTLED = 40.0
"""Virtual seconds after which news of the beginning have been told often enough."""


class Size(msgspec.Struct, frozen=True):
    """So many members; how many of them are killed one after the other; virtual seconds of peace."""

    members: int
    kills: int
    peace: float


class Effort(msgspec.Struct, frozen=True):
    sizes: tuple[Size, ...] = (Size(4, 60, 600.0), Size(20, 40, 300.0), Size(300, 6, 150.0))
    real: int = 20
    seconds: float = 20.0


QUICK = Effort((Size(4, 10, 120.0), Size(20, 5, 60.0), Size(100, 1, 30.0)), seconds=5.0)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    figures = list[Figure]()
    for size in effort.sizes:
        progress(f"swim: {size.members} members")
        figures += _measured(size)
    progress("swim: real sockets")
    return figures + asyncio.run(_for_real(effort.real, effort.seconds))


def _measured(size: Size) -> list[Figure]:
    group, names = f"swim, {size.members} members", [f"node-{number}" for number in range(size.members)]
    world = Simulator(1, sealed=True)
    for name in names:
        world.start(name, names[:3])
    joined = world.until(world.agree, 60)
    world.run(_SETTLED)
    udp, tcp, datagrams, cpu = _peace(world, size)
    memory = _memory(world, names[0])
    told = _told(world, names)
    return [
        single(Named(group, "all start at once → all know all", "s"), joined, [joined], Goal("value", most=JOINED)),
        single(Named(group, "what one says → all know it", "s"), median(told), told),
        *_detection(group, world, names, size.kills),
        single(Named(group, "octets sent by each host, by UDP", "/s"), udp, [udp]),
        single(Named(group, "likewise by TCP", "/s"), tcp, [tcp]),
        single(Named(group, "datagrams sent by each host", "/s"), datagrams, [datagrams]),
        single(Named(group, "a member's CPU for each second", "µs"), cpu * 1e6, [cpu]),
        single(Named(group, "a member's memory", "KiB"), memory, [memory]),
    ]


def _peace(world: Simulator, size: Size) -> tuple[float, float, float, float]:
    """For each member and second while nothing happens: octets by UDP and TCP, datagrams, seconds of the processor."""

    def sums() -> list[float]:
        hosts = world.running()
        each = ((h.sent["udp"], h.sent["tcp"], h.datagrams, h.cpu) for h in hosts)
        return [float(sum(column)) for column in zip(*each, strict=True)]

    before = sums()
    world.run(size.peace)
    udp, tcp, datagrams, cpu = (
        (after - start) / size.members / size.peace for start, after in zip(before, sums(), strict=True)
    )
    return udp, tcp, datagrams, cpu


def _told(world: Simulator, names: list[str]) -> list[float]:
    taken = list[float]()
    for number, name in enumerate(names[:4]):
        world.say(name, voter=f"https://10.0.0.{number}:6786")
        taken.append(world.until(world.agree, 60, every=0.01))
        world.run(1)
    return taken


def _detection(group: str, world: Simulator, names: list[str], kills: int) -> list[Figure]:
    """From a kill to where each other member counts it as dead. It comes back before the next one."""
    taken, back = list[float](), list[float]()
    for number in range(kills):
        name = names[-1 - number % (len(names) - 3)]
        world.deaths.clear()
        world.run(world.chance.random())
        killed = world.now
        world.kill(name)
        world.until(world.agree, 120)
        taken += [at - killed for at, _, whom in world.deaths if whom == name]
        world.start(name, names[:3])
        back.append(world.until(world.agree, 60))
        world.run(5)
    return [
        single(Named(group, "killed → dead at another, p50", "s"), median(taken), taken),
        single(Named(group, "killed → dead at another, p99", "s"), percentile(taken, 0.99), taken),
        single(Named(group, "started again → all know", "s"), median(back), back, Goal("value", most=JOINED)),
    ]


async def _for_real(count: int, seconds: float) -> list[Figure]:
    addresses = [f"127.87.0.{number + 1}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        swims = [
            Swim(
                name=f"node-{number}",
                address=ip_address(address),
                secret=Secret(b"of a benchmark, all of it"),
                named=addresses[:3],
                state=Path(folder) / str(number),
            )
            for number, address in enumerate(addresses)
        ]
        began = time.monotonic()
        tasks = [asyncio.create_task(swim.run()) for swim in swims]
        for swim in swims:
            seen = -1
            while len(swim.members()) < count:
                seen = await swim.changed(seen)
        joined = time.monotonic() - began
        await asyncio.sleep(seconds / 2)
        cpu = time.process_time()
        await asyncio.sleep(seconds)
        cpu = (time.process_time() - cpu) / count / seconds
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    group = f"swim, {count} members on real sockets in one process"
    return [
        single(Named(group, "all start at once → all know all", "s"), joined, [joined], Goal("value", most=JOINED)),
        single(Named(group, "a member's CPU for each second", "µs"), cpu * 1e6, [cpu]),
    ]


def _memory(world: Simulator, name: str) -> float:
    """KiB of one more member that knows what this one knows."""
    data = encode(world.hosts[name].core.everything())
    newcomer = alive(world.hosts[name].core.table.me, name="newcomer")
    gc.collect()
    tracemalloc.start()
    said = read_stream(data)
    assert isinstance(said, Everything)
    core = Core(newcomer, world.now, random.Random(1))
    core.pulled(world.now, said)
    del said
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] / 1024
    tracemalloc.stop()
    return taken
