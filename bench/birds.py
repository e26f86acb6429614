"""BIRDs in a lab's hosts, and a cluster of routed nodes for them to speak of.

A `Daemon` is given its configuration as text: what Weft renders for a node of that cluster, or one written by hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from select import select

from bench import flock, labs
from weft.base.errors import Failed, Unavailable
from weft.bgp import config, replies
from weft.bgp.plan import Model, Speaker, speaker
from weft.bgp.replies import BirdProtocol, Line
from weft.daemons.bird import Bird
from weft.lab import Host
from weft.lab.inside import InsideProcess
from weft.lab.process import children
from weft.lab.topology import Place, Topology
from weft.model import BgpSettings, Lease, Network, Node
from weft.model.bgp import REFLECTOR

NETWORK = Network(name="prod", driver="routed", subnets=(IPv4Network("10.128.0.0/12"),), options={"encap": "never"})
AS = BgpSettings().asn
BLOCKS = list(IPv4Network("10.128.0.0/12").subnets(new_prefix=26))
CLUSTER = "224.0.0.1"
_UNDERLAY = IPv4Address("172.16.0.10")
_PAUSE = 0.1
_STARTED = 20.0


# The cluster.


def address(number: int) -> IPv4Interface:
    return IPv4Interface(f"{_UNDERLAY + number}/16")


def name(number: int) -> str:
    return f"node-{number}"


def node(number: int, *, reflects: bool = False) -> Node:
    labels = {REFLECTOR: CLUSTER} if reflects else {}
    return Node(name=name(number), addresses=(address(number),), uplink="eth0", labels=labels)


def held(number: int, blocks: int) -> Sequence[IPv4Network]:
    """The blocks of a node that has so many of them, as all have."""
    return BLOCKS[number * blocks : (number + 1) * blocks]


def cluster(nodes: Iterable[Node], blocks: int) -> Model:
    """Each node in the network, with as many blocks."""
    known = {node.name: node for node in nodes}
    leases = {
        each: Lease(network=NETWORK.name, node=each, subnets=tuple(held(int(each.partition("-")[2]), blocks)))
        for each in known
    }
    return Model(
        nodes=known,
        networks={NETWORK.name: NETWORK},
        leases={NETWORK.name: leases},
        endpoints=(),
        settings=BgpSettings(),
        peers={},
    )


def planned(number: int, model: Model) -> Speaker:
    found = speaker(model.nodes[name(number)], model)
    assert found is not None
    return found


def topology(*numbers: int) -> Topology:
    """Hosts of these numbers on one segment, and no router."""
    hosts = tuple(Place(name=name(number), segment="a", addresses=(address(number),)) for number in numbers)
    return Topology(segments=("a",), hosts=hosts)


# BIRD.


class Daemon:
    """In a host of a lab, for as long as its block."""

    def __init__(self, host: Host, process: InsideProcess, bird: Bird) -> None:
        self.host, self._process, self.bird = host, process, bird

    def ask(self, command: str) -> tuple[Line, ...]:
        """Raises Failed."""
        answer = self.bird.ask(command)
        if said := replies.refusal(answer):
            raise Failed(f"{self.host.name}'s BIRD: {command}: {said}")
        return answer

    def sessions(self) -> dict[str, BirdProtocol]:
        """Those that are up."""
        return {n: p for n, p in replies.protocols(self.ask("show protocols all")).items() if p.up}

    def until_up(self, count: int, seconds: float) -> float:
        """When so many sessions are up: seconds of the monotonic clock. Raises Failed."""
        deadline, up = time.monotonic() + seconds, 0
        while (now := time.monotonic()) < deadline:
            up = sum(text.split()[1] == "BGP" and "Established" in text for code, text in self._shown())
            if up >= count:
                return now
            self._wait()
        raise Failed(
            f"{self.host.name}: {up} of {count} sessions are up after {seconds:.0f} s: {self.bird.tail()[-3:]}"
        )

    def _shown(self) -> Iterator[Line]:
        return (line for line in self.ask("show protocols") if line.code == replies.PROTOCOL)

    def memory(self) -> float:
        return labs.memory(self._pid())

    def cpu(self) -> float:
        return labs.cpu(self._pid())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _pid(self) -> int:
        """As seen from here."""
        found = children(self._process.pid)
        if not found:
            raise Failed(f"{self.host.name}'s BIRD has ended: {self.bird.tail()[-3:]}")
        return found[0]

    def _wait(self) -> None:
        if self._process.poll() is not None:
            raise Failed(f"{self.host.name}'s BIRD has ended: {self.bird.tail()[-3:]}")
        select([], [], [], _PAUSE)

    def _until_answers(self) -> None:
        deadline = time.monotonic() + _STARTED
        while time.monotonic() < deadline:
            try:
                self.ask("show status")
            except Unavailable:
                self._wait()
                continue
            return
        raise Failed(f"{self.host.name}'s BIRD does not answer after {_STARTED:.0f} s: {self.bird.tail()[-3:]}")


def directory(host: Host, label: str) -> Path:
    found = host.own / f"bird-{label}"
    found.mkdir(exist_ok=True)
    return found


@contextmanager
def running(host: Host, label: str, text: str) -> Iterator[Daemon]:
    """A BIRD that answers, with this configuration; `label` tells those of one host apart."""
    bird, run = Bird(directory(host, label)), directory(host, label)
    bird.configure(text)
    with host.popen(flock.words(run, "bird"), stdout=None, stderr=None) as process:
        daemon = Daemon(host, process, bird)
        try:
            daemon._until_answers()
            yield daemon
        finally:
            process.terminate()


def rendered(host: Host, label: str, number: int, model: Model) -> str:
    """What Weft gives the node's BIRD."""
    return config.render(planned(number, model), str(directory(host, label) / "bird.log"))


def head(host: Host, label: str) -> list[str]:
    """By hand: what every BIRD needs."""
    log = directory(host, label) / "bird.log"
    return [f'log "{log}" {{ warning, error, fatal, bug }};', 'timeformat protocol "%s";', "protocol device {}"]
