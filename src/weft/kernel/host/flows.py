"""Connections that were translated by a map, when the map changes (nfnetlink_conntrack).

The kernel asks the map of published ports for the first packet of a connection only; what it then remembers holds as long
as packets come. So a change of the map is complete when it also holds for those: flows that a former element led to its
container are ended; so are UDP flows to this host itself that began before there was an element for their port, since a
client that keeps sending would never get through. (TCP and SCTP clients begin anew by themselves.)

Addresses that stand for others (floating ones) are nobody's before they are given, and a client's every new attempt from
one port would find what the kernel remembers of its first: there, flows of any protocol that were not translated are ended.

What is looked at is a map whose key ends in protocol and port and whose elements lead to address and port, and one from
address to address, be it where packets go or where they come from; and the sets that say which flows to a virtual address
may go on (`weft.hoststate.firewall.HELD`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from weft.base.net import Family
from weft.hoststate import NftElement
from weft.hoststate.firewall import HELD
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.conntrack import Flow, delete, flows
from weft.kernel.plumbing.netlink import Netlink, Refused

log = logging.getLogger(__name__)

_NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_AF: dict[Family, int] = {4: u.AF_INET, 6: u.AF_INET6}


class Translation(msgspec.Struct, frozen=True):
    """One element of a map: packets of `protocol` to `port`, at `address` (b"": at any of this host's), go to `to`.
    Addresses are packed."""

    family: int
    protocol: int
    address: bytes
    port: int
    to: bytes
    to_port: int


class Substitute(msgspec.Struct, frozen=True):
    """One element of a map from address to address: packets to `address` go to `to`, or those from there come from it.
    Addresses are packed."""

    family: int
    address: bytes
    to: bytes


def translation(element: NftElement) -> Translation | None:
    """None for an element that translates nothing."""
    if element.set.startswith(HELD):
        *whole, to, to_port = element.value.split(" . ")
        element = msgspec.structs.replace(element, set="", value=" . ".join(whole), to=f"{to} . {to_port}")
    *address, protocol, port = element.value.split(" . ") if " . " in element.value else ("", "", "")
    to, _, to_port = element.to.partition(" . ")
    if protocol not in _NUMBERS or not to_port.isdecimal() or not port.isdecimal():
        return None
    family = _AF[6 if ":" in to else 4]
    at = socket.inet_pton(family, address[0]) if address and address[0] else b""
    return Translation(family, _NUMBERS[protocol], at, int(port), socket.inet_pton(family, to), int(to_port))


def substitute(element: NftElement) -> Substitute | None:
    """None for an element that is no address for another."""
    with contextlib.suppress(OSError):
        family = _AF[6 if ":" in element.to else 4]
        return Substitute(family, *(socket.inet_pton(family, text) for text in (element.value, element.to)))
    return None


def settle(netlink: Netlink, gone: Sequence[NftElement], come: Sequence[NftElement]) -> None:
    """End the flows of a namespace that belong to how it was. `netlink`: a socket in it, of netfilter; the one that changed the
    rules, since the kernel holds up who closes one. `gone`, `come`: elements of maps that were removed and made; both in turn,
    where one leads elsewhere now."""
    if not (gone or come):
        return
    old, new = ({t for e in some if (t := translation(e))} for some in (gone, come))
    left, given = ({s for e in some if (s := substitute(e))} for some in (gone, come))
    try:
        found = [(t.family, flow) for t, flow in _led_astray(netlink, old, new)]
        found += [(t.family, flow) for t, flow in _mistaken(netlink, left, given)]
        refused = netlink.batch([delete(family, flow) for family, flow in found])
        for _, refusal in refused:
            if refusal.errno != errno.ENOENT:
                raise refusal
    except Refused as refused_all:
        log.warning("translated connections stay as they were: conntrack: %s", refused_all.text)


def _led_astray(
    netlink: Netlink, old: Iterable[Translation], new: Iterable[Translation]
) -> Iterator[tuple[Translation, Flow]]:
    """One listing for each container that was led to, and one of each family's UDP flows."""
    by_container: dict[tuple[int, bytes], dict[tuple[int, int, bytes, int], Translation]] = {}
    for t in old:
        by_container.setdefault((t.family, t.to), {})[t.protocol, t.port, t.address, t.to_port] = t
    for (family, to), wanted in by_container.items():
        for flow in flows(netlink, family, reply_src=to):
            keys = ((flow.protocol, flow.dport, at, flow.sport) for at in (flow.dst, b""))
            hit = next((wanted[key] for key in keys if key in wanted), None)
            if hit is not None and flow.translated and flow.src == to:
                yield hit, flow
    fresh = {(t.family, t.port, t.address): t for t in new if t.protocol == socket.IPPROTO_UDP}
    for family in {t.family for t in fresh.values()}:
        for flow in flows(netlink, family, protocol=socket.IPPROTO_UDP):
            hit = fresh.get((family, flow.dport, flow.dst)) or fresh.get((family, flow.dport, b""))
            untouched = (flow.src, flow.sport) == (flow.dst, flow.dport) and flow.protocol == socket.IPPROTO_UDP
            if hit is not None and untouched and _is_local(family, flow.dst):
                yield hit, flow


def _mistaken(
    netlink: Netlink, old: Iterable[Substitute], new: Iterable[Substitute]
) -> Iterator[tuple[Substitute, Flow]]:
    """Flows that one that is gone translated, either way; flows to one that is new which were not."""
    for s in old:
        for flow in flows(netlink, s.family, reply_src=s.to):
            if flow.translated and (flow.dst, flow.src) == (s.address, s.to):
                yield s, flow
        for flow in flows(netlink, s.family, origin=s.address):
            if (flow.origin, flow.back) == (s.address, s.to):
                yield s, flow
    for s in new:
        for flow in flows(netlink, s.family, reply_src=s.address):
            if not flow.translated and (flow.dst, flow.src) == (s.address, s.address):
                yield s, flow


def _is_local(family: int, address: bytes) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((socket.inet_ntop(family, address), 0))
        except OSError:
            return False
    return True
