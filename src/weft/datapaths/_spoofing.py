"""Nobody pretends to be somebody else: what a container's port of a bridge takes from it.

A chain sees every frame that comes into a bridge, before anything else does. From a port of ours it takes what is said in
the container's own name, and nothing else: a port of which nothing is known yet is closed.

- IP packets with the container's MAC address and one of its addresses. Its link-local address is the one of its MAC.
- ARP with both as the sender, also unasked; before an address is used (sender 0.0.0.0), for its own addresses only.
- Neighbour solicitations and advertisements in its own name, also as to the MAC address that they tell; duplicate address
  detection (from `::`) for its own addresses only. A neighbour advertisement without an option, or with the one that says
  its MAC address: whatever else there could be behind it would be for a rule to miss.
- No router advertisements, no redirects (RFC 4861, RFC 792), no answers of a DHCP server: a container is neither.
- No tagged frames, and no other protocols: a rule does not see what they carry, and who gets them might.

Who may send in others' names (`-O spoofing=allow`, or the endpoint's own word) has its port in the set `spoofers`.
What comes from the bridge itself passes no such hook, and other ports are not ours to judge.

What is refused is counted, in the chains `claims` and `neighbours`.

TCP in the container's own name is most of what there is, so it is asked for first: one look-up of port, MAC and address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.base.net import FAMILIES, Family, IPAddress, link_local
from weft.datapaths import guard
from weft.datapaths.driver import Host, Problem, Site
from weft.hoststate import HOST, Key, NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import BRIDGE, Hook
from weft.hoststate.links import CHECKED, UNCHECKED
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, COUNTER, DROP, RETURN, Jump
from weft.hoststate.rules.matches import DADDR, IIFNAME, L4PROTO, OIFNAME, SADDR, Match, field
from weft.model import Endpoint

BRIDGE_FIRST = -300
"""Priority before all that are usual in the family bridge."""

_ICMPV6 = 58
_TARGET, _OPTION, _OPTION_MAC = "@th,64,128", "@th,192,16", "@th,208,48"
"""Of a neighbour message (RFC 4861, 4.3 and 4.4): the target; type and length of the first option; the MAC in it."""
_PLAIN, _WITH_OPTION = 24, 32
"""Octets of a neighbour message without options, and with one that says a MAC address."""

_MAC, _TYPE = field("ether saddr"), field("ether type")
_SENDER_MAC, _SENDER = field("arp saddr ether"), field("arp saddr ip")
_ND_TYPE, _LENGTH = field("icmpv6 type"), field("ip6 length")
_KNOWN = L4PROTO.is_not(255)
"""What no rule could tell the protocol of does not pass."""
_IP: dict[Family, Match] = {4: _TYPE.is_("ip"), 6: _TYPE.is_("ip6")}
_OWN: dict[Family, Match] = {fam: (IIFNAME + _MAC + SADDR[fam]).among(f"own{fam}") for fam in FAMILIES}
TO_ITS_OWN = tuple((OIFNAME + field("ether daddr") + DADDR[fam]).among(f"own{fam}") for fam in FAMILIES)
"""Frames to a container that has just one MAC and its own addresses, by its port."""
_OWN_TARGET = (IIFNAME + _MAC + field(_TARGET)).among("own-target")
_OWN_OPTION = (IIFNAME + field(_OPTION_MAC)).among("own-mac")
_SOLICIT, _ADVERT = _ND_TYPE.is_("nd-neighbor-solicit"), _ND_TYPE.is_("nd-neighbor-advert")
_ARP = _TYPE.is_("arp")
_PROBED = field("arp daddr ip")

_SETS: dict[str, tuple[str, ...]] = {
    "own4": ("ifname", "ether_addr", "ipv4_addr"),
    "own6": ("ifname", "ether_addr", "ipv6_addr"),
    "own-target": ("ifname", "ether_addr", _TARGET),
    "own-mac": ("ifname", _OPTION_MAC),
    "spoofers": ("ifname",),
}

_NEIGHBOURS = (
    rule(_ND_TYPE.is_("nd-router-advert", "nd-redirect"), COUNTER, DROP),
    rule(_ADVERT, _LENGTH.is_(_PLAIN), _OWN_TARGET, _OWN[6], ACCEPT),
    rule(_ADVERT, _LENGTH.is_(_WITH_OPTION), field(_OPTION).is_("0x201"), _OWN_OPTION, _OWN_TARGET, _OWN[6], ACCEPT),
    rule(_SOLICIT, SADDR[6].is_("::"), _OWN_TARGET, ACCEPT),
    rule(_SOLICIT, _LENGTH.is_(_PLAIN), _OWN[6], ACCEPT),
    rule(_SOLICIT, _LENGTH.is_(_WITH_OPTION), field(_OPTION).is_("0x101"), _OWN_OPTION, _OWN[6], ACCEPT),
    rule(_ND_TYPE.is_("nd-neighbor-solicit", "nd-neighbor-advert"), COUNTER, DROP),
    rule(_IP[6], _OWN[6], ACCEPT),
    rule(COUNTER, DROP),
)
_CLAIMS = (
    rule(IIFNAME.among("spoofers"), ACCEPT),
    rule(field("udp sport").is_(67, 547), COUNTER, DROP),
    rule(field("udp dport").is_(68, 546), COUNTER, DROP),  # clients take answers from any port
    rule(field("icmp type").is_("redirect"), COUNTER, DROP),
    rule(L4PROTO.is_(_ICMPV6), Jump("neighbours", back=False)),
    *(rule(_IP[fam], _KNOWN, _OWN[fam], ACCEPT) for fam in FAMILIES),
    rule(_ARP, (IIFNAME + _MAC + _SENDER).among("own4"), (IIFNAME + _SENDER_MAC + _SENDER).among("own4"), ACCEPT),
    rule(
        _ARP,
        _SENDER.is_("0.0.0.0"),
        (IIFNAME + _MAC + _PROBED).among("own4"),
        (IIFNAME + _SENDER_MAC + _PROBED).among("own4"),
        ACCEPT,
    ),
    rule(COUNTER, DROP),
)
_FIRST = (
    rule(IIFNAME.is_not("weft*"), RETURN),
    *(rule(_IP[fam], L4PROTO.is_("tcp"), _OWN[fam], ACCEPT) for fam in FAMILIES),
    rule(Jump("claims", back=False)),
)


def checks(host: Host, ns: str = HOST) -> Iterator[Object]:
    """Rules and sets for all bridges of a namespace."""
    if guard.BRIDGE_RULES in host.lacking:
        return
    for name, parts in _SETS.items():
        yield NftSet(name=name, type=parts, table=BRIDGE, ns=ns)
    yield NftChain(name="neighbours", table=BRIDGE, rules=_NEIGHBOURS, ns=ns)
    yield NftChain(name="claims", table=BRIDGE, rules=_CLAIMS, ns=ns)
    hook = Hook(type="filter", hook="prerouting", priority=BRIDGE_FIRST)
    yield NftChain(name="spoofing", table=BRIDGE, hook=hook, rules=_FIRST, ns=ns)


def guards(host: Host, ns: str = HOST) -> tuple[Key, ...]:
    """Keys of the rules that have to stand before a bridge of ours has a port."""
    return tuple(obj.key for obj in checks(host, ns) if isinstance(obj, NftChain))


def unchecked(site: Site) -> Iterator[Problem]:
    """Told where the kernel cannot check what should be checked."""
    if guard.BRIDGE_RULES in site.host.lacking and site.options.spoofing == "drop":
        node, name = site.host.node.name, site.network.name
        yield Problem(
            f"the kernel of {node} has no nftables for bridges, so containers of {name} can send in each other's names: "
            "modprobe nft_meta_bridge and restart the agent, or take a kernel with CONFIG_NF_TABLES_BRIDGE"
        )


def may(site: Site, endpoint: Endpoint) -> bool:
    """Whether the container may send in others' names."""
    return (endpoint.spoofing or site.options.spoofing) == "allow"


