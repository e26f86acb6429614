"""A bridge shows its packets to rules by a module, which is loaded when the first bridge asks, and for that bridge alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.namespaces import Home
from weft.hoststate import Bridge, BridgeFilter, Link, NftChain
from weft.hoststate.firewall import FILTER, Hook
from weft.hoststate.paths import BRIDGED
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP
from weft.kernel.host import facts
from weft.kernel.linux import LinuxKernel
from weft.reconcile.protocol import Create

MODULE = Path("/sys/module/br_netfilter")
OURS = Link(name="weft-n", type=Bridge())
DROPPED = NftChain(name="none", hook=Hook(type="filter", hook="forward", priority=FILTER), rules=(rule(DROP),))


def _ping(netns: Home, number: int) -> bool:
    """Between two containers of the bridge `brN`."""
    return "1 received" in netns.run("ip", "netns", "exec", f"c{number}", "ping", "-c1", "-W2", "10.1.0.2", check=False)


def _pair(netns: Home, bridge: str, number: int) -> None:
    for end in (number, number + 1):
        netns.sh(f"ip netns add c{end}")
        netns.sh(f"ip link add p{end} master {bridge} up type veth peer name eth0 netns c{end}")
        netns.sh(f"ip -n c{end} address add 10.1.0.{1 + end - number}/24 dev eth0")
        netns.sh(f"ip -n c{end} link set eth0 up")


def test_it_is_loaded_for_the_bridge_that_asks_alone(netns: Home, tmp_path: Path) -> None:
    if MODULE.exists():
        pytest.skip("it is loaded already")
    assert "br_netfilter" in facts.features() and not MODULE.exists(), "a look does not load it"
    kernel = LinuxKernel({}, tmp_path)
    netns.sh("ip link add theirs up type bridge")
    try:
        assert kernel.apply([Create(OURS), Create(DROPPED)]) == []
        _pair(netns, "weft-n", 1)
        _pair(netns, "theirs", 3)
        assert _ping(netns, 1) and _ping(netns, 3)
        assert kernel.apply([Create(BridgeFilter(dev="weft-n"))]) == []
        assert MODULE.exists()
        assert {netns.sh(f"sysctl -n {name.replace('/', '.')}").strip() for name in BRIDGED} == {"0"}
        assert not _ping(netns, 1) and _ping(netns, 3)
    finally:
        kernel.close()
        for end in range(1, 5):
            netns.run("ip", "netns", "del", f"c{end}", check=False)
