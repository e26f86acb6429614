"""Networks are apart: what a host forwards from one of Weft's networks to another has to be allowed by both.

Which ones may talk is in the networks' records (`Network.meets`). From these come pairs of subnets, `within4` and
`within6`. A packet between two addresses of such a pair passes if its source is true: if it came by

    a device whose packets are checked (`weft.datapaths.guard`)
    one by which that source comes (`via4`; `moved4` for addresses that are on another host than their block)
    one by which packets come to that target from that source, of another network (`inside4`)

What else comes from or goes to networks that are not open to all (`apart4`) is dropped, if the other end is in one of
Weft's networks as well (`networks4`); or whatever the other end is, if the network is internal (`internal4`).

Among networks that are open to all nothing is asked. A packet that passes within a network is looked up once or twice. What
is dropped is counted, in the chain `closed`.

Where a network of this host masquerades, connections are tracked in any case: then only the first packet of one is looked up
(`tracked`). Once one is open that may not be any more, its mark gets the bit `ANEW` (`weft.compile.meetings`): each of its
packets is looked up from then on, like those of connections that are not tracked.

What was translated passes: ports of the host and floating addresses are for everybody. (Virtual addresses of services are
not: they are for those who may talk to the member itself.) Only containers that have any are looked up for that (`doors4`), so
that where there are none, nothing needs connection tracking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from weft.base.net import FAMILIES, Family, IPAddress, IPNetwork, host_text
from weft.datapaths import _rules
from weft.datapaths.driver import Site
from weft.hoststate import Key, NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import FILTER
from weft.hoststate.links import CHECKED
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import ACCEPT, COUNTER, DROP, Dispatch, Jump
from weft.hoststate.rules.matches import (
    CT_STATE,
    CT_STATUS,
    DADDR,
    IIFGROUP,
    IIFNAME,
    L4PROTO,
    OIFGROUP,
    SADDR,
    SENT_TO,
    Selector,
    field,
)
from weft.model import Network

ANEW = 0x8000_0000
"""The connection was open when its ends came to be apart, as far as networks' records tell: whether its packets pass is looked
up for each."""
_NOT_ANEW = field("ct mark").is_(f"0x0/{ANEW:#x}")
_TRACKED = NftSet(name="tracked", type=("inet_proto",), to=("verdict",))
_BELIEVED = IIFGROUP.is_(CHECKED)
_CLOSED, _CLOSED_BUT = Jump("closed", back=False), Jump("apart", back=False)
"""The second one: but for what was translated."""


def _chains() -> Iterator[NftChain]:
    """The last first, since each leads to others."""
    yield NftChain(name="closed", rules=(rule(COUNTER, DROP),))
    yield NftChain(name="apart", rules=tuple(_apart()))
    yield NftChain(name="within", rules=tuple(_true_sources()))
    for name, ends in (("from-apart", (SADDR, DADDR)), ("to-apart", (DADDR, SADDR))):
        yield NftChain(name=name, rules=tuple(_beyond(*ends)))
    begun = rule(Dispatch(by=L4PROTO, map="tracked"))
    each = (r for fam in FAMILIES for r in _entry(fam))
    yield _rules.base_chain("isolation", "filter", "forward", FILTER, begun, *each)


def _entry(fam: Family) -> Iterator[Rule]:
    """Where br_netfilter is loaded (Docker, Kubernetes), packets between two ports of one bridge come by here as well. Then
    multicast from container to container has to pass: IPv6 asks so for a neighbour (RFC 4861, 7.2.2)."""
    yield rule((SADDR[fam] + DADDR[fam]).among(f"within{fam}"), Jump("within", back=False))
    yield rule(_BELIEVED, OIFGROUP.is_(CHECKED), DADDR[fam].is_(_rules.MULTICAST[fam]), ACCEPT)
    yield rule(SADDR[fam].among(f"apart{fam}"), Jump("from-apart", back=False))
    yield rule(DADDR[fam].among(f"apart{fam}"), Jump("to-apart", back=False))


def _true_sources() -> Iterator[Rule]:
    yield rule(_BELIEVED, ACCEPT)
    for name in ("via", "moved"):
        yield from (rule((IIFNAME + SADDR[fam]).among(f"{name}{fam}"), ACCEPT) for fam in FAMILIES)
    yield from (rule((IIFNAME + SADDR[fam] + DADDR[fam]).among(f"inside{fam}"), ACCEPT) for fam in FAMILIES)
    yield rule(_CLOSED_BUT)


def _beyond(own: Mapping[Family, Selector], other: Mapping[Family, Selector]) -> Iterator[Rule]:
    """For packets to and from addresses of networks that are apart, which are not `within`."""
    for fam in FAMILIES:
        yield rule(own[fam].among(f"internal{fam}"), _CLOSED)
        yield rule(other[fam].among(f"networks{fam}"), _CLOSED_BUT)


def _apart() -> Iterator[Rule]:
    ends = [(fam, end[fam]) for fam in FAMILIES for end in (SADDR, DADDR)]
    yield from (rule(end.among(f"internal{fam}"), _CLOSED) for fam, end in ends)
    yield from (rule(Dispatch(by=end, map=f"doors{fam}")) for fam, end in ends)
    yield rule(_CLOSED)


_CHAINS = tuple(_chains())
_TRANSLATED = NftChain(
    name="translated",
    rules=tuple(rule(CT_STATUS.is_("dnat"), SENT_TO[fam].not_among(f"virtual{fam}"), ACCEPT) for fam in FAMILIES),
)


def keys() -> tuple[Key, ...]:
    """Of the rules that have to stand before a device of a network that is not open to all."""
    return tuple(chain.key for chain in _CHAINS)


def rules() -> Iterator[Object]:
    """The same whichever network needs them."""
    for name in ("networks", "internal", "apart"):
        yield from _rules.sets(name)
    yield from _rules.sets("within", "", "")
    yield from _rules.sets("inside", "ifname", "", "")
    yield from _ways()
    yield from _doors()
    yield from _CHAINS


def _ways() -> Iterator[Object]:
    yield _TRACKED
    yield from _rules.sets("via", "ifname", "")
    for fam in FAMILIES:
        yield NftSet(name=f"moved{fam}", type=("ifname", _rules.address(fam)))


def _doors() -> Iterator[Object]:
    for fam in FAMILIES:
        yield NftSet(name=f"doors{fam}", type=(_rules.address(fam),), to=("verdict",))


def tracking() -> Iterator[Object]:
    """Somebody has connections tracked. (The map comes with `here`, and with `rules`.)"""
    yield NftChain(name="begun", rules=(rule(CT_STATE.is_("established", "related"), _NOT_ANEW, ACCEPT),))
    yield from (NftElement(set=_TRACKED.name, value=protocol, to="jump begun") for protocol in ("tcp", "udp"))


# -- what one network adds, on this host -------------------------------------------------------------------------------


def here(site: Site) -> Iterator[Object]:
    """The sets for `via`, `moved` and `tracking`; all rules, where the network is not open to all."""
    return _ways() if site.network.reaches is None else rules()


def via(device: str, sources: Iterable[IPNetwork]) -> Iterator[Object]:
    """By this device come packets with these sources."""
    for source in sources:
        yield NftElement(set=f"via{source.version}", value=f'"{device}" . {host_text(source)}')


def moved(device: str, addresses: Iterable[IPNetwork]) -> Iterator[Object]:
    """The same of single addresses, out of subnets that are somewhere else."""
    for address in addresses:
        yield NftElement(set=f"moved{address.version}", value=f'"{device}" . {host_text(address)}')


def door(targets: Iterable[IPAddress]) -> Iterator[Object]:
    """Ports or addresses of the host lead to these containers, for everybody."""
    yield from _doors()
    yield from _rules.virtual()
    yield _TRANSLATED
    for target in targets:
        yield NftElement(set=f"doors{target.version}", value=str(target), to="jump translated")


# -- what comes of all networks' records -------------------------------------------------------------------------------


def ours(subnets: Iterable[IPNetwork]) -> Iterator[Object]:
    return _elements("networks", subnets)


def apart(subnets: Iterable[IPNetwork], network: Network) -> Iterator[Object]:
    """Subnets, or single addresses, of a network that is not open to all."""
    subnets = tuple(subnets)
    yield from _elements("apart", subnets)
    if network.internal:
        yield from _elements("internal", subnets)


def between(some: Iterable[IPNetwork], others: Iterable[IPNetwork]) -> Iterator[Object]:
    """These may talk to each other."""
    for one, other in _pairs(some, others):
        for source, target in dict.fromkeys([(one, other), (other, one)]):
            yield NftElement(set=f"within{one.version}", value=f"{host_text(source)} . {host_text(target)}")


def inside(device: str, sources: Iterable[IPNetwork], targets: Iterable[IPNetwork]) -> Iterator[Object]:
    """By this device, of the targets' network, come packets of another network."""
    for source, target in _pairs(sources, targets):
        value = f'"{device}" . {host_text(source)} . {host_text(target)}'
        yield NftElement(set=f"inside{source.version}", value=value)


def _pairs(some: Iterable[IPNetwork], others: Iterable[IPNetwork]) -> Iterator[tuple[IPNetwork, IPNetwork]]:
    return ((one, other) for one, other in product(some, others) if one.version == other.version)


def _elements(name: str, subnets: Iterable[IPNetwork]) -> Iterator[Object]:
    return (NftElement(set=f"{name}{subnet.version}", value=host_text(subnet)) for subnet in subnets)
