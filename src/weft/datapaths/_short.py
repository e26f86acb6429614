"""The ordinary way decides, the short way repeats: packets of flows that all rules have let pass take it past bridge, routing
and rules.

Who decides stays where it was. Behind everybody's rules stands the chain `short`, which sees nothing that they refuse. Of a
flow that goes on as it began it has the kernel repeat what was decided, by one of two means:

    flowtable   the kernel's own, where it has it: for what the host routes, also where it is translated
    programs    at both ways of a device (`weft.bpf`), for five seconds at a time: for what a bridge switches, and what the
                host routes where there is no flowtable; never for what is translated

A host with neither has nothing of this, and all goes the ordinary way. Devices take part one by one: the host's end of a
container's interface (`port`), uplink and tunnels (`way`). A flow needs both that it comes in and goes out by (`short-devices`;
a bridge stands for its ports).

Programs are told by a bit of the packet's mark, which ends at the device that the packet leaves by. What a bridge switches is
marked where it is sent on; where rules see it after that (br_netfilter), `short` takes the mark away and judges anew. As long
as nobody in a namespace has connections tracked, rules judge each packet by itself, so one is good for all that look like it.
Where somebody has (`tracked`), it has to be of a connection that both ends speak in, and that is not translated.

Networks that ask for `fast=bypass` have a mark of their own, by which all packets between two addresses go on, from a
connection's first (`weft.datapaths._bypass`). Who has this mark is looked at once more, behind all rules: others use marks,
too, and may set them after `short`.

Most packets of the ordinary way lead to no entry that would be used: their connection begins, ends, is short or never takes
the short way. So `short` looks at one in `_ONE_IN` of them, by chance, in both families
(docs/adr/0079-one-packet-in-sixteen.md).

The ordinary way only: who has limits of bandwidth, whose queues are at the host's end; who asks for it (`-O offload=off`,
`weft attach --offload off`); who is watched at the moment (`WATCHED`); what the routing mesh sends back by a mark; and
what is for addresses that nobody is known to have, behind a container that may send in others' names: such a frame goes to all
ports of a bridge, so by which one it went says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from weft.base.net import FAMILIES, Family, IPAddress, IPNetwork, host_text
from weft.bpf.layout import ANY_FLOW, BRIDGED, ONE_FLOW
from weft.bpf.maps import BARE, FAST, HOST_ENTRIES, OWN_ENTRIES, SEEN, objects
from weft.datapaths import _bypass, _isolation, _rules, _spoofing, guard
from weft.datapaths.driver import FLOWTABLE, PROGRAMS, Host, Site
from weft.datapaths.options import CommonOptions
from weft.hoststate import (
    HOST,
    BpfLink,
    FastHome,
    FastPairs,
    NftChain,
    NftElement,
    NftFlowDevice,
    NftFlowtable,
    NftSet,
    Object,
    Sysctl,
)
from weft.hoststate.firewall import BRIDGE, INET, WATCHED, WATCHED_FOR, Hook, Table
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import ACCEPT, RETURN, Dispatch, FlowAdd, Jump, SetMark
from weft.hoststate.rules.matches import (
    CT_STATE,
    CT_STATUS,
    DADDR,
    IIFNAME,
    L4PROTO,
    MARK,
    OIFNAME,
    PKTTYPE,
    SADDR,
    Match,
    drawn,
    field,
)
from weft.model import Endpoint

SHORT = "short"
"""The chain, in the families inet and bridge, and the flowtable."""
ORDINARY: Mapping[Family, str] = {fam: f"ordinary{fam}" for fam in FAMILIES}
"""Sets of addresses whose packets take the ordinary way; while somebody watches (`WATCHED`), who puts them in himself."""

_LAST, _BRIDGE_FIRST = 300, -300
"""Priorities: behind everybody's filters, and before br_netfilter (0)."""
_VERY_LAST = 2**31 - 2
"""Of `_BEHIND`: all but connection tracking's confirmation come before (NF_IP_PRI_CONNTRACK_CONFIRM)."""
_DEVICES, _SWITCHED, _WAYS = "short-devices", "switched", "short-ways"
_TUNNELS, _STRANGERS = "short-tunnels", "strangers"
"""Ports of bridges that lead to other hosts, in the family bridge; those of bridges with a port where there can be anybody."""
_OWN_TUNNEL = "vxlan0"
"""In a namespace of a network's own."""
_PASSED, _OFFLOADED, _TRACKED, _FRAMES = "short-passed", "short-offloaded", "short-tracked", "short-frames"
_BEHIND = "short-behind"
_BYPASSED: Mapping[Family, str] = {fam: f"short-bypassed{fam}" for fam in FAMILIES}
_LIBERAL = "net/netfilter/nf_conntrack_tcp_be_liberal"
"""Programs let pass what conntrack does not see, so it must not mind gaps in what TCP sends."""

