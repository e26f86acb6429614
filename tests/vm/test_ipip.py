"""Driver `routed` through IPIP, whose device needs a kernel module."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support import lab
from support.hoststates import keyed
from support.namespaces import Home
from support.routed import Host, hosts, listening, ping, protocols
from weft.hoststate import Ipip, Link
from weft.hoststate.union import Source
from weft.kernel.host import facts
from weft.kernel.linux import LinuxKernel
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Create, Reading, Remove
from weft.reconcile.render import script

ICMP, IPIP = 1, 4
NODES = ["node-1", "node-2", "node-4"]
TUNNEL = Link(name="weft.ipip", type=Ipip(local="192.168.1.68"), mtu=1480, alias="weft:ipip")


def test_the_module_is_found_before_it_is_loaded() -> None:
    """And not loaded for a look: it gives every namespace a device."""
    if Path("/sys/module/ipip").exists():
        pytest.skip("it is loaded already")
    assert "ipip" in facts.features()
    assert not Path("/sys/module/ipip").exists()


@pytest.fixture
def one(netns: Home, tmp_path: Path) -> Iterator[Host]:
    net = lab.network("routed", options={"encap": "ipip"})
    with hosts(netns, net, ["node-1"], tmp_path) as found:
        yield found["node-1"]


def test_the_device_is_made_adopted_and_kept(one: Host) -> None:
    shown = one.ns.json("ip", "-j", "-d", "link", "show", "weft.ipip")[0]
    data = shown["linkinfo"]["info_data"]
    assert (shown["mtu"], shown["ifalias"], "UP" in shown["flags"]) == (1480, "weft:ipip", True)
    assert (data["local"], data["remote"], data["ttl"], data["pmtudisc"]) == ("192.168.1.68", "any", 0, True)
    one.restart()
    assert one.converge().ops == ()
    one.ns.sh("ip link set weft.ipip mtu 1300")
    assert [type(op) for op in one.converge().ops] == [Change]
    one.ns.sh("ip link set weft.ipip type ipip local 192.168.1.68 ttl 9")
    assert {type(op) for op in one.converge().ops} >= {Remove, Create}
    assert one.converge().ops == ()
    one.want(Source("network", "blue"), None)
    one.converge()
    assert not [link for link in one.ns.json("ip", "-j", "link") if link["ifname"].startswith("weft.")]


def test_the_probe_works_with_the_module_loaded(netns: Home) -> None:
    netns.sh("ip link add x type ipip local 10.0.0.1")
    assert "ipip" in facts.features()


def test_as_pasted_from_a_plan(netns: Home, tmp_path: Path) -> None:
    wish = keyed(TUNNEL, msgspec.structs.replace(TUNNEL, name="weft.x", type=Ipip("10.0.0.1", "10.0.0.2", 64)))
    lines = script(plan(wish, Reading({}), {""}).ops)
    subprocess.run(["bash", "-euc", "\n".join(lines)], check=True, timeout=30)
    kernel = LinuxKernel(wish, tmp_path)
    try:
        assert kernel.read(wish, frozenset({""})).objects == wish
    finally:
        kernel.close()


@pytest.mark.parametrize("encap", ["ipip", "ipip-cross-subnet"])
def test_between_hosts(netns: Home, tmp_path: Path, encap: str) -> None:
    net = lab.network("routed", options={"encap": encap})
    with hosts(netns, net, NODES, tmp_path) as found:
        one, two, four = found.values()
        (route,) = one.ns.json("ip", "-j", "route", "show", str(four.site.lease.subnets[0]))
        assert (route["gateway"], route["dev"], route["flags"]) == ("192.168.0.33", "weft.ipip", ["onlink"])
        with listening(one.ns, "eth0") as heard:
            assert "ttl=62" in ping(one.containers["c1"], two.addresses()[0])
            near = protocols(heard.frames())
            assert "ttl=62" in ping(one.containers["c1"], four.addresses()[0])
            far = protocols(heard.frames())
        assert {p for p, _ in near} == ({IPIP} if encap == "ipip" else {ICMP})
        assert {IPIP: {"192.168.0.33", "192.168.1.68"}} == {p: {to for _, to in far} for p, _ in far}
        # As large as the device lets through, in one piece; and the host itself, in both directions.
        assert ping(one.containers["c1"], four.addresses()[0], "-M", "do", "-s", str(1480 - 28))
        assert ping(one.ns, four.addresses()[0]) and ping(four.containers["c4"], "192.168.1.68")
        assert all(h.converge().ops == () for h in found.values())
        _nothing_is_taken_of_an_unknown_host(one, four)


def _nothing_is_taken_of_an_unknown_host(one: Host, four: Host) -> None:
    four.want(Source("peer", "node-1"), None)
    four.want(Source("node", "", "node-1"), None)  # it is no host of the cluster any more
    four.converge()
    with listening(four.containers["c4"], "eth0") as heard, listening(four.ns, "eth0") as wire:
        assert not ping(one.containers["c1"], four.addresses()[0], "-W1")
        assert (IPIP, "192.168.0.33") in protocols(wire.frames())
        assert not protocols(heard.frames())
    four.knows(one)
    four.converge()
    assert ping(one.containers["c1"], four.addresses()[0])


def test_this_is_debians_kernel() -> None:
    assert Path("/lib/modules", os.uname().release, "modules.dep").exists()
