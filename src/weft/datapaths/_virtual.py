"""Virtual addresses of services, whatever translates them: what is told of a service, and the way of packets to where it is
done (`weft.datapaths._services` by nftables, `weft.datapaths._ipvs` by IPVS)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from weft.base.net import FAMILIES, Family, IPAddress, host_prefix
from weft.datapaths import _parts, _rules
from weft.datapaths.driver import Balancer, Site
from weft.hoststate import Address, BridgeFilter, Neighbour, NftChain, NftElement, NftSet, Object, Sysctl, route
from weft.hoststate.firewall import SRCNAT
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import Masquerade
from weft.hoststate.rules.matches import DADDR, L4PROTO, SADDR, SENT_TO, TH_DPORT, Match, Selector

STREAMS = ("tcp", "sctp")
"""Protocols whose connections have an end."""


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """A member. `here`: on this host. `takes`: new connections."""

    addresses: tuple[IPAddress, ...]
    mac: str
    here: bool
    takes: bool

    def address(self, fam: Family) -> str:
        """Its first one of this family, or ""."""
        return next((str(address) for address in self.addresses if address.version == fam), "")


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the virtual addresses, and the members that have it, each with its own port for it."""

    protocol: str
    port: int
    backends: tuple[tuple[Backend, int], ...]


class Virtual(msgspec.Struct, frozen=True, kw_only=True):
    """A service as it is at one place. `sticky`: a client keeps its member."""

    addresses: tuple[IPAddress, ...]
    sticky: bool
    faces: tuple[Face, ...]
    backends: tuple[Backend, ...]


def way(site: Site, at: Balancer, virtual: Virtual) -> Iterator[Object]:
    """What brings packets for the addresses to the place where they are translated, and from there to members."""
    for address in virtual.addresses:
        yield from _carried(site, at, address) if at.carrier else _routed(at, address)
    if at.bridge and (at.carrier or any(backend.here for backend in virtual.backends)):
        yield BridgeFilter(dev=at.bridge, ns=at.ns)
    if at.carrier:
        yield from _neighbours(at, virtual)


def _routed(at: Balancer, address: IPAddress) -> Iterator[Object]:
    """Containers send it to the host anyway. The host itself translates what it has a route for, and a source by that."""
    yield route(host_prefix(address), dev=at.device)


def _carried(site: Site, at: Balancer, address: IPAddress) -> Iterator[Object]:
    """The carrier answers who has the address, and sends on to what is on its link."""
    yield Address(address=host_prefix(address), dev=at.carrier, ns=at.ns)
    for obj in _parts.forwarding(site):
        if isinstance(obj, Sysctl) and "accept_ra" not in obj.name:
            yield msgspec.structs.replace(obj, lasting=False, ns=at.ns)
    for subnet in site.network.subnets:
        yield route(str(subnet), dev=at.carrier, ns=at.ns)


def _neighbours(at: Balancer, virtual: Virtual) -> Iterator[Object]:
    """Permanent, so that no ARP or ND message of another container can change who gets a member's packets."""
    for backend in virtual.backends:
        for address in backend.addresses:
            yield Neighbour(address=str(address), lladdr=backend.mac, dev=at.carrier, ns=at.ns)


# -- rules -------------------------------------------------------------------------------------------------------------


def place(fam: Family) -> Selector:
    """What a port of a service is looked up by."""
    return DADDR[fam] + L4PROTO + TH_DPORT


def itself(virtual: Virtual, *first: Match) -> Iterator[NftSet | NftChain | NftElement]:
    """A container that reaches itself by a virtual address comes from the host: its own address it would not answer. `first`:
    what is asked of a packet before that."""
    rules = []
    for fam in FAMILIES:
        yield NftSet(name=f"itself{fam}", type=(_rules.address(fam), _rules.address(fam)))
        both = (SADDR[fam] + DADDR[fam]).among(f"itself{fam}")
        rules.append(rule(*first, SENT_TO[fam].among(f"virtual{fam}"), both, Masquerade()))
        own = (one for backend in virtual.backends if backend.here and (one := backend.address(fam)))
        yield from (NftElement(set=f"itself{fam}", value=f"{address} . {address}") for address in own)
    yield _rules.base_chain("services-postrouting", "nat", "postrouting", SRCNAT - 1, *rules)
