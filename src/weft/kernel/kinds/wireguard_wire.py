"""WireGuard as generic netlink messages (linux/wireguard.h). Pure."""

from __future__ import annotations

import struct
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from socket import inet_ntop

import msgspec

from weft.hoststate import WireguardPeer
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.genl import HEAD
from weft.kernel.plumbing.netlink import Message, attr, attributes

_VERSION = 1
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
_IN, _IN6 = struct.Struct("=H2s4s8x"), struct.Struct("=H2sI16sI")
_ATTR = struct.Struct("=HH")


class Told(msgspec.Struct):
    """What a device says of itself. `peers`: by public key; each with its preshared key."""

    port: int = 0
    public: str = ""
    peers: dict[str, tuple[WireguardPeer, bytes]] = {}


# -- writing -----------------------------------------------------------------------------------------------------------


def end(family: int, dev: str, port: int, private: bytes) -> Message:
    content = attr(u.WGDEVICE_A_PRIVATE_KEY, private) + attr(u.WGDEVICE_A_LISTEN_PORT, _U16.pack(port))
    return _set(family, dev, content)


def peer(family: int, obj: WireguardPeer, shared: bytes) -> Message:
    """Made, or as it is to be from now on."""
    content = attr(u.WGPEER_A_PUBLIC_KEY, b64decode(obj.public)) + attr(u.WGPEER_A_PRESHARED_KEY, shared)
    content += attr(u.WGPEER_A_FLAGS, _U32.pack(u.WGPEER_F_REPLACE_ALLOWEDIPS))
    content += attr(u.WGPEER_A_ENDPOINT, _endpoint(obj.endpoint, obj.port))
    content += _nest(u.WGPEER_A_ALLOWEDIPS, b"".join(_nest(0, _allowed(prefix)) for prefix in obj.allowed))
    return _set(family, obj.dev, _peers(content))


def without(family: int, obj: WireguardPeer) -> Message:
    content = attr(u.WGPEER_A_PUBLIC_KEY, b64decode(obj.public))
    return _set(family, obj.dev, _peers(content + attr(u.WGPEER_A_FLAGS, _U32.pack(u.WGPEER_F_REMOVE_ME))))


def question(dev: str) -> bytes:
    return HEAD.pack(u.WG_CMD_GET_DEVICE, _VERSION, 0) + attr(u.WGDEVICE_A_IFNAME, dev.encode() + b"\0")


def _set(family: int, dev: str, content: bytes) -> Message:
    head = HEAD.pack(u.WG_CMD_SET_DEVICE, _VERSION, 0) + attr(u.WGDEVICE_A_IFNAME, dev.encode() + b"\0")
    return Message(family, u.NLM_F_REQUEST, head + content)


def _peers(content: bytes) -> bytes:
    return _nest(u.WGDEVICE_A_PEERS, _nest(0, content))


def _nest(kind: int, content: bytes) -> bytes:
    return attr(kind | u.NLA_F_NESTED, content)


def _endpoint(address: str, port: int) -> bytes:
    """struct sockaddr_in or sockaddr_in6."""
    found, number = ip_address(address), port.to_bytes(2, "big")
    if found.version == 4:
        return _IN.pack(u.AF_INET, number, found.packed)
    return _IN6.pack(u.AF_INET6, number, 0, found.packed, 0)


def _allowed(prefix: str) -> bytes:
    network = ip_network(prefix)
    family = u.AF_INET if network.version == 4 else u.AF_INET6
    content = attr(u.WGALLOWEDIP_A_FAMILY, _U16.pack(family))
    content += attr(u.WGALLOWEDIP_A_IPADDR, network.network_address.packed)
    return content + attr(u.WGALLOWEDIP_A_CIDR_MASK, bytes((network.prefixlen,)))


# -- reading -----------------------------------------------------------------------------------------------------------


def decode(parts: Iterable[bytes], dev: str, ns: str) -> Told:
    """Of all the messages that a device is told in: its peers, and a peer's prefixes, may go on in the next one."""
    told = Told()
    for part in parts:
        found = attributes(part, HEAD.size, len(part))
        if u.WGDEVICE_A_LISTEN_PORT in found:
            told.port = _U16.unpack(found[u.WGDEVICE_A_LISTEN_PORT])[0]
            told.public = b64encode(found.get(u.WGDEVICE_A_PUBLIC_KEY, b"")).decode()
        for each in _listed(found.get(u.WGDEVICE_A_PEERS, b"")):
            one, shared = _decode_peer(each, dev, ns)
            if (before := told.peers.get(one.public)) is not None:
                known, shared = before
                one = msgspec.structs.replace(known, allowed=(*known.allowed, *one.allowed))
            told.peers[one.public] = (one, shared)
    return told


def _decode_peer(data: bytes, dev: str, ns: str) -> tuple[WireguardPeer, bytes]:
    found = attributes(data, 0, len(data))
    address, port = _decode_endpoint(found.get(u.WGPEER_A_ENDPOINT, b""))
    prefixes = [_decode_allowed(each) for each in _listed(found.get(u.WGPEER_A_ALLOWEDIPS, b""))]
    public = b64encode(found[u.WGPEER_A_PUBLIC_KEY]).decode()
    peer = WireguardPeer(dev=dev, public=public, endpoint=address, port=port, allowed=tuple(prefixes), ns=ns)
    return peer, found.get(u.WGPEER_A_PRESHARED_KEY, b"")


def _decode_endpoint(data: bytes) -> tuple[str, int]:
    if len(data) < 4:
        return "", 0
    family, port = _U16.unpack_from(data)[0], int.from_bytes(data[2:4], "big")
    return inet_ntop(family, data[4:8] if family == u.AF_INET else data[8:24]), port


def _decode_allowed(data: bytes) -> str:
    found = attributes(data, 0, len(data))
    family = int.from_bytes(found[u.WGALLOWEDIP_A_FAMILY], sys.byteorder)
    return f"{inet_ntop(family, found[u.WGALLOWEDIP_A_IPADDR])}/{found[u.WGALLOWEDIP_A_CIDR_MASK][0]}"


def _listed(data: bytes) -> list[bytes]:
    """The members of an array, which all have the same type."""
    members, start = [], 0
    while start + 4 <= len(data):
        size, _ = _ATTR.unpack_from(data, start)
        if size < 4:
            break
        members.append(data[start + 4 : start + size])
        start += (size + 3) & ~3
    return members
