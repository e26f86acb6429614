"""All kinds of objects in one place, and how they are told apart."""

from __future__ import annotations

from weft.hoststate.beyond import TargetObject
from weft.hoststate.bpf import BpfLink, BpfMap, BpfProgram, FastHome, FastPairs
from weft.hoststate.bridge_filter import BridgeFilter
from weft.hoststate.encryption import WireguardEnd, WireguardPeer, XfrmPolicy, XfrmState
from weft.hoststate.firewall import NftChain, NftElement, NftFlowDevice, NftFlowtable, NftSet
from weft.hoststate.ipset import Ipset, IpsetElement
from weft.hoststate.iptables import IptablesChain, IptablesElement, IptablesMap
from weft.hoststate.ipvs import Ipvs, IpvsDestination, IpvsService
from weft.hoststate.links import Address, Link, Netns
from weft.hoststate.ovs import OvsPort
from weft.hoststate.ovs_datapath import OvsDatapath, OvsOutput, OvsVport
from weft.hoststate.paths import FdbEntry, Neighbour, Route, Sysctl
from weft.hoststate.routing_rule import RoutingRule
from weft.hoststate.shaping import Qdisc, Redirect
from weft.hoststate.tunnels import Sleeve, SleeveHost, SleeveStation, Tunnel, TunnelPrefix

HOST = ""
"""The host's own network namespace."""

OfIptables = Ipset | IpsetElement | IptablesMap | IptablesChain | IptablesElement
Rules = NftSet | NftElement | NftFlowtable | NftFlowDevice | NftChain | OfIptables
Devices = BridgeFilter | Link | Qdisc | Redirect | OvsPort | OvsDatapath | OvsVport | OvsOutput
Tunnels = Tunnel | TunnelPrefix | Sleeve | SleeveStation | SleeveHost
Encryption = WireguardEnd | WireguardPeer | XfrmState | XfrmPolicy
Balancing = Ipvs | IpvsService | IpvsDestination
FastPath = BpfMap | BpfProgram | BpfLink | FastHome | FastPairs
Paths = Address | Neighbour | FdbEntry | Route | RoutingRule
KernelObject = Netns | Sysctl | Rules | Devices | Tunnels | Encryption | Paths | Balancing | FastPath
Object = KernelObject | TargetObject
Key = tuple[str, ...]
"""(kind, namespace, …): as the kernel keys objects of that kind; of a target's, (kind, place, …)."""
