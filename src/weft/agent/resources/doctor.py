"""`weft doctor`: what on this host keeps packets from arriving, or will; each with what to do about it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator

from weft.agent.fast_counts import FLOWTABLE
from weft.agent.fast_counts import PROGRAMS as PROGRAMS_AT_DEVICES
from weft.agent.parts import Parts
from weft.agent.resources import checkup, mesh_checkup, paths
from weft.alloc.leases import on_host
from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, WeftError
from weft.base.names import sysctl_name
from weft.cluster.services import services
from weft.compile import routing_mesh
from weft.daemons.bgp_sessions import LONG
from weft.daemons.bird import PACKAGE
from weft.datapaths import registry
from weft.datapaths.guard import BRIDGE_RULES
from weft.datapaths.options import CommonOptions
from weft.kernel.host import fastpath
from weft.kernel.host.diagnose import foreign_vteps, udp_holders
from weft.kernel.host.facts import MD5
from weft.kernel.host.listeners import check_free
from weft.kernel.kinds import sysctl
from weft.kernel.kinds.bridge_filter import MODULE as BRIDGED
from weft.kernel.kinds.ipset import FEATURE as IPSET
from weft.kernel.plumbing import netns, tools
from weft.model import Network, ciphers
from weft.policy import reach
from weft.store.url import unguarded

MODULES = {
    "nftables": "nf_tables",
    "nft-bridge": "nft_meta_bridge",
    "tbf": "sch_tbf",
    FLOWTABLE: "nf_flow_table_inet nft_flow_offload",
    "vlan": "8021q",
    "mirred": "sch_ingress cls_u32 act_mirred",
    ciphers.ESP: "xfrm_user esp4 esp6",
}
"""Feature → the module that brings it, where its name is another."""
WITHOUT = {
    BRIDGE_RULES: "nftables for bridges: containers can send in each other's names",
    BRIDGED: f"{BRIDGED}: no policy on bridges (containers that have any are not attached), nor services of members there",
}
"""Feature → what the kernel has not, and what that means."""
TOOLS = tuple(f"{program}-restore" for program in ("iptables", "ip6tables"))
NOT_THROUGH_IPTABLES = 'policy = "nftables" in the agent\'s settings; restart the agent'
PROGRAMS = {
    "bird": f"apt install {PACKAGE}, and restart the agent",
    "openvswitch": "apt install openvswitch-switch neutron-openvswitch-agent, and start it: systemctl start openvswitch-switch",
}
"""Feature that is a program → what to do where it is not there."""

DEVICES = {"tun": "/dev/net/tun"}
"""Feature → the file by which programs use it, which a container may lack though the kernel can do it."""


async def findings(parts: Parts) -> tuple[t.Finding, ...]:
    return await asyncio.to_thread(lambda: tuple(_all(parts)))


def _all(parts: Parts) -> Iterator[t.Finding]:
    yield from _store(parts)
    if parts.mesh is not None:
        yield from mesh_checkup.findings(parts.mesh, parts.supervisor)
    yield from _uplink(parts)
    networks = list(_networks(parts))
    yield from features(parts.features, networks)
    yield from bandwidth(parts.features)
    yield fast_path(parts.features, no_programs)
    yield from _encryption(parts, networks)
    yield from bridge_rules(parts.features)
    yield from checkup.tools()
    yield signatures(parts.features)
    yield from checkup.other_bird()
    yield from checkup.forwarding(list(parts.desired.values()))
    yield from _mtu(parts, networks)
    yield from _reach(parts)
    yield from _sessions(parts)
    yield from _one_sided(parts)
    yield from paths.findings(parts)
    yield from _ports(parts, networks)
    yield from _published(parts)
    yield from _overlaps(parts, networks)
    yield from _other_vteps(networks)
    yield from _reverse_path(parts, networks)
    yield from checkup.firewalls()
    yield from checkup.neighbours(list(parts.desired.values()))
    yield from _through_iptables(parts)
    for remote in parts.targets.remotes.values():
        yield from remote.checkup()
    yield checkup.clock()


def _networks(parts: Parts) -> Iterator[tuple[Network, CommonOptions]]:
    """But for those that another version of Weft made, which `weft status` tells of."""
    for _, network in sorted(parts.view.networks.items()):
        with contextlib.suppress(WeftError):
            yield network, registry.parse_options(network)


def _store(parts: Parts) -> Iterator[t.Finding]:
    if exposed := unguarded(parts.config.store, parts.config.store_cert):
        yield t.Finding(
            check="store: access",
            result="warning",
            detail=f"{parts.store_status.url} is reached {exposed}: who reaches it can rule every host's network",
            advice="use etcds:// with store-ca and a user with store-password-file (docs/security.md, The store)",
        )
    status = parts.store_status
    if status.state == "connected":
        yield checkup.ok("store", f"{status.url} answers")
    else:
        detail = f"{status.url}: {status.reason or status.state}"
        yield t.Finding(
            check="store",
            result="error",
            detail=detail,
            advice="start it, or mend the way to it; traffic goes on",
            fault="store-unreachable",
        )


def _uplink(parts: Parts) -> Iterator[t.Finding]:
    node = parts.node
    if parts.waiting_for or node is None:
        detail = parts.waiting_for or "not looked at yet"
        yield t.Finding(
            check="uplink",
            result="error",
            detail=detail,
            advice="name the right device with --iface",
            fault="no-device",
        )
        return
    yield checkup.ok("uplink", f"{node.uplink} with {', '.join(map(str, node.addresses))}, MTU {node.mtu}")


def features(there: Collection[str], networks: list[tuple[Network, CommonOptions]]) -> Iterator[t.Finding]:
    """What drivers need in any case; what they need for some options only where a network has these."""
    wanted = {f: "" for d in registry.DRIVERS.values() for f in d.needs}
    for network, options in networks:
        wanted |= {f: network.name for f in options.features if not wanted.get(f)}
    for name, needed_by in sorted(wanted.items()):
        check = f"{'tool' if name in PROGRAMS else 'kernel'}: {name}"
        if name in there:
            yield checkup.ok(check, "installed" if name in PROGRAMS else "works")
            continue
        drivers = ", ".join(d.name for d in registry.DRIVERS.values() if name in d.needs)
        lost = f"networks of driver {drivers}" if drivers else f"network {needed_by}"
        yield t.Finding(
            check=check,
            result="error",
            detail=f"the {'host' if name in PROGRAMS else 'kernel'} has no {name}: no {lost} here",
            advice=remedy(name),
            fault="tool-missing" if name in PROGRAMS else "kernel-feature",
            fix=_modprobe(name),
        )


def remedy(feature: str) -> str:
    """What to do where a host lacks it."""
    if feature in DEVICES:
        return f"modprobe {feature}, or give this host the device {DEVICES[feature]}; restart the agent"
    return PROGRAMS.get(feature) or f"{_modprobe(feature)}, or a kernel with it"


def _modprobe(feature: str) -> str:
    modules = MODULES.get(feature, feature)
    return "" if feature in PROGRAMS else f"modprobe {'-a ' if ' ' in modules else ''}{modules}"


def signatures(there: Collection[str]) -> t.Finding:
    """No error: sessions between nodes do without, but then only addresses tell who speaks."""
    if MD5 in there:
        return checkup.ok(f"kernel: {MD5}", "works")
    return t.Finding(
        check=f"kernel: {MD5}",
        result="warning",
        detail="the kernel has no TCP MD5 signatures: BGP sessions of this node have no password",
        advice="take a kernel with CONFIG_TCP_MD5SIG, and not in FIPS mode",
        fault="kernel-feature",
    )


def bridge_rules(there: Collection[str]) -> Iterator[t.Finding]:
    """No error: all else works without."""
    for name, lost in WITHOUT.items():
        if name in there:
            yield checkup.ok(f"kernel: {name}", "works")
            continue
        yield t.Finding(
            check=f"kernel: {name}",
            result="warning",
            detail=f"the kernel has no {lost}",
            advice=f"{remedy(name)}, and restart the agent",
            fault="kernel-feature",
            fix=_modprobe(name),
        )


def _encryption(parts: Parts, networks: list[tuple[Network, CommonOptions]]) -> Iterator[t.Finding]:
    """An error only where a network needs it, and the host has neither; nothing where nobody means to encrypt."""
    wanted = [network for network, options in networks if options.secured is not None]
    host = parts.compiler.host
    program = host is not None and host.keyed
    stuck = [n.name for n in wanted if not (program and registry.of(n).several_ways(n))]
    able = [name for name in ciphers.PREFERRED if name in parts.features]
    for name in ciphers.PREFERRED:
        if name in able:
            yield checkup.ok(f"kernel: {name}", "works")
            continue
        if not wanted and not parts.config.mesh_secret:
            continue
        if able or not wanted:
            lost = "no harm while there is the other"
        else:
            lost = (
                f"nothing of network {stuck[0]} leaves it" if stuck else f"{wanted[0].name} goes by the sleeve, slower"
            )
        yield t.Finding(
            check=f"kernel: {name}",
            result="error" if stuck and not able else "warning",
            detail=f"the kernel has no {name}, to encrypt what hosts send each other: {lost}",
            advice=f"{remedy(name)}, and restart the agent",
            fault="kernel-feature",
            fix=_modprobe(name),
        )


def no_programs() -> str:
    """Why none can be asked at devices; "" where they can."""
    try:
        return netns.call_new(fastpath.refusal)
    except WeftError as error:
        return str(error)


def fast_path(there: Collection[str], refusal: Callable[[], str]) -> t.Finding:
    """Either will do, and nothing fails without; it is slower then. `refusal`: why programs cannot be asked at devices."""
    means = [name for name in (FLOWTABLE, PROGRAMS_AT_DEVICES) if name in there]
    if means:
        return checkup.ok("fast path", f"the kernel has {' and '.join(means)}")
    return t.Finding(
        check="fast path",
        result="warning",
        detail="all packets of open connections are put to all rules: the kernel has no flowtable, and no tcx that could be "
        f"used here ({refusal() or 'when the agent started; by now there is one'})",
        advice=f"{_modprobe(FLOWTABLE)}, or Linux 6.6 and later with an agent that is root on its host; "
        "restart the agent",
        fault="kernel-feature",
        fix=_modprobe(FLOWTABLE),
    )


def bandwidth(there: Collection[str]) -> Iterator[t.Finding]:
    """No error: who limits nothing misses nothing."""
    for name in registry.FROM_CONTAINER:
        if name in there:
            yield checkup.ok(f"kernel: {name}", "works")
            continue
        what = "limits of bandwidth" if name in registry.TO_CONTAINER else "limits of what containers send"
        yield t.Finding(
            check=f"kernel: {name}",
            result="warning",
            detail=f"the kernel has no {name}: no {what} here",
            advice=f"{_modprobe(name)}, or a kernel with it",
            fault="kernel-feature",
            fix=_modprobe(name),
        )


def _mtu(parts: Parts, networks: list[tuple[Network, CommonOptions]]) -> Iterator[t.Finding]:
    node = parts.node
    if node is None:
        return
    for network, options in networks:
        room = node.mtu - options.overhead
        mtu = network.mtu or options.fitting(node.mtu)
        check = f"MTU of {network.name}"
        if mtu > room:
            advice = f"make it with --mtu {room}, or raise {node.uplink}'s"
            detail = f"{mtu} does not fit into {room}"
            yield t.Finding(check=check, result="error", detail=detail, advice=advice, fault="network-mtu")
        else:
            yield checkup.ok(check, f"{mtu}, of {room} that fit")
    others = {n.name: n.mtu for n in tuple(parts.view.nodes.values()) if n.mtu != node.mtu}
    if others:
        detail = f"{node.uplink} has {node.mtu}, but " + ", ".join(
            f"{name} has {mtu}" for name, mtu in sorted(others.items())
        )
        advice = "give all uplinks one MTU, or make networks with --mtu for the smallest"
        yield t.Finding(
            check="MTU of the underlay", result="warning", detail=detail, advice=advice, fault="underlay-mtu-differs"
        )


def _reach(parts: Parts) -> Iterator[t.Finding]:
    for found in parts.routing.unreached():
        detail, _, advice = found.text.partition("; ")
        yield t.Finding(
            check=f"ways to {found.network}", result="error", detail=detail, advice=advice, fault="router-unaware"
        )


def _sessions(parts: Parts) -> Iterator[t.Finding]:
    """One that began just now is not yet an error: sessions take seconds to come up."""
    for state in parts.routing.states:
        if not state.protocol.up and state.protocol.state != "Unknown":
            yield t.Finding(
                check=f"BGP with {state.session.with_}",
                result="error" if time.time() - state.down_since > LONG else "warning",
                detail=f"the session with {state.session.remote} is {state.protocol.state}: "
                f"{state.verdict.reason or state.protocol.error or 'no reason given'}",
                advice=state.verdict.advice,
                fault="bgp-down",
            )


def _one_sided(parts: Parts) -> Iterator[t.Finding]:
    known = dict(parts.view.networks)
    for name, network in sorted(known.items()):
        for text in reach.one_sided(known, network):
            detail, _, advice = text.partition(": ")
            yield t.Finding(
                check=f"reach of {name}",
                result="warning",
                detail=f"{name} {detail}",
                advice=advice,
                fault="settings-disagree",
            )


def _ports(parts: Parts, networks: list[tuple[Network, CommonOptions]]) -> Iterator[t.Finding]:
    ways_out = {o.udp_port: "stop it, or make the network with another -O port" for _, o in networks if o.udp_port}
    if routing_mesh.tunnelled(parts.view):
        ways_out[routing_mesh.UDP_PORT] = (
            "stop it: packets for services' published ports go from host to host by that port"
        )
    for port, advice in sorted(ways_out.items()):
        holders = udp_holders(port, parts.tunnels.pump.is_own)
        if holders:
            detail = f"UDP port {port} is held by {'; '.join(holders)}"
            yield t.Finding(check=f"port {port}", result="error", detail=detail, advice=advice, fault="port-taken")
        else:
            yield checkup.ok(f"port {port}", "no program holds it")


def _published(parts: Parts) -> Iterator[t.Finding]:
    """Ports of all hosts that lead to services. Where a service was made, its ports were free; here one may be a program's,
    which nobody reaches any more."""
    held = False
    for at, service in sorted(services(parts.view).services.items()):
        for port in service.published:
            try:
                check_free(port, port.families)
            except Conflict as error:
                held, detail = True, str(error).partition(": ")[0]
                told = f"{detail}, and leads to service {at.network}/{at.name} instead"
                advice = f"have that program listen elsewhere, or `weft service set {at.network}/{at.name}` other ports"
                yield t.Finding(
                    check=f"port {port.outer}", result="warning", detail=told, advice=advice, fault="port-taken"
                )
            except (Invalid, Failed):
                continue  # an address of another host, or nothing that can be found out
    if not held and any(service.published for service in services(parts.view).services.values()):
        yield checkup.ok("published ports", "no program of this host holds one of a service's")


def _overlaps(parts: Parts, networks: list[tuple[Network, CommonOptions]]) -> Iterator[t.Finding]:
    """Of networks that were made on another host, or before this one got the subnet."""
    host = parts.compiler.host
    for network, _ in networks if host else ():
        assert host is not None
        apart = network.home == network.name and not registry.of(network).addresses.outside
        if apart and (found := on_host(network, host.attached)):
            mine, theirs, dev = found
            yield t.Finding(
                check=f"subnet of {network.name}",
                result="error",
                detail=f"{mine} overlaps {theirs}, which this host has on {dev}: one of them is not reached from here",
                advice=f"give {dev} another subnet, or make the network with another --subnet",
                fault="overlap",
            )


def _other_vteps(networks: list[tuple[Network, CommonOptions]]) -> Iterator[t.Finding]:
    """The kernel has one VXLAN device for a VNI on a port."""
    there = foreign_vteps()
    for network, options in networks:
        vni = options.tunnel_vni or 0
        for name in there.get((vni, options.udp_port or 0), ()) if network.home == network.name else ():
            yield t.Finding(
                check=f"VNI of {network.name}",
                result="error",
                detail=f"device {name} is not Weft's and has VNI {vni} on UDP port {options.udp_port}, as this network",
                advice=f"remove it (ip link del {name}), or make the network with another -O vni",
                fault="tunnel-port-taken",
                fix=f"ip link del {name}",
            )


def _reverse_path(parts: Parts, networks: list[tuple[Network, CommonOptions]]) -> Iterator[t.Finding]:
    """A host's answers to what another host itself sent through a tunnel come back past the tunnel, and what is published may
    be asked for by another interface than the answer takes. Strict filtering drops such packets (RFC 3704; the kernel takes
    the larger of `all` and the device's own: ip-sysctl.rst)."""
    if parts.node is None or not any(4 in network.families for network, _ in networks):
        return
    tunnels = sorted({o.tunnel_device for _, o in networks if o.tunnel_device})
    for dev in (parts.node.uplink, *tunnels):
        values = [sysctl.get(f"net/ipv4/conf/{each}/rp_filter") for each in ("all", dev)]
        if values[1] is not None and max(int(v or 0) for v in values) == 1:
            fix = f"sysctl -w {sysctl_name(f'net/ipv4/conf/{dev}/rp_filter')}=2"
            yield t.Finding(
                check=f"reverse path filter of {dev}",
                result="warning",
                detail=f"rp_filter is strict (1) on {dev}: packets whose answer takes another interface are dropped",
                advice=f"{fix}, and look in /etc/sysctl.d",
                fault="rp-filter",
                fix=fix,
            )


def _through_iptables(parts: Parts) -> Iterator[t.Finding]:
    if parts.config.policy != "iptables":
        return
    if parts.node is not None and IPSET not in parts.features:
        advice = f"modprobe ip_set ip_set_hash_ip ip_set_hash_net ip_set_hash_ipport xt_set, or {NOT_THROUGH_IPTABLES}"
        lost = "the kernel has no ipset: containers that have policy are not attached"
        yield t.Finding(check="policy", result="error", detail=lost, advice=advice, fault="kernel-feature")
    elif missing := [name for name in TOOLS if tools.find(name) is None]:
        advice = f"apt install iptables, or {NOT_THROUGH_IPTABLES}"
        detail = f"{missing[0]} is not installed"
        yield t.Finding(check="policy", result="error", detail=detail, advice=advice, fault="tool-missing")
    else:
        yield checkup.ok("policy", "iptables and ipset are there")
