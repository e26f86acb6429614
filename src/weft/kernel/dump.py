"""All that moves packets on a host, read by netlink dumps: its own namespace and those of its containers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from weft.api.dump import AddressDump, HostDump, LinkDump, NamespaceDump, PeerDump, VxlanDump
from weft.base.errors import NotFound
from weft.hoststate import HOST
from weft.kernel import dump_wire, netns, wire
from weft.kernel import uapi as u
from weft.kernel.links import Device
from weft.kernel.netlink import Netlink, open_socket
from weft.kernel.spaces import Space, Spaces

T = TypeVar("T")

_IFF_NOARP = 0x80
_IFF_LOWER_UP = 0x10000
_AF = {4: u.AF_INET, 6: u.AF_INET6}


def dump(node: str, containers: Mapping[str, str]) -> HostDump:
    """The calling thread's namespace, as `node`'s own, and those at these paths, each with its name. One that is gone is
    left out. Blocking; opens what it needs and closes it again. Raises Denied."""
    host_fd = netns.open_path(HOST)
    try:
        host = Space(HOST, Netlink(open_socket()))
        try:
            with Spaces(host, host_fd, {}) as spaces:
                return _dump(spaces, node, containers)
        finally:
            host.netlink.close()
    finally:
        os.close(host_fd)


def _dump(spaces: Spaces, node: str, containers: Mapping[str, str]) -> HostDump:
    failed = spaces.open(containers)
    for error in failed.values():
        if not isinstance(error, NotFound):
            raise error
    there = [spaces.host, *(spaces.get(path) for path in containers if path not in failed)]
    found = tuple(_namespace(spaces, space, containers.get(space.ns, "")) for space in there)
    return HostDump(node=node, namespaces=found)


def _namespace(spaces: Spaces, space: Space, name: str) -> NamespaceDump:
    names = {index: device.name for index, device in space.devices().items()}
    netlink = space.netlink
    route = partial(dump_wire.decode_route, names=names)
    neighbour = partial(dump_wire.decode_neighbour, names=names)
    fdb = partial(dump_wire.decode_fdb, names=names)
    return NamespaceDump(
        path=space.ns,
        name=name,
        links=_links(spaces, space),
        addresses=_addresses(netlink, names),
        routes=_each(netlink, u.RTM_GETROUTE, lambda af: wire.route_filter(af, proto=0), route),
        rules=_each(netlink, dump_wire.RTM_GETRULE, dump_wire.rule_filter, dump_wire.decode_rule),
        neighbours=_each(netlink, u.RTM_GETNEIGH, wire.neighbour_filter, neighbour),
        fdb=tuple(netlink.dump(u.RTM_GETNEIGH, wire.fdb_filter(0), fdb)),
    )


def _each(
    netlink: Netlink, kind: int, body: Callable[[int], bytes], decode: Callable[[bytes, int, int], T | None]
) -> tuple[T, ...]:
    """Of both families, one dump each."""
    return tuple(found for af in _AF.values() for found in netlink.dump(kind, body(af), decode))


def _addresses(netlink: Netlink, names: Mapping[int, str]) -> tuple[AddressDump, ...]:
    def decode(data: bytes, start: int, end: int) -> AddressDump:
        address, _flags = wire.decode_any_address(data, start, end, names, "")
        return AddressDump(dev=address.dev, address=address.address)

    return tuple(netlink.dump(u.RTM_GETADDR, wire.address_filter(), decode))


def _links(spaces: Spaces, space: Space) -> tuple[LinkDump, ...]:
    forwarding = _forwarding(space)
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
            peer=_peer(spaces, space, device) if device.kind == "veth" else None,
            vxlan=_vxlan(space, device),
            alias=device.alias,
            forwarding=forwarding.get(index, ()),
        )
        for index, device in space.devices().items()
    )


def _lower(space: Space, device: Device) -> str:
    """In the same namespace; a veth has a peer instead."""
    index = device.lower if device.kind == "vxlan" else device.link
    if device.kind == "veth" or not index or device.link_nsid is not None or index == device.index:
        return ""
    return space.name(index)


def _peer(spaces: Spaces, space: Space, device: Device) -> PeerDump:
    where = spaces.where(space, device)
    name = "" if where == "?" else spaces.get(where).name(device.link)
    return PeerDump(namespace=where, name=name, ifindex=device.link)


def _vxlan(space: Space, device: Device) -> VxlanDump | None:
    if device.vxlan is None:
        return None
    found = device.vxlan
    return VxlanDump(vni=found.vni, port=found.port, local=found.local, dev=_lower(space, device))


def _forwarding(space: Space) -> dict[int, tuple[int, ...]]:
    """By ifindex. v4 asks the device that a packet came in by (IN_DEV_FORWARD), v6 only conf/all (ip6_forward())."""
    found: dict[int, tuple[int, ...]] = {}
    for family, af in _AF.items():
        answers = space.netlink.dump(
            dump_wire.RTM_GETNETCONF, dump_wire.forwarding_filter(af), dump_wire.decode_forwarding
        )
        by_index = dict(answers)
        everywhere = by_index.get(dump_wire.NETCONFA_IFINDEX_ALL, False)
        for index in space.devices():
            if by_index.get(index, False) if family == 4 else everywhere:
                found[index] = (*found.get(index, ()), family)
    return found
