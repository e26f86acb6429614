"""Open vSwitch's datapath as generic netlink messages (linux/openvswitch.h). Pure.

A flow says by a key which frames it is for, and by a mask which bits of the key count. What is left out of both may be
anything, so a flow of ours names the port, perhaps the tunnel's number, and perhaps the destination's MAC address. The kernel
finds a flow again by the key that it was made with. Ports are numbers here.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

import msgspec

from weft.base.net import Family
from weft.hoststate import OvsOutput
from weft.hoststate.ovs_datapath import GROUPS
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.genl import HEAD
from weft.kernel.plumbing.netlink import attr, attributes

_DP, _U32, _U64 = struct.Struct("=i"), struct.Struct("=I"), struct.Struct("!Q")
BODY = HEAD.size + _DP.size
"""Octets before the attributes of a message."""
_ANY = bytes(6)
_GROUPS = bytes.fromhex(GROUPS.replace(":", ""))
_TTL = 64


class Flow(msgspec.Struct, frozen=True):
    """As the kernel has it. `port`: by which the frames come in; `outputs`: (port, remote, local, VNI), the last three only
    into tunnels."""

    port: int
    lladdr: str
    vni: int
    family: Family
    outputs: tuple[tuple[int, str, str, int], ...] = ()


def ask(command: int, datapath: int, content: bytes = b"") -> bytes:
    """`datapath`: the ifindex of its device; 0 for one that is made or looked for by its name."""
    return HEAD.pack(command, u.OVS_VERSION, 0) + _DP.pack(datapath) + content


def datapath(name: str) -> bytes:
    """Without a number of who is told of frames without a flow: they are dropped."""
    nobody = attr(u.OVS_DP_ATTR_UPCALL_PID, _U32.pack(0))
    return attr(u.OVS_DP_ATTR_NAME, _name(name)) + nobody + attr(u.OVS_DP_ATTR_USER_FEATURES, _U32.pack(0))


def vport(name: str) -> bytes:
    kind = attr(u.OVS_VPORT_ATTR_TYPE, _U32.pack(u.OVS_VPORT_TYPE_NETDEV))
    return attr(u.OVS_VPORT_ATTR_NAME, _name(name)) + kind + attr(u.OVS_VPORT_ATTR_UPCALL_PID, _U32.pack(0))


def named(number: int) -> bytes:
    """A port, to be removed."""
    return attr(u.OVS_VPORT_ATTR_PORT_NO, _U32.pack(number))


def decode_named(data: bytes, start: int, end: int) -> tuple[int, str]:
    """Of a datapath: its device's ifindex and its name."""
    index: int = _DP.unpack_from(data, start + HEAD.size)[0]
    return index, _text(attributes(data, start + BODY, end)[u.OVS_DP_ATTR_NAME])


def decode_vport(data: bytes, start: int, end: int) -> tuple[int, str]:
    """Its number and the name of its device; the datapath's own is number 0."""
    found = attributes(data, start + BODY, end)
    return _number(found[u.OVS_VPORT_ATTR_PORT_NO]), _text(found[u.OVS_VPORT_ATTR_NAME])


def flow(wanted: Flow) -> bytes:
    """To be made, or to have other outputs."""
    content = _nest(u.OVS_FLOW_ATTR_KEY, _key(wanted)) + _nest(u.OVS_FLOW_ATTR_MASK, _mask(wanted))
    return content + _nest(u.OVS_FLOW_ATTR_ACTIONS, b"".join(_actions(wanted)))


def unwanted(gone: Flow) -> bytes:
    """To be removed."""
    return _nest(u.OVS_FLOW_ATTR_KEY, _key(gone))


def _key(of: Flow) -> bytes:
    """The kernel wants an address and a TTL of every tunnel, also where its mask says that they may be anything."""
    content = attr(u.OVS_KEY_ATTR_IN_PORT, _U32.pack(of.port)) + attr(u.OVS_KEY_ATTR_ETHERNET, _ANY + _mac(of.lladdr))
    if not of.vni:
        return content
    anywhere = attr(_DESTINATION[of.family], b"\xff" * (16 if of.family == 6 else 4))
    inside = (
        attr(u.OVS_TUNNEL_KEY_ATTR_ID, _U64.pack(of.vni)) + anywhere + attr(u.OVS_TUNNEL_KEY_ATTR_TTL, bytes([_TTL]))
    )
    return content + _nest(u.OVS_KEY_ATTR_TUNNEL, inside)


def _mask(of: Flow) -> bytes:
    counts = {"": _ANY, GROUPS: _GROUPS}.get(of.lladdr, b"\xff" * 6)
    content = attr(u.OVS_KEY_ATTR_IN_PORT, _U32.pack(0xFFFFFFFF)) + attr(u.OVS_KEY_ATTR_ETHERNET, _ANY + counts)
    if not of.vni:
        return content
    return content + _nest(u.OVS_KEY_ATTR_TUNNEL, attr(u.OVS_TUNNEL_KEY_ATTR_ID, b"\xff" * 8))


