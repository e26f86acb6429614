"""Virtual addresses of services by IPVS, the kernel's own load balancer, as Docker's Swarm uses it (option `balancer`).

The address is the network's `br0`'s own on each host that has containers of it, so its packets come to the host's side of the
bridge. There, before they are routed, those for a port of a service get a mark, and IPVS spreads each mark over destinations:

    nft      services4: 10.20.255.1 . tcp . 80 : goto ipvs-1234     ipvs-1234: meta mark set 1234
    IPVS     FWM 1234 rr → 10.20.0.3:8080 masquerading weight 1, 10.20.0.4:8080 …

Swarm has a mark for a service, and its destinations keep the port, which containers turn into another one themselves. Here each
port has a mark of its own, so that the destination says the members' port. The mark is made from address, protocol and port.

Nobody's source address is changed. A member's answer goes to its client by the bridge, which shows it to rules
(`BridgeFilter`), and so to IPVS at the hook `forward`. Swarm, whose bridges show nothing, has to have the answers come back to
it, so its members see an address of the client's host.

Without a member that takes connections there is no mark, and the namespace itself refuses new ones at once, where IPVS would
answer by ICMP, of which IPv6 sends one a second. Connections that there are need no mark.

A destination of weight 0 keeps its connections and gets no others; one that is gone has its connections ended. IPVS forgets a
silent connection when conntrack does, after days, not after its own 15 minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from weft.base.net import FAMILIES, IPAddress, family
from weft.datapaths import _rules, _virtual
from weft.datapaths._virtual import STREAMS, Face, Virtual
from weft.datapaths.driver import Balancer
from weft.hoststate import Ipvs, IpvsDestination, IpvsService, NftChain, NftElement, Object
from weft.hoststate.firewall import MANGLE
from weft.hoststate.ipvs import Scheduler
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import Dispatch, SetMark

_HIGHEST_MARK = 0x7FFFFFFF
_ESTABLISHED = 432_000
"""Seconds, as nf_conntrack_tcp_timeout_established."""


def common(at: Balancer) -> Iterator[Object]:
    """For all services of the network."""
    asked = (rule(Dispatch(by=_virtual.place(fam), map=f"services{fam}")) for fam in FAMILIES)
    marked = _rules.base_chain("services-marked", "filter", "prerouting", MANGLE, *asked)
    yield from _virtual.inside(at, (*_virtual.tables(), marked))
    yield Ipvs(established=_ESTABLISHED, conntrack=True, expire_nodest_conn=True, sloppy_tcp=True, ns=at.ns)


def translated(at: Balancer, virtual: Virtual) -> Iterator[Object]:
    """What a service takes on this host, beside the way there (`_virtual.way`)."""
    yield from _virtual.inside(at, (*_virtual.elements(virtual), *_marked(virtual)))
    for address in virtual.addresses:
        for face in virtual.faces:
            yield from _spread(at.ns, address, face, "mh" if virtual.sticky else "rr")


def mark_of(address: IPAddress, protocol: str, port: int) -> int:
    """The same on all hosts, and never 0."""
    said = hashlib.blake2b(f"{address} {protocol} {port}".encode(), digest_size=4).digest()
    return int.from_bytes(said, "big") % _HIGHEST_MARK + 1


def _marked(virtual: Virtual) -> Iterator[NftChain | NftElement]:
    for address in virtual.addresses:
        for face in virtual.faces:
            if not any(backend.takes and backend.address(family(address)) for backend, _ in face.backends):
                continue
            mark = mark_of(address, face.protocol, face.port)
            yield NftChain(name=f"ipvs-{mark}", rules=(rule(SetMark(mark)),))
            place = f"{address} . {face.protocol} . {face.port}"
            yield NftElement(set=f"services{family(address)}", value=place, to=f"goto ipvs-{mark}")


def _spread(ns: str, address: IPAddress, face: Face, scheduler: Scheduler) -> Iterator[Object]:
    fam = family(address)
    mark = mark_of(address, face.protocol, face.port)
    yield IpvsService(family=fam, mark=mark, scheduler=scheduler, ns=ns)
    for backend, port in face.backends:
        own = backend.address(fam)
        if own and (backend.takes or face.protocol in STREAMS):
            kept = 0 if port == face.port else port
            yield IpvsDestination(family=fam, mark=mark, address=own, port=kept, weight=int(backend.takes), ns=ns)
