"""What others' packet filters on a host do to what networks live by: forwarded packets, bridged ones, and tunnels.

A packet of each kind is put to the rules, as the walk does it; those that nobody can judge from here are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from weft.api import types as t
from weft.api.dump import XtablesDump
from weft.base.net import IPAddress
from weft.faults.scene import Fault, Inside, Scene
from weft.filters.model import Connection, Device, Seen, Tuple, Verdict
from weft.filters.octets import packet
from weft.trace.namespace import Choice

_TCP, _UDP = 6, 17
_FAMILIES = {4: "ip", 6: "ip6"}
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_LOST = ("drop", "reject")
_MANY = 20
"""Containers of a host that are asked about: rules are the same for all, or nearly."""
_OUTSIDE = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
"""Of nobody (RFC 5737, RFC 3849)."""


def forwarded(scene: Scene) -> Iterator[Fault]:
    """What containers send out of the host, and what comes to them from there, dropped by who is not Weft."""
    told: set[tuple[str, str]] = set()
    for host in scene.hosts:
        for endpoint, address in _local(scene, host):
            for way in _ways(scene, host, endpoint, address):
                verdict = _run(scene, host, "forward", *way)
                fault = _lost(host, verdict, f"what {endpoint.name} sends or gets")
                if fault is not None and (host.host, fault.detail.partition(": ")[2]) not in told:
                    told.add((host.host, fault.detail.partition(": ")[2]))
                    yield fault


def _ways(
    scene: Scene, host: Inside, endpoint: t.EndpointInfo, address: IPAddress
) -> Iterator[tuple[Tuple, Device | None, Device | None]]:
    """By the devices that the host's routes say; what stays on the segment, or ends here, is not forwarded."""
    inner, network = _gate(host, endpoint), scene.networks.get(endpoint.network)
    other = _elsewhere(scene, endpoint, address.version)
    outside = None if network is None or network.internal else _OUTSIDE[address.version]
    for target in (outside, other) if inner is not None else ():
        assert inner is not None
        found = scene.tables(host).route(address, target, inner.name) if target is not None else None
        outer = _device(host, found.dev) if isinstance(found, Choice) else None
        if target is None or outer is None or outer.name == inner.name:
            continue
        yield Tuple(_TCP, address, target, 40000, 80), inner, outer
        if target == other:
            yield Tuple(_TCP, other, address, 40000, 80), outer, inner


def bridged(scene: Scene) -> Iterator[Fault]:
    """Two containers on one bridge, whose packets iptables is shown (br_netfilter)."""
    for host in scene.hosts:
        for family in (4, 6):
            name = f"net.bridge.bridge-nf-call-ip{'6' if family == 6 else ''}tables"
            if host.dump.sysctls.get(name, "0") != "1":
                continue
            found = list(_pairs(scene, host, family))
            for bridge, flow, one, two in found[:1]:
                seen = _seen(flow, bridge, bridge, one, two)
                verdict = scene.filters(host).run("forward", _FAMILIES[family], seen)
                if verdict.action in _LOST and verdict.where is not None and verdict.where.owner != "weft":
                    yield host.fault(
                        "bridge-nf",
                        f"{host.name} shows bridged packets to rules for IP, and {_named(verdict)} drops them",
                        advice="if nothing here needs bridged packets in iptables, switch it off",
                        fix=host.command("sysctl", "-w", f"{name}=0"),
                    )


def _pairs(scene: Scene, host: Inside, family: int) -> Iterator[tuple[Device, Tuple, Device, Device]]:
    by_bridge: dict[str, tuple[IPAddress, str]] = {}
    for endpoint, address in _local(scene, host):
        port = host.link(endpoint.host_interface)
        if address.version != family or port is None or not port.master:
            continue
        first = by_bridge.setdefault(port.master, (address, port.name))
        devices = _device(host, port.master), _device(host, first[1]), _device(host, port.name)
        if first[0] != address and all(devices):
            bridge, one, two = devices
            assert bridge and one and two  # all of them are there
            yield bridge, Tuple(_TCP, first[0], address, 40000, 80), one, two


def tunnels(scene: Scene) -> Iterator[Fault]:
    """Whether what other hosts send to this host's tunnels gets in."""
    for host in scene.hosts:
        uplink = _uplink(scene, host)
        mine = next((n for n in scene.told.nodes if n.name == host.host), None)
        for port in sorted({link.vxlan.port for link in host.dump.links if link.vxlan} if uplink and mine else ()):
            assert mine is not None
            for peer in scene.told.nodes:
                pair = _addresses(mine, peer)
                if peer.name == host.host or pair is None:
                    continue
                to, source = pair
                verdict = _run(scene, host, "input", Tuple(_UDP, source, to, 40000, port), uplink, None)
                if verdict.action in _LOST and verdict.where is not None:
                    yield host.fault(
                        "underlay-filtered",
                        f"UDP port {port} from {peer.name} ({source}) is dropped on {host.name} by {_named(verdict)}",
                        advice=f"let UDP port {port} in from all nodes",
                        fix=verdict.where.remedy,
                    )
                    break


