"""All kinds of objects, in the order of making; removal goes backwards.

Namespaces before what is in them, sets before rules that use them, rules before packets can flow, links before their queues
and addresses, a queue before what is redirected to it, addresses before routes through them, a route when its
next hop can be resolved, a switch's port when its device has all that, what spreads packets over these,
and last of all a shorter way for what all of it lets pass.
"""

from __future__ import annotations

from typing import Any, Final

from weft.hoststate import Key, Object
from weft.reconcile.kinds import bpf, firewall, ipset, iptables, ipvs, ovs_datapath, tunnel, wireguard, xfrm
from weft.reconcile.kinds.address import ADDRESS
from weft.reconcile.kinds.beyond import BEYOND
from weft.reconcile.kinds.bridge_filter import BRIDGE_FILTER
from weft.reconcile.kinds.fdb import FDB
from weft.reconcile.kinds.kind import Kind
from weft.reconcile.kinds.link import LINK
from weft.reconcile.kinds.neighbour import NEIGHBOUR
from weft.reconcile.kinds.netns import NETNS
from weft.reconcile.kinds.ovs import OVS_PORT
from weft.reconcile.kinds.route import ROUTE
from weft.reconcile.kinds.routing_rule import ROUTING_RULE
from weft.reconcile.kinds.shaping import QDISC, REDIRECT
from weft.reconcile.kinds.sysctl import SYSCTL

_TABLE: Final[tuple[Kind[Any], ...]] = (
    NETNS,
    SYSCTL,
    firewall.SET,
    firewall.ELEMENT,
    firewall.FLOWTABLE,
    firewall.CHAIN,
    ipset.IPSET,
    ipset.ELEMENT,
    iptables.MAP,
    iptables.CHAIN,
    iptables.ELEMENT,
    BRIDGE_FILTER,
    xfrm.STATE,
    xfrm.POLICY,
    LINK,
    firewall.FLOW_DEVICE,
    wireguard.END,
    wireguard.PEER,
    QDISC,
    REDIRECT,
    ADDRESS,
    NEIGHBOUR,
    FDB,
    tunnel.TUNNEL,
    tunnel.PREFIX,
    tunnel.SLEEVE,
    tunnel.STATION,
    tunnel.HOST,
    ROUTE,
    ROUTING_RULE,
    OVS_PORT,
    ovs_datapath.DATAPATH,
    ovs_datapath.VPORT,
    ovs_datapath.OUTPUT,
    ipvs.IPVS,
    ipvs.SERVICE,
    ipvs.DESTINATION,
    bpf.MAP,
    bpf.PROGRAM,
    bpf.LINK,
    bpf.HOME,
    bpf.PAIRS,
)


class _Kinds(dict[str, Kind[Any]]):
    """By name. What is not in here is not this kernel's."""

    def __missing__(self, _name: str) -> Kind[Any]:
        return BEYOND


KINDS: Final = _Kinds((kind.name, kind) for kind in _TABLE)

CARRIERS: Final = frozenset(kind.name for kind in _TABLE if kind.carries)
"""Those that other objects stand on."""


def kind_of(obj: Object) -> Kind[Any]:
    return KINDS[obj.kind]


def is_ours(obj: Object) -> bool:
    """Whether an object read from the kernel carries our mark (what carries none by kind is read only where it is ours)."""
    return KINDS[obj.kind].is_ours(obj)


def describe(key: Key) -> str:
    """A key as a user reads it: "route 10.1.2.0/24", "link eth0 in /run/netns/c1"."""
    kind, ns, *rest = key
    return f"{kind} {KINDS[kind].words(rest)}" + (f" in {ns}" if ns else "")
