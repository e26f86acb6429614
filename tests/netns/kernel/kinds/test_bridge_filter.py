"""What bridges show to rules, in the real kernel."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from support.ear import Ear
from support.namespaces import Namespace
from weft.hoststate import BridgeFilter, NftChain, Sysctl
from weft.hoststate.firewall import FILTER, Hook
from weft.hoststate.paths import BRIDGED, unfiltered
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP
from weft.kernel.kinds import bridge_filter
from weft.reconcile.protocol import Create, Failure, Gone, Seen
from weft.reconcile.reconciler import Reconciler

SHOWN = BridgeFilter(dev="weft-n")
DROPPED = NftChain(name="none", hook=Hook(type="filter", hook="forward", priority=FILTER), rules=(rule(DROP),))


@pytest.fixture(autouse=True)
def quiet(bench: Any) -> None:
    """As on a host where nobody asked for more."""
    for name in BRIDGED:
        bench.netns.run("sysctl", "-w", f"{name}=0")


def shown(ns: Namespace, dev: str) -> tuple[int, int]:
    (link,) = json.loads(ns.run("ip", "-j", "-d", "link", "show", "dev", dev))
    data = link["linkinfo"]["info_data"]
    return data["nf_call_iptables"], data["nf_call_ip6tables"]


def test_made_found_and_removed(bench: Any, bridge: Any) -> None:
    """Another's bridge stays as it is, and ours too when it is not asked any more."""
    bench.netns.sh("ip link add theirs type bridge nf_call_iptables 1")
    bench.made(bridge, SHOWN)
    assert shown(bench.netns, "weft-n") == (1, 1) and bench.converged(), bench.difference()
    bench.remove(SHOWN)
    assert shown(bench.netns, "weft-n") == (0, 0) and bench.converged(), bench.difference()
    assert shown(bench.netns, "theirs") == (1, 0)


def test_rules_see_what_is_switched(bench: Any, bridge: Any, pair: tuple[Any, Any], container: Namespace) -> None:
    """And only where they are asked to."""
    other = bench.netns.new()
    bench.made(bridge, *pair, DROPPED)
    bench.netns.sh(f"ip link add p2 master weft-n up type veth peer name eth0 netns {other.path}")
    for number, ns in enumerate((container, other), 1):
        ns.sh(f"ip address add 10.1.0.{number}/24 dev eth0")
        ns.sh("ip link set eth0 up")
    ping = "ping -c1 -W0.3 -i0.1 10.1.0.2"
    container.sh(ping)
    bench.made(SHOWN)
    with pytest.raises(Exception, match="100% packet loss"):
        container.sh(ping)


def test_changed_by_hand_and_put_back(bench: Any, bridge: Any) -> None:
    bench.made(bridge, SHOWN)
    reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
    reconciler.complete = True
    reconciler.resync()
    ear = Ear(bench.kernel.watch())
    try:
        ear.settle()
        bench.netns.sh("ip link set weft-n mtu 1400")
        bench.netns.sh("ip link set weft-n mtu 1450")
        assert not [e for e in ear.settle() if isinstance(e, Seen | Gone) and "filter" in str(e)]
        bench.netns.sh("ip link set weft-n type bridge nf_call_iptables 0")
        drift = reconciler.observe(ear.until(lambda event: isinstance(event, Seen) and event.obj.key == SHOWN.key))
        reconciler.repair(drift.keys)
        assert shown(bench.netns, "weft-n") == (1, 1)
        ear.settle()
        bench.netns.sh("ip link set weft-n type bridge nf_call_iptables 0 nf_call_ip6tables 0")
        drift = reconciler.observe(ear.until(lambda event: event == Gone(SHOWN.key)))
        assert reconciler.repair(drift.keys).ops == (Create(SHOWN),)
    finally:
        ear.watcher.close()
    assert bench.converged()


def test_a_namespace_of_ours_pays_only_where_it_is_asked_to(bench: Any, container: Namespace) -> None:
    """A new one's sysctls are on."""
    name = BRIDGED[0].replace("/", ".")
    assert container.run("sysctl", "-n", name).strip() == "1"
    bench.made(*unfiltered(container.path))
    assert container.run("sysctl", "-n", name).strip() == "0" and bench.converged()


def test_a_kernel_without_it(bench: Any, bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sysctls are no trouble; that nothing would be filtered is."""
    monkeypatch.setattr(bridge_filter, "BRIDGED", ("net/bridge/absent",))
    monkeypatch.setattr(bridge_filter, "MODULE", "absent-module")
    bench.made(bridge, Sysctl(name="net/bridge/absent", value="0", lasting=False, optional=True))
    assert bench.converged()
    (failure,) = bench.create(SHOWN)
    assert isinstance(failure, Failure) and failure.key == SHOWN.key and "modprobe absent-module" in failure.reason
    assert shown(bench.netns, "weft-n") == (0, 0)