def _addresses(mine: t.NodeInfo, peer: t.NodeInfo) -> tuple[IPAddress, IPAddress] | None:
    for own in mine.addresses:
        for other in peer.addresses:
            if own.version == other.version:
                return own.ip, other.ip
    return None


def masqueraded(scene: Scene) -> Iterator[Fault]:
    """What goes from container to container keeps its source."""
    for host in scene.hosts:
        for endpoint, address in _local(scene, host):
            other = _elsewhere(scene, endpoint, address.version)
            outer = _uplink(scene, host)
            if other is None or outer is None:
                continue
            seen = _seen(Tuple(_TCP, address, other, 40000, 80), None, outer)
            verdict = scene.filters(host).run("postrouting", _FAMILIES[address.version], seen, nat=True)
            found = verdict.translation
            if found is not None and found.kind in ("snat", "masquerade") and found.where.owner != "weft":
                yield host.fault(
                    "masquerade-wide",
                    f"{host.name} gives packets from {endpoint.name} to {other} another source: {found.where.text}",
                    advice="let the rule leave containers' own subnets alone",
                    fix=found.where.remedy,
                )
                break


def two_iptables(scene: Scene) -> Iterator[Fault]:
    """Rules in both back ends; the tables alone do no harm, nor do those in which Weft's own chains are: Weft is in both."""
    for host in scene.hosts:
        legacy = any(_has_rules(table) and b"WEFT" not in table.entries for table in host.dump.filters.xtables)
        newer = any(
            table.name in _IPTABLES and table.family in ("ip", "ip6") and any(chain.rules for chain in table.chains)
            for table in host.dump.filters.nft
        )
        if legacy and newer:
            yield host.fault(
                "two-iptables",
                f"{host.name} has rules both in iptables-legacy and in iptables-nft, which do not see each other's",
                advice="`iptables-legacy-save` and `iptables-nft-save` show them; let all use one (update-alternatives)",
                warning=True,
            )


_IPTABLES = ("filter", "nat", "mangle", "raw", "security")
_POLICY, _END = {4: 152, 6: 208}, {4: 176, 6: 232}
"""Octets of a chain's policy (struct ipt_entry or ip6t_entry, with a standard target) and of a table's end (with an error)."""


def _has_rules(table: XtablesDump) -> bool:
    return len(table.entries) > len(table.hooks) * _POLICY[table.family] + _END[table.family]


# -- parts -------------------------------------------------------------------------------------------------------------


def _local(scene: Scene, host: Inside) -> Iterator[tuple[t.EndpointInfo, IPAddress]]:
    here = [e for e in scene.told.endpoints if e.node == host.host][:_MANY]
    return ((endpoint, address.ip) for endpoint in here for address in endpoint.addresses)


def _elsewhere(scene: Scene, endpoint: t.EndpointInfo, version: int) -> IPAddress | None:
    """An endpoint of the same network on another host."""
    found = (e for e in scene.told.endpoints if e.network == endpoint.network and e.node != endpoint.node)
    return next((a.ip for e in found for a in e.addresses if a.version == version), None)


def _gate(host: Inside, endpoint: t.EndpointInfo) -> Device | None:
    """The device by which its packets come to the host: the bridge it is a port of, else the host's end itself."""
    port = host.link(endpoint.host_interface)
    return None if port is None else _device(host, port.master or port.name)


def _uplink(scene: Scene, host: Inside) -> Device | None:
    mine = next((n for n in scene.told.nodes if n.name == host.host), None)
    return _device(host, mine.uplink) if mine is not None else None


def _device(host: Inside, name: str) -> Device | None:
    link = host.link(name)
    if link is None:
        return None
    return Device(
        name=link.name, index=link.ifindex, kind=link.kind, type=link.type, group=link.group, master=link.master
    )


def _seen(
    flow: Tuple, iif: Device | None, oif: Device | None, physin: Device | None = None, physout: Device | None = None
) -> Seen:
    return Seen(
        octets=packet(flow),
        protocol=_ETHERTYPE[flow.src.version],
        iif=iif,
        oif=oif,
        physin=physin,
        physout=physout,
        connection=Connection(state="new", original=flow, answer=flow.turned()),
    )


def _run(scene: Scene, host: Inside, hook: str, flow: Tuple, iif: Device | None, oif: Device | None) -> Verdict:
    return scene.filters(host).run(hook, _FAMILIES[flow.src.version], _seen(flow, iif, oif))


def _lost(host: Inside, verdict: Verdict, whose: str) -> Fault | None:
    where = verdict.where
    if verdict.action not in _LOST or where is None or where.owner == "weft":
        return None
    return host.fault(
        "rule-drops" if where.handle else "forward-policy",
        f"{host.name} drops {whose}: {_named(verdict)}",
        advice="accept the containers' packets there: no table can overrule another's drop",
        fix=where.remedy,
    )


def _named(verdict: Verdict) -> str:
    where = verdict.where
    assert where is not None
    owner = f" of {where.owner}" if where.owner else ""
    what = f"rule `{where.text}`" if where.handle else f"policy {where.text}" if where.text else "the policy"
    return f"{what} in chain {where.chain}{owner} (table {where.family} {where.table})"