_STREAMS = ("tcp", "udp")
_STREAM = L4PROTO.is_(*_STREAMS)
_FLOWS, _ALL = ONE_FLOW | ANY_FLOW, ONE_FLOW | ANY_FLOW | BRIDGED
_MARKED = SetMark(ONE_FLOW, _FLOWS)
_APART = field("ct mark").is_(f"0x0/{_isolation.ANEW | _rules.MESH_MARK:#x}")
"""Not of a connection whose packets are each looked up, or are sent back by a mark."""
_OPEN = CT_STATE.is_("established"), _APART
_BOTH = *_OPEN, CT_STATUS.is_("assured"), CT_STATUS.is_("0x0/0x30")
"""Both ends speak, and nothing is translated (IPS_SRC_NAT, IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h)."""
_IS_SWITCHED, _IS_ROUTED = (f(_SWITCHED) for f in ((IIFNAME + OIFNAME).among, (IIFNAME + OIFNAME).not_among))
_NOT_SHOWN = MARK.is_(f"0x0/{BRIDGED:#x}")
_ONE_IN = 16
_NOT_DRAWN = rule(MARK.is_(f"0x0/{_ALL:#x}"), drawn(_ONE_IN).is_not("0"), RETURN)
"""The first rule, by which nearly all packets leave the chain. One with a mark is to lose it, or was drawn for a bridge."""


def flowtable(host: Host, ns: str = HOST) -> bool:
    """Whether what is routed there goes by a flowtable. In a network's own namespace nothing is."""
    return FLOWTABLE not in host.lacking and ns == HOST


def programs(host: Host) -> bool:
    """Whether programs are asked. Rules for bridges tell them what is switched."""
    return not host.lacking & {PROGRAMS, guard.BRIDGE_RULES}


def on(site: Site) -> bool:
    """Whether the network's packets may take it. IPVS has marks of its own on what it sends on, in all bits."""
    options: CommonOptions = site.options
    return options.offload == "on" and options.balancer != "ipvs"


# -- rules -------------------------------------------------------------------------------------------------------------


def network(site: Site, bridge: str = "", ns: str = HOST) -> Iterator[Object]:
    """What it needs in a namespace. `bridge`: on which its containers are there."""
    host = site.host
    if not programs(host) and not flowtable(host, ns):
        return
    if not on(site):
        yield from gaps(host, ns)
        yield from _sets(host, ns)
        yield from _ordinary(host, site.network.subnets, ns)
        return
    yield from _common(host, ns)
    if programs(host) and _bypass.asked(site):
        yield FastPairs(ns=ns)
        yield _behind(ns)
    if bridge:
        yield NftElement(set=_DEVICES, value=f'"{bridge}"', ns=ns)
        yield NftElement(set=_SWITCHED, value=f'"{bridge}" . "{bridge}"', ns=ns)
        if programs(host):
            yield from _switched(ns)
            yield from _bypass.pairs(site, ns, BRIDGE)


def _behind(ns: str) -> NftChain:
    """Behind all that others may do at the last hook: their mark must not let addresses pass that policy is asked about."""
    again = (rule(_bypass.within(fam), Jump(_BYPASSED[fam])) for fam in FAMILIES)
    rules = (rule(MARK.is_(f"0x0/{ANY_FLOW:#x}"), RETURN), rule(SetMark(0, ANY_FLOW)), *again)
    return NftChain(name=_BEHIND, hook=_hook(_VERY_LAST, "postrouting"), rules=rules, ns=ns)


def _common(host: Host, ns: str) -> Iterator[Object]:
    """The same for all networks."""
    yield from _judged(host, ns)
    if programs(host):
        yield from objects(ns, HOST_ENTRIES if ns == HOST else OWN_ENTRIES)
    yield from gaps(host, ns)
    yield NftChain(name=SHORT, hook=_hook(_LAST), rules=tuple(_entry(host, ns)), ns=ns)
    if host.iptables and ns == HOST:  # its rules have connections tracked, as a rule
        yield from tracked(host)


def gaps(host: Host, ns: str = HOST) -> Iterator[Sysctl]:
    """Also where the short way is off: a connection that took it before has gaps for conntrack as long as it is open. So it is
    not put back either, by this agent or by one that does not know of it."""
    if programs(host):
        yield Sysctl(name=_LIBERAL, value="1", optional=True, lasting=False, ns=ns)