def port(
    site: Site, endpoint: Endpoint, name: str, mac: str, addresses: Iterable[IPAddress], ns: str = HOST
) -> Iterator[Object]:
    """What one of the container's ports takes."""
    if guard.BRIDGE_RULES in site.host.lacking:
        return
    if may(site, endpoint):
        yield NftElement(set="spoofers", value=f'"{name}"', table=BRIDGE, ns=ns)
        return
    yield _element("own-mac", name, _number(mac), ns=ns)
    for address in (*addresses, link_local(mac)):
        yield _element(f"own{address.version}", name, mac, str(address), ns=ns)
        if address.version == 6:
            yield _element("own-target", name, mac, f"{int(address):#x}", ns=ns)


def also(site: Site, name: str, mac: str, endpoint: Endpoint, addresses: Iterable[IPAddress]) -> Iterator[Object]:
    """By this port of the host's the container may send from these addresses, too. With their sets: the network of the port
    may be gone before this is asked again."""
    if guard.BRIDGE_RULES in site.host.lacking or may(site, endpoint):
        return
    for address in addresses:
        of = f"own{address.version}"
        yield NftSet(name=of, type=_SETS[of], table=BRIDGE)
        yield _element(of, name, mac, str(address), ns=HOST)


def _element(of: str, name: str, *parts: str, ns: str) -> NftElement:
    return NftElement(set=of, value=" . ".join([f'"{name}"', *parts]), table=BRIDGE, ns=ns)


def _number(mac: str) -> str:
    return f"{int(mac.replace(':', ''), 16):#x}"


def group(site: Site, endpoint: Endpoint) -> int:
    """Of a routed container's device. An internal network stays closed: that rests on true sources."""
    return UNCHECKED if may(site, endpoint) and not site.network.internal else CHECKED
