"""Virtual addresses of services, whatever translates them: what is told of a service, and the way of packets to where it is
done (`weft.datapaths._services` by nftables, `weft.datapaths._ipvs` by IPVS)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from weft.base.net import FAMILIES, Family, IPAddress, family, host_prefix
from weft.datapaths import _rules
from weft.datapaths.driver import Balancer, Site
from weft.hoststate import Address, BridgeFilter, Neighbour, NftChain, NftElement, NftSet, Object, Sysctl, route
from weft.hoststate.firewall import SRCNAT
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import Masquerade
from weft.hoststate.rules.matches import DADDR, L4PROTO, SADDR, SENT_TO, TH_DPORT, Match, Selector

_FORWARDING: dict[Family, str] = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
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


def common(site: Site, at: Balancer) -> Iterator[Object]:
    """For all services of the network: the carrier sends on to what is on its link."""
    if not at.carrier or at.linked:
        return
    for fam in site.network.families:
        yield Sysctl(name=_FORWARDING[fam], value="1", lasting=False, ns=at.ns)
    for subnet in site.network.subnets:
        yield route(str(subnet), dev=at.carrier, ns=at.ns)


def way(at: Balancer, virtual: Virtual) -> Iterator[Object]:
    """What brings packets for a service's addresses to the place where they are translated, and from there to members."""
    for address in virtual.addresses:
        if at.carrier:
            yield Address(address=host_prefix(address), dev=at.carrier, ns=at.ns)
        else:
            # Containers send it to the host anyway. The host itself finds a source by this, and then translates.
            yield route(host_prefix(address), dev=at.device)
    if at.bridge and (at.carrier or any(backend.here for backend in virtual.backends)):
        yield BridgeFilter(dev=at.bridge, ns=at.ns)
    if at.carrier:
        yield from _neighbours(at, virtual)


def _neighbours(at: Balancer, virtual: Virtual) -> Iterator[Object]:
    """Permanent, so that no ARP or ND message of another container can change who gets a member's packets."""
    for backend in virtual.backends:
        for address in backend.addresses:
            yield Neighbour(address=str(address), lladdr=backend.mac, dev=at.carrier, ns=at.ns)


# -- rules and elements ------------------------------------------------------------------------------------------------


def place(fam: Family) -> Selector:
    """What a port of a service is looked up by."""
    return DADDR[fam] + L4PROTO + TH_DPORT


def tables(*first: Match) -> Iterator[NftSet | NftChain]:
    """A container that reaches itself by a virtual address comes from the host: its own address it would not answer. `first`:
    what is asked of a packet before that."""
    yield from _rules.virtual()
    rules = []
    for fam in FAMILIES:
        address = _rules.address(fam)
        yield NftSet(name=f"services{fam}", type=(address, "inet_proto", "inet_service"), to=("verdict",))
        yield NftSet(name=f"itself{fam}", type=(address, address))
        both = (SADDR[fam] + DADDR[fam]).among(f"itself{fam}")
        rules.append(rule(*first, SENT_TO[fam].among(f"virtual{fam}"), both, Masquerade()))
    yield _rules.base_chain("services-postrouting", "nat", "postrouting", SRCNAT - 1, *rules)


def elements(virtual: Virtual) -> Iterator[NftElement]:
    for address in virtual.addresses:
        fam = family(address)
        yield NftElement(set=f"virtual{fam}", value=str(address))
        own = (one for backend in virtual.backends if backend.here and (one := backend.address(fam)))
        yield from (NftElement(set=f"itself{fam}", value=f"{each} . {each}") for each in own)


def inside(at: Balancer, objects: Iterable[NftSet | NftChain | NftElement]) -> Iterator[Object]:
    """In the namespace of the place."""
    return (msgspec.structs.replace(obj, ns=at.ns) if at.ns else obj for obj in objects)
