"""What others do to iptables and sets is noticed though no event tells, and what we do is not taken for theirs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.namespaces import Namespace
from weft.base.net import Family
from weft.hoststate import Ipset, IpsetElement, IptablesChain
from weft.hoststate.iptables import Backend
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import COUNTER, DROP, RETURN
from weft.hoststate.rules.matches import SADDR

SET = Ipset(name="weft-s", type="hash:ip", family=4)
ELEMENT = IpsetElement(set="weft-s", value="10.0.0.1")


def chain(backend: Backend, family: Family = 4, ns: str = "") -> IptablesChain:
    rules = (rule(SADDR[family].is_("10.0.0.9" if family == 4 else "fd00::9"), COUNTER, RETURN), rule(COUNTER, DROP))
    return IptablesChain(
        backend=backend, family=family, table="filter", parent="FORWARD", name="WEFT-X", rules=rules, ns=ns
    )


@pytest.mark.parametrize("family", [4, 6])
def test_rules_of_the_old_back_end(bench: Any, family: Family) -> None:
    program = "iptables-legacy" if family == 4 else "ip6tables-legacy"
    bench.made(chain("legacy", family))
    assert bench.kernel.unheard() == set()
    for harm in ("-F WEFT-X", "-F", "-A FORWARD -j DROP"):
        bench.netns.run(program, *harm.split())
        assert bench.kernel.unheard() == {""}
        bench.change(chain("legacy", family), chain("legacy", family))
        what_it_was = "-F" in harm
        assert bench.kernel.unheard() == (set() if what_it_was else {""}), "writing does not say that it was read"
    bench.read()
    assert bench.kernel.unheard() == set()


def test_sets(bench: Any) -> None:
    bench.made(SET, ELEMENT)
    assert bench.kernel.unheard() == set()
    for harm in ("flush weft-s", "add weft-s 10.0.0.2", "create weft-t hash:net"):
        bench.netns.run("ipset", *harm.split())
        assert bench.kernel.unheard() == {""}
        bench.read()
        assert bench.kernel.unheard() == set()
    bench.netns.run("ipset", "create", "theirs", "hash:ip")
    assert bench.kernel.unheard() == set()


def test_rules_of_the_new_back_end_in_another_namespace(bench: Any, container: Namespace) -> None:
    """Those of the host's own are told of by events."""
    bench.made(chain("nft", ns=container.path))
    assert bench.kernel.unheard() == set()
    container.run("iptables-nft", "-F")
    assert bench.kernel.unheard() == {container.path}


def test_a_namespace_that_ends(bench: Any, container: Namespace) -> None:
    bench.made(chain("legacy", ns=container.path))
    container.close()
    assert bench.kernel.unheard() == set()


def test_it_costs_little(bench: Any) -> None:
    bench.made(
        chain("legacy"), SET, *(IpsetElement(set="weft-s", value=f"10.1.{n >> 8}.{n & 255}") for n in range(5000))
    )
    began = time.monotonic()
    for _ in range(10):
        assert bench.kernel.unheard() == set()
    assert time.monotonic() - began < 0.2


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_what_rules_have_counted(bench: Any, backend: Backend, container: Namespace) -> None:
    bench.netns.sh(f"ip link add v0 type veth peer name eth0 netns {container.path}")
    bench.netns.sh("ip addr add 10.0.0.254/24 dev v0")
    bench.netns.sh("ip link set v0 up")
    bench.netns.sh("sysctl -qw net.ipv4.ip_forward=1")
    for command in ("ip addr add 10.0.0.1/24 dev eth0", "ip link set eth0 up", "ip route add default via 10.0.0.254"):
        container.sh(command)
    bench.netns.sh("ip route add 192.0.2.0/24 dev lo")
    bench.made(chain(backend))
    container.run("ping", "-c1", "-W0.2", "192.0.2.1", check=False)
    counts = bench.kernel.counts("")["WEFT-X/4"]
    assert [count.packets for count in counts] == [0, 1]
