"""Maps of addresses in iptables, and chains that only other chains lead to."""

from __future__ import annotations

import time
from typing import Any

import pytest

from weft.base.net import Family
from weft.hoststate import IptablesChain, IptablesElement, IptablesMap, Object
from weft.hoststate.iptables import Backend
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, DROP, Dispatch
from weft.hoststate.rules.matches import IIFNAME, SADDR
from weft.reconcile.protocol import Change, Create
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.render import script

WAYS: list[tuple[Backend, Family]] = [("nft", 4), ("nft", 6), ("legacy", 4), ("legacy", 6)]


class Policy:
    """A chain that is first in FORWARD and asks a map."""

    def __init__(self, backend: Backend, family: Family) -> None:
        self.backend, self.family = backend, family
        self.program = f"{'iptables' if family == 4 else 'ip6tables'}-{backend}"
        self.map = IptablesMap(backend=backend, family=family, table="filter", name="from", end="source")
        self.closed = self.chain("WEFT-po-closed", rule(DROP))
        self.open = self.chain("WEFT-po-open")
        self.entry = self.chain("WEFT-POLICY", rule(Dispatch(SADDR[family], "from")), parent="FORWARD", first=True)

    def chain(self, name: str, *rules: Any, parent: str = "", first: bool = False) -> IptablesChain:
        return IptablesChain(
            backend=self.backend,
            family=self.family,
            table="filter",
            parent=parent,
            name=name,
            first=first,
            rules=rules,
        )

    def element(self, n: int, to: IptablesChain) -> IptablesElement:
        address = f"10.1.{n >> 8}.{n & 255}" if self.family == 4 else f"fd00:1::1:{n:x}"
        return IptablesElement(
            backend=self.backend,
            family=self.family,
            table="filter",
            map="from",
            end="source",
            address=address,
            to=to.name,
        )

    def objects(self, count: int) -> list[Object]:
        elements = [self.element(n, self.closed if n % 2 else self.open) for n in range(count)]
        return [self.map, self.closed, self.open, self.entry, *elements]

    @property
    def forward(self) -> IptablesChain:
        ends = (rule(IIFNAME.is_("weft*"), ACCEPT),)
        return self.chain("WEFT-FORWARD", *ends, parent="FORWARD")


@pytest.fixture(params=WAYS, ids=[f"{backend}-{family}" for backend, family in WAYS])
def policy(request: pytest.FixtureRequest) -> Policy:
    return Policy(*request.param)


def reconciler(bench: Any) -> Reconciler:
    found = Reconciler(bench.kernel, bench.desired, time.monotonic)
    found.complete = True
    return found


def want(bench: Any, *objects: Object) -> None:
    bench.desired.clear()
    bench.desired |= {obj.key: obj for obj in objects}


def test_made_changed_and_removed(bench: Any, policy: Policy) -> None:
    loop = reconciler(bench)
    want(bench, *policy.objects(40))
    assert loop.resync().failures == ()
    assert bench.converged(), bench.difference()
    assert loop.resync().ops == ()
    old, new = policy.element(3, policy.closed), policy.element(3, policy.open)
    assert bench.change(old, new) == []
    bench.remove(*(policy.element(n, policy.open) for n in range(4, 40, 2)))
    assert bench.converged(), bench.difference()
    bench.desired.clear()
    assert loop.resync().failures == ()
    assert "WEFT" not in bench.netns.run(f"{policy.program}-save")


def test_an_agent_that_wants_no_map_clears_one_away(bench: Any, policy: Policy) -> None:
    want(bench, *policy.objects(40))
    assert reconciler(bench).resync().failures == ()
    want(bench, policy.forward)
    assert reconciler(bench).resync().failures == ()
    saved = bench.netns.run(f"{policy.program}-save")
    assert saved.count("WEFT") == saved.count("WEFT-FORWARD") > 0


@pytest.mark.parametrize("harm", ["-F WEFT-from", "-F", "-I WEFT-from -j RETURN", "-D FORWARD -j WEFT-POLICY"])
def test_what_others_do_to_it_is_put_right(bench: Any, policy: Policy, harm: str) -> None:
    loop = reconciler(bench)
    want(bench, *policy.objects(20))
    loop.resync()
    bench.netns.run(policy.program, *harm.split())
    assert not bench.converged()
    assert loop.resync().failures == ()
    assert bench.converged(), bench.difference()


def test_it_comes_first_whoever_else_does(bench: Any, policy: Policy) -> None:
    """Docker's jumps may come before the chain that accepts, but not before the one that drops."""
    loop = reconciler(bench)
    bench.netns.run(policy.program, "-N", "DOCKER-USER")
    bench.netns.run(policy.program, "-A", "FORWARD", "-s", "::/0" if policy.family == 6 else "0.0.0.0/0", "-j", "DROP")

    def order() -> list[str]:
        return [line.split()[-1] for line in bench.netns.run(policy.program, "-S", "FORWARD").splitlines()[1:]]

    for objects in ([policy.forward, *policy.objects(1)], [policy.forward], [policy.forward, *policy.objects(1)]):
        want(bench, *objects)
        assert loop.resync().failures == ()
        first = ["WEFT-POLICY"] if len(objects) > 1 else []
        assert order() == [*first, "WEFT-FORWARD", "DROP"]
    bench.netns.run(policy.program, "-I", "FORWARD", "-j", "DOCKER-USER")
    loop.resync()
    assert order() == ["WEFT-POLICY", "DOCKER-USER", "WEFT-FORWARD", "DROP"]
    bench.netns.run(policy.program, "-D", "FORWARD", "-j", "WEFT-FORWARD")
    loop.resync()
    assert order() == ["WEFT-POLICY", "WEFT-FORWARD", "DOCKER-USER", "DROP"]
    assert bench.converged(), bench.difference()


def test_the_commands_lead_to_the_same_chains(bench: Any, policy: Policy) -> None:
    objects = policy.objects(3)
    for command in script([Create(obj) for obj in objects]):
        bench.netns.sh(command)
    want(bench, *objects)
    assert bench.converged(), bench.difference()
    for command in script([Change(policy.element(0, policy.open), policy.element(0, policy.closed))]):
        bench.netns.sh(command)
    closed = [line for line in bench.netns.run(f"{policy.program}-save").splitlines() if "-g WEFT-po-closed" in line]
    assert len(closed) == 2, closed


def test_a_thousand(bench: Any, policy: Policy) -> None:
    want(bench, *policy.objects(1000))
    began = time.monotonic()
    assert reconciler(bench).resync().failures == ()
    assert time.monotonic() - began < 2
    assert bench.converged()
    began = time.monotonic()
    bench.made(policy.element(2000, policy.closed))
    assert time.monotonic() - began < 0.5
    assert bench.converged()
