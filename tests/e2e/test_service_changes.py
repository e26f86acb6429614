"""Services that change under load: no connection fails but one to a member that died, and who has one keeps it.

On drivers of each kind at once, in both families: three members on two hosts, clients on a host with a member and on one
without.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from support.calls import ANSWER, KEPT
from support.changing import Kept, Load, World
from support.cluster import Cluster
from support.reach import UNDERLAY
from support.waiting import note, until
from weft.lab import Lab
from weft.lab.inside import Inside

NETWORKS = {"vx": ("vxlan", 71), "over": ("overlay", 72), "pure": ("routed", 73)}
MEMBERS = {"a": "node-1", "b": "node-2", "c": "node-2"}
CLIENTS = {"node-1": 4, "node-3": 6}
"""By host, which family it uses."""
RATE = 2000 / (len(NETWORKS) * len(CLIENTS))
"""Of each client, tried: a second's connections."""
LEAST = 200
"""Of all of them: fewer would be no load, however busy the machine is."""
SHORT = 0.3


class Scene:
    """`idle`: connections to `a` that are as old as all this, and of which nobody says anything."""

    def __init__(self, lab: Lab, undo: ExitStack) -> None:
        self.lab, self.cluster = lab, Cluster(lab)
        self.worlds = [World(lab, name, driver, number, undo) for name, (driver, number) in NETWORKS.items()]
        for world in self.worlds:
            for host in CLIENTS:
                world.attached("client", host, {})
            for name, host in MEMBERS.items():
                world.joined(name, host)
        self.standing()
        self.began = time.monotonic()
        self.idle = [(w, h, w.one_of_each(h, f, ["a"])["a"]) for w in self.worlds for h, f in CLIENTS.items()]

    def standing(self, *names: str) -> None:
        """Waits until all members take connections of all clients; `names`: where they are others."""
        for world in self.worlds:
            world.until(**dict.fromkeys(names or MEMBERS, "ready"))
        self.cluster.settled()
        for kept in self.kept(*(names or MEMBERS)):
            kept.client.close()

    def load(self) -> Load:
        return Load(
            [(w.inside("client", h), w.address(f), ANSWER) for w in self.worlds for h, f in CLIENTS.items()], RATE
        )

    def kept(self, *names: str) -> list[Kept]:
        """A connection of each client to each of these members."""
        found = [w.one_of_each(h, f, names) for w in self.worlds for h, f in CLIENTS.items()]
        return [kept for some in found for kept in some.values()]

    def each(self, change: str, *names: str, **more: object) -> None:
        for world in self.worlds:
            for name in names:
                getattr(world, change)(name, **more)

    def until(self, **states: str) -> None:
        """All members are in these states, and those that are not named are ready; all kernels have that."""
        for world in self.worlds:
            world.until(**{**dict.fromkeys(world.members, "ready"), **states})
        self.cluster.settled()


@pytest.fixture(scope="module")
def scene(lab: Lab) -> Iterator[Scene]:
    with ExitStack() as undo:
        yield Scene(lab, undo)


@pytest.fixture(autouse=True)
def _standing(scene: Scene) -> None:
    scene.standing()


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def told(failed: Sequence[tuple[float, str]], began: float) -> list[str]:
    """What failed, in short."""
    kinds = Counter(how for _, how in failed)
    first = {how: min(at for at, why in failed if why == how) - began for how in kinds}
    return [f"{number} times {how}, first after {first[how]:.2f} s" for how, number in kinds.items()]


def fine(load: Load, what: str, dying: tuple[float, float] = (0, 0)) -> None:
    """No connection failed, but those that may have gone to a member that was `dying` at this time."""
    again = sum(len(outcome.again) for outcome in load.outcomes)
    note(f"{what}: {load.rate:.0f} connections a second, {load.made} in all, {again} with a packet sent again")
    failed = [(at, how) for at, how in load.failed if not dying[0] <= at <= dying[1]]
    assert told(failed, load.began) == []
    assert load.rate > LEAST


def silent(kept: Sequence[Kept]) -> list[str]:
    """Members of which a connection does not pass any more."""
    return [one.member for one in kept if not one.passes()]


def test_members_come_go_and_are_drained(scene: Scene) -> None:
    """One that leaves is drained before: it takes with it the connections that it has."""
    kept = scene.kept("a", "b")
    with scene.load() as load:
        for _ in range(2):
            scene.each("drain", "b")
            scene.each("drain", "c")
            scene.until(b="draining", c="draining")
            scene.each("answers", "c")
            scene.each("label", "c", member=False)
            scene.each("drain", "b", back=True)
            pause(SHORT)
            scene.each("label", "c", member=True)
            scene.each("drain", "c", back=True)
            pause(SHORT)
    fine(load, "members come, go and are drained")
    assert silent(kept) == []