def _hook(priority: int, hook: str = "forward") -> Hook:
    return Hook(type="filter", hook=hook, priority=priority)


def _entry(host: Host, ns: str) -> Iterator[Rule]:
    yield _NOT_DRAWN
    if ns == HOST:
        yield rule(IIFNAME.is_not("weft*"), OIFNAME.is_not("weft*"), RETURN)
    if programs(host):  # others may use the same bits
        yield rule(_IS_ROUTED, SetMark(0, _ALL))
        yield rule(_IS_SWITCHED, _NOT_SHOWN, RETURN)
        yield rule(SetMark(0, _FLOWS))
    yield from (rule(end.not_among(_DEVICES), RETURN) for end in (IIFNAME, OIFNAME))
    if programs(host):
        yield from (rule(_bypass.within(fam), Jump(_BYPASSED[fam])) for fam in FAMILIES)
    yield rule(Dispatch(by=L4PROTO, map=_WAYS))
    if programs(host):
        yield rule(*_switched_only(host, ns), _STREAM, Jump(_PASSED, back=False))


def _switched_only(host: Host, ns: str) -> tuple[Match, ...]:
    """Programs are asked about what is routed where no flowtable is."""
    return (_IS_SWITCHED,) if flowtable(host, ns) else ()


def _switched(ns: str) -> Iterator[Object]:
    """What a bridge sends on by a port that leads to one container, or to other hosts. It is seen before anybody's rules: where
    one of these refuses it, that is all."""
    for name in (_TUNNELS, _STRANGERS):
        yield NftSet(name=name, type=("ifname",), table=BRIDGE, ns=ns)
    yield from _bypass.sets(ns, BRIDGE)
    bypassed = (rule(_bypass.within(fam), SetMark(ANY_FLOW | BRIDGED, _ALL), ACCEPT) for fam in FAMILIES)
    marked = rule(_STREAM, SetMark(ONE_FLOW | BRIDGED, _ALL))
    yield NftChain(name=_FRAMES, table=BRIDGE, rules=(*_refused(), *bypassed, marked), ns=ns)
    far, taken = OIFNAME.among(_TUNNELS), Jump(_FRAMES, back=False)
    rules = (
        _NOT_DRAWN,
        rule(OIFNAME.is_not("weft*"), OIFNAME.not_among(_TUNNELS), RETURN),
        rule(SetMark(0, _ALL)),
        *(rule(it, taken) for it in _spoofing.TO_ITS_OWN),
        rule(far, OIFNAME.not_among(_STRANGERS), PKTTYPE.is_not("broadcast", "multicast"), taken),
    )
    yield NftChain(name=SHORT, table=BRIDGE, hook=_hook(_BRIDGE_FIRST), rules=rules, ns=ns)


def _judged(host: Host, ns: str) -> Iterator[Object]:
    """What becomes of those that may."""
    yield from _sets(host, ns)
    yield NftSet(name=_DEVICES, type=("ifname",), ns=ns)
    yield NftSet(name=_SWITCHED, type=("ifname", "ifname"), ns=ns)
    yield NftSet(name=_WAYS, type=("inet_proto",), to=("verdict",), ns=ns)
    if programs(host):
        yield NftChain(name=_PASSED, rules=(*_refused(), rule(_MARKED)), ns=ns)
        yield from _bypass.sets(ns)
        for fam in FAMILIES:
            taken = rule(SetMark(ANY_FLOW, _FLOWS), ACCEPT)
            yield NftChain(name=_BYPASSED[fam], rules=(*_bypass.but_tracked(fam), *_refused(), taken), ns=ns)
    if flowtable(host, ns):
        yield NftFlowtable(name=SHORT, ns=ns)


def tracked(host: Host, ns: str = HOST) -> Iterator[Object]:
    """Somebody has connections tracked there. (The rules that ask for their state would themselves have the kernel do so.)"""
    if not programs(host) and not flowtable(host, ns):
        return
    yield from _judged(host, ns)
    if flowtable(host, ns):
        yield NftChain(name=_OFFLOADED, rules=(*_refused(), rule(FlowAdd(SHORT))), ns=ns)
    yield NftChain(name=_TRACKED, rules=tuple(_of_connections(host, ns)), ns=ns)
    yield from (NftElement(set=_WAYS, value=each, to=f"goto {_TRACKED}", ns=ns) for each in _STREAMS)


