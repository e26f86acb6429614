"""All that moves packets on a host, read by netlink dumps: its own namespace and those of its containers, one at a time,
since a socket in a container's namespace keeps that alive."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from weft.api.dump import (
    AddressDump,
    HostDump,
    IpipDump,
    LinkDump,
    NamespaceDump,
    PeerDump,
    ProgramDump,
    TunnelDump,
    VxlanDump,
)
from weft.base.errors import NotFound, WeftError
from weft.hoststate import HOST, Object, Sleeve, SleeveHost, SleeveStation, Tunnel, TunnelPrefix
from weft.hoststate.paths import ALL
from weft.hoststate.tunnels import sleeve_overhead
from weft.kernel.host import dump_links, dump_wire, filters, programs, sockets, switches
from weft.kernel.kinds import tunnel, wire
from weft.kernel.kinds.ovs import switched
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.kernel.plumbing.spaces import Space
from weft.tunnel.table import FOLDER

T = TypeVar("T")

_IFF_NOARP = 0x80
_IFF_LOWER_UP = 0x10000
_AF = {4: u.AF_INET, 6: u.AF_INET6}
_ELSEWHERE = "?"
_ADDRESS_FLAGS = {0x40: "tentative", 0x08: "dadfailed", 0x20: "deprecated"}
"""IFA_F_… of linux/if_addr.h."""


def dump(
    node: str, containers: Mapping[str, str], addresses: Collection[str] | None = (), known: Iterable[str] = ()
) -> HostDump:
    """The calling thread's namespace, as `node`'s own, and those at these paths, each with its name. One that is gone is
    left out. `addresses`: conntrack's entries of which are told; None: all. `known`: paths of others, which are told where a
    link leads there. Blocking; opens what it needs and closes it again. Raises Denied."""
    host_fd = netns.open_path(HOST)
    try:
        numbers = _Numbers(host_fd, dict.fromkeys((*containers, *known)))
        found = [_in(Space(HOST, Netlink(open_socket())), numbers, "", addresses)]
        for path, name in containers.items():
            sock = netns.open_all([path], open_socket)[path]
            if not isinstance(sock, WeftError):
                found.append(_in(Space(path, Netlink(sock)), numbers, name, addresses))
            elif not isinstance(sock, NotFound):
                raise sock
    finally:
        os.close(host_fd)
    return HostDump(node=node, namespaces=_with_peers_names(found))


def carried(run: Path) -> tuple[TunnelDump, ...]:
    """The tunnels that a program carries here, as their tables say. `run`: the agent's run directory. Raises Failed."""
    objects = tunnel.read(run / FOLDER).values()
    prefixes: dict[str, dict[str, str]] = {}
    for obj in objects:
        if isinstance(obj, TunnelPrefix):
            prefixes.setdefault(obj.dev, {})[obj.prefix] = obj.remote
    tunnels = (obj for obj in objects if isinstance(obj, Tunnel))
    packets = (TunnelDump(dev=t.dev, local=t.local, port=t.port, prefixes=prefixes.get(t.dev, {})) for t in tunnels)
    return *packets, *_sleeves(objects)


def _sleeves(objects: Collection[Object]) -> Iterator[TunnelDump]:
    hosts = {obj.number: obj for obj in objects if isinstance(obj, SleeveHost)}
    stations: dict[str, dict[str, tuple[str, ...]]] = {}
    for obj in objects:
        if isinstance(obj, SleeveStation) and obj.mac != ALL and (host := hosts.get(obj.number)):
            via = hosts.get(host.via)
            stations.setdefault(obj.dev, {})[obj.mac] = (via.remote, host.remote) if via else (host.remote,)
    for obj in objects:
        if isinstance(obj, Sleeve):
            yield TunnelDump(
                dev=obj.dev,
                local=obj.local,
                port=obj.port,
                prefixes={},
                network=obj.network,
                stations=stations.get(obj.dev, {}),
                overhead=sleeve_overhead(6 if ":" in obj.local else 4, encrypted=obj.encrypted),
            )