def test_one_that_is_not_well_gets_no_new_connections_and_keeps_its_own(scene: Scene) -> None:
    kept = scene.kept(*MEMBERS)
    with scene.load() as load:
        scene.each("says", "b", how=signal.SIGUSR1)
        scene.until(b="unready")
        pause(SHORT)
        with scene.load() as later:
            pause(2 * SHORT)
        scene.each("says", "b", how=signal.SIGUSR2)
        scene.until()
    fine(load, "a member is not well, and well again")
    assert later.by("b") == 0 and later.by("a") and later.by("c")
    assert silent(kept) == []


def test_agents_that_are_killed_cost_no_connection(scene: Scene) -> None:
    """What changes meanwhile is made up for."""
    kept, hosts = scene.kept("a", "b"), ("node-1", "node-2", "node-3")
    with scene.load() as load:
        for host in hosts:
            scene.cluster.end(host, signal.SIGKILL)
        scene.each("drain", "c", by="node-4")
        pause(SHORT)
        assert silent(kept) == []
        for host in hosts:
            scene.cluster.start(host)
        scene.cluster.settled(hosts)
        with scene.load() as later:
            pause(2 * SHORT)
        scene.each("drain", "c", back=True)
        scene.until()
    fine(load, "three agents are killed and started")
    fine(later, "after that")
    assert later.by("c") == 0
    assert silent(kept) == []


def test_one_that_dies_costs_its_own_connections(scene: Scene) -> None:
    kept = scene.kept("a", "b")
    with scene.load() as load:
        died = time.monotonic()
        scene.each("killed", "c")
        scene.until(c="unready")
        pause(SHORT)
        known = time.monotonic()
        pause(2 * SHORT)
    fine(load, "a member dies", (died - 1, known))
    assert silent(kept) == []
    note(f"refused meanwhile: {len(load.failed)}, in {known - died:.1f} s")
    scene.each("removed", "c")
    for world in scene.worlds:
        world.joined("c", MEMBERS["c"])


def test_who_says_nothing_is_not_forgotten(scene: Scene) -> None:
    """Conntrack gives an idle connection as long as the kernel's setting says, and not a second less."""
    setting = "net.netfilter.nf_conntrack_tcp_timeout_established"
    for world, host, kept in scene.idle:
        whole = int(scene.cluster.sh(host, f"sysctl -n {setting}"))
        left = world.remaining(host, kept)
        assert left >= whole - (time.monotonic() - scene.began) - 2, f"{world.network}, {host}: {left} s of {whole}"
    assert silent([kept for _, _, kept in scene.idle]) == []


def test_published_ports_are_changed_and_others_are_not_touched(scene: Scene) -> None:
    """From outside, by a host that has a member and by one that has none; a member is drained, too."""
    outside, ends = scene.lab.host("outside"), [(h, UNDERLAY[h][f]) for h, f in CLIENTS.items()]
    path = f"/proc/{outside.holder.pid}/ns/net"
    first = {world.network: 8100 + n for n, world in enumerate(scene.worlds)}
    both = {w.network: (f"{first[w.network]}:{ANSWER}", f"{first[w.network] + 100}:{KEPT}") for w in scene.worlds}
    for world in scene.worlds:
        world.publish(*both[world.network])
    clients = [(outside, address, port) for port in first.values() for _, address in ends]
    kept: list[Kept] = []
    until(
        lambda: not _closed(scene, path, clients, kept), 20, lambda: f"{_closed(scene, path, clients, kept)} to answer"
    )
    with Load(clients, RATE) as load:
        for _ in range(2):
            for world in scene.worlds:
                world.publish(both[world.network][0], f"{first[world.network] + 200}:{ANSWER}", both[world.network][1])
            scene.each("drain", "c")
            pause(SHORT)
            for world in scene.worlds:
                world.publish(*both[world.network])
            scene.each("drain", "c", back=True)
            pause(SHORT)
    fine(load, "published ports are changed")
    assert silent(kept) == []
    for world in scene.worlds:
        world.publish()


def _closed(scene: Scene, path: str, clients: Sequence[tuple[Inside, str, int]], kept: list[Kept]) -> list[str]:
    """Which of the published ports do not answer; a connection to each is added to `kept`."""
    closed = []
    for _, address, port in clients:
        try:
            kept.append(scene.worlds[0].kept_from(path, address, port + 100))
        except OSError as error:
            closed.append(f"{address} {port + 100} ({error})")
    return closed


def test_members_are_replaced_one_by_one(scene: Scene) -> None:
    """As in an update of what runs in them: a new one is ready before an old one is drained and goes."""
    with scene.load() as load:
        for name, host in MEMBERS.items():
            for world in scene.worlds:
                world.joined(f"{name}2", host)
            scene.until()
            scene.each("drain", name)
            scene.until(**{name: "draining"})
            scene.each("answers", name)
            scene.each("removed", name)
    fine(load, "members are replaced")
    for world in scene.worlds:
        world.until(**{f"{name}2": "ready" for name in MEMBERS})
        for name, host in MEMBERS.items():
            world.joined(name, host)
            world.removed(f"{name}2")
