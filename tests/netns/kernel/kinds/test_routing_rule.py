"""Rules of policy routing in the real kernel."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from support.ear import Ear
from support.namespaces import Namespace
from weft.hoststate import RoutingRule, route
from weft.reconcile.protocol import Create, Gone, Seen
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.render import script

RULES = (
    RoutingRule(family=4, priority=100, table=87, source="10.1.0.0/16", mark=0x10, mask=0xFF),
    RoutingRule(family=4, priority=100, table=1000, destination="10.2.0.0/24"),
    RoutingRule(family=4, priority=0, table=7, iif="lo"),
    RoutingRule(family=4, priority=101, table=88, mask=0x1),
    RoutingRule(family=6, priority=100, table=87, source="fd00:1::/64", destination="fd00:2::/64"),
    RoutingRule(family=6, priority=200, table=70000, mark=0x10000, mask=0xFFFFFFFF, iif="absent0"),
    *(RoutingRule(family=family, priority=300, goto=301, mask=0xFF00) for family in (4, 6)),
    *(RoutingRule(family=family, priority=301) for family in (4, 6)),
    *(RoutingRule(family=family, priority=874, table=88024, iif="lo", udp_port=8473) for family in (4, 6)),
)
THEIRS = (
    "rule add priority 100 from 10.1.0.0/16 fwmark 0x10/0xff table 87",
    "-6 rule add priority 50 from fd00:9::/64 table 99 protocol 3",
)


def of_ip(ns: Namespace) -> list[str]:
    """As ip(8) shows them, both families."""
    return [" ".join(line.split()) for family in ("-4", "-6") for line in ns.run("ip", family, "rule").splitlines()]


def by_hand(ns: Namespace) -> list[str]:
    for command in THEIRS:
        ns.run("ip", *command.split())
    return of_ip(ns)


def test_made_found_and_removed(bench: Any, container: Namespace) -> None:
    """Somebody else's stay as they are, even one that says the same as one of ours."""
    before = {ns: by_hand(ns) for ns in (bench.netns, container)}
    assert bench.read().objects == {}
    rules = [*RULES, *(msgspec.structs.replace(rule, ns=container.path) for rule in RULES)]
    bench.made(*rules)
    assert bench.converged(), bench.difference()
    bench.remove(*rules)
    assert {ns: of_ip(ns) for ns in (bench.netns, container)} == before


def test_the_commands_make_the_same(bench: Any) -> None:
    bench.desired |= {rule.key: rule for rule in RULES}
    for command in script([Create(rule) for rule in RULES]):
        bench.netns.sh(command)
    assert bench.converged(), bench.difference()


def test_it_decides_where_a_packet_goes(bench: Any) -> None:
    for dev in ("left", "right"):
        bench.netns.sh(f"ip link add {dev} type bridge")
        bench.netns.sh(f"ip link set {dev} up")
    bench.netns.sh("ip address add 10.1.0.1/32 dev left")
    bench.netns.sh("ip route add 10.9.0.0/16 dev left")
    bench.made(RoutingRule(family=4, priority=10, table=87, source="10.1.0.0/16"))
    bench.netns.sh("ip route add 10.9.0.0/16 dev right table 87")
    assert "dev right" in bench.netns.run("ip", "route", "get", "10.9.0.1", "from", "10.1.0.1")
    assert "dev left" in bench.netns.run("ip", "route", "get", "10.9.0.1")
    bench.made(RoutingRule(family=4, priority=9, goto=11), RoutingRule(family=4, priority=11))
    assert "dev left" in bench.netns.run("ip", "route", "get", "10.9.0.1", "from", "10.1.0.1")


@pytest.mark.parametrize("rule", [RULES[0], RULES[4]], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("where", ["host", "container"])
def test_deleted_by_hand_and_put_back(
    bench: Any, container: Namespace, pair: tuple[Any, Any], bridge: Any, rule: RoutingRule, where: str
) -> None:
    """Events of a container's namespace come once a veth of the host leads there."""
    if where == "container":
        rule = msgspec.structs.replace(rule, ns=container.path)
    ns = container if where == "container" else bench.netns
    bench.made(bridge, *pair, rule)
    reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
    reconciler.complete = True
    reconciler.resync()
    ear = Ear(bench.kernel.watch())
    try:
        ear.settle()
        by_hand(ns)
        assert not [event for event in ear.settle() if isinstance(event, Seen | Gone)]
        ns.run("ip", "-6" if rule.family == 6 else "-4", "rule", "del", "priority", "100", "protocol", "87")
        told = ear.until(lambda event: event == Gone(rule.key) or getattr(event, "ns", None) == rule.ns)
        drift = reconciler.observe(told)
        assert (drift.keys, drift.namespaces) == (({rule.key}, set()) if where == "host" else (set(), {container.path}))
        report = reconciler.repair(drift.keys) if drift.keys else reconciler.resync(drift.namespaces)
        assert report.ops == (Create(rule),)
        ear.until(lambda event: event == Seen(rule))
    finally:
        ear.watcher.close()
    assert bench.converged()


def test_what_is_there_already_is_told(bench: Any) -> None:
    bench.made(RULES[0], route("10.9.0.0/16", type="blackhole", table=87))
    failures = bench.kernel.apply([Create(RULES[0])])
    assert [failure.key for failure in failures] == [RULES[0].key]