def _in(space: Space, numbers: _Numbers, name: str, addresses: Collection[str] | None) -> NamespaceDump:
    try:
        return _namespace(space, numbers, name, addresses)
    finally:
        space.netlink.close()


class _Numbers:
    """Which of the namespaces in question another one means by a number (netnsid, ip-netns(8))."""

    def __init__(self, host_fd: int, paths: Iterable[str]) -> None:
        self._host_fd = host_fd
        self._paths = tuple(paths)
        self._known: dict[tuple[str, int], str] = {}
        self._asked: set[str] = set()

    def path(self, space: Space, number: int) -> str:
        """ "?" where it is none of them. A container's veth mostly leads to the host, so that is asked first."""
        key = (space.ns, number)
        if key not in self._known and space.ns != HOST:
            self._learn(space, HOST, os.dup(self._host_fd))
        if key not in self._known and space.ns not in self._asked:
            self._asked.add(space.ns)
            for path in self._paths:
                try:
                    fd = netns.open_path(path)
                except NotFound:
                    continue
                self._learn(space, path, fd)
        return self._known.get(key, _ELSEWHERE)

    def _learn(self, space: Space, path: str, fd: int) -> None:
        try:
            number = space.nsid(fd)
        finally:
            os.close(fd)
        if number is not None:
            self._known[space.ns, number] = path


def _with_peers_names(found: Iterable[NamespaceDump]) -> tuple[NamespaceDump, ...]:
    """A message about one end of a veth tells only the other's ifindex."""
    found = tuple(found)
    names = {(ns.path, link.ifindex): link.name for ns in found for link in ns.links}

    def named(link: LinkDump) -> LinkDump:
        if link.peer is None:
            return link
        name = names.get((link.peer.namespace, link.peer.ifindex), "")
        return msgspec.structs.replace(link, peer=msgspec.structs.replace(link.peer, name=name))

    return tuple(msgspec.structs.replace(ns, links=tuple(map(named, ns.links))) for ns in found)


def _namespace(space: Space, numbers: _Numbers, name: str, addresses: Collection[str] | None) -> NamespaceDump:
    names = {index: device.name for index, device in space.devices().items()}
    netlink = space.netlink
    route = partial(dump_wire.decode_route, names=names)
    neighbour = partial(dump_wire.decode_neighbour, names=names)
    fdb = partial(dump_wire.decode_fdb, names=names)
    seeing, within = netns.call(space.ns, lambda: (programs.on_devices(netlink, space.devices()), _within(names)))
    return NamespaceDump(
        **within,
        path=space.ns,
        name=name,
        links=_links(space, numbers, seeing, dump_links.details(netlink, within["sysctls"])),
        addresses=_addresses(netlink, names),
        routes=_each(netlink, u.RTM_GETROUTE, lambda af: wire.route_filter(af, proto=0), route),
        rules=_each(netlink, dump_wire.RTM_GETRULE, dump_wire.rule_filter, dump_wire.decode_rule),
        neighbours=_each(netlink, u.RTM_GETNEIGH, wire.neighbour_filter, neighbour),
        fdb=tuple(netlink.dump(u.RTM_GETNEIGH, wire.fdb_filter(0), fdb)),
        filters=filters.of(space.ns, addresses),
    )


def _within(names: dict[int, str]) -> dict[str, Any]:
    """What only who is in the namespace sees."""
    return {"sysctls": switches.sysctls(), "counters": switches.counters(), "sockets": sockets.listening(names)}


def _each(
    netlink: Netlink, kind: int, body: Callable[[int], bytes], decode: Callable[[bytes, int, int], T | None]
) -> tuple[T, ...]:
    """Of both families, one dump each."""
    return tuple(found for af in _AF.values() for found in netlink.dump(kind, body(af), decode))


