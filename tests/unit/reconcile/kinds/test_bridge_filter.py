"""What bridges show to rules, without a kernel."""

from __future__ import annotations

import msgspec
import pytest

from weft.hoststate import Bridge, BridgeFilter, Key, Link, Object, Veth
from weft.kernel.fake import FakeKernel
from weft.kernel.kinds.table import Adapters, kinds
from weft.kernel.runs import runs, target
from weft.policy.bridged import bridged
from weft.reconcile.kinds.table import describe
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Create, Op, Reading, Remove
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.render import commands

C1, OWN = "/run/netns/c1", "/run/netns/weft-blue"
BRIDGE = Link(name="weft-n", type=Bridge())
FILTER = BridgeFilter(dev="weft-n")
PORT = Link(name="vh1", type=Veth("eth0", C1), master="weft-n", guards=(FILTER.key,))
END = Link(name="eth0", type=Veth("vh1", "", primary=False), ns=C1)


def keyed(*objects: Object) -> dict[Key, Object]:
    return {obj.key: obj for obj in objects}


@pytest.mark.parametrize(
    ("op", "command"),
    [
        (Create(FILTER), "ip link set dev weft-n type bridge nf_call_iptables 1 nf_call_ip6tables 1"),
        (Remove(FILTER), "ip link set dev weft-n type bridge nf_call_iptables 0 nf_call_ip6tables 0"),
        (
            Create(BridgeFilter(dev="br0", ns=OWN)),
            "ip -n weft-blue link set dev br0 type bridge nf_call_iptables 1 nf_call_ip6tables 1",
        ),
    ],
)
def test_commands(op: Op, command: str) -> None:
    assert commands(op) == [command]


def test_in_words() -> None:
    assert describe(FILTER.key) == "bridge-filter of weft-n"


def test_only_a_bridge_is_told() -> None:
    assert [*bridged("", "weft-n"), *bridged("", "")] == [FILTER]


@pytest.mark.parametrize("there", [(), (BRIDGE,)], ids=["new bridge", "old bridge"])
def test_it_comes_before_the_ports(there: tuple[Object, ...]) -> None:
    """Also as a real kernel is told, whose devices come up when all that belongs to them is there."""
    ops = plan(keyed(BRIDGE, PORT, END, FILTER), Reading(keyed(*there)), {"", C1}).ops
    made = {(op.obj.ns, op.obj.name): op.obj for op in ops if isinstance(op, Create) and isinstance(op.obj, Link)}
    real = kinds(Adapters(None, None, None, None, set()))  # type: ignore[arg-type] # nothing is read or written
    told = [op for _, run in runs(ops, real, made) for op in run]
    for order in (ops, told):
        keys = [target(op).key for op in order]
        assert keys.index(FILTER.key) < keys.index(PORT.key)
        assert not there or keys[0] == FILTER.key
    if not there:
        first = told[0]
        assert isinstance(first, Create) and first.obj == msgspec.structs.replace(BRIDGE, up=False)


def test_a_port_is_not_made_where_it_fails() -> None:
    kernel = FakeKernel([C1])
    kernel.plant(BRIDGE)
    kernel.fault = lambda _, op: 95 if target(op) == FILTER else 0
    desired = keyed(BRIDGE, PORT, FILTER)
    reconciler = Reconciler(kernel, desired, lambda: 0.0)
    reconciler.complete = True
    failures = {failure.key: failure.reason for failure in reconciler.resync().failures}
    assert failures.keys() == {FILTER.key, PORT.key} and "waits for" in failures[PORT.key]


def test_half_of_it_is_completed_and_a_change_by_hand_undone() -> None:
    kernel = FakeKernel([C1])
    kernel.plant(BRIDGE, msgspec.structs.replace(FILTER, ipv6=False))
    reconciler = Reconciler(kernel, keyed(BRIDGE, FILTER), lambda: 0.0)
    reconciler.complete = True
    (op,) = reconciler.resync().ops
    assert isinstance(op, Change) and op.new == FILTER
    watcher = kernel.watch()
    kernel.destroy(FILTER.key)
    assert reconciler.repair(reconciler.observe(watcher.drain()).keys).ops == (Create(FILTER),)
    watcher.close()
