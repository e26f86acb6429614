"""What hosts need to probe each other, and to send by a third one."""

from __future__ import annotations

from support import lab
from weft.datapaths import _paths, _sleeve, mesh
from weft.datapaths.driver import Host, Path, gather
from weft.datapaths.options import KERNEL_PORT, SLEEVE_PORT
from weft.hoststate import Link, Sleeve, SleeveHost, Vxlan
from weft.mesh import ports
from weft.reconcile.protocol import Create
from weft.reconcile.render import script

DEVICES = """\
ip link add name weft_probe mtu 1450 address 46:ef:46:db:a0:37 type vxlan id 16777214 local 192.168.1.68 \
dev eth0 dstport 6784 nolearning udp6zerocsumrx
ip link set dev weft_probe alias weft:paths up
ip tuntap add dev weft_probes mode tap
ip link set dev weft_probes mtu 1412 address 46:ef:46:db:a0:37 alias weft:paths up
echo 'sleeve network 0 number 1 local 192.168.1.68 port 6783 mtu 1412 clear' > /run/weft/tunnel/weft_probes
echo 'station 46:ef:46:db:a0:37 1' >> /run/weft/tunnel/weft_probes
sysctl -w net/ipv6/conf/weft_probe/accept_ra=0
sysctl -w net/ipv6/conf/weft_probes/accept_ra=0
"""
OTHER = """\
bridge fdb add d2:91:26:30:92:97 dev weft_probe dst 192.168.1.254 self permanent
echo 'station d2:91:26:30:92:97 2 direct' >> /run/weft/tunnel/weft_probes
mkdir -p /run/weft/tunnel
echo 'host 2 192.168.1.254' >> /run/weft/tunnel/sleeve
"""
NODES = {name: lab.node(name, number=number) for number, name in enumerate(("node-1", "node-2", "node-3"), 1)}
HOST = Host(node=NODES["node-1"])


def commands(answer: object, *words: str) -> list[str]:
    found = gather(answer)  # type: ignore[arg-type]
    assert not found.problems
    return [line for line in script([Create(obj) for obj in found.objects]) if any(word in line for word in words)]


def test_the_devices() -> None:
    assert commands(_paths.devices(HOST, 1), "weft_probe") == DEVICES.splitlines()


def test_what_listens_at_the_port_is_of_one_mind() -> None:
    """The kernel has one socket for all devices of a port, and refuses a device that asks for another kind of it."""
    site = lab.site(lab.network("mesh", options={"vni": 256}), lab.node("node-1"))
    answers = gather([*_paths.devices(site.host, 1), *mesh.segment(site)]).objects
    tunnels = [o.type for o in answers if isinstance(o, Link) and isinstance(o.type, Vxlan)]
    assert [t.port for t in tunnels] == [KERNEL_PORT] * 2
    assert len({t.udp6zerocsumrx for t in tunnels}) == 1


def test_the_sleeve_is_of_the_family_by_which_it_has_hosts() -> None:
    """Also where the network's tunnel is of the other."""
    options = {"vni": 256, "underlay": "ipv6"}
    facts = {"paths": {"node-2": Path(way="sleeve")}}
    me, other = lab.node("node-1", number=1), lab.node("node-2", number=2)
    site = lab.site(lab.network("mesh", options=options), me, **facts)
    found = gather(_sleeve.entries(site, other, "02:42:0a:00:00:01", mesh._bridge(site))).objects
    hosts = gather(_paths.other(site.host, 1, other, None)).objects
    (device,), (host,) = (
        [o for o in one if isinstance(o, kind)] for one, kind in ((found, Sleeve), (hosts, SleeveHost))
    )
    assert (device.local, host.remote) == ("192.168.1.68", "192.168.1.254")


def test_another_host() -> None:
    assert commands(_paths.other(HOST, 1, NODES["node-2"], None), "") == OTHER.splitlines()


def test_by_a_third_one_and_with_what_that_way_carries() -> None:
    host = Host(node=NODES["node-1"], paths={"node-2": Path(way="sleeve", mtu=1301)})
    (found,) = (o for o in _paths.other(host, 1, NODES["node-2"], NODES["node-3"]) if isinstance(o, SleeveHost))
    assert (found.number, found.via, found.mtu) == (2, 3, 1301)
    host = Host(node=NODES["node-1"], paths={"node-2": Path(mtu=1301)})
    (found,) = (o for o in _paths.other(host, 1, NODES["node-2"], None) if isinstance(o, SleeveHost))
    assert found.mtu == 0, "that is what the kernel's way carries"


def test_without_numbers_there_is_no_sleeve() -> None:
    host = Host(node=lab.node("node-1"))
    assert not commands(_paths.devices(host, 0), "weft_probes")
    assert not [o for o in _paths.other(host, 0, NODES["node-2"], None) if isinstance(o, SleeveHost)]
    assert _paths.carries(host.node, NODES["node-2"], []) == {"weft_probe": 1376}


def test_what_is_to_pass_is_what_networks_send_and_both_hosts_carry() -> None:
    me, small = NODES["node-1"], lab.node("node-2", number=2, mtu=1400)
    large = lab.network("vxlan", mtu=1450)
    assert set(_paths.carries(me, NODES["node-2"], []).values()) == {1376}
    assert _paths.carries(me, NODES["node-2"], [large])["weft_probe"] == 1450
    assert _paths.carries(me, small, [large])["weft_probe"] == 1350
    assert _paths.carries(me, lab.node("node-2", (6,), number=2), []) == {}, "no address of one family"


def test_the_port_and_the_devices_are_nobody_elses() -> None:
    assert (KERNEL_PORT, SLEEVE_PORT) == (ports.KERNEL, ports.SLEEVE)
    links = [o for o in _paths.devices(HOST, 1) if isinstance(o, Link)]
    assert {link.alias for link in links} == {"weft:paths"}