def _actions(of: Flow) -> Iterator[bytes]:
    for port, remote, local, vni in of.outputs:
        if remote:
            yield _nest(u.OVS_ACTION_ATTR_SET, _nest(u.OVS_KEY_ATTR_TUNNEL, _tunnel(remote, local, vni)))
        yield attr(u.OVS_ACTION_ATTR_OUTPUT, _U32.pack(port))


def _tunnel(remote: str, local: str, vni: int) -> bytes:
    there, here = ip_address(remote), ip_address(local)
    content = attr(u.OVS_TUNNEL_KEY_ATTR_ID, _U64.pack(vni))
    content += attr(_SOURCE[here.version], here.packed) + attr(_DESTINATION[there.version], there.packed)
    return content + attr(u.OVS_TUNNEL_KEY_ATTR_TTL, bytes([_TTL])) + attr(u.OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT, b"")


_SOURCE = {4: u.OVS_TUNNEL_KEY_ATTR_IPV4_SRC, 6: u.OVS_TUNNEL_KEY_ATTR_IPV6_SRC}
_DESTINATION = {4: u.OVS_TUNNEL_KEY_ATTR_IPV4_DST, 6: u.OVS_TUNNEL_KEY_ATTR_IPV6_DST}


def decode_flow(data: bytes, start: int, end: int) -> Flow:
    found = attributes(data, start + BODY, end)
    key, mask = (_inside(found.get(kind, b"")) for kind in (u.OVS_FLOW_ATTR_KEY, u.OVS_FLOW_ATTR_MASK))
    counts = mask.get(u.OVS_KEY_ATTR_ETHERNET, b"\xff" * 12)[6:]
    address = key[u.OVS_KEY_ATTR_ETHERNET][6:].hex(":")
    tunnel = _inside(key.get(u.OVS_KEY_ATTR_TUNNEL, b""))
    by_number = u.OVS_TUNNEL_KEY_ATTR_ID in _inside(mask.get(u.OVS_KEY_ATTR_TUNNEL, b""))
    return Flow(
        port=_number(key[u.OVS_KEY_ATTR_IN_PORT]),
        lladdr={_ANY: "", _GROUPS: GROUPS}.get(counts, address),
        vni=_U64.unpack(tunnel[u.OVS_TUNNEL_KEY_ATTR_ID])[0] if by_number else 0,
        family=6 if u.OVS_TUNNEL_KEY_ATTR_IPV6_DST in tunnel else 4,
        outputs=tuple(_outputs(found.get(u.OVS_FLOW_ATTR_ACTIONS, b""))),
    )


def _outputs(actions: bytes) -> Iterator[tuple[int, str, str, int]]:
    """In order: a tunnel is set for what follows."""
    into: tuple[str, str, int] = ("", "", 0)
    for kind, content in _in_order(actions):
        if kind == u.OVS_ACTION_ATTR_SET:
            found = _inside(_inside(content).get(u.OVS_KEY_ATTR_TUNNEL, b""))
            ends = tuple(_address(found, kinds) for kinds in (_DESTINATION, _SOURCE))
            into = (*ends, _U64.unpack(found.get(u.OVS_TUNNEL_KEY_ATTR_ID, bytes(8)))[0])
        elif kind == u.OVS_ACTION_ATTR_OUTPUT:
            yield (_number(content), *into)


def _address(found: Mapping[int, bytes], kinds: Mapping[int, int]) -> str:
    return next((str(ip_address(found[kind])) for kind in kinds.values() if kind in found), "")


def _in_order(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, start)
        if size < 4:
            return
        yield kind & 0x3FFF, data[start + 4 : start + size]
        start += (size + 3) & ~3


def objects(flows: Sequence[Flow], names: Mapping[int, str], name: str, ns: str) -> Iterator[OvsOutput]:
    """`names`: of the ports, by number. What leads to or comes from a port that is gone is not there."""
    for one in flows:
        for port, remote, local, number in one.outputs:
            if one.port in names and port in names:
                yield OvsOutput(
                    datapath=name,
                    dev=names[one.port],
                    to=names[port],
                    lladdr=one.lladdr,
                    vni=one.vni,
                    family=one.family,
                    remote=remote,
                    local=local,
                    number=number,
                    ns=ns,
                )


def _mac(lladdr: str) -> bytes:
    return bytes.fromhex(lladdr.replace(":", "")) if lladdr else _ANY


def _inside(data: bytes) -> dict[int, bytes]:
    return attributes(data, 0, len(data))


def _nest(kind: int, content: bytes) -> bytes:
    return attr(kind | u.NLA_F_NESTED, content)


def _name(name: str) -> bytes:
    return name.encode() + b"\0"


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode()


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
