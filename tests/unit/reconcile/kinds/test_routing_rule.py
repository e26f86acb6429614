"""Rules of policy routing, without a kernel."""

from __future__ import annotations

import msgspec
import pytest

from weft.hoststate import RoutingRule, route
from weft.kernel.fake import FakeKernel
from weft.reconcile.kinds.table import describe, is_ours
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Create, Op, Reading, Remove
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.relations import in_order
from weft.reconcile.render import commands

C1 = "/run/netns/c1"
RULE = RoutingRule(family=4, priority=100, table=87, source="10.1.0.0/16", mark=0x10, mask=0xFF)
RULE6 = RoutingRule(family=6, priority=100, table=300, destination="fd00:1::/64", iif="eth0", ns=C1)
ROUTE = route("10.2.0.0/16", dev="eth0", table=87)


@pytest.mark.parametrize(
    ("op", "command"),
    [
        (Create(RULE), "ip rule add priority 100 from 10.1.0.0/16 fwmark 0x10/0xff table 87 protocol 87"),
        (Remove(RULE), "ip rule del priority 100 from 10.1.0.0/16 fwmark 0x10/0xff table 87 protocol 87"),
        (
            Create(RULE6),
            "ip -n c1 -6 rule add priority 100 from all to fd00:1::/64 iif eth0 table 300 protocol 87",
        ),
        (
            Create(RoutingRule(family=4, priority=7, goto=9, mask=0xFF00)),
            "ip rule add priority 7 from all fwmark 0x0/0xff00 goto 9 protocol 87",
        ),
        (Create(RoutingRule(family=4, priority=9)), "ip rule add priority 9 from all nop protocol 87"),
    ],
)
def test_commands(op: Op, command: str) -> None:
    assert commands(op) == [command]


def test_in_words() -> None:
    assert describe(RULE.key) == "routing-rule 100 to table 87"
    assert describe(RoutingRule(family=6, priority=7, goto=9).key) == "routing-rule 7 goto 9 (IPv6)"
    assert describe(RULE6.key) == f"routing-rule 100 to table 300 (IPv6) in {C1}"


def test_a_table_is_led_to_when_it_is_complete() -> None:
    assert in_order([RULE, ROUTE]) == [ROUTE, RULE]
    removal = plan({}, Reading({o.key: o for o in (ROUTE, RULE)}), {""})
    assert removal.ops == (Remove(RULE), Remove(ROUTE))


@pytest.mark.parametrize(
    "other",
    [
        {"table": 88},
        {"table": 0},
        {"table": 0, "goto": 101},
        {"priority": 99},
        {"source": "10.0.0.0/8"},
        {"destination": "10.3.0.0/16"},
        {"mark": 0x11},
        {"mask": 0xF},
        {"iif": "lo"},
        {"family": 6, "source": ""},
    ],
    ids=str,
)
def test_what_differs_in_anything_is_another_rule(other: dict[str, object]) -> None:
    """And is made before the old one goes."""
    new = msgspec.structs.replace(RULE, **other)
    assert plan({new.key: new}, Reading({RULE.key: RULE}), {""}).ops == (Create(new), Remove(RULE))


def test_anothers_is_not_ours() -> None:
    assert is_ours(RULE) and not is_ours(msgspec.structs.replace(RULE, proto=3))


def test_in_the_fake_kernel() -> None:
    kernel = FakeKernel([C1])
    theirs = msgspec.structs.replace(RULE, priority=5, proto=0)
    kernel.plant(theirs)
    desired = {o.key: o for o in (RULE, RULE6)}
    reconciler = Reconciler(kernel, desired, lambda: 0.0)
    reconciler.complete = True
    watcher = kernel.watch()
    assert reconciler.resync().failures == ()
    assert kernel.ours() == desired and kernel.others() == {theirs.key: theirs}
    watcher.drain()
    kernel.destroy(RULE6.key)
    assert reconciler.repair(reconciler.observe(watcher.drain()).keys).ops == (Create(RULE6),)
    watcher.close()
