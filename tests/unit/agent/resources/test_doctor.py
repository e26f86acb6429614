"""Each check of the doctor, well and ill, with what it says and advises."""

from __future__ import annotations

import ctypes
import socket
import time
from ipaddress import ip_interface, ip_network
from types import SimpleNamespace

import msgspec
import pytest

from support.agents import FEATURES, FakeHost, network
from support.hoststates import keyed
from weft.agent.agent import Agent
from weft.agent.config import Config
from weft.agent.resources import checkup, doctor
from weft.api import types as t
from weft.base.net import parse_address
from weft.bgp.reach import Unreached
from weft.cluster.view import View
from weft.datapaths.driver import Host
from weft.datapaths.registry import DRIVERS
from weft.hoststate import Neighbour, Sysctl
from weft.kernel.host.diagnose import NeighbourTable
from weft.model import Network, Node, encode, keys
from weft.model.ports import PublishedPort
from weft.paths.machine import Machine
from weft.services.model import Service, ServicePort
from weft.services.record import SERVICE
from weft.store.protocol import Change


class Patient(SimpleNamespace):
    """What the doctor looks at of an agent, and of the machine."""

    config = Config()
    mesh = None
    view: View
    node: Node | None
    sysctls: dict[str, str]
    holders: dict[int, list[str]]
    chains: list[str]

    def network(self, wish: Network) -> None:
        self.view.apply([Change(keys.network(wish.name), encode(wish), 1)])

    async def look(self) -> dict[str, t.Finding]:
        return {f.check: f for f in await doctor.findings(self)}  # type: ignore[arg-type]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Patient:
    """In good health."""
    me = Node(name="node-1", addresses=(ip_interface("192.168.1.68/24"),), uplink="eth0")
    found = Patient(
        view=View("node-1"),
        node=me,
        waiting_for="",
        features=FEATURES | {"tcx"},
        store_status=t.StoreStatus(url="etcd://h1:2379", state="connected", since=0),
        sysctls={"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"},
        holders={},
        chains=[],
        neighbours={fam: NeighbourTable(entries=9, limit=1024, refused=0) for fam in (4, 6)},
        desired=keyed(*(Sysctl(name=name, value="1") for name in checkup.FORWARDING.values())),
        vteps={},
        compiler=SimpleNamespace(host=Host(node=me)),
        tools={"nft"},
        routing=SimpleNamespace(unreached=lambda: (), states=()),
        targets=SimpleNamespace(remotes={}),
        prober=SimpleNamespace(machine=Machine("node-1", 1)),
        tunnels=SimpleNamespace(pump=SimpleNamespace(is_own=lambda _words: False)),
        status=0,
    )
    monkeypatch.setattr("weft.kernel.kinds.sysctl.get", lambda name: found.sysctls.get(name))
    monkeypatch.setattr(doctor, "udp_holders", lambda port, _ours: found.holders.get(port, []))
    monkeypatch.setattr(checkup, "blocking_chains", lambda: found.chains)
    monkeypatch.setattr(checkup, "neighbour_table", found.neighbours.get)
    monkeypatch.setattr(doctor, "foreign_vteps", lambda: found.vteps)
    monkeypatch.setattr(doctor, "no_programs", lambda: "the kernel does not let BPF be used here")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/sbin/{name}" if name in found.tools else None)

    def adjtimex(buffer: ctypes.Array[ctypes.c_char]) -> None:
        buffer[5 * ctypes.sizeof(ctypes.c_long)] = found.status

    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(adjtimex=adjtimex))
    found.network(network("blue", "10.1.0.0/16", "fd00:1::/48"))
    return found


async def test_all_is_well(patient: Patient) -> None:
    found = await patient.look()
    assert {f.result for f in found.values()} == {"ok"} and {f.advice for f in found.values()} == {""}
    assert {name: f.detail for name, f in found.items()} == {
        "store": "etcd://h1:2379 answers",
        "uplink": "eth0 with 192.168.1.68/24, MTU 1500",
        "kernel: bridge": "works",
        "kernel: nftables": "works",
        "kernel: veth": "works",
        "kernel: vxlan": "works",
        "kernel: tbf": "works",
        "kernel: ifb": "works",
        "kernel: mirred": "works",
        "kernel: nft-bridge": "works",
        "kernel: br_netfilter": "works",
        "kernel: tcp-md5": "works",
        "kernel: tun": "works",
        "fast path": "the kernel has tcx",
        "tool: bird": "installed",
        "tool: nft": "installed",
        "forwarding IPv4": "net.ipv4.ip_forward = 1",
        "forwarding IPv6": "net.ipv6.conf.all.forwarding = 1",
        "MTU of blue": "1450, of 1450 that fit",
        "port 8472": "no program holds it",
        "neighbours IPv4": "9 entries of all namespaces together; the kernel keeps 1024",
        "neighbours IPv6": "9 entries of all namespaces together; the kernel keeps 1024",
        "firewall": "no other table drops forwarded packets by policy",
        "clock": "synchronised",
    }


