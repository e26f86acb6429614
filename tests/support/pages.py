"""The page in a browser: clusters that a canned agent tells of, the page's server, and Chromium."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import msgspec

from support.canned import ILL, MESH_PEERS, POLICIES, SESSIONS, WELL
from support.canned_agent import Asked, Raw
from weft.agent.rows import Rows
from weft.api import flows as f
from weft.api import services as s
from weft.api import types as t
from weft.api.live import Probed
from weft.api.topology import EndpointLine, LinkCounters, Topology
from weft.base.errors import Unavailable, WeftError
from weft.live.proof import Proof, Sight
from weft.model import PublishedPort, encode
from weft.services.model import Service, parse_port
from weft.trace.path import Hop, Outcome, Trace
from weft.trace.path import Path as Way
from weft.ui.server import Page

CHROMIUM = "/usr/bin/chromium"


class World:
    """A cluster as an agent tells it, changed by `put` while the page looks. `away`: what the agent says instead."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.away: WeftError | None = None
        self.instance = "1"
        self._changed = threading.Condition()

    def put(self, table: str, key: str, value: object) -> None:
        with self._changed:
            self.rows.put(table, key, value)
            self._changed.notify_all()

    def restart(self) -> None:
        """The agent is another one: what it said before is nothing to it."""
        with self._changed:
            self.instance += "1"
            self.away = None
            self._changed.notify_all()

    def leave(self) -> None:
        with self._changed:
            self.away = Unavailable("no agent answers at /run/weft/weft.sock: start it with `weft agent run`")
            self._changed.notify_all()

    def answer(self, asked: Asked) -> object:
        after, wait = asked.params.get("after", ""), float(asked.params.get("wait") or 0)
        with self._changed:
            self._changed.wait_for(lambda: self._news(after), wait)
            return self.away or self._since(after)

    def _news(self, after: str) -> bool:
        return bool(self.away) or after != self._at

    @property
    def _at(self) -> str:
        return f"{self.instance}.{self.rows.number}"

    def _since(self, after: str) -> Topology:
        instance, _, number = after.partition(".")
        tables = self.rows.since(int(number)) if instance == self.instance else None
        whole = tables is None
        return Topology(at=self._at, whole=whole, time=time.time(), **(self.rows.all() if tables is None else tables))


def network(name: str, driver: str, *subnets: str, **more: Any) -> t.NetworkInfo:
    values = {"options": {"vni": 1, "port": 8472}, "internal": False, "mtu": None, **more}
    return t.NetworkInfo(name=name, driver=driver, subnets=tuple(map(ip_network, subnets)), **values)


def node(name: str, *addresses: str, **more: Any) -> t.NodeInfo:
    found = tuple(map(ip_interface, addresses))
    values = {
        "uplink": "eth0",
        "mtu": 1500,
        "alive": True,
        "version": "0.2.0",
        "segment": str(found[0].network),
        **more,
    }
    return t.NodeInfo(name=name, addresses=found, **values)


def empty() -> World:
    world = World()
    here = node("node-1", "192.168.1.68/24", this=True)
    world.put("nodes", "node-1", here)
    world.put("status", "node-1", msgspec.structs.replace(WELL, peers=(), networks=()))
    world.put("links", "eth0", LinkCounters(mtu=1500, up=True, carrier=True, uplink=True))
    return world


def four() -> World:
    """Four hosts, one of them behind a router, three networks, some containers, a service."""
    world = World()
    places = ["192.168.1.68/24", "192.168.1.254/24", "192.168.1.245/24", "192.168.0.33/24"]
    for at, place in enumerate(places, 1):
        subnets = {"blue": (ip_network(f"10.1.{at}.0/24"),), "prod": (ip_network(f"10.3.{at}.64/26"),)}
        world.put(
            "nodes",
            f"node-{at}",
            node(f"node-{at}", place, f"fd00:192:168:{at % 2}::{at}/64", this=at == 1, subnets=subnets),
        )
    world.put("networks", "blue", network("blue", "vxlan", "10.1.0.0/16", "fd00:1::/48", labels={"team": "payments"}))
    world.put("networks", "office", network("office", "mesh", "172.16.0.0/16", options={"encrypt": True}))
    world.put("networks", "prod", network("prod", "routed", "10.3.0.0/16", options={"block-size": 26}))
    names = ["web", "api", "db", "cache"]
    for host in range(1, 5):
        for at, name in enumerate(names[: 5 - host]):
            net, prefix = (("blue", f"10.1.{host}"), ("prod", f"10.3.{host}"), ("office", f"172.16.{host}"))[at % 3]
            address = ip_address(f"{prefix}.{at + 66}")
            line = EndpointLine(
                name=f"{name}-{host}",
                network=net,
                node=f"node-{host}",
                mac=f"02:42:0a:01:0{host}:0{at}",
                addresses=(address,),
                labels={"app": name, "tier": "front" if name == "web" else "back"},
                device=f"weft0{at}" if host == 1 else "",
            )
            world.put("endpoints", f"e{host}{at}", line)
    world.put("status", "node-1", WELL)
    world.put("sessions", "node-2 192.168.1.254", SESSIONS[0])
    world.put("sessions", "tor 192.168.1.1", SESSIONS[1])
    for at, (name, kind) in enumerate([("eth0", ""), ("weft.1", "vxlan"), ("weft-blue", "bridge"), ("weft00", "veth")]):
        world.put("links", name, counters(kind, at, uplink=name == "eth0"))
    world.put("services", "blue/web", service())
    return world


