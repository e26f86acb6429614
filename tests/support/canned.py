"""Answers of an agent in the middle of life: dual stack, a peer across a router, a failed route, a lost store."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_interface, ip_network

from weft.api import checks as c
from weft.api import declared as d
from weft.api import flows as f
from weft.api import live
from weft.api import mesh as m
from weft.api import observed as o
from weft.api import services as s
from weft.api import types as t
from weft.api.dump import HostDump, LinkDump, NamespaceDump
from weft.api.topology import EndpointLine, LinkCounters, Topology
from weft.model import BgpSettings, PublishedPort
from weft.services.model import Service
from weft.services.model import parse_port as parse_service_port

NOW = time.time()

STORE = t.StoreStatus(
    url="etcd://10.0.0.1:2379,10.0.0.2:2379", state="connected", since=NOW - 7300, revision=4711, cluster="5e0d7a1c"
)
LOST = t.StoreStatus(
    url=STORE.url, state="lost", since=NOW - 95, reason="10.0.0.1:2379: connection refused", revision=4711
)

NODES = (
    t.NodeInfo(
        name="node-1",
        addresses=(ip_interface("192.168.1.68/24"), ip_interface("fd00:192:168:1::68/64")),
        uplink="eth0",
        mtu=1500,
        version="0.1.0",
        alive=True,
        this=True,
        subnets={"blue": (ip_network("40.15.43.0/24"), ip_network("fd00:40:15:2b::/64"))},
    ),
    t.NodeInfo(
        name="node-4",
        addresses=(ip_interface("192.168.0.33/24"),),
        uplink="enp0s31f6",
        mtu=9000,
        segment="rack-7",
        version="0.1.0",
        alive=False,
    ),
)

LEASES = (
    t.LeaseInfo(
        node="node-1",
        subnets=(ip_network("40.15.43.0/24"), ip_network("fd00:40:15:2b::/64")),
        addresses=(ip_address("192.168.1.68"), ip_address("fd00:192:168:1::68")),
        alive=True,
        data={"vtep-mac": "0e:08:23:57:14:9a"},
    ),
    t.LeaseInfo(
        node="node-4",
        subnets=(ip_network("40.15.65.0/24"),),
        addresses=(ip_address("192.168.0.33"),),
        alive=False,
    ),
)

PROBLEM = (
    "node-4 (192.168.0.33) is on another segment: host-gw cannot reach it; use driver vxlan with "
    "-O direct-routing=true for this network"
)

NETWORKS = (
    t.NetworkInfo(
        name="blue",
        driver="vxlan",
        subnets=(ip_network("40.15.0.0/16"), ip_network("fd00:40:15::/48")),
        options={"vni": 1, "port": 8472, "direct-routing": True, "underlay": "ipv4", "reserve": ""},
        internal=False,
        mtu=None,
        labels={"team": "payments"},
        leases=LEASES,
        endpoints=2,
    ),
    t.NetworkInfo(
        name="a-network-with-a-rather-long-name",
        driver="host-gw",
        subnets=(ip_network("40.16.0.0/16"),),
        options={"node-prefix": 24},
        internal=True,
        mtu=1400,
        problems=(PROBLEM,),
    ),
)

ENDPOINTS = (
    t.EndpointInfo(
        id="0011223344556677",
        name="web",
        network="blue",
        node="node-1",
        container="f" * 64,
        namespace="/proc/4711/ns/net",
        interface="eth0",
        host_interface="weft00112233445",
        mac="02:42:28:0f:2b:02",
        addresses=(ip_interface("40.15.43.2/24"), ip_interface("fd00:40:15:2b::2/64")),
        gateways=(ip_address("40.15.43.1"), ip_address("fd00:40:15:2b::1")),
        mtu=1450,
        labels={"tier": "front", "app": "shop"},
    ),
    t.EndpointInfo(
        id="8899aabbccddeeff",
        name="database-of-the-payments-team-primary",
        network="a-network-with-a-rather-long-name",
        node="node-4",
        container="/run/netns/database-of-the-payments-team-primary",
        namespace="/run/netns/database-of-the-payments-team-primary",
        interface="eth0",
        host_interface="weft8899aabbccd",
        mac="02:42:28:10:41:02",
        addresses=(ip_interface("40.16.65.2/24"),),
    ),
)

WELL = t.Status(
    version="0.1.0",
    node="node-1",
    addresses=NODES[0].addresses,
    uplink="eth0",
    mtu=1500,
    state="converged",
    started=NOW - 90_000,
    store=STORE,
    objects={"route": t.Count(desired=6, actual=6), "link": t.Count(desired=4, actual=4)},
    repairs=0,
    last_repair="",
    last_resync=NOW - 42,
    troubles=(),
    problems=(),
    peers=(
        t.PeerStatus(name="node-2", addresses=(ip_address("192.168.1.254"),), alive=True, same_segment=True),
        t.PeerStatus(name="node-4", addresses=(ip_address("192.168.0.33"),), alive=False, same_segment=False),
    ),
    networks=(
        t.NetworkStatus(name="blue", driver="vxlan", subnets=LEASES[0].subnets, endpoints=2, peers=2, problems=0),
    ),
)

ILL = t.Status(
    version="0.1.0",
    node="node-1",
    addresses=NODES[0].addresses,
    uplink="eth0",
    mtu=1500,
    state="degraded",
    started=NOW - 200,
    store=LOST,
    objects={
        "route": t.Count(desired=6, actual=5, failed=1),
        "neighbour": t.Count(desired=3, actual=3),
        "fdb": t.Count(desired=3, actual=3),
    },
    repairs=3,
    last_repair="route 40.15.26.0/24 dev weft.1",
    last_resync=0,
    troubles=(
        t.Trouble(
            object="route 40.15.65.0/24 via 40.15.65.0 dev weft.1 onlink",
            reason="Network is unreachable (ENETUNREACH): is weft.1 up?",
            since=NOW - 130,
            attempts=5,
            next_try=NOW + 16,
        ),
    ),
    problems=(t.Problem(network="a-network-with-a-rather-long-name", peer="node-4", text=PROBLEM),),
    peers=WELL.peers,
    networks=(
        *WELL.networks,
        t.NetworkStatus(
            name="a-network-with-a-rather-long-name",
            driver="host-gw",
            subnets=(),
            endpoints=0,
            peers=1,
            problems=1,
        ),
    ),
    healthy=False,
    reasons=("the store is lost: 10.0.0.1:2379: connection refused", "1 object failed", "node-4 is silent"),
)

FINDINGS = (
    t.Finding(check="kernel: vxlan", result="ok", detail="devices can be made"),
    t.Finding(
        check="mtu",
        result="warning",
        detail="eth0 has MTU 1400, its peers 1500: large packets to them are fragmented or lost",
        advice="set the same MTU on every host of a segment: ip link set eth0 mtu 1500",
    ),
    t.Finding(
        check="sysctl: net.ipv4.ip_forward",
        result="error",
        detail="0, and /proc/sys is read-only",
        advice="run the agent where /proc/sys may be written, or set net.ipv4.ip_forward=1 yourself",
    ),
)

COMMANDS = (
    "ip link add weft.1 type vxlan id 1 local 192.168.1.68 dev eth0 dstport 8472 nolearning noudp6zerocsumtx "
    "alias weft:vxlan:blue",
    "ip route replace 40.15.26.0/24 via 40.15.26.0 dev weft.1 onlink proto 157",
)

KERNEL = HostDump(
    node="node-1",
    namespaces=(
        NamespaceDump(links=(LinkDump(name="lo", ifindex=1, kind="loopback", mtu=65536, up=True, carrier=True),)),
    ),
)

SESSIONS = (
    t.BgpSession(
        name="node-2",
        kind="node",
        local=ip_address("192.168.1.68"),
        address=ip_address("192.168.1.254"),
        asn=64512,
        state="Established",
        since=NOW - 3700,
        received=1,
        announced=2,
    ),
    t.BgpSession(
        name="tor",
        kind="router",
        local=ip_address("192.168.1.68"),
        address=ip_address("192.168.1.1"),
        asn=65001,
        state="Active",
        since=NOW - 70,
        last_error="BGP Error: Bad peer AS",
        reason="AS mismatch: 192.168.1.1 says that it is AS 65002, configured is 65001",
        advice="correct `weft bgp peer add tor --asn 65002 --replace`, or the router",
    ),
)
ROUTES = (
    t.BgpRoute(
        prefix=ip_network("197.19.26.0/26"),
        type="unicast",
        source="node-2",
        best=True,
        since=NOW - 70,
        next_hops=("192.168.1.254 on eth0",),
        bgp_next_hop="192.168.1.254",
    ),
    t.BgpRoute(prefix=ip_network("197.19.38.128/26"), type="blackhole", source="own block", best=True, since=NOW),
)
MESH_PEERS = (
    m.MeshPeer(
        name="node-2",
        address=ip_address("192.168.1.254"),
        state="established",
        active=True,
        way="sleeve",
        theirs="sleeve",
        clear=True,
        mtu=1376,
        rtt=0.8,
        switches=1,
        why=("fastdp: no VXLAN frame of node-2 has come by UDP 6784 for 12 s",),
    ),
)
MESH = m.MeshStatus(
    node="node-1",
    named=("192.168.1.68", "192.168.1.254", "192.168.1.245"),
    cluster="5e0d7a1c",
    through="192.168.1.68:6786",
    members=(
        m.MeshMember(
            name="node-1",
            address=ip_address("192.168.1.68"),
            standing="alive",
            since=NOW - 7300,
            this=True,
            voter=True,
        ),
        m.MeshMember(
            name="node-2",
            address=ip_address("192.168.1.254"),
            standing="suspect",
            since=NOW - 2,
            reached=False,
            voter=True,
        ),
        m.MeshMember(name="node-4", address=ip_address("fd00:192:168:1::245"), standing="alive", since=NOW - 95),
    ),
    voters=(
        m.MeshVoter(name="node-1", address=ip_address("192.168.1.68"), port=6786, state="leader", standing="alive"),
        m.MeshVoter(
            name="node-2",
            address=ip_address("192.168.1.254"),
            port=6786,
            state="voter",
            standing="suspect",
            reached=False,
        ),
    ),
    problems=("node-9 at 192.168.1.9 has another secret: give it the file that the others have",),
)

BGP_PEERS = (
    t.BgpPeerInfo(
        name="tor",
        address=ip_address("192.168.1.1"),
        asn=65001,
        nodes="rack=a",
        password=True,
        accept=("all",),
        announce=("197.19.0.0/16+",),
        scope="cluster",
    ),
)
POOLS = (
    t.PoolInfo(
        subnet=ip_network("197.19.0.0/16"),
        nodes="",
        disabled=False,
        masquerade=True,
        block_size=26,
        total=1024,
        blocks=1,
        addresses=3,
    ),
    t.PoolInfo(
        subnet=ip_network("fd80:24e2:f998:72d6::/64"),
        nodes="rack=a,!spare",
        disabled=True,
        masquerade=False,
        block_size=122,
        total=1 << 58,
        blocks=0,
        addresses=0,
    ),
)
IPAM = (
    t.IpamInfo(
        network="prod",
        driver="routed",
        subnets=(ip_network("197.19.0.0/16"),),
        used=3,
        cooling=1,
        outside=1,
        blocks=(
            t.BlockInfo(block=ip_network("197.19.3.64/26"), node="node-1", used=2, borrowed=1, cooling=1, free=61),
        ),
    ),
)
IPAM_CHECK = t.IpamCheck(
    faults=(
        t.Fault(
            network="prod",
            kind="claim-without-endpoint",
            subject="197.19.3.70",
            node="",
            text="claimed for web on node-1, which is no endpoint with this address",
            fixed=True,
        ),
        t.Fault(network="prod", kind="duplicate", subject="197.19.3.71", node="", text="a on b, c on d have the same"),
    ),
    addresses=3,
    blocks=1,
    endpoints=2,
)

POLICIES = t.PolicyList(
    policies=(
        t.PolicyInfo(
            id="clusternetworkpolicy//guard",
            kind="ClusterNetworkPolicy",
            name="guard",
            namespace="",
            tier="admin",
            order=10,
            namespaces="",
            egress=2,
        ),
        t.PolicyInfo(
            id="networkpolicy/shop/web",
            kind="NetworkPolicy",
            name="web",
            namespace="shop",
            tier="default",
            order=1000,
            selector="role == 'web'",
            namespaces="kubernetes.io/metadata.name == 'shop'",
            ingress=1,
        ),
        t.PolicyInfo(
            id="policy//last", kind="Policy", name="last", namespace="", tier="default", networks=("blue",), ingress=0
        ),
    ),
    tiers=(
        t.TierInfo(name="admin", order=1000, default="pass", policies=1),
        t.TierInfo(name="default", order=1_000_000, default="deny", policies=2),
    ),
    network_sets=(t.NetworkSetInfo(id="networkset//out", name="out", namespace="", labels={"a": "b"}, cidrs=3),),
    namespaces=(t.NamespaceInfo(name="shop", labels={"team": "a"}),),
)
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}}
CHANGES = t.PolicyChanges(
    changes=(
        t.PolicyChange(id="namespace//shop", change="created", after=NAMESPACE),
        t.PolicyChange(id="policy//last", change="unchanged"),
    ),
    notes=("f.yaml, line 1: ClusterNetworkPolicy guard: spec.egress[0].to[0]: this kind of peer is not known",),
)

NETWORK_DOCUMENT = {
    "apiVersion": "weft/v1",
    "kind": "Network",
    "metadata": {"name": "blue"},
    "spec": {"driver": "vxlan", "subnets": ["10.1.0.0/16"]},
}
APPLIED = d.Applied(
    changes=(
        d.DeclaredChange(id="network/blue", change="created", after=NETWORK_DOCUMENT),
        d.DeclaredChange(id="service/blue/web", change="unchanged"),
    ),
    notes=("f.yaml, line 1: Policy web: a note",),
)

EXPLANATION = o.Explanation(
    allowed=False,
    source="node-4/client",
    source_address=ip_address("40.15.65.7"),
    target="node-1/web",
    target_address=ip_address("40.15.43.2"),
    protocol="tcp",
    port=80,
    sides=(
        o.VerdictSide(
            direction="egress",
            end="client",
            node="node-4",
            allowed=True,
            reason="no policy selects client for egress",
        ),
        o.VerdictSide(
            direction="ingress",
            end="web",
            node="node-1",
            allowed=False,
            reason="networkpolicy/shop/web selects web for ingress, and no rule fits",
            steps=(
                o.VerdictStep(tier="admin", policy="clusternetworkpolicy//guard", rule=2, name="inner", action="pass"),
                o.VerdictStep(tier="default", policy="networkpolicy/shop/web", action="none"),
                o.VerdictStep(tier="default", action="deny"),
            ),
            enforced=False,
            rules="rule 3 of chain pi-0123456789abcdef",
            faults=("chain pi-0123456789abcdef: missing, or not as it should be",),
        ),
    ),
)

PROBED = live.Probed(source="10.32.0.7", sport=40001, answer="reply", text="SYN-ACK from 10.32.0.8", seconds=0.0004)
WATCHED = live.Watched(
    id="5e0d7a1c5e0d7a1c",
    packets=(
        live.PacketSeen(at=1_000, point="in", namespace="", device="veth1", length=64, head=b"E"),
        live.PacketSeen(
            at=9_000, point="drop", namespace="", device="veth1", reason="NETFILTER_DROP", function="nft_do_chain"
        ),
    ),
    rules=(live.RuleSeen("", "inet", "filter", "forward", 7, "rule", "drop"),),
    means=("tracepoints", "nftables"),
)

LOG = o.LogPage(
    entries=(
        o.LogEntry(
            number=7,
            time=NOW,
            direction="ingress",
            source=o.LogEnd(address=ip_address("40.15.65.7"), name="client", network="blue", node="node-4"),
            target=o.LogEnd(address=ip_address("40.15.43.2"), name="web", network="blue", node="node-1"),
            protocol="tcp",
            source_port=40_000,
            port=80,
            tier="default",
            policy="policy//audit",
            rule=1,
            allowed=False,
        ),
        o.LogEntry(
            number=8,
            time=NOW,
            direction="egress",
            source=o.LogEnd(address=ip_address("fd00:40:15:2b::2"), name="web", network="blue", node="node-1"),
            target=o.LogEnd(address=ip_address("2001:db8::1")),
            protocol="icmpv6",
            icmp_type=128,
            icmp_code=0,
            tier="default",
            policy="policy//audit",
            rule=3,
            allowed=True,
        ),
    ),
    last=8,
)

COUNTERS = o.PolicyCounters(
    node="node-1",
    rules=(
        o.RuleCount(tier="default", direction="ingress", action="midway", packets=2, octets=80),
        o.RuleCount(
            policy="networkpolicy/shop/web",
            tier="default",
            direction="ingress",
            rule=1,
            action="allow",
            packets=4711,
            octets=282_660,
        ),
        o.RuleCount(tier="default", direction="ingress", action="deny", packets=0, octets=0),
    ),
)

SERVICE = s.ServiceInfo(
    service=Service(
        name="web",
        network="blue",
        ports=(parse_service_port("80:8080"),),
        select="app=web",
        addresses=(ip_address("40.15.255.9"),),
        published=(PublishedPort(host_port=8000, container_port=80),),
    ),
    members=(
        s.MemberInfo(
            id="e1", name="web-1", node="node-1", addresses=(ip_address("40.15.43.9"),), state="ready", connections=4
        ),
    ),
)

TOPOLOGY = Topology(
    at="5e0d7a1c.17",
    whole=True,
    time=NOW,
    status={"node-1": WELL},
    nodes={node.name: node for node in NODES},
    networks={network.name: network for network in NETWORKS},
    endpoints={
        "0011223344556677": EndpointLine(
            name="web", network="blue", node="node-1", addresses=(ip_address("40.15.43.2"),), labels={"tier": "front"}
        )
    },
    sessions={"node-2 192.168.1.254": SESSIONS[0]},
    peers={"node-2": MESH_PEERS[0]},
    links={"eth0": LinkCounters(mtu=1500, up=True, carrier=True, uplink=True, received=7, received_octets=900)},
)

PLACED = c.Placed(
    node="node-1",
    probes=(
        c.Probe(
            id="c0ffee",
            name="check-0badcafe-node-1",
            network="blue",
            addresses=(ip_address("40.15.43.9"),),
            mtu=1450,
            tcp=40_001,
            udp=40_002,
            resolver=True,
            reached=(ip_address("40.15.43.9"),),
        ),
    ),
    unplaced=(c.Unplaced(network="full", reason="network full: no free address on node-1"),),
    local=("alone",),
)
_CLIENT = f.FlowEnd(
    address=ip_address("40.15.43.2"), port=40_000, kind="container", name="web", network="blue", node="node-1"
)
FLOWS = f.FlowPage(
    node="node-1",
    flows=(
        f.Flow(
            node="node-1",
            protocol="tcp",
            state="ESTABLISHED",
            source=_CLIENT,
            target=f.FlowEnd(address=ip_address("40.15.255.9"), port=80, kind="service", name="shop", network="blue"),
            member=f.FlowEnd(
                address=ip_address("40.15.65.7"),
                port=8080,
                kind="container",
                name="shop-1",
                network="blue",
                node="node-4",
            ),
            timeout=431_999,
            age=75.5,
            packets=12,
            octets=1_400,
            reply_packets=10,
            reply_octets=3_145_728,
        ),
        f.Flow(
            node="node-1",
            protocol="udp",
            state="UNREPLIED",
            source=_CLIENT,
            target=f.FlowEnd(address=ip_address("2001:db8::35"), port=53),
            translated=f.FlowEnd(
                address=ip_address("fd00:192:168:1::68"), port=1024, kind="node", name="node-1", node="node-1"
            ),
            cut=True,
            timeout=20,
        ),
    ),
    total=7,
    accounting=False,
    dropped=(f.Dropped(reason="spoofing", what="claims", packets=3, octets=252),),
    last="4.8",
)

ANSWERS: dict[str, object] = {
    "flows": FLOWS,
    "place_probes": PLACED,
    "run_tests": c.Ran(node="node-1", results=(c.Tested(ms=0.7), c.Tested(ms=2000.1, error="no answer within 2 s"))),
    "remove_probes": t.Done(what=("check-0badcafe-node-1 from blue",)),
    "policy_counters": COUNTERS,
    "policy_log": LOG,
    "start_watch": WATCHED,
    "watched": WATCHED,
    "end_watch": WATCHED,
    "send_probe": PROBED,
    "explain": EXPLANATION,
    "policies": POLICIES,
    "policy": t.PolicyDocument(id="namespace//shop", document=NAMESPACE),
    "apply_policies": CHANGES,
    "enforced": t.Enforced(faults=("nft-chain policy of host: no such set",)),
    "apply": APPLIED,
    "declared": d.Declared(documents=(NETWORK_DOCUMENT, NAMESPACE), notes=("bgp peer tor: its password is not shown",)),
    "remove_policies": t.PolicyChanges(
        changes=(
            t.PolicyChange(id="namespace//shop", change="removed", before=NAMESPACE),
            t.PolicyChange(id="policy//last", change="missing"),
        )
    ),
    "status": WELL,
    "doctor": FINDINGS,
    "plan": t.PlanReply(commands=COMMANDS),
    "kernel": KERNEL,
    "topology": TOPOLOGY,
    "store": STORE,
    "accept_store": STORE,
    "restore_store": STORE,
    "nodes": NODES,
    "node": NODES[0],
    "remove_node": t.Done(what=("node-3", "40.15.56.0/24")),
    "networks": NETWORKS,
    "network": NETWORKS[0],
    "create_network": NETWORKS[0],
    "remove_network": t.Done(what=("blue",)),
    "endpoints": ENDPOINTS,
    "endpoint": ENDPOINTS[0],
    "attach": ENDPOINTS[0],
    "detach": t.Done(what=("web",)),
    "publish": ENDPOINTS[0],
    "reserve": t.Reserved(address=ip_interface("40.15.43.9/24")),
    "pools": POOLS,
    "add_pool": POOLS,
    "set_network": t.NetworkSet(
        network=NETWORKS[0], changes=(t.NetworkChange(what="mtu", old=None, new=1400),), notes=("reserve: in use now",)
    ),
    "set_pool": POOLS,
    "remove_pool": POOLS[:1],
    "ipam": IPAM,
    "check_ipam": IPAM_CHECK,
    "move": ENDPOINTS[0],
    "label": ENDPOINTS[0],
    "add_floating": ENDPOINTS[0],
    "remove_floating": ENDPOINTS[0],
    "release": t.Done(what=("40.15.43.9",)),
    "mesh": MESH,
    "mesh_peers": MESH_PEERS,
    "expose": ENDPOINTS[0],
    "hide": t.Done(what=("office",)),
    "recover_mesh": t.Done(what=("cluster 5e0d7a1c",)),
    "leave_mesh": t.Done(what=("node-1",)),
    "bgp_sessions": SESSIONS,
    "bgp_routes": ROUTES,
    "bgp_settings": BgpSettings(),
    "set_bgp": BgpSettings(hold_time=9),
    "bgp_peers": BGP_PEERS,
    "add_bgp_peer": BGP_PEERS[0],
    "remove_bgp_peer": t.Done(what=("tor",)),
    "services": (SERVICE,),
    "service": SERVICE,
    "create_service": SERVICE,
    "set_service": SERVICE,
    "remove_service": t.Done(what=("blue/web",)),
    "drain": SERVICE,
    "report_health": SERVICE,
    "check": t.EndpointCheck(endpoint=ENDPOINTS[0], faults=("link eth0: missing",)),
}
