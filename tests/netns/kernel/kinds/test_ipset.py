"""Sets of ipset in the real kernel."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from support.hoststates import Clock
from support.namespaces import Namespace
from weft.hoststate import Ipset, IpsetElement, IptablesChain, Object
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP
from weft.hoststate.rules.matches import SADDR
from weft.reconcile.protocol import Create
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.render import script

SETS: tuple[tuple[Ipset, tuple[str, ...]], ...] = (
    (Ipset(name="weft-a4", type="hash:ip", family=4), ("10.1.0.2", "10.1.0.3")),
    (Ipset(name="weft-a6", type="hash:ip", family=6), ("fd00:1::2", "fd00:1::3")),
    (Ipset(name="weft-n4", type="hash:net", family=4), ("10.1.0.0/16", "10.1.0.0/24", "192.0.2.1", "0.0.0.0/1")),
    (Ipset(name="weft-n6", type="hash:net", family=6), ("fd00::/8", "::/1", "fd00:1::2")),
    (Ipset(name="weft-p4", type="hash:ip,port", family=4), ("10.1.0.2,tcp:80", "10.1.0.2,udp:80", "10.1.0.2,sctp:9")),
    (Ipset(name="weft-p6", type="hash:ip,port", family=6), ("fd00:1::2,tcp:65535",)),
)
OBJECTS: tuple[Object, ...] = tuple(
    obj for it, values in SETS for obj in (it, *(IpsetElement(set=it.name, value=value) for value in values))
)
NAMES = Ipset(name="weft-names", type="hash:ip", family=4)


def elements(holder: Ipset, count: int) -> list[Object]:
    found = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count))
    return [IpsetElement(set=holder.name, value=value) for value in found]


def chain(backend: Any = "nft") -> IptablesChain:
    asks = rule(SADDR[4].among("names"), DROP)
    return IptablesChain(backend=backend, family=4, table="filter", parent="FORWARD", name="WEFT-X", rules=(asks,))


def test_made_found_and_removed(bench: Any, container: Namespace) -> None:
    """Others' sets stay as they are."""
    for ns in (bench.netns, container):
        ns.run("ipset", "create", "theirs", "hash:ip")
        ns.run("ipset", "add", "theirs", "10.9.0.1")
    assert bench.read().objects == {}
    objects = [*OBJECTS, *(msgspec.structs.replace(obj, ns=container.path) for obj in OBJECTS)]
    bench.made(*objects)
    assert bench.converged(), bench.difference()
    assert bench.create(*objects) == []  # they are there
    bench.remove(*OBJECTS[1:3])
    assert bench.converged(), bench.difference()
    bench.remove(*(obj for obj in objects if isinstance(obj, Ipset)))
    for ns in (bench.netns, container):
        assert ns.run("ipset", "list", "-n").split() == ["theirs"]
        assert "10.9.0.1" in ns.run("ipset", "list", "theirs")


def test_the_commands_make_the_same(bench: Any) -> None:
    bench.desired |= {obj.key: obj for obj in OBJECTS}
    for command in script([Create(obj) for obj in OBJECTS]):
        bench.netns.sh(command)
    assert bench.converged(), bench.difference()


def test_what_the_kernel_does_not_take_is_told_and_the_rest_made(bench: Any) -> None:
    wrong = [IpsetElement(set="weft-a4", value=value) for value in ("fd00::1", "10.1.0.0/33", "nobody")]
    wrong += [IpsetElement(set="weft-n4", value="0.0.0.0/0"), IpsetElement(set="weft-none", value="10.1.0.1")]
    failures = bench.create(*wrong, *OBJECTS)
    assert {failure.key for failure in failures} == {obj.key for obj in wrong}
    assert bench.holds(*OBJECTS)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_there_before_rules_and_until_these_are_gone(bench: Any, backend: str) -> None:
    reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
    reconciler.complete = True
    objects = [chain(backend), NAMES, *elements(NAMES, 3)]
    bench.desired |= {obj.key: obj for obj in objects}
    assert reconciler.resync().failures == ()
    assert bench.converged(), bench.difference()
    keys = list(bench.desired)
    bench.desired.clear()
    assert reconciler.update(keys).failures == ()
    assert bench.read().objects == {}


@pytest.mark.parametrize("options", ["maxelem 65536", "timeout 60", "counters"])
def test_one_that_others_made_otherwise_is_swapped_while_rules_use_it(bench: Any, options: str) -> None:
    bench.netns.sh(f"ipset create weft-names hash:ip {options}")
    bench.netns.run("ipset", "add", "weft-names", "192.0.2.1")
    bench.netns.run("iptables-nft", "-A", "FORWARD", "-m", "set", "--match-set", "weft-names", "src", "-j", "DROP")
    reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
    reconciler.complete = True
    bench.desired |= {obj.key: obj for obj in [NAMES, *elements(NAMES, 3)]}
    assert reconciler.resync().failures == ()
    assert bench.converged(), bench.difference()
    assert "weft-names" in bench.netns.run("iptables-nft", "-S", "FORWARD")


def test_of_another_type(bench: Any) -> None:
    """The kernel swaps no set for one of another type: it can be replaced only where no rule uses it."""
    bench.netns.sh("ipset create weft-names hash:net")
    bench.netns.run("iptables-nft", "-A", "FORWARD", "-m", "set", "--match-set", "weft-names", "src", "-j", "DROP")
    clock = Clock()
    reconciler = Reconciler(bench.kernel, bench.desired, clock)
    reconciler.complete = True
    bench.desired |= {obj.key: obj for obj in [NAMES, *elements(NAMES, 3)]}
    told = [failure.reason for failure in reconciler.resync().failures if failure.key == NAMES.key]
    assert told and "another type" in told[0]
    bench.netns.run("iptables-nft", "-F", "FORWARD")
    clock.now += 60
    assert reconciler.resync().failures == ()
    assert bench.converged(), bench.difference()


def test_drift_is_seen_and_put_right(bench: Any) -> None:
    reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
    reconciler.complete = True
    bench.desired |= {obj.key: obj for obj in OBJECTS}
    reconciler.resync()
    bench.netns.run("ipset", "flush", "weft-n4")
    bench.netns.run("ipset", "add", "weft-a6", "fd00:1::9")
    bench.netns.run("ipset", "destroy", "weft-p4")
    bench.netns.run("ipset", "create", "weft-stray", "bitmap:port", "range", "0-9")
    reconciler.resync()
    assert bench.converged(), bench.difference()
    assert reconciler.resync().ops == ()


def test_ten_thousand_elements(bench: Any) -> None:
    many = elements(NAMES, 10_000)
    began = time.monotonic()
    bench.made(NAMES, *many)
    assert time.monotonic() - began < 1
    assert bench.converged()
    one = IpsetElement(set=NAMES.name, value="192.0.2.1")
    began = time.monotonic()
    bench.made(one)
    assert time.monotonic() - began < 0.1
    assert bench.converged()
