"""Devices of containers, their addresses, and neighbours that are not who they should be."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

from weft.api import types as t
from weft.api.dump import FdbDump, NeighbourDump
from weft.bpf.layout import FAST, SEEN
from weft.faults.scene import Fault, Inside, Scene

_PAIR = "veth"
_USABLE = ("permanent", "reachable", "stale", "delay", "probe")


def down(scene: Scene) -> Iterator[Fault]:
    """In containers; on the host the agent itself sets its own up again."""
    for space, endpoint in _of_endpoints(scene):
        link = space.link(endpoint.interface)
        if link is None:
            yield space.fault(
                "no-device",
                f"{space.name} has no {endpoint.interface} (any more), its interface in {endpoint.network}",
                advice=f"attach it again: `weft detach`, then `weft attach`, with --network {endpoint.network}",
            )
        elif not link.up:
            yield space.fault(
                "link-down",
                f"{link.name} in {space.name} is down",
                fix=space.command("ip", "link", "set", link.name, "up"),
            )


def loopback_down(scene: Scene) -> Iterator[Fault]:
    """Names are asked for at 127.0.0.11, which is the container's own loopback."""
    for space in scene.containers:
        lo = space.link("lo")
        if lo is not None and not lo.up and any(endpoint.resolver for endpoint in space.endpoints):
            yield space.fault(
                "resolver-unreachable",
                f"lo in {space.name} is down, so names cannot be asked for there",
                fix=space.command("ip", "link", "set", "lo", "up"),
            )


def addresses_missing(scene: Scene) -> Iterator[Fault]:
    for space, endpoint in _of_endpoints(scene):
        link = space.link(endpoint.interface)
        for address in endpoint.addresses if link is not None else ():
            if str(address.ip) not in scene.held[space.host, space.dump.path]:
                words = ("ip", "address", "add", str(address), "dev", endpoint.interface)
                yield space.fault(
                    "address-missing",
                    f"{address.ip} is on no device in {space.name}, whose it is",
                    fix=space.command(*words, *(("nodad",) if address.version == 6 else ())),
                )


def duplicate_addresses(scene: Scene) -> Iterator[Fault]:
    """An endpoint's address in another namespace."""
    for space in scene.spaces:
        for found in space.dump.addresses:
            address = ip_interface(found.address)
            owner = scene.by_address.get(str(address.ip))
            if (
                owner is None
                or owner in space.endpoints
                or (owner.node, owner.namespace) == (space.host, space.dump.path)
            ):
                continue
            yield space.fault(
                "duplicate-address",
                f"{found.dev} in {space.name} has {address.ip}, which is {owner.node}/{owner.name}'s",
                fix=space.command("ip", "address", "del", found.address, "dev", found.dev),
            )


def duplicate_macs(scene: Scene) -> Iterator[Fault]:
    """Of two veths in containers of one network. Whose the endpoint's is by the cluster's word may keep it."""
    for space, endpoint in _of_endpoints(scene):
        link = space.link(endpoint.interface)
        if link is None or link.kind != _PAIR or link.mac == endpoint.mac:
            continue
        others = [o for o in scene.by_mac.get(link.mac, ()) if o.network == endpoint.network and o.id != endpoint.id]
        if others:
            yield space.fault(
                "duplicate-mac",
                f"{link.name} in {space.name} has {link.mac}, which is {others[0].node}/{others[0].name}'s",
                fix=space.command("ip", "link", "set", link.name, "address", endpoint.mac),
            )


def dad_failed(scene: Scene) -> Iterator[Fault]:
    for space in scene.spaces:
        for address in space.dump.addresses:
            if "dadfailed" in address.flags:
                again = space.command("ip", "address", "del", address.address, "dev", address.dev)
                again += " && " + space.command("ip", "address", "add", address.address, "dev", address.dev)
                yield space.fault(
                    "dad-failed",
                    f"{address.address} on {address.dev} in {space.name} is not used: somebody else has it there",
                    advice="find out who answers for it, and then add it again",
                    fix=again,
                )


def arp_off(scene: Scene) -> Iterator[Fault]:
    for space, endpoint in _of_endpoints(scene):
        link = space.link(endpoint.interface)
        if link is not None and link.noarp and link.kind == _PAIR:
            yield space.fault(
                "arp-off",
                f"{link.name} in {space.name} neither asks for neighbours nor answers",
                fix=space.command("ip", "link", "set", link.name, "arp", "on"),
            )


def silenced(scene: Scene) -> Iterator[Fault]:
    """arp_ignore from 3 on, and echo_ignore_all (ip-sysctl.rst)."""
    for space in scene.spaces:
        name = "net.ipv4.conf.all.arp_ignore"
        if space.dump.sysctls.get(name, "0") not in ("0", "1", "2"):
            yield _set(space, "arp-ignored", name, "0", "questions for its neighbours' MAC are not answered")
        for name in ("net.ipv4.icmp_echo_ignore_all", "net.ipv6.icmp.echo_ignore_all"):
            if space.dump.sysctls.get(name, "0") != "0":
                yield _set(space, "echo-ignored", name, "0", "ping is not answered, though all else may be")


def _set(space: Inside, kind: str, name: str, value: str, means: str) -> Fault:
    return space.fault(
        kind,
        f"{name} is {space.dump.sysctls[name]} in {space.name}: {means}",
        fix=space.command("sysctl", "-w", f"{name}={value}"),
    )