def _addresses(netlink: Netlink, names: Mapping[int, str]) -> tuple[AddressDump, ...]:
    def decode(data: bytes, start: int, end: int) -> AddressDump:
        address, flags = wire.decode_any_address(data, start, end, names, "")
        words = tuple(word for bit, word in _ADDRESS_FLAGS.items() if flags & bit)
        return AddressDump(dev=address.dev, address=address.address, flags=words)

    return tuple(netlink.dump(u.RTM_GETADDR, wire.address_filter(), decode))


# -- devices -----------------------------------------------------------------------------------------------------------


def _links(
    space: Space,
    numbers: _Numbers,
    seeing: Mapping[int, tuple[ProgramDump, ...]],
    details: Mapping[int, dump_links.Details],
) -> tuple[LinkDump, ...]:
    forwarding, proxying = _forwarding(space)
    bridges = switched() if space.ns == HOST else {}
    return tuple(
        LinkDump(
            name=device.name,
            ifindex=index,
            kind="loopback" if device.flags & u.IFF_LOOPBACK else device.kind,
            mtu=device.mtu,
            mac=device.mac,
            up=device.up,
            carrier=device.flags & _IFF_LOWER_UP != 0,
            noarp=device.flags & _IFF_NOARP != 0,
            master=space.name(device.master) if device.master else "",
            lower=_lower(space, device),
            peer=_peer(space, numbers, device),
            vxlan=_vxlan(space, numbers, device),
            ipip=None if device.ipip is None else IpipDump(local=device.ipip.local, remote=device.ipip.remote),
            alias=device.alias,
            forwarding=forwarding.get(index, ()),
            proxying=proxying.get(index, ()),
            switch=bridges.get(device.name, ""),
            programs=seeing.get(index, ()),
            vlan=device.vlan,
            mode=device.mode,
            disabled=(6,) if device.ipv6_off else (),
            group=device.group,
            **_further(details.get(index, dump_links.NOTHING)),
        )
        for index, device in space.devices().items()
    )


def _further(found: dump_links.Details) -> dict[str, Any]:
    return {"port": found.port, "bridge": found.bridge, "conf": found.conf, "type": found.type}


def _lower(space: Space, device: Device) -> str:
    """In the same namespace; a veth has a peer instead."""
    index = device.lower if device.kind == "vxlan" else device.link
    if device.kind == "veth" or not index or device.link_nsid is not None or index == device.index:
        return ""
    return space.name(index)


def _peer(space: Space, numbers: _Numbers, device: Device) -> PeerDump | None:
    if device.kind != "veth":
        return None
    where = space.ns if device.link_nsid is None else numbers.path(space, device.link_nsid)
    return PeerDump(namespace=where, ifindex=device.link)


def _vxlan(space: Space, numbers: _Numbers, device: Device) -> VxlanDump | None:
    if device.vxlan is None:
        return None
    found = device.vxlan
    return VxlanDump(
        vni=found.vni,
        port=found.port,
        local=found.local,
        dev=_lower(space, device),
        outside=None if device.link_nsid is None else numbers.path(space, device.link_nsid),
        proxy=found.proxy,
    )


def _forwarding(space: Space) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    """By ifindex; and the same of who answers for others. v4 asks the device that a packet came in by (IN_DEV_FORWARD), v6
    only conf/all (ip6_forward()); either of the two will do for answering (IN_DEV_PROXY_ARP)."""
    found: dict[int, tuple[int, ...]] = {}
    proxies: dict[int, tuple[int, ...]] = {}
    for family, af in _AF.items():
        answers = space.netlink.dump(
            dump_wire.RTM_GETNETCONF, dump_wire.forwarding_filter(af), dump_wire.decode_forwarding
        )
        by_index = {index: forwards for index, forwards, _ in answers}
        proxying = {index for index, _, answers_for_others in answers if answers_for_others}
        everywhere = by_index.get(dump_wire.NETCONFA_IFINDEX_ALL, False)
        for index in space.devices():
            if by_index.get(index, False) if family == 4 else everywhere:
                found[index] = (*found.get(index, ()), family)
            if not proxying.isdisjoint((index, dump_wire.NETCONFA_IFINDEX_ALL)):
                proxies[index] = (*proxies.get(index, ()), family)
    return found, proxies
