"""Weft's own chains in words: whom they keep from whom, and the command of Weft's that tells or changes it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from weft.filters.model import Where
from weft.trace.path import ICMP, ICMPV6, SCTP, TCP, UDP, Between, Outcome
from weft.trace.points import Point
from weft.trace.record import Record
from weft.trace.state import Packet

PROTOCOLS = {ICMP: "icmp", ICMPV6: "icmpv6", TCP: "tcp", UDP: "udp", SCTP: "sctp"}
_PORTS = (TCP, UDP, SCTP)


class Said(NamedTuple):
    """`fault`: of the catalogue. `why` and `advice` may name {src}, {dst}, {host}, {explain}."""

    fault: str
    why: str
    advice: str


_EXPLAIN = "`{explain}` names the policy"
_NETWORKS = "`weft network show NETWORK` says whom a network reaches, `weft network set NETWORK -O reach=` changes it"
_CHAINS: tuple[tuple[tuple[str, ...], Said], ...] = (
    (("pi-", "WEFT-pi-"), Said("policy-denies", "a policy of {dst} lets nobody in by this way", _EXPLAIN)),
    (("po-", "WEFT-po-"), Said("policy-denies", "a policy of {src} lets it not out by this way", _EXPLAIN)),
    (
        ("policies-cut",),
        Said("policy-denies", "the connection was open when a policy came that forbids it", _EXPLAIN),
    ),
    (("polic", "WEFT-POLICY", "WEFT-from", "WEFT-to"), Said("policy-denies", "a policy denies it", _EXPLAIN)),
    (
        ("closed", "apart", "within", "isolation", "from-apart", "to-apart"),
        Said("network-isolated", "the networks of {src} and {dst} do not reach each other", _NETWORKS),
    ),
    (
        ("gateway-forward", "gateway-bridge"),
        Said("network-isolated", "containers do not reach each other by their second interfaces", _NETWORKS),
    ),
    (
        ("spoofing", "neighbours", "claims"),
        Said(
            "spoofing",
            "it does not come from the MAC and the address that the container was given",
            "`weft endpoint show {src}` says which these are; `weft network set NETWORK -O spoofing=allow` lets all send so",
        ),
    ),
    (
        ("checked",),
        Said("spoofing", "its source {src} is not where it came from", "`weft endpoint ls` says who has which address"),
    ),
    (
        ("here", "elsewhere", "to-hosts", "input"),
        Said(
            "rule-drops",
            "containers do not reach what controls the cluster (tunnels, BGP, the store, agents) on its hosts",
            "ask from a host, not from a container",
        ),
    ),
    (
        ("tunnelled",),
        Said(
            "underlay-blocked",
            "{src} is not known as a host of the cluster that sends tunnel packets",
            "`weft node ls` says which hosts there are",
        ),
    ),
    (
        ("services-refused", "services-begun"),
        Said("no-backends", "no member of the service takes connections at that port", "`weft service show` says why"),
    ),
    (
        ("services-forward", "mesh-forward"),
        Said("conntrack-invalid", "it belongs to no connection that conntrack knows", "begin the connection again"),
    ),
)


def known(record: Record, at: Point, packet: Packet, where: Where, does: str) -> Outcome | None:
    """How it ends at one of Weft's own chains."""
    said = next((said for starts, said in _CHAINS if where.chain.startswith(starts)), None)
    if said is None:
        return None
    src, dst = _who(record, packet, packet.src), _who(record, packet, packet.dst)
    between = _between(packet, src, dst)
    values = {"src": src, "dst": dst, "host": at.place.host, "explain": between.command}
    name = record.world.name(at.place)
    place = f"chain {where.chain} of table {where.family} {where.table}"
    text = f"{name} {does} {inside(packet)} from {packet.src} to {packet.dst}: {said.why.format(**values)} ({place})"
    outcome = record.end("filtered", at.place, text, said.advice.format(**values), fault=said.fault)
    return msgspec.structs.replace(outcome, between=between if said.fault == "policy-denies" else None)


def inside(packet: Packet) -> str:
    """What a packet is called."""
    if packet.tunnel is not None:
        return f"the packet of tunnel {packet.tunnel.device}"
    name = PROTOCOLS.get(packet.flow.protocol, f"protocol {packet.flow.protocol}")
    ports = packet.flow.protocol in _PORTS
    if packet.flow.answer:
        return f"the answer by {name}" + (f" from port {packet.flow.sport}" if ports else "")
    return f"what goes by {name}" + (f" port {packet.flow.dport}" if ports else "")


def _who(record: Record, packet: Packet, address: object) -> str:
    found = record.world.named(str(address))
    return found or str(address)


def _between(packet: Packet, src: str, dst: str) -> Between:
    """Of who began, whichever way the packet goes."""
    flow = packet.flow
    protocol = PROTOCOLS.get(flow.protocol, str(flow.protocol)).replace("icmpv6", "icmp")
    if flow.answer:
        src, dst = dst, src
    port = (flow.sport if flow.answer else flow.dport) if flow.protocol in _PORTS else 0
    return Between(source=src, target=dst, protocol=protocol, port=port)
