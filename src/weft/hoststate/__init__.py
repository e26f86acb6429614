"""The kernel's vocabulary as plain frozen data, and the union of what many sources want of one host."""

from weft.hoststate.beyond import TargetObject
from weft.hoststate.bpf import BpfLink, BpfMap, BpfProgram, FastHome, FastPairs
from weft.hoststate.bridge_filter import BridgeFilter
from weft.hoststate.encryption import WireguardEnd, WireguardPeer, XfrmPolicy, XfrmState
from weft.hoststate.firewall import NftChain, NftElement, NftFlowDevice, NftFlowtable, NftSet
from weft.hoststate.ipset import Ipset, IpsetElement
from weft.hoststate.iptables import IptablesChain, IptablesElement, IptablesMap
from weft.hoststate.ipvs import Ipvs, IpvsDestination, IpvsService
from weft.hoststate.links import (
    Address,
    Bridge,
    Ifb,
    Ipip,
    Ipvlan,
    Link,
    LinkKind,
    Macvlan,
    Netns,
    Tap,
    Tun,
    Veth,
    Vlan,
    Vxlan,
    Wireguard,
    netns,
)
from weft.hoststate.objects import HOST, Key, Object
from weft.hoststate.ovs import OvsPort
from weft.hoststate.ovs_datapath import OvsDatapath, OvsOutput, OvsVport
from weft.hoststate.paths import PROTO, FdbEntry, Neighbour, Route, Sysctl, route
from weft.hoststate.routing_rule import RoutingRule
from weft.hoststate.shaping import Qdisc, Redirect
from weft.hoststate.tunnels import Sleeve, SleeveHost, SleeveStation, Tunnel, TunnelPrefix
from weft.hoststate.union import Contribution, Union

__all__ = [
    "HOST",
    "PROTO",
    "Address",
    "BpfLink",
    "BpfMap",
    "BpfProgram",
    "Bridge",
    "BridgeFilter",
    "Contribution",
    "FastHome",
    "FastPairs",
    "FdbEntry",
    "Ifb",
    "Ipip",
    "Ipset",
    "IpsetElement",
    "IptablesChain",
    "IptablesElement",
    "IptablesMap",
    "Ipvlan",
    "Ipvs",
    "IpvsDestination",
    "IpvsService",
    "Key",
    "Link",
    "LinkKind",
    "Macvlan",
    "Neighbour",
    "Netns",
    "NftChain",
    "NftElement",
    "NftFlowDevice",
    "NftFlowtable",
    "NftSet",
    "Object",
    "OvsDatapath",
    "OvsOutput",
    "OvsPort",
    "OvsVport",
    "Qdisc",
    "Redirect",
    "Route",
    "RoutingRule",
    "Sleeve",
    "SleeveHost",
    "SleeveStation",
    "Sysctl",
    "Tap",
    "TargetObject",
    "Tun",
    "Tunnel",
    "TunnelPrefix",
    "Union",
    "Veth",
    "Vlan",
    "Vxlan",
    "Wireguard",
    "WireguardEnd",
    "WireguardPeer",
    "XfrmPolicy",
    "XfrmState",
    "netns",
    "route",
]