async def ill(patient: Patient, check: str, result: str = "error") -> tuple[str, str]:
    found = (await patient.look())[check]
    assert found.result == result
    return found.detail, found.advice


async def test_a_program_that_a_service_took_the_port_from(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as program:
        number = program.getsockname()[1]
        port = PublishedPort(host_port=number, container_port=80, host_ip=parse_address("127.0.0.1"))
        elsewhere = msgspec.structs.replace(port, host_ip=parse_address("192.0.2.1"))
        made = Service(name="web", network="blue", ports=(ServicePort(port=80),), published=(port, elsewhere))
        patient.view.apply([Change(SERVICE.key("blue", "web"), encode(made), 1)])
        detail, advice = await ill(patient, f"port 127.0.0.1:{number}/tcp", "warning")
    assert detail.startswith(f"port {number}/tcp of this host is held by ")
    assert detail.endswith(", and leads to service blue/web instead") and "weft service set blue/web" in advice
    assert (await patient.look())["published ports"].result == "ok"


async def test_a_program_at_the_port_of_the_tunnel_for_published_ports(patient: Patient) -> None:
    patient.holders[4790] = ["thief, pid 813"]
    port = PublishedPort(host_port=80, container_port=80, host_ip=parse_address("192.0.2.1"))
    made = Service(name="web", network="blue", ports=(ServicePort(port=80),), published=(port,))
    patient.view.apply([Change(SERVICE.key("blue", "web"), encode(made), 1)])
    assert "port 4790" not in await patient.look(), "a single host has no tunnel"
    other = Node(name="node-2", addresses=(ip_interface("192.168.1.69/24"),), uplink="eth0")
    patient.view.apply([Change(keys.node("node-2"), encode(other), 2)])
    detail, advice = await ill(patient, "port 4790")
    assert detail == "UDP port 4790 is held by thief, pid 813" and advice.startswith("stop it: ")


async def test_containers_that_nobody_reaches(patient: Patient) -> None:
    patient.routing.unreached = lambda: (Unreached("rt", "node-2", "no IPv6 address has node-2: nobody; give it one"),)
    assert await ill(patient, "ways to rt") == ("no IPv6 address has node-2: nobody", "give it one")


async def test_a_lost_store(patient: Patient) -> None:
    patient.store_status = t.StoreStatus(url="etcd://h1:2379", state="lost", since=0, reason="connection refused")
    assert await ill(patient, "store") == (
        "etcd://h1:2379: connection refused",
        "start it, or mend the way to it; traffic goes on",
    )


async def test_a_store_that_anybody_may_use(patient: Patient) -> None:
    patient.config = Config(store="etcd://u:p@10.0.0.5")
    found = (await patient.look())["store: access"]
    assert (found.result, "etcds://" in found.advice) == ("warning", True) and "without TLS" in found.detail
    patient.config = Config(store="etcds://weft@10.0.0.5", store_password_file="/etc/weft/password")
    assert "store: access" not in await patient.look()


async def test_no_uplink(patient: Patient) -> None:
    patient.node, patient.waiting_for = None, "no uplink: no default route; name one with --iface"
    assert await ill(patient, "uplink") == (patient.waiting_for, "name the right device with --iface")
    patient.waiting_for = ""
    assert (await ill(patient, "uplink"))[0] == "not looked at yet"


@pytest.mark.parametrize(("feature", "module"), [("vxlan", "vxlan"), ("nftables", "nf_tables"), ("veth", "veth")])
async def test_what_the_kernel_lacks(patient: Patient, feature: str, module: str) -> None:
    drivers = ", ".join(name for name, used in DRIVERS.items() if feature in used.needs)
    assert drivers
    patient.features = FEATURES - {feature}
    assert await ill(patient, f"kernel: {feature}") == (
        f"the kernel has no {feature}: no networks of driver {drivers} here",
        f"modprobe {module}, or a kernel with it",
    )


async def test_what_only_a_networks_options_need(patient: Patient) -> None:
    """Nobody is told to load a module that no network asks for."""
    assert "kernel: ipip" not in await patient.look()
    patient.network(network("prod", "10.7.0.0/16", driver="routed", encap="ipip-cross-subnet"))
    assert await ill(patient, "kernel: ipip") == (
        "the kernel has no ipip: no network prod here",
        "modprobe ipip, or a kernel with it",
    )
    patient.features = FEATURES | {"ipip"}
    assert (await patient.look())["kernel: ipip"].detail == "works"


async def test_what_encrypts_between_hosts(patient: Patient) -> None:
    """One of the two is enough, and who encrypts nothing needs none."""
    patient.features = FEATURES - {"wireguard", "esp"}
    assert "kernel: wireguard" not in await patient.look()
    patient.network(network("office", "10.8.0.0/16", driver="mesh", vni=9, encrypt="true"))
    patient.compiler.host = Host(node=patient.node, keyed=True)
    assert await ill(patient, "kernel: wireguard", "warning") == (
        "the kernel has no wireguard, to encrypt what hosts send each other: office goes by the sleeve, slower",
        "modprobe wireguard, or a kernel with it, and restart the agent",
    )
    patient.network(network("closed", "10.7.0.0/16", encrypt="true"))
    assert await ill(patient, "kernel: wireguard") == (
        "the kernel has no wireguard, to encrypt what hosts send each other: nothing of network closed leaves it",
        "modprobe wireguard, or a kernel with it, and restart the agent",
    )
    patient.features |= {"wireguard"}
    found = await patient.look()
    assert found["kernel: wireguard"].detail == "works"
    assert (found["kernel: esp"].result, found["kernel: esp"].advice) == (
        "warning",
        "modprobe -a xfrm_user esp4 esp6, or a kernel with it, and restart the agent",
    )


async def test_no_switch_for_ports_of_neutron(patient: Patient) -> None:
    """A host whose networks need none is not asked for one."""
    patient.features = FEATURES - {"openvswitch"}
    assert "tool: openvswitch" not in await patient.look()
    patient.network(network("green", "10.30.0.0/24", driver="neutron"))
    detail, advice = await ill(patient, "tool: openvswitch")
    assert detail == "the host has no openvswitch: no network green here"
    assert advice.endswith(
        "openvswitch-switch neutron-openvswitch-agent, and start it: systemctl start openvswitch-switch"
    )
    patient.features = FEATURES | {"openvswitch"}
    assert (await patient.look())["tool: openvswitch"].result == "ok"


@pytest.mark.parametrize(
    ("feature", "what", "modules"),
    [
        ("tbf", "limits of bandwidth", "sch_tbf"),
        ("ifb", "limits of what containers send", "ifb"),
        ("mirred", "limits of what containers send", "-a sch_ingress cls_u32 act_mirred"),
    ],
)
async def test_no_limits_can_be_set(patient: Patient, feature: str, what: str, modules: str) -> None:
    patient.features = FEATURES - {feature}
    found = (await patient.look())[f"kernel: {feature}"]
    assert (found.result, found.detail) == ("warning", f"the kernel has no {feature}: no {what} here")
    assert found.advice == f"modprobe {modules}, or a kernel with it"


async def test_no_rules_for_bridges(patient: Patient) -> None:
    patient.features = FEATURES - {"nft-bridge"}
    found = (await patient.look())["kernel: nft-bridge"]
    assert found.result == "warning" and "can send in each other's names" in found.detail
    assert found.advice == "modprobe nft_meta_bridge, or a kernel with it, and restart the agent"


async def test_no_short_way(patient: Patient) -> None:
    """The kernel may have tcx, and not let this agent use it, as in a lab without root."""
    patient.features = FEATURES
    detail, advice = await ill(patient, "fast path", "warning")
    assert detail.endswith("no tcx that could be used here (the kernel does not let BPF be used here)")
    assert "modprobe -a nf_flow_table_inet nft_flow_offload" in advice and "an agent that is root on its host" in advice


async def test_no_nft(patient: Patient) -> None:
    patient.tools.clear()
    assert await ill(patient, "tool: nft") == ("nft is not installed", "apt install nftables")


@pytest.mark.parametrize(
    ("family", "sysctl"), [(4, "net/ipv4/ip_forward"), (6, "net/ipv6/conf/all/forwarding")], ids=["v4", "v6"]
)
async def test_forwarding_is_off(patient: Patient, family: int, sysctl: str) -> None:
    name = sysctl.replace("/", ".")
    for value in ("0", None):
        patient.sysctls = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"} | {sysctl: value or "0"}
        assert await ill(patient, f"forwarding IPv{family}") == (
            f"{name} is not 1",
            f"something set it back: look in /etc/sysctl.d; sysctl -w {name}=1",
        )


async def test_nothing_is_said_of_forwarding_that_nothing_here_needs(patient: Patient) -> None:
    patient.desired = {}
    patient.sysctls = {}
    assert not [name for name in await patient.look() if name.startswith("forwarding")]


async def test_an_mtu_that_does_not_fit(patient: Patient) -> None:
    wish = network("large", "10.2.0.0/16", vni=2)
    patient.network(Network(**{f: getattr(wish, f) for f in wish.__struct_fields__} | {"mtu": 1500}))
    assert await ill(patient, "MTU of large") == (
        "1500 does not fit into 1450",
        "make it with --mtu 1450, or raise eth0's",
    )
    patient.network(network("far", "10.3.0.0/16", vni=3, underlay="ipv6"))
    patient.network(network("office", "10.4.0.0/16", driver="mesh", vni=4))
    found = await patient.look()
    assert found["MTU of far"].detail == "1430, of 1430 that fit"
    assert found["MTU of office"].detail == "1376, of 1450 that fit"


async def test_uplinks_of_different_mtu(patient: Patient) -> None:
    other = Node(name="node-2", addresses=(ip_interface("192.168.1.2/24"),), uplink="eth0", mtu=9000)
    patient.view.apply([Change(keys.node("node-2"), encode(other), 2)])
    assert await ill(patient, "MTU of the underlay", "warning") == (
        "eth0 has 1500, but node-2 has 9000",
        "give all uplinks one MTU, or make networks with --mtu for the smallest",
    )


async def test_a_port_that_is_taken(patient: Patient) -> None:
    patient.holders[8472] = ["flanneld, pid 812"]
    assert await ill(patient, "port 8472") == (
        "UDP port 8472 is held by flanneld, pid 812",
        "stop it, or make the network with another -O port",
    )


async def test_somebody_elses_firewall(patient: Patient) -> None:
    patient.chains = ["inet filter forward"]
    assert await ill(patient, "firewall", "warning") == (
        "chain inet filter forward drops forwarded packets by policy",
        "accept weft* interfaces there: no table can overrule another's drop",
    )


async def test_a_table_of_neighbours_that_fills_up(patient: Patient) -> None:
    patient.neighbours[4] = NeighbourTable(entries=800, limit=1024, refused=0)
    assert await ill(patient, "neighbours IPv4", "warning") == (
        "800 entries of all namespaces together; the kernel keeps 1024",
        "sysctl -w net.ipv4.neigh.default.gc_thresh3=8192 net.ipv4.neigh.default.gc_thresh2=4096, "
        "and write it to /etc/sysctl.d",
    )
    own = [Neighbour(address=f"10.1.2.{n}", lladdr="02:00:00:00:00:02", dev="weft.1") for n in range(100)]
    patient.desired = keyed(*own)
    assert (await patient.look())["neighbours IPv4"].detail.startswith("700 entries")
    assert (await patient.look())["neighbours IPv4"].result == "ok", "Weft's own ones are permanent and do not count"
    patient.neighbours[6] = NeighbourTable(entries=9, limit=1024, refused=3)
    detail, advice = await ill(patient, "neighbours IPv6", "warning")
    assert detail.endswith("; 3 times since it started there was no room for one more") and "ipv6" in advice
    patient.neighbours[6] = NeighbourTable(entries=9, limit=8192, refused=3)
    assert (await patient.look())["neighbours IPv6"].result == "ok", "somebody has seen to it"


async def test_a_clock_that_runs_free(patient: Patient) -> None:
    patient.status = checkup.STA_UNSYNC
    assert await ill(patient, "clock", "warning") == (
        "not synchronised",
        "run chrony or systemd-timesyncd: certificates and logs of several hosts need one time",
    )


async def test_a_network_of_another_version_is_no_hindrance(patient: Patient) -> None:
    patient.network(network("novel", "10.9.0.0/16", driver="warp"))
    patient.network(network("odd", "10.8.0.0/16", driver="bridge", knob=1))
    assert "MTU of blue" in await patient.look()


async def test_a_real_agent_and_a_real_machine(agent: Agent, host: FakeHost) -> None:
    found = {f.check: f for f in await doctor.findings(agent)}
    assert found["uplink"].result == "ok" and found["clock"].result in ("ok", "warning")


async def test_a_subnet_that_this_host_has_elsewhere(patient: Patient) -> None:
    patient.network(network("other", "172.17.0.0/16"))
    attached = frozenset({("docker0", ip_network("172.17.0.0/16"))})
    patient.compiler.host = Host(node=patient.compiler.host.node, attached=attached)
    assert await ill(patient, "subnet of other") == (
        "172.17.0.0/16 overlaps 172.17.0.0/16, which this host has on docker0: one of them is not reached from here",
        "give docker0 another subnet, or make the network with another --subnet",
    )


async def test_a_vxlan_device_of_somebody_else_with_our_number(patient: Patient) -> None:
    patient.network(network("other", "10.7.0.0/16", vni=7))
    patient.vteps = {(7, 4789): ["other.7"], (8, 8472): ["other.8"]}
    assert "VNI of other" not in await patient.look()
    patient.vteps = {(7, 8472): ["flannel.7"]}
    assert await ill(patient, "VNI of other") == (
        "device flannel.7 is not Weft's and has VNI 7 on UDP port 8472, as this network",
        "remove it (ip link del flannel.7), or make the network with another -O vni",
    )


@pytest.mark.parametrize(
    ("all_", "own", "strict"),
    [("0", "1", True), ("1", "0", True), ("1", "1", True), ("2", "1", False), ("0", "0", False)],
)
async def test_a_strict_reverse_path_filter(patient: Patient, all_: str, own: str, strict: bool) -> None:
    """The kernel takes the larger of the two."""
    patient.sysctls |= {"net/ipv4/conf/all/rp_filter": all_, "net/ipv4/conf/eth0/rp_filter": own}
    assert ("reverse path filter of eth0" in await patient.look()) == strict
    if strict:
        assert await ill(patient, "reverse path filter of eth0", "warning") == (
            "rp_filter is strict (1) on eth0: packets whose answer takes another interface are dropped",
            "sysctl -w net.ipv4.conf.eth0.rp_filter=2, and look in /etc/sysctl.d",
        )


async def test_the_command_for_a_device_with_a_dot_in_its_name_runs(patient: Patient) -> None:
    patient.sysctls |= {"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/weft.1/rp_filter": "1"}
    found = (await patient.look())["reverse path filter of weft.1"]
    assert found.fix == "sysctl -w net.ipv4.conf.weft/1.rp_filter=2"


async def test_policy_through_iptables(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked for it who keeps policy in nftables."""
    assert "policy" not in await patient.look()
    patient.config = Config(policy="iptables")
    found = (await patient.look())["policy"]
    assert found.result == "error" and "no ipset" in found.detail and "modprobe ip_set" in found.advice
    patient.features = FEATURES | {"ipset"}
    monkeypatch.setattr("weft.kernel.plumbing.tools.find", lambda _program: None)
    assert "apt install iptables" in (await patient.look())["policy"].advice
    monkeypatch.setattr("weft.kernel.plumbing.tools.find", lambda program: f"/usr/sbin/{program}")
    assert (await patient.look())["policy"].result == "ok"


@pytest.mark.parametrize(("seconds", "result"), [(5, "warning"), (300, "error")], ids=["just begun", "for long"])
async def test_a_bgp_session_that_is_down(patient: Patient, seconds: int, result: str) -> None:
    state = SimpleNamespace(
        session=SimpleNamespace(with_="node-2", remote="192.168.1.69"),
        protocol=SimpleNamespace(up=False, state="Active", error=""),
        verdict=SimpleNamespace(reason="no answer from 192.168.1.69", advice="look whether it is alive"),
        down_since=time.time() - seconds,
    )
    patient.routing = SimpleNamespace(unreached=lambda: (), states=(state,))
    assert await ill(patient, "BGP with node-2", result) == (
        "the session with 192.168.1.69 is Active: no answer from 192.168.1.69",
        "look whether it is alive",
    )
