"""Who counts as dead, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address, ip_interface

import pytest

from weft.base.errors import Denied
from weft.base.net import IPAddress
from weft.cluster.liveness import PROBES, Attention, Liveness
from weft.cluster.view import View
from weft.model import Node, encode, keys
from weft.store.protocol import Change

TTL = 30.0
FAR = ip_address("192.168.1.2")


class World:
    """An agent's view of node-2, with a renewal of its own presence each ten seconds."""

    def __init__(self, *, withdraw: bool = True) -> None:
        self.time = 1000.0
        self.view = View("node-1")
        self.view.subscribe("liveness", lambda _: self.liveness.review())
        self.attention = Attention(TTL, lambda: self.time)
        self.told: list[set[str]] = []
        self.liveness = Liveness(
            self.view, self.attention, self.ask, self.told.append, withdraw=withdraw, clock=lambda: self.time
        )
        self.answers: set[IPAddress] = set()
        self.asked = 0
        self.revision = 0
        self.say(
            keys.node("node-2"), encode(Node(name="node-2", addresses=(ip_interface("192.168.1.2/24"),), uplink="e"))
        )

    def ask(self, addresses: Collection[IPAddress], seconds: float) -> set[IPAddress]:
        raise Denied("no")

    def say(self, key: str, value: bytes | None) -> None:
        self.revision += 1
        self.view.apply([Change(key, value, self.revision)])

    def present(self, there: bool = True) -> None:
        self.say(keys.presence("node-2"), b"i2" if there else None)

    def passes(self, seconds: float, *, renewed: bool = True) -> None:
        """Second by second, as the agent's loop would."""
        for _ in range(int(seconds)):
            self.time += 1
            if renewed and self.time % 10 == 0:
                self.attention.renewed()
            while due := self.liveness.due():
                self.asked += 1
                self.liveness.judge(due, self.answers)

    @property
    def dead(self) -> bool:
        return "node-2" in self.liveness.dead


def test_a_dead_node_is_known_as_soon_as_its_presence_ends() -> None:
    world = World()
    world.present()
    world.passes(60)
    world.present(False)
    world.passes(1)
    assert world.dead and world.told == [{"node-2"}] and world.asked == PROBES
    assert "left 3 probes of 192.168.1.2 in a row unanswered: its routes are withdrawn" in world.liveness.evidence(
        "node-2"
    )
    world.present()
    assert not world.dead and world.liveness.evidence("node-2") == ""


def test_a_node_that_answers_is_not_dead_and_is_asked_again() -> None:
    world = World()
    world.present()
    world.passes(60)
    world.answers = {FAR}
    world.present(False)
    world.passes(60)
    assert not world.dead and 5 <= world.asked <= 7, "each ten seconds"
    assert "but 192.168.1.2 answers: its routes are kept" in world.liveness.evidence("node-2")
    world.answers = set()
    world.passes(12)
    assert world.dead
    world.answers = {FAR}
    world.passes(12)
    assert not world.dead and world.told == [{"node-2"}, {"node-2"}]


@pytest.mark.parametrize("told_of", [True, False])
def test_after_an_outage_absence_counts_from_when_the_store_was_back(told_of: bool) -> None:
    """Whether or not the watch noticed the outage: that our own renewals did not go through says it."""
    world = World()
    world.present()
    world.passes(60)
    if told_of:
        world.attention.interrupted()
    world.passes(40, renewed=False)
    world.present(False)
    world.passes(30)
    assert not world.dead and world.asked == 0
    assert "not been listened to for a whole presence-ttl" in world.liveness.evidence("node-2")
    world.passes(11)
    assert world.dead


def test_an_agent_that_was_stopped_and_continued_heard_nothing_meanwhile() -> None:
    """As with a suspended machine: its clock goes on, and it did nothing."""
    world = World()
    world.present()
    world.passes(60)
    world.time += 3600
    world.present(False)
    world.passes(30)
    assert world.asked == 0
    world.passes(11)
    assert world.dead


def test_a_newly_started_agent_waits_for_a_whole_period() -> None:
    world = World()
    world.liveness.review()
    world.passes(39)
    assert world.asked == 0
    world.passes(2)
    assert world.dead


def test_who_is_dead_stays_so_while_the_store_is_away() -> None:
    world = World()
    world.passes(60)
    assert world.dead
    world.attention.interrupted()
    world.passes(100, renewed=False)
    assert world.dead and world.told == [{"node-2"}]


def test_a_removed_node_is_forgotten() -> None:
    world = World()
    world.passes(60)
    world.say(keys.node("node-2"), None)
    assert not world.dead and world.liveness.evidence("node-2") == ""


def test_nothing_is_withdrawn_if_it_is_not_to_be() -> None:
    world = World(withdraw=False)
    world.passes(100)
    assert not world.dead and world.asked == 0


async def test_who_cannot_be_asked_keeps_the_routes() -> None:
    world = World()
    world.attention.renewed()
    world.time += 20
    world.attention.renewed()
    world.time += 15
    await world.liveness._ask(world.liveness.due())
    assert not world.dead and "and no: its routes are kept" in world.liveness.evidence("node-2")
    assert world.liveness.due() == {}, "not again at once"
