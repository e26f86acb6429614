"""Encryption between two hosts: what this host needs so that what it and another one send each other by tunnels of encrypted
networks is encrypted. It knows no data path: it is about the two hosts and UDP ports, so tunnels stay as they are, and their
entries lead to the same addresses as without it.

With WireGuard, a packet's way: the tunnel's own UDP packet, 192.168.1.68 → 192.168.1.254 port 8473, is routed; the rule `iif lo
ipproto udp dport 8473` has it looked up in a table of its own, where `192.168.1.254 dev wg-weft` is → WireGuard encrypts it for
the peer that has this address → UDP 192.168.1.68:6789 → 192.168.1.254:6789, which no such rule concerns → there wg-weft
decrypts it, and takes it only if its source is this peer's → it comes in by wg-weft, and goes to the tunnel as any packet
does.

With ESP: a policy demands it for packets to that port. They are encrypted where they leave, and the receiver's policy takes no
others.

In the clear nothing passes, whatever else is amiss: with WireGuard rules drop what would leave by another device than
wg-weft, and what came by another; with ESP the kernel drops what has no state. The rules are there before any tunnel is. Two
hosts that have no cipher in common have the rules all the same. Who trusts the wire between them (`Host.trusted`) has none of
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from weft.base.net import FAMILIES, Family, host_prefix
from weft.datapaths import _rules, guard
from weft.datapaths.driver import Answer, Host
from weft.hoststate import (
    Address,
    Link,
    NftElement,
    NftSet,
    Object,
    RoutingRule,
    Sysctl,
    Wireguard,
    WireguardEnd,
    WireguardPeer,
    XfrmPolicy,
    XfrmState,
    route,
)
from weft.hoststate.firewall import FILTER
from weft.hoststate.paths import SECURED_TABLE
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import COUNTER, DROP
from weft.hoststate.rules.matches import DADDR, IIFNAME, OIFNAME, SADDR, UDP_DPORT
from weft.model import Node, ciphers

DEVICE = "wg-weft"
"""Not "weft…": what comes in by it is a tunnel's, as what comes in by the uplink, and no container's."""
_ADDRESS = "169.254.87.89/32"
"""The device's, on all hosts; nobody asks for it."""
_PRIORITY = 874
"""Of the routing rules: behind the routing mesh's, before those of the main table."""

Port = tuple[Family, int]
"""A UDP port of tunnels, and the family of their own packets."""

_CHAINS = (
    _rules.base_chain(
        "secured-output",
        "filter",
        "output",
        FILTER,
        *(rule(OIFNAME.is_not(DEVICE), (DADDR[f] + UDP_DPORT).among(f"secured{f}"), COUNTER, DROP) for f in FAMILIES),
    ),
    _rules.base_chain(
        "secured-input",
        "filter",
        "input",
        FILTER,
        *(rule(IIFNAME.is_not(DEVICE), (SADDR[f] + UDP_DPORT).among(f"secured{f}"), COUNTER, DROP) for f in FAMILIES),
    ),
)


def pair(host: Host, node: Node, ports: Iterable[Port]) -> Answer:
    """What this host needs for another one. `ports`: of the encrypted networks."""
    secured = {(fam, port) for fam, port in ports if _both(host, node, fam) and not _trusts(host, node, fam)}
    if not secured:
        return
    cipher = ciphers.cipher(host.node, node)
    if cipher == ciphers.ESP:
        yield from _esp(host, node, secured)
        return
    yield from _closed(node, secured)
    if cipher == ciphers.WIREGUARD:
        yield from _wireguard(host, node, secured)


def _both(host: Host, node: Node, fam: Family) -> bool:
    """Whether both have an address, and not the same one: that is a host which was installed anew under another name."""
    ends = host.node.address(fam), node.address(fam)
    return None not in ends and ends[0] != ends[1]


def _trusts(host: Host, node: Node, fam: Family) -> bool:
    return ciphers.trusts(host.node, node, fam, host.trusted)


def _closed(node: Node, secured: Set[Port]) -> Iterator[Object]:
    """Nothing in the clear."""
    for fam in FAMILIES:
        yield NftSet(name=f"secured{fam}", type=(_rules.address(fam), "inet_service"))
    yield from _CHAINS
    for fam, port in secured:
        yield NftElement(set=f"secured{fam}", value=f"{node.address(fam)} . {port}")


def _wireguard(host: Host, node: Node, secured: Set[Port]) -> Iterator[Object]:
    me = host.node
    mtu = me.mtu - ciphers.OVERHEAD[4 if me.address(4) else 6]
    guards = tuple(chain.key for chain in _CHAINS)
    yield Link(name=DEVICE, type=Wireguard(), mtu=mtu, guards=guards, alias="weft:encryption")
    yield from guard.cluster_tunnel(ciphers.WIREGUARD_PORT)
    # The way back, which has no port, is by the uplink; so a strict filter would take nothing that comes by this device, nor
    # would any filter if the device had no address.
    yield Address(address=_ADDRESS, dev=DEVICE)
    yield Sysctl(name=f"net/ipv4/conf/{DEVICE}/rp_filter", value="2", lasting=False)
    yield WireguardEnd(dev=DEVICE, port=ciphers.WIREGUARD_PORT, public=me.wg_key)
    shared = [fam for fam in FAMILIES if _both(host, node, fam)]
    addresses = [str(node.address(fam)) for fam in shared]
    prefixes = tuple(sorted(map(host_prefix, (address for fam in shared if (address := node.address(fam))))))
    yield WireguardPeer(
        dev=DEVICE, public=node.wg_key, endpoint=addresses[0], port=ciphers.WIREGUARD_PORT, allowed=prefixes
    )
    for fam, port in secured:
        yield RoutingRule(family=fam, priority=_PRIORITY, table=SECURED_TABLE, iif="lo", udp_port=port)
    for fam in {fam for fam, _ in secured}:
        if address := node.address(fam):
            yield route(host_prefix(address), dev=DEVICE, table=SECURED_TABLE)


def _esp(host: Host, node: Node, secured: Set[Port]) -> Iterator[Object]:
    """What this host takes by is there for each salt that the other one may still, or already, send by."""
    me = host.node
    for fam in {fam for fam, _ in secured}:
        here, there = str(me.address(fam)), str(node.address(fam))
        made = ciphers.recipe(me, node, node.esp_salt)
        yield XfrmState(source=here, destination=there, spi=ciphers.spi(made), recipe=made, out=True)
        for salt in host.salts:
            made = ciphers.recipe(node, me, salt)
            yield XfrmState(source=there, destination=here, spi=ciphers.spi(made), recipe=made, out=False)
    for fam, port in secured:
        here, there = str(me.address(fam)), str(node.address(fam))
        yield XfrmPolicy(source=here, destination=there, port=port, direction="out")
        yield XfrmPolicy(source=there, destination=here, port=port, direction="in")
