"""However the store's news reach an agent, it ends up where they lead: the view, what is desired, the kernel."""

from __future__ import annotations

from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from support.hoststates import FOREIGN
from support.models import ME, NETWORKS, PATHS, histories, hosts, state
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile.compiler import Compiler
from weft.converge.stepper import Stepper, Work
from weft.datapaths.driver import Host
from weft.hoststate import Contribution, Key, Link, Object, Union
from weft.hoststate.union import Source
from weft.kernel.fake import FakeKernel
from weft.model import keys, records
from weft.store.protocol import Change

PREFIXES = (*View(ME).prefixes(), keys.LOCATIONS)
"""Every network's locations are followed all the time here."""
History = list[tuple[Change, ...]]


def deliver(view: View, history: History, random: Random) -> None:
    """In any order, in any batches, some twice, with listings in between: as watch, listings and own writes interleave."""
    changes = [change for commit in history for change in commit]
    news: list[list[Change] | int] = []
    for _ in range(2 if random.random() < 0.3 else 1):
        rest = random.sample(changes, len(changes)) if random.random() < 0.5 else list(changes)
        while rest:
            size = random.choice((1, 1, 1, 2, 5, 20))
            news.append(rest[:size])
            rest = rest[size:]
    news += [random.randint(0, len(history)) for _ in range(random.randint(0, 3))]
    if random.random() < 0.7:
        random.shuffle(news)
    for item in news:
        if isinstance(item, int):
            view.listed(PREFIXES, state(history, item), item)
        else:
            view.apply(item)
    view.obey(list(view.lost))  # what became of own records is settled: there is nothing of them to keep


def fresh(history: History) -> View:
    """As one listing of the end tells it."""
    view = View(ME)
    for name in NETWORKS:
        view.open(records.LOCATIONS, name)
    view.listed(PREFIXES, state(history), len(history))
    return view


def facts(view: View) -> tuple[object, ...]:
    indices = {(kind.kind, path): view.table(kind).by(*path) for kind in view.kinds for path in kind.by}
    return indices, view.revisions


@settings(deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_the_view_ends_as_the_highest_revisions_say(history: History, seed: int) -> None:
    view = View(ME)
    deliver(view, history, Random(seed))
    assert facts(view) == facts(fresh(history))
    assert {e.namespace.path: e.namespace.cookie for e in view.endpoints.values()} == {
        path: cookie for path in PATHS if (cookie := view.cookie(path))
    }


def absent(view: View) -> set[str]:
    """Nodes that are taken to be dead."""
    return view.nodes.keys() - view.present.keys() - {ME}


def compiled(history: History, host: Host | None, *, withdraw: bool) -> Union:
    """From scratch."""
    view, union = fresh(history), Union()
    compiler = Compiler(view, absent(view) if withdraw else ())
    compiler.host = host
    for source in compiler.everything():
        union.set(source, compiler.contribution(source))
    return union


def wanted(union: Union) -> dict[Source, Contribution]:
    return {
        source: msgspec.structs.replace(c, objects=tuple(map(unguarded, c.objects)))
        for source, c in union.sources.items()
        if c.objects or c.problems
    }


def unguarded(obj: Object) -> Object:
    """Of a container's device it is settled when it is made which rules go before it; policy may change afterwards."""
    return msgspec.structs.replace(obj, guards=()) if isinstance(obj, Link) else obj


def desired(union: Union) -> dict[Key, Object]:
    return {key: unguarded(obj) for key, obj in union.desired.items()}


class Follower:
    """An agent without a loop: makes a step whenever `random` says so."""

    def __init__(self, host: Host | None, random: Random, *, withdraw: bool) -> None:
        self.kernel = FakeKernel(PATHS)
        self.kernel.plant(*FOREIGN)
        self.view = View(ME)
        self.view.subscribe("the follower", self.changed)
        self.dead, self.withdraw = set[str](), withdraw
        self.compiler = Compiler(self.view, self.dead)
        self.compiler.host = host
        self.union = Union()
        self.stepper = Stepper(self.kernel, self.kernel.watch(), self.union)
        self.stepper.reconciler.complete = True
        self.random = random
        self.pending: set[Source] = set()
        for name in NETWORKS:
            self.view.open(records.LOCATIONS, name)

    def changed(self, changed: Changed) -> None:
        self.pending |= self.compiler.touched(changed)
        if self.withdraw:
            self.pending |= self.compiler.of_nodes(self.dead ^ absent(self.view))
            self.dead.clear()
            self.dead.update(absent(self.view))
        if self.random.random() < 0.4:
            self.step()

    def move(self, host: Host) -> None:
        self.compiler.host = host
        self.pending |= self.compiler.everything()

    def step(self) -> None:
        pending, self.pending = sorted(self.pending, key=lambda _: self.random.random()), set()
        self.stepper.step(Work(contributions=[(s, self.compiler.contribution(s)) for s in pending], events=True))

    def settle(self) -> None:
        self.step()
        for _ in range(5):
            self.stepper.step(Work(namespaces=None, events=True))
            if not self.stepper.reconciler.failures:
                break


@settings(max_examples=60, deadline=None)
@given(histories(), hosts(), hosts(), st.booleans(), st.integers(0, 2**32))
def test_order_batches_and_duplicates_lead_to_one_end(
    history: History, early: Host, late: Host, withdraw: bool, seed: int
) -> None:
    """Union built from what changes touch = union compiled from scratch; and so in the kernel."""
    random = Random(seed)
    follower = Follower(random.choice((early, None)), random, withdraw=withdraw)
    deliver(follower.view, history[: random.choice((0, 0, 1, len(history) // 2))], random)
    follower.move(late)
    deliver(follower.view, history, random)
    follower.settle()
    union = compiled(history, late, withdraw=withdraw)
    assert wanted(follower.union) == wanted(union)
    assert desired(follower.union) == desired(union)
    newcomer = FakeKernel(PATHS)
    newcomer.plant(*FOREIGN)
    stepper = Stepper(newcomer, newcomer.watch(), union)
    stepper.step(Work(namespaces=None))
    assert follower.stepper.reconciler.failures.keys() == stepper.reconciler.failures.keys()
    assert _comparable(follower.kernel) == _comparable(newcomer)
    follower.kernel.close()
    newcomer.close()


@settings(max_examples=60, deadline=None)
@given(histories(), hosts(), st.integers(0, 2**32))
def test_when_all_is_removed_nothing_is_left(history: History, host: Host, seed: int) -> None:
    random = Random(seed)
    follower = Follower(host, random, withdraw=True)
    before = {key: obj for key, obj in follower.kernel.objects.items() if key[0] != "sysctl"}
    deliver(follower.view, history, random)
    follower.step()
    end = len(history) + 1
    news = [Change(item.key, None, end) for item in state(history)]
    for change in random.sample(news, len(news)):
        follower.view.apply([change])
    follower.view.obey(list(follower.view.lost))
    follower.settle()
    assert not wanted(follower.union) and not follower.union.desired
    assert not follower.stepper.reconciler.failures
    assert {key: obj for key, obj in follower.kernel.objects.items() if key[0] != "sysctl"} == before
    assert follower.kernel.objects["sysctl", "", "net/ipv4/ip_forward"].value == "0"  # type: ignore[union-attr]
    follower.kernel.close()


def _comparable(kernel: FakeKernel) -> dict[Key, object]:
    """What the kernel itself chose, such as MAC addresses, may depend on the way."""
    return {
        key: (obj.type, obj.mtu, obj.master, obj.up, obj.alias) if isinstance(obj, Link) else obj
        for key, obj in kernel.ours().items()
    }