def _of_connections(host: Host, ns: str) -> Iterator[Rule]:
    if programs(host):
        yield rule(*_switched_only(host, ns), *_BOTH, Jump(_PASSED, back=False))
    if flowtable(host, ns):
        yield rule(_IS_SWITCHED, RETURN)
        yield rule(*_OPEN, Jump(_OFFLOADED, back=False))


def _refused() -> Iterator[Rule]:
    ends = [(fam, end[fam]) for fam in FAMILIES for end in (SADDR, DADDR)]
    yield from (rule(end.among(names[fam]), RETURN) for names in (WATCHED, ORDINARY) for fam, end in ends)


# -- who takes the ordinary way only -----------------------------------------------------------------------------------


def _tables(host: Host) -> tuple[Table, ...]:
    return (INET, BRIDGE) if programs(host) else (INET,)


def _sets(host: Host, ns: str) -> Iterator[Object]:
    for table in _tables(host):
        for fam in FAMILIES:
            kind = (_rules.address(fam),)
            yield NftSet(name=ORDINARY[fam], type=kind, flags=("interval",), table=table, ns=ns)
            yield NftSet(name=WATCHED[fam], type=kind, timeout=WATCHED_FOR, table=table, ns=ns)


def _ordinary(host: Host, addresses: Iterable[IPAddress | IPNetwork], ns: str) -> Iterator[Object]:
    for address in addresses:
        value = host_text(address) if isinstance(address, IPNetwork) else str(address)
        for table in _tables(host):
            yield NftElement(set=ORDINARY[4 if address.version == 4 else 6], value=value, table=table, ns=ns)


def _stranger(site: Site, ns: str) -> Iterator[Object]:
    """Behind a port of this host there can be anybody."""
    options: CommonOptions = site.options
    if programs(site.host) and (tunnel := options.tunnel_device if ns == HOST else _OWN_TUNNEL):
        yield NftElement(set=_STRANGERS, value=f'"{tunnel}"', table=BRIDGE, ns=ns)


# -- devices -----------------------------------------------------------------------------------------------------------


def port(
    site: Site,
    endpoint: Endpoint,
    dev: str,
    addresses: Iterable[IPAddress],
    bridge: str = "",
    ns: str = HOST,
    *,
    translated: bool = False,
) -> Iterator[Object]:
    """The host's end of one of the container's interfaces, which has these addresses. `bridge`: whose port it is. `translated`:
    all that goes by it is."""
    host, own = site.host, tuple(addresses)
    if not (programs(host) or flowtable(host, ns)) or not (on(site) or translated):
        return
    if not on(site) or endpoint.offload == "off" or endpoint.bandwidth is not None:
        yield from _ordinary(host, own, ns)
        return
    if bridge and _spoofing.may(site, endpoint):
        yield from _stranger(site, ns)
    if not bridge:
        yield NftElement(set=_DEVICES, value=f'"{dev}"', ns=ns)
    if flowtable(host, ns):
        yield NftFlowDevice(flowtable=SHORT, dev=dev, ns=ns)
    if programs(host) and not translated and (bridge or _routed_asked(site, ns)):
        yield from _asked(dev, ns)
        for address in own:
            yield FastHome(address=str(address), dev=dev, network=endpoint.network, ns=ns)


def way(
    site: Site, dev: str, ns: str = HOST, *, switched: bool = False, framed: bool = True, translated: bool = False
) -> Iterator[Object]:
    """The uplink, or a tunnel's device. `switched`: it is a bridge's port. `framed`: packets have an Ethernet header there.
    `translated`: all of this network's that goes by it is."""
    host = site.host
    if not on(site):
        return
    offloaded = flowtable(host, ns) and not switched
    asked = programs(host) and not translated and (switched or _routed_asked(site, ns))
    if offloaded:
        yield NftFlowDevice(flowtable=SHORT, dev=dev, ns=ns)
    if asked:
        yield from _asked(dev, ns, framed=framed)
    if offloaded or asked:
        of, table = (_TUNNELS, BRIDGE) if switched else (_DEVICES, INET)
        yield NftElement(set=of, value=f'"{dev}"', table=table, ns=ns)


def _routed_asked(site: Site, ns: str) -> bool:
    """Programs are asked about what is routed where no flowtable is, and of networks whose packets cannot be in one."""
    return not flowtable(site.host, ns) or _bypass.asked(site)


def _asked(dev: str, ns: str, *, framed: bool = True) -> Iterator[Object]:
    kind = "" if framed else BARE
    yield BpfLink(dev=dev, way="ingress", program=FAST + kind, ns=ns)
    yield BpfLink(dev=dev, way="egress", program=SEEN + kind, ns=ns)
