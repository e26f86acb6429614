"""What data paths with VXLAN (RFC 7348) have in common: their options' meaning, what fits, who can take part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from weft.base.errors import Invalid
from weft.base.names import stable_mac
from weft.base.net import Family
from weft.datapaths import _rules
from weft.datapaths.driver import Answer, Host, Problem, Site
from weft.datapaths.options import (
    ENCRYPT,
    KERNEL_PORT,
    CommonOptions,
    Encrypt,
    FlannelOptions,
    Port,
    Underlay,
    Vni,
    check_port,
)
from weft.hoststate import FdbEntry, Link, NftElement, Object, Vxlan
from weft.hoststate.firewall import RAW
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import NOTRACK
from weft.hoststate.rules.matches import IIFNAME, UDP_DPORT, Match
from weft.model import Lease, Network, Node, ciphers
from weft.model.network import OptionValue

OVERHEAD: dict[Family, int] = {4: 50, 6: 70}
"""Octets that VXLAN adds, by the underlay's family: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20 or IPv6 40."""

VTEP_MAC = "vtep-mac"
"""Key in a lease's data: the MAC address of the holder's VXLAN device."""

LARGEST_VNI = (1 << 24) - 1
MESH_VNI, MESH_PORT = LARGEST_VNI, 4790
"""Of the routing mesh (`_routing_mesh`)."""
PROBED_VNI = LARGEST_VNI - 1
"""Of what hosts probe the ways to each other with, at driver mesh's port."""
_TAKEN = {(MESH_VNI, MESH_PORT): "the routing mesh's", (PROBED_VNI, KERNEL_PORT): "for probes between hosts"}


class OverUdp:
    """What the options `port`, `underlay` and `encrypt` come to. A driver's options inherit from this, and name the three with
    the driver's own defaults. `outer`: octets that the tunnel adds, by the underlay's family."""

    __slots__ = ()
    outer: ClassVar[Mapping[Family, int]]
    port: Port
    underlay: Underlay
    encrypt: Encrypt = False

    @property
    def underlay_family(self) -> Family:
        return 4 if self.underlay == "ipv4" else 6

    @property
    def overhead(self) -> int:
        fam = self.underlay_family
        return self.outer[fam] + (ciphers.OVERHEAD[fam] if self.encrypt else 0)

    @property
    def udp_port(self) -> int | None:
        return self.port

    @property
    def secured(self) -> tuple[Family, int] | None:
        return (self.underlay_family, self.port) if self.encrypt else None


class OverVxlan(OverUdp):
    """And the option `vni`."""

    __slots__ = ()
    outer = OVERHEAD
    vni: Vni

    @property
    def tunnel_vni(self) -> int | None:
        return self.vni

    @property
    def tunnel_device(self) -> str:
        return f"weft.{self.vni}"


def check(vni: int, port: int) -> None:
    """Raises Invalid."""
    if not 1 <= vni <= LARGEST_VNI:
        raise Invalid(f"vni={vni} is outside 1 to {LARGEST_VNI} (RFC 7348: 24 bits)")
    check_port(port)
    if whose := _TAKEN.get((vni, port)):
        raise Invalid(f"vni={vni} with port={port} is {whose}: choose another VNI, or another port")


def check_encrypted(options: OverUdp) -> None:
    """Raises Invalid."""
    if options.encrypt and isinstance(options, FlannelOptions) and options.flannel:
        raise Invalid("encrypt=true with flannel=…: flannel's hosts cannot do it: leave one of the two out")


def underlay(node: Node) -> Family:
    """Of what hosts send each other that is no network's own tunnel."""
    return 4 if node.address(4) else 6


def room(site: Site) -> int:
    """The largest inner packet that the uplink carries in one piece."""
    overhead: int = site.options.overhead
    return site.host.node.mtu - overhead


def mtu(site: Site) -> int:
    options: CommonOptions = site.options
    return site.network.mtu or options.fitting(site.carried)


def unfit(site: Site, what: str = "VXLAN") -> Iterator[Problem]:
    node = site.host.node
    if mtu(site) > room(site):
        share = f"{node.uplink} carries {node.mtu}, less {what}'s share {room(site)}"
        yield Problem(f"MTU {mtu(site)} does not fit: {share}; make the network with --mtu {room(site)} or without")


def vtep(site: Site) -> Answer:
    """The host's VXLAN device. Peers know its MAC address by the lease, so nothing is learnt. Where the host has lost its
    address there is none, and a problem says so."""
    options, node = site.options, site.host.node
    local = node.address(options.underlay_family)
    if local is None:  # lost after the network was set up: local traffic goes on, and the tunnel when it is back
        yield Problem(refusal(site.host, site.network, options))
        return
    yield from unfit(site)
    yield Link(
        name=options.tunnel_device,
        type=Vxlan(vni=options.vni, port=options.port, local=str(local), dev=node.uplink),
        mtu=mtu(site),
        mac=site.lease.data.get(VTEP_MAC),  # missing while the lease is still that of an earlier network of this name
        alias=f"weft:network/{site.network.name}",
    )
    yield from accepted(options.vni, options.port)