def counters(kind: str, at: int, *, uplink: bool = False, more: int = 0, **changed: Any) -> LinkCounters:
    octets = 10 ** (10 - 2 * at) + more
    values = {"up": True, "carrier": True, "mark": "" if uplink else "weft:x", **changed}
    return LinkCounters(
        kind=kind,
        uplink=uplink,
        mtu=1500,
        received=octets // 900,
        received_octets=octets,
        sent=octets // 1400,
        sent_octets=2 * octets,
        **values,
    )


def service(*states: str) -> s.ServiceInfo:
    made = Service(
        name="web",
        network="blue",
        ports=(parse_port("80:8080"),),
        select="app=web",
        addresses=(ip_address("10.1.250.1"),),
    )
    members = tuple(
        s.MemberInfo(
            id=f"e{at}0",
            name=f"web-{at}",
            node=f"node-{at}",
            addresses=(ip_address(f"10.1.{at}.66"),),
            state=state,
            reason="" if state == "ready" else "connection refused",
        )
        for at, state in enumerate(states or ("ready", "ready", "unready", "ready"), 1)
    )
    return s.ServiceInfo(service=made, members=members)


def many(hosts: int = 100, endpoints: int = 5000, networks: int = 8) -> World:
    world = World()
    drivers = ["vxlan", "routed", "overlay", "mesh", "host-gw", "udp", "macvlan", "bridge"]
    for at in range(networks):
        world.put("networks", f"team-{at}", network(f"team-{at}", drivers[at % len(drivers)], f"10.{at + 1}.0.0/16"))
    for at in range(hosts):
        place = f"10.200.{at // 25}.{at % 25 + 10}/24"
        world.put(
            "nodes",
            f"node-{at + 1:03}",
            node(
                f"node-{at + 1:03}",
                place,
                this=at == 0,
                alive=at not in (17, 63),
                withdrawn=at == 63,
                evidence="node-064 answers nothing: seen last 14 min ago" if at == 63 else "",
            ),
        )
    for at in range(endpoints):
        host, net = at % hosts, (at * 7 // hosts + at // 3) % networks
        address = ip_address(f"10.{net + 1}.{at // 250}.{at % 250 + 2}")
        line = EndpointLine(
            name=f"app-{at % 40}-{at:04}",
            network=f"team-{net}",
            node=f"node-{host + 1:03}",
            mac=f"02:42:{at // 65536:02x}:{at // 256 % 256:02x}:{at % 256:02x}:01",
            addresses=(address,),
            labels={"app": f"app-{at % 40}", "team": f"team-{net}"},
        )
        world.put("endpoints", f"id{at:06}", line)
    world.put("status", "node-001", msgspec.structs.replace(WELL, node="node-001"))
    world.put("links", "eth0", counters("", 0, uplink=True))
    return world


# ---------------------------------------------------------------------------------------------------------- the server


@contextmanager
def served(socket: Path) -> Iterator[str]:
    """The page's address, while its server runs in a thread of its own."""
    ready, ended, found = threading.Event(), asyncio.Event(), list[str]()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        page = Page(str(socket))
        async with page.served(0) as address:
            found.append(address)
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert ready.wait(30)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def endpoint_info(line: EndpointLine, id: str) -> t.EndpointInfo:
    return t.EndpointInfo(
        id=id,
        name=line.name,
        network=line.network,
        node=line.node,
        container="f" * 64,
        namespace=f"/run/netns/{line.name}",
        interface="eth0",
        host_interface=line.device or "weft00",
        mac=line.mac,
        addresses=tuple(ip_interface(f"{a}/24") for a in line.addresses),
        gateways=tuple(ip_address(str(a).rpartition(".")[0] + ".1") for a in line.addresses),
        mtu=1450,
        labels=line.labels,
        routes=(t.RouteInfo(destination=ip_network("0.0.0.0/0"), gateway=ip_address("10.1.1.1")),),
        ports=(PublishedPort(host_port=8080, container_port=80),),
    )


def answers(world: World) -> dict[str, object]:
    """What a canned agent says of it."""

    def endpoint(asked: Asked) -> object:
        line = world.rows.get("endpoints", asked.params["ref"])
        if line is None:
            return Raw(404, encode(t.Error(error="not-found", message=f"no endpoint {asked.params['ref']}")))
        return endpoint_info(line, asked.params["ref"])

    doctor = (
        t.Finding(check="kernel: vxlan", result="ok", detail="devices can be made"),
        t.Finding(
            check="mtu",
            result="warning",
            detail="eth0 has MTU 1400, its peers 1500: large packets to them are fragmented or lost",
            advice="set the same MTU on every host of a segment: `ip link set eth0 mtu 1500`",
        ),
    )
    return {
        "topology": world.answer,
        "endpoint": endpoint,
        "doctor": doctor,
        "status": msgspec.structs.replace(ILL, node="node-2"),
        "bgp_sessions": SESSIONS,
        "mesh_peers": MESH_PEERS,
        "policies": POLICIES,
        "flows": flows(),
    }


def flows() -> f.FlowPage:
    def end(address: str, port: int, name: str = "", node: str = "", kind: str = "container") -> f.FlowEnd:
        return f.FlowEnd(address=ip_address(address), port=port, kind=kind, name=name, network="blue", node=node)

    one = f.Flow(
        node="node-2",
        protocol="tcp",
        state="ESTABLISHED",
        source=end("10.1.1.66", 40000, "web-1", "node-1"),
        target=end("10.1.250.1", 80, "web", kind="service"),
        member=end("10.1.2.66", 8080, "web-2", "node-2"),
        octets=71_000,
        reply_octets=2_400_000,
    )
    return f.FlowPage(node="node-2", flows=(one,), total=1)


def trace_of(*, broken: bool = False) -> Trace:
    """As docs/trace.md shows one."""
    a, b = ip_address("10.1.1.66"), ip_address("10.1.4.66")
    hops = (
        Hop(
            place="node-1/web-1",
            step="route",
            entry="default via 10.1.1.1 dev eth0 proto 87",
            result="next hop 10.1.1.1 by eth0",
        ),
        Hop(place="node-1/web-1", step="veth", entry="eth0 is one end, weft00 on node-1 the other"),
        Hop(
            place="node-1",
            step="forward",
            entry="10.1.4.0/24 via 10.1.4.0 dev weft.1 onlink proto 87",
            result="next hop 10.1.4.0 by weft.1, TTL 63",
        ),
        Hop(
            place="node-1",
            step="encapsulate",
            entry="82:74:68:fc:92:24 dev weft.1 dst 192.168.0.33 self permanent",
            result="VNI 1 to 192.168.0.33 UDP 8472, from 192.168.1.68",
        ),
        Hop(place="node-1", step="wire", entry="out of eth0", result="to eth0 of node-4"),
    )
    rest = (
        Hop(
            place="node-4",
            step="decapsulate",
            entry="weft.1: VXLAN VNI 1 on UDP port 8472",
            result="frame for 82:74:68:fc:92:24",
        ),
        Hop(
            place="node-4",
            step="forward",
            entry="10.1.4.0/24 dev weft-blue proto kernel scope link src 10.1.4.1",
            result="on-link by weft-blue, TTL 62",
        ),
        Hop(
            place="node-4/web-4",
            step="deliver",
            entry="local 10.1.4.66 dev eth0 table local proto kernel scope host src 10.1.4.66",
        ),
    )
    good = Outcome(ending="delivered", place="node-4/web-4", text="delivered to 10.1.4.66 on node-4/web-4")
    bad = Outcome(
        ending="link-down",
        place="node-4",
        text="weft.1 on node-4 is down",
        advice="on node-4: `ip link set weft.1 up`",
        fault="link-down",
        fix="ip link set weft.1 up",
        host="node-4",
    )
    there = Way(
        source=a, target=b, hops=hops if broken else hops + rest, outcome=bad if broken else good, mtu=1450, ttl=62
    )
    back = Way(
        source=b,
        target=a,
        hops=rest[:2],
        outcome=msgspec.structs.replace(good, text="delivered to 10.1.1.66 on node-1/web-1", place="node-1/web-1"),
        mtu=1450,
        ttl=62,
    )
    return Trace(origin="node-1/web-1", target="node-4/web-4", there=there, back=None if broken else back)


def proof_of() -> Proof:
    """Of a packet that a rule stops on node-4."""
    sights = (
        Sight(
            place="node-1/web-1", point="out", device="eth0", after=0, what="probe", addresses="10.1.1.66 > 10.1.4.66"
        ),
        Sight(place="node-1", point="in", device="weft00", after=8, what="probe", addresses="10.1.1.66 > 10.1.4.66"),
        Sight(place="node-4", point="in", device="weft.1", after=0, what="probe", addresses="10.1.1.66 > 10.1.4.66"),
        Sight(
            place="node-4",
            point="drop",
            device="weft.1",
            after=21,
            what="probe",
            addresses="",
            reason="NETFILTER_DROP",
            function="nft_do_chain",
        ),
    )
    return Proof(
        sent=Probed(source="10.1.1.66", sport=4711, answer="nothing", text="nothing answers"),
        end="dropped",
        place="node-4",
        text="dropped on node-4: NETFILTER_DROP in nft_do_chain",
        sights=sights,
        reason="NETFILTER_DROP",
        function="nft_do_chain",
        faults=("filter-drop",),
        agrees=False,
        differs="the tables say that it is delivered",
        unseen=("node-2: its kernel has no tracepoints",),
    )
