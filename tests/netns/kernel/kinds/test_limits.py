"""Token buckets and redirections in the kernel: made, found again, changed, disturbed, gone; others' left alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from support.ear import Ear
from weft.hoststate import Bridge, Ifb, Link, Object, Qdisc, Redirect, Veth
from weft.kernel.linux import LinuxKernel
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Disturbed, Gone, Seen
from weft.reconcile.reconciler import Reconciler

BRIDGE = Link(name="weft-n", type=Bridge(), alias="weft:network/n")
QUEUE = Link(name="weftq1", type=Ifb(), mtu=1450, alias="weft:endpoint/n/a")
IN = Qdisc(dev="vh1", rate=20_000_000, burst=32768, limit=98304)
OUT = Qdisc(dev="weftq1", rate=1_000_000_000, burst=1_250_000, limit=4_375_000)
DETOUR = Redirect(dev="vh1", to="weftq1")


@pytest.fixture
def limited(bench: Any, pair: tuple[Link, Link]) -> list[Object]:
    objects: list[Object] = [BRIDGE, QUEUE, *pair, IN, OUT, DETOUR]
    bench.made(*objects)
    return objects


def tc(bench: Any, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(bench.netns.run("tc", "-j", *words))
    return found


def test_made_as_wanted_and_a_restarted_agent_changes_nothing(bench: Any, limited: list[Object]) -> None:
    assert bench.converged(), bench.difference()
    again = LinuxKernel(bench.desired, bench.run)
    reading = again.read(bench.desired, frozenset({"", limited[3].ns}))
    again.close()
    assert plan(bench.desired, reading, {"", limited[3].ns}).ops == ()


def test_tc_shows_them(bench: Any, limited: list[Object]) -> None:
    root, ingress = tc(bench, "qdisc", "show", "dev", "vh1")
    assert (root["kind"], root["handle"], root["options"]["rate"]) == ("tbf", "5746:", 2_500_000)
    assert ingress["kind"] == "ingress"
    shown = [f for f in tc(bench, "filter", "show", "dev", "vh1", "ingress") if "actions" in f.get("options", {})]
    assert [f["pref"] for f in shown] == [22342]
    [action] = shown[0]["options"]["actions"]
    assert (action["kind"], action["mirred_action"], action["to_dev"]) == ("mirred", "redirect", "weftq1")


@pytest.mark.parametrize("rate", [1_000, 64_000, 999_999_992, 40_000_000_000, 400_000_000_000])
@pytest.mark.parametrize("burst", [1468, 65_537, 268_435_455, 2**32 - 1])
def test_every_rate_is_read_back_as_it_was_made(bench: Any, pair: tuple[Link, Link], rate: int, burst: int) -> None:
    bucket = Qdisc(dev="vh1", rate=rate, burst=min(burst, rate // 8 * 274), limit=2**32 - 1)
    bench.made(BRIDGE, *pair, bucket)
    assert bench.converged(), bench.difference()


def test_changed(bench: Any, limited: list[Object]) -> None:
    assert bench.change(IN, msgspec.structs.replace(IN, rate=5_000_000, burst=40_000)) == []
    other = msgspec.structs.replace(QUEUE, name="weftq2")
    bench.made(other)
    assert bench.change(DETOUR, Redirect(dev="vh1", to="weftq2")) == []
    assert bench.converged(), bench.difference()


def test_removed(bench: Any, limited: list[Object]) -> None:
    for _ in range(2):
        assert bench.remove(DETOUR, OUT, IN) == []
    assert bench.converged(), bench.difference()
    assert [q["kind"] for q in tc(bench, "qdisc", "show", "dev", "vh1")] == ["noqueue", "ingress"]
    assert tc(bench, "filter", "show", "dev", "vh1", "ingress") == []


def test_what_others_put_on_our_devices_is_left_alone(bench: Any, pair: tuple[Link, Link]) -> None:
    """As the CNI plugin `bandwidth`, chained behind ours, does."""
    bench.made(BRIDGE, *pair)
    for line in (
        "tc qdisc add dev vh1 root handle 1: tbf rate 8mbit burst 32768 limit 65536",
        "link add bwp1 type ifb",
        "link set bwp1 up",
        "tc qdisc add dev vh1 ingress",
        "tc filter add dev vh1 ingress protocol all pref 49152 u32 match u32 0 0 action mirred egress redirect dev bwp1",
    ):
        bench.netns.run(*(line if line.startswith("tc") else f"ip {line}").split())
    assert bench.converged(), bench.difference()
    before = tc(bench, "qdisc", "show"), tc(bench, "filter", "show", "dev", "vh1", "ingress")
    [failure] = bench.create(IN)
    assert "another one is there that is not Weft's" in failure.reason
    assert bench.create(QUEUE, DETOUR) == []
    assert bench.remove(IN, DETOUR, QUEUE) == []
    assert (tc(bench, "qdisc", "show"), tc(bench, "filter", "show", "dev", "vh1", "ingress")) == before


def test_a_namespace_of_our_own(bench: Any, container: Any, netns: Any) -> None:
    """As with driver overlay, where the host's end is in the network's namespace."""
    inner = netns.new()
    place: dict[str, Any] = {"ns": container.path, "alias": "weft:endpoint/n/a"}
    objects: list[Object] = [
        Link(name="weftq1", type=Ifb(), **place),
        Link(name="vh1", type=Veth("eth0", inner.path), **place),
        Link(name="eth0", type=Veth("vh1", container.path, primary=False), ns=inner.path, alias=place["alias"]),
        *(msgspec.structs.replace(o, ns=container.path) for o in (IN, OUT, DETOUR)),
    ]
    bench.made(*objects)
    assert bench.converged(), bench.difference()
    container.run("tc", "qdisc", "del", "dev", "vh1", "root")
    assert not bench.converged()


@pytest.fixture
def ear(bench: Any, limited: list[Object]) -> Iterator[Ear]:
    ear = Ear(bench.kernel.watch())
    ear.settle()
    yield ear
    ear.watcher.close()


BY_HAND = [
    ("tc qdisc del dev vh1 root", IN),
    ("tc qdisc del dev weftq1 root", OUT),
    ("tc qdisc replace dev vh1 root handle 7: tbf rate 1gbit burst 99999 limit 99999", IN),
    ("tc qdisc del dev vh1 ingress", DETOUR),
    ("tc filter del dev vh1 ingress", DETOUR),
    ("tc filter del dev vh1 ingress protocol all pref 22342", DETOUR),
]


@pytest.mark.parametrize(("command", "obj"), BY_HAND, ids=[command for command, _ in BY_HAND])
def test_deleted_by_hand_is_heard(bench: Any, ear: Ear, command: str, obj: Qdisc | Redirect) -> None:
    bench.netns.run(*command.split())
    ear.until(lambda event: event == Gone(obj.key))
    if "replace" in command:
        bench.netns.run("tc", "qdisc", "del", "dev", "vh1", "root")
        ear.until(lambda event: isinstance(event, Disturbed))
    assert bench.create(obj) == []
    assert ear.until(lambda event: event == Seen(obj))
    assert bench.converged(), bench.difference()


def test_changed_by_hand_is_heard(bench: Any, ear: Ear) -> None:
    bucket = "tbf rate 1gbit burst 99999 limit 99999"
    bench.netns.run(*f"tc qdisc change dev vh1 root handle 5746: {bucket}".split())
    [seen] = ear.until(lambda event: isinstance(event, Seen))
    assert isinstance(seen, Seen) and isinstance(seen.obj, Qdisc) and seen.obj.rate == 1_000_000_000


def test_our_own_work_causes_no_alarm(bench: Any, pair: tuple[Link, Link]) -> None:
    ear = Ear(bench.kernel.watch())
    try:
        bench.made(BRIDGE, QUEUE, *pair, IN, OUT, DETOUR)
        heard = ear.settle()
    finally:
        ear.watcher.close()
    assert {event.obj for event in heard if isinstance(event, Seen)} >= {QUEUE, IN, OUT, DETOUR}
    assert [event for event in heard if not isinstance(event, Seen)] == []


def test_the_queue_deleted_by_hand_comes_back_with_its_redirection(bench: Any, limited: list[Object]) -> None:
    """The kernel keeps the filter, which drops everything from then on, and tells nothing of it."""
    reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
    reconciler.complete = True
    watcher = bench.kernel.watch()
    ear = Ear(watcher)
    try:
        reconciler.resync()
        ear.settle()
        bench.netns.run("ip", "link", "del", "weftq1")
        drift = reconciler.observe(ear.until(lambda event: event == Gone(QUEUE.key)) + ear.settle())
        assert {QUEUE.key, OUT.key, DETOUR.key} <= drift.keys
        assert reconciler.repair(drift.keys).failures == ()
    finally:
        watcher.close()
    assert bench.converged(), bench.difference()
