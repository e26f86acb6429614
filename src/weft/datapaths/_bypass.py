"""Bypass (`-O fast=bypass`): what a network's containers send each other passes by connection tracking, and by all rules that
are asked of every packet, where the kernel has programs at devices (`weft.bpf`).

A packet between two addresses of such a network (`bypass4`) is not tracked, unless one of the two needs it (`tracked4`):

    an address that a policy selects a container of this host by
    one that ports of the host or a floating address lead to
    members of services, and the virtual addresses: an answer is translated where the client is
    addresses of the host's own, whose ports may lead elsewhere

So all that is asked of connections, or translated, is as in any other network. What is untracked, the chain `short` lets go on
by addresses alone (`weft.bpf.layout.ANY_FLOW`), whatever the protocol and from the first packet of a connection on.

Nobody but who asks for it has untracked packets: of a connection that conntrack has not seen begin, it cannot tell who began
it, and the first policy that selects one of its ends would end it (docs/adr/0075-bypass.md).

Where the kernel has flowtables and no programs, packets are tracked: a flowtable's way is shorter than that without tracking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from weft.base.net import FAMILIES, Family, IPAddress, contains, host_text
from weft.datapaths import _rules
from weft.datapaths.driver import FLOWTABLE, PROGRAMS, Host, Site
from weft.datapaths.options import CommonOptions
from weft.hoststate import NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import INET, RAW, Table
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import NOTRACK, Dispatch, Jump
from weft.hoststate.rules.matches import DADDR, SADDR, Match


def within(fam: Family) -> Match:
    """Both ends are in one network that is bypassed."""
    return (SADDR[fam] + DADDR[fam]).among(f"bypass{fam}")


def but_tracked(fam: Family) -> Iterator[Rule]:
    """Ends the chain for packets of addresses that are tracked. (Whether a packet is could be asked, too; but who asks has the
    kernel track everybody's.)"""
    return (rule(Dispatch(by=end[fam], map=f"tracked-at{fam}")) for end in (SADDR, DADDR))


def _chains() -> Iterator[NftChain]:
    """The last first, since it is led to by the first."""
    for fam in FAMILIES:
        yield NftChain(name=f"bypassed{fam}", rules=(*but_tracked(fam), rule(NOTRACK)))
    bypassed = (rule(within(fam), Jump(f"bypassed{fam}", back=False)) for fam in FAMILIES)
    yield _rules.base_chain("bypass", "filter", "prerouting", RAW, *bypassed)


_CHAINS = tuple(_chains())


def works(host: Host) -> bool:
    """Whether the host does what `fast=bypass` asks for."""
    return PROGRAMS not in host.lacking or FLOWTABLE in host.lacking


def said(host: Host, options: CommonOptions) -> str:
    """What the option means on this host, in a line; "" where the network does not ask for it."""
    if options.fast != "bypass":
        return ""
    if not works(host):
        return (
            "as checked: the kernel has flowtables and no tcx, so packets between its containers are tracked, and open "
            "connections take a flowtable's way"
        )
    if PROGRAMS in host.lacking:
        return "untracked: the kernel has no tcx, so packets between its containers pass all but connection tracking"
    return (
        "bypass: packets between its containers are not tracked and, but for some every five seconds, go past the host's "
        "rules, routing and counters; captures at the host's end of an interface see one direction"
    )


def asked(site: Site) -> bool:
    """Whether the network is bypassed on this host."""
    return bool(site.options.fast == "bypass") and works(site.host)


def sets(ns: str = "", table: Table = INET) -> Iterator[NftSet]:
    """What `within` looks up, and `but_tracked`, which is for the family inet."""
    yield from _tracked(ns) if table == INET else ()
    for fam in FAMILIES:
        kind = _rules.address(fam)
        yield NftSet(name=f"bypass{fam}", type=(kind, kind), flags=("interval",), table=table, ns=ns)


def pairs(site: Site, ns: str = "", table: Table = INET) -> Iterator[NftElement]:
    """That the network is."""
    subnets = site.network.subnets if asked(site) else ()
    for one in subnets:
        for other in subnets:
            if one.version == other.version:
                value = f"{host_text(one)} . {host_text(other)}"
                yield NftElement(set=f"bypass{one.version}", value=value, table=table, ns=ns)


def rules(site: Site, ns: str = "") -> Iterator[Object]:
    """What the network needs in the namespace that its packets pass."""
    if asked(site):
        yield from sets(ns)
        yield from (msgspec.structs.replace(chain, ns=ns) for chain in _CHAINS)
        yield from pairs(site, ns)


def _tracked(ns: str) -> Iterator[NftSet]:
    for fam in FAMILIES:
        yield NftSet(name=f"tracked-at{fam}", type=(_rules.address(fam),), to=("verdict",), ns=ns)


def tracked(site: Site, addresses: Iterable[IPAddress], ns: str = "") -> Iterator[Object]:
    """Packets to and from these addresses are tracked in any case."""
    if asked(site):
        yield from _tracked(ns)
        yield from (
            NftElement(set=f"tracked-at{address.version}", value=str(address), to="return", ns=ns)
            for address in dict.fromkeys(addresses)
            if any(contains(subnet, address) for subnet in site.network.subnets)
        )
