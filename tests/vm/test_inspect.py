"""`weft links` with kinds of devices that need kernel modules: what they are on, and the way on from there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.inspected import held_by_process
from support.namespaces import Home, Namespace
from weft.inspect.model import End
from weft.inspect.survey import Survey, survey


@pytest.fixture
def found(netns: Home) -> Iterator[tuple[Survey, Namespace, Namespace]]:
    """Two containers: on a macvlan that is on a vlan that is on a bond of dum0 and dum1; and on an ipvlan on dum2."""
    subprocess.run(
        ["modprobe", "--all", "dummy", "macvlan", "ipvlan", "8021q", "bonding", "tun"], check=True, timeout=200
    )
    web, db = netns.new(), netns.new()
    for line in (
        "ip link add bond7 type bond mode active-backup",
        *(f"ip link add dum{n} type dummy" for n in range(3)),
        *(f"ip link set dum{n} master bond7" for n in range(2)),
        "ip link add vl5 link bond7 type vlan id 5",
        "ip link add mv0 link vl5 type macvlan mode bridge",
        f"ip link set mv0 netns {web.path}",
        "ip link add iv0 link dum2 type ipvlan mode l3",
        f"ip link set iv0 netns {db.path}",
        "ip tuntap add dev tap0 mode tap",
    ):
        netns.sh(line)
    with (
        held_by_process(web),
        held_by_process(db),
    ):  # nothing else leads to them: a macvlan's lower device does not know it
        yield survey(), web, db


def inode(place: Namespace) -> int:
    return Path(place.path).stat().st_ino


def steps(found: Survey, place: Namespace, link: str) -> list[tuple[str, str]]:
    (only,) = found.find(link, inode(place))
    hops, hop = [], only.way
    while hop:
        hops.append((hop.how, hop.name))
        hop = hop.next[0] if hop.next else None
    return hops


def test_what_links_are_on_in_another_namespace(netns: Home, found: tuple[Survey, Namespace, Namespace]) -> None:
    seen, web, db = found
    here = seen.namespaces[inode(netns)].name
    links = {link.name: link for place in (netns, web, db) for link in seen.links(inode(place)) if link.name != "lo"}
    assert (links["mv0"].kind, links["mv0"].details) == ("macvlan", {"mode": "bridge"})
    assert links["mv0"].lower == End(namespace=here, ifindex=links["vl5"].ifindex, name="vl5")
    assert (links["iv0"].kind, links["iv0"].details) == ("ipvlan", {"mode": "l3"})
    assert links["iv0"].lower == End(namespace=here, ifindex=links["dum2"].ifindex, name="dum2")
    assert (links["vl5"].details, links["vl5"].lower and links["vl5"].lower.name) == ({"vlan": 5}, "bond7")
    assert (links["bond7"].details, links["bond7"].ports) == ({"mode": "active-backup"}, ("dum0", "dum1"))
    assert (links["tap0"].kind, links["tap0"].details) == ("tun", {"type": "tap"})


def test_the_way_from_there(found: tuple[Survey, Namespace, Namespace]) -> None:
    seen, web, db = found
    assert steps(seen, web, "mv0") == [("start", "mv0"), ("lower", "vl5"), ("lower", "bond7"), ("port", "dum0")]
    assert steps(seen, db, "iv0") == [("start", "iv0"), ("lower", "dum2")]


def test_through_open_vswitch_s_datapath(netns: Home) -> None:
    """As Weave and Neutron have it; of the ports the kernel tells that they are the datapath's."""
    if shutil.which("ovs-dpctl") is None:
        pytest.skip("needs ovs-dpctl: Debian's package openvswitch-switch")
    subprocess.run(["modprobe", "--all", "openvswitch", "vport-vxlan"], check=True, timeout=200)
    web = netns.new()
    netns.sh(f"ip link add v1 type veth peer name eth0 netns {web.path}")
    netns.sh("ovs-dpctl add-dp dp0")
    netns.sh("ovs-dpctl add-if dp0 v1")
    netns.sh("ip link add vxlan-x type vxlan external dstport 6784")
    netns.sh("ovs-dpctl add-if dp0 vxlan-x")
    seen = survey()
    assert steps(seen, web, "eth0") == [("start", "eth0"), ("peer", "v1"), ("master", "dp0"), ("port", "vxlan-x")]
    (dp0,) = seen.find("dp0", inode(netns))
    assert (dp0.link.kind, dp0.link.ports) == ("openvswitch", ("v1", "vxlan-x"))
