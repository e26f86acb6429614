"""All kinds of objects in one place: their order, and one line of text about each."""

from __future__ import annotations

from weft.hoststate.beyond import TargetObject
from weft.hoststate.firewall import IptablesChain, NftChain, NftElement, NftSet
from weft.hoststate.links import Address, Link, Netns
from weft.hoststate.paths import ALL, MAIN, PROTO, FdbEntry, Neighbour, Route, Sysctl
from weft.hoststate.shaping import Qdisc, Redirect

HOST = ""
"""The host's own network namespace."""

Rules = NftSet | NftElement | NftChain | IptablesChain
KernelObject = Netns | Sysctl | Rules | Link | Qdisc | Redirect | Address | Neighbour | FdbEntry | Route
Object = KernelObject | TargetObject
Key = tuple[str, ...]
"""(kind, namespace, …): as the kernel keys objects of that kind; of a target's, (kind, place, …)."""

KINDS: tuple[str, ...] = (
    "netns",
    "sysctl",
    "nft-set",
    "nft-element",
    "nft-chain",
    "iptables-chain",
    "link",
    "qdisc",
    "redirect",
    "address",
    "neighbour",
    "fdb",
    "route",
)
"""In the order of making; removal goes backwards. Namespaces before what is in them, sets before rules that use them,
rules before packets can flow, links before their queues and addresses, a queue before what is
redirected to it, addresses before routes through them, and a route last, when
its next hop can be resolved."""


def is_ours(obj: Object) -> bool:
    """Whether an object read from the kernel carries our mark (what carries none by kind is read only where it is ours)."""
    match obj:
        case Link():
            return obj.ours
        case Route():
            return obj.proto == PROTO and obj.table == MAIN
        case Neighbour() | Address():
            return obj.proto == PROTO
        case _:
            return True


def describe(key: Key) -> str:
    """A key as a user reads it: "route 10.1.2.0/24", "link eth0 in /run/netns/c1"."""
    kind, ns, *rest = key
    if kind in ("qdisc", "redirect"):
        return f"{kind} of {rest[0]}" + (f" in {ns}" if ns else "")
    words = {"route": rest[1:2], "neighbour": rest[::-1], "address": rest[::-1], "fdb": _fdb(rest)}.get(kind, rest)
    where = f" in {ns}" if ns else ""
    return f"{kind} {' on '.join(words) if kind in ('neighbour', 'address', 'fdb') else ' '.join(words)}{where}"


def _fdb(rest: list[str]) -> list[str]:
    """Where a frame goes from the device is of interest only if it goes to several places."""
    return rest[::-1] if ALL in rest else rest[1::-1]