def ports_mtu(scene: Scene) -> Iterator[Fault]:
    """A container's end of a veth that takes more than the host's: what is larger is lost (__dev_forward_skb2())."""
    for space, endpoint in _of_endpoints(scene):
        link = space.link(endpoint.interface)
        host = next((h for h in scene.hosts if h.host == space.host), None)
        if link is None or link.peer is None or host is None or link.peer.namespace != "":
            continue
        outer = host.link(link.peer.name)
        if outer is not None and link.mtu > outer.mtu:
            yield space.fault(
                "port-mtu",
                f"{link.name} in {space.name} has MTU {link.mtu}, its other end {outer.name} {outer.mtu}",
                fix=space.command("ip", "link", "set", link.name, "mtu", str(outer.mtu)),
            )


def stale_neighbours(scene: Scene) -> Iterator[Fault]:
    """Entries for endpoints that are on the segment, with another MAC than theirs."""
    for space in scene.spaces:
        for entry in space.dump.neighbours:
            owner = scene.by_address.get(entry.address)
            if owner is None or entry.state not in _USABLE or not entry.lladdr:
                continue
            if entry.lladdr != owner.mac and _on_link(space, entry, owner):
                yield space.fault(
                    "stale-neighbour",
                    f"{space.name} has {entry.lladdr} for {entry.address} on {entry.dev}, but "
                    f"{owner.node}/{owner.name} has {owner.mac}",
                    fix=space.command("ip", "neigh", "del", entry.address, "dev", entry.dev),
                )


def _on_link(space: Inside, entry: NeighbourDump, owner: t.EndpointInfo) -> bool:
    """Whether the container itself should answer: it is this host's, or on the container's own subnet; and no device that
    answers for others, as routed networks have, stands in between."""
    link = space.link(entry.dev)
    if link is None or link.vxlan is not None or link.proxying or link.kind in ("ipvlan", "macvlan"):
        return False
    if not space.endpoints:
        return owner.node == space.host
    mine = next((e for e in space.endpoints if e.interface == entry.dev and e.network == owner.network), None)
    wanted = ip_address(entry.address)
    return mine is not None and any(a.version == wanted.version and wanted in a.network for a in mine.addresses)


def stale_fdb(scene: Scene) -> Iterator[Fault]:
    """An entry for a local endpoint that leads to another port than its own; those that bridges learn come and go."""
    for host in scene.hosts:
        own = {e.mac: e for e in scene.told.endpoints if e.node == host.host and e.host_interface}
        for entry in host.dump.fdb:
            endpoint = own.get(entry.lladdr)
            if (
                endpoint is None
                or not entry.master
                or entry.dev == endpoint.host_interface
                or not _port_of(host, entry, endpoint)
            ):
                continue
            yield host.fault(
                "stale-fdb",
                f"{entry.master} sends frames for {entry.lladdr} out of {entry.dev}, but "
                f"{endpoint.name} is behind {endpoint.host_interface}",
                fix=host.command("bridge", "fdb", "del", entry.lladdr, "dev", entry.dev, "master"),
            )


def _port_of(host: Inside, entry: FdbDump, endpoint: t.EndpointInfo) -> bool:
    port = host.link(endpoint.host_interface)
    return port is not None and port.master == entry.master


def programs(scene: Scene) -> Iterator[Fault]:
    for space in scene.spaces:
        for link in space.dump.links:
            for program in link.programs:
                if program.judged == "accept":
                    continue
                kind, words = _OFF[program.at]
                yield space.fault(
                    kind,
                    f"{link.name} in {space.name} has {program.text}, "
                    + ("which drops all packets" if program.judged == "drop" else "which may drop packets unseen"),
                    advice="find out whose it is before you remove it",
                    fix=space.command(*(word.format(dev=link.name) for word in words)),
                    warning=program.judged != "drop",
                )


_SHORT_DEVICES = "short-devices"
"""The set of those devices of a namespace by which packets may take a short way; a bridge stands for its ports."""


def fast_path(scene: Scene) -> Iterator[Fault]:
    """What comes in by a device is put to one program, what leaves by it to the other; one without the other does nothing.
    Where there is a flowtable, it takes the place of both."""
    for space in scene.spaces:
        own = [table for table in space.dump.filters.nft if (table.family, table.name) == ("inet", "weft")]
        able = {
            element.key.rstrip(b"\0").decode(errors="replace")
            for table in own
            for named in table.sets
            if named.name == _SHORT_DEVICES
            for element in named.elements
        }
        offloaded = {device for table in own for flowtable in table.flowtables for device in flowtable.devices}
        for link in space.dump.links:
            has = {
                at: any(program.at == at and program.name.startswith(name) for program in link.programs)
                for at, name in (("ingress", FAST), ("egress", SEEN))
            }
            wanted = any(has.values()) or (link.name in able - offloaded and link.kind != "bridge")
            if wanted and not all(has.values()):
                lost = ", ".join(at for at, there in has.items() if not there)
                yield space.fault(
                    "fast-path-missing",
                    f"{link.name} in {space.name} has no program of Weft's at {lost}: its packets take the ordinary way",
                    advice="the agent puts it back with its next full comparison; if it cannot, `weft status` says why",
                    warning=True,
                )


_OFF = {
    "xdp": ("xdp-drops", ("ip", "link", "set", "dev", "{dev}", "xdp", "off")),
    "ingress": ("tc-drops", ("tc", "filter", "del", "dev", "{dev}", "ingress")),
    "egress": ("tc-drops", ("tc", "filter", "del", "dev", "{dev}", "egress")),
    "queue": ("shaping", ("tc", "qdisc", "del", "dev", "{dev}", "root")),
}


def _of_endpoints(scene: Scene) -> Iterator[tuple[Inside, t.EndpointInfo]]:
    return ((space, endpoint) for space in scene.containers for endpoint in space.endpoints if endpoint.interface)