def accepted(vni: int, port: int) -> Iterator[Object]:
    """VXLAN packets as the host's rules see them: taken from known hosts only (see `guard`), and not
    connection-tracked, which would cost every one of them a lookup and tell nothing. What comes from a container is not a
    tunnel packet, whatever its port: it may need masquerading."""
    yield from untracked(port)
    yield NftElement(set="vnis", value=f"{port} . {vni:#x}")


def untracked(port: int) -> Iterator[Object]:
    """See `accepted`."""
    yield NftElement(set="tunnel-ports", value=str(port))
    hooks: dict[str, tuple[Match, ...]] = {"prerouting": (IIFNAME.is_not("weft*"),), "output": ()}
    for hook, others in hooks.items():
        passed = rule(*others, UDP_DPORT.among("tunnel-ports"), NOTRACK)
        yield _rules.base_chain(f"raw-{hook}", "filter", hook, RAW, passed)


def remote(site: Site, node: Node, lease: Lease) -> FdbEntry | Problem:
    """Where frames to another host's VXLAN device go."""
    options = site.options
    address, mac = node.address(options.underlay_family), lease.data.get(VTEP_MAC)
    if address is None:
        return unreachable(node, options.underlay_family)
    if mac is None:
        return Problem(f"{node.name} has not told its VTEP's MAC address: VXLAN cannot reach it; restart its agent")
    return FdbEntry(lladdr=mac, dst=str(address), dev=options.tunnel_device)


def lease_data(host: Host, network: Network, _options: Any) -> dict[str, str]:
    return {VTEP_MAC: stable_mac("vtep", host.node.name, network.name)}


def claims(options: Any) -> tuple[tuple[str, str], ...]:
    """None while the VNI is yet to be chosen."""
    return ((f"vni/{options.vni}", f"VNI {options.vni}"),) if options.vni else ()


def refusal(host: Host, network: Network, options: Any) -> str:
    return addressless(host, network, options) or unencrypted(host, network, options)


def addressless(host: Host, network: Network, options: Any) -> str:
    fam: Family = options.underlay_family
    if host.node.address(fam) is None:
        return (
            f"{host.node.name} has no IPv{fam} address on {host.node.uplink}: give it one, "
            f"or make network {network.name} with -O underlay=ipv{10 - fam}"
        )
    return ""


def unreachable(node: Node, fam: Family, what: str = "VXLAN") -> Problem:
    return Problem(f"{node.name} has no IPv{fam} address on {node.uplink}: {what} cannot reach it; give it one")


# -- encryption --------------------------------------------------------------------------------------------------------


def encrypted(port: int = 0) -> dict[str, Callable[[Host, Mapping[str, OptionValue]], OptionValue]]:
    """What an encrypted network is given where it is made (`Driver.fixed`). `port`: instead of the driver's usual one, for all
    that is sent to a port is encrypted, or nothing of it; 0: each network of the driver has one of its own."""

    def own(_host: Host, options: Mapping[str, OptionValue]) -> OptionValue:
        return port if str(options.get(ENCRYPT, False)).lower() in ("true", "1") else 0

    return {ENCRYPT: lambda host, _options: host.encrypts, **({"port": own} if port else {})}


def unencrypted(host: Host, network: Network, options: CommonOptions) -> str:
    """Why this host cannot take part where all is encrypted, or ""."""
    node = host.node
    if options.secured is None or node.ciphers:
        return ""
    if not host.keyed:
        return (
            f"{node.name} has no mesh secret, of which keys are made: write one to a file on every host, name it in weft.toml "
            f"(mesh-secret), and restart the agents; or make network {network.name} without -O encrypt=true"
        )
    return (
        f"the kernel of {node.name} has neither WireGuard nor ESP: modprobe wireguard there, and restart the agent; or make "
        f"network {network.name} without -O encrypt=true"
    )


def withheld(site: Site, node: Node) -> Problem | None:
    """Why there is nothing that leads to another host: it would be in the clear. None where it is encrypted, or need not be."""
    if site.options.secured is None:
        return None
    me, fam = site.host.node, site.options.underlay_family
    if ciphers.cipher(me, node) or ciphers.trusts(me, node, fam, site.host.trusted):
        return None
    if not me.ciphers:
        return Problem(unencrypted(site.host, site.network, site.options))
    lacks = (
        "neither has it a mesh secret, nor its kernel WireGuard or ESP, as far as it tells"
        if not node.ciphers
        else f"it has {' and '.join(node.ciphers)}, and this one {' and '.join(me.ciphers)}"
    )
    return Problem(
        f"{node.name} cannot encrypt as {me.name} does, so nothing of network {site.network.name} is sent there: {lacks}; "
        f"on {node.name}: mesh-secret in weft.toml, modprobe wireguard, and restart the agent"
    )
