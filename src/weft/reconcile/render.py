"""An operation as the commands an operator knows. Each, pasted into a shell of root's, does what Weft would.

Written for Debian 12: iproute2 6.1, nftables 1.0.6, iptables 1.8.9. One thing these cannot say is Weft's mark on an
address (`ip address add … proto 87` came with iproute2 6.4), so an address made by hand lacks it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import PurePosixPath

import msgspec

from weft.hoststate import (
    HOST,
    Address,
    Bridge,
    FdbEntry,
    Ifb,
    Ipip,
    IptablesChain,
    Key,
    Link,
    Neighbour,
    Netns,
    NftChain,
    NftElement,
    NftSet,
    Qdisc,
    Redirect,
    Route,
    Sysctl,
    TargetObject,
    Veth,
    Vxlan,
)
from weft.hoststate.connected import Connected, connected
from weft.hoststate.firewall import TABLE, element_text, noun, set_text
from weft.hoststate.links import NAMED, NETNS_ALIAS
from weft.hoststate.paths import ALL, MAIN
from weft.hoststate.shaping import HANDLE, PREF
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.reconcile.relations import outside

_NAMED = PurePosixPath(NAMED)
_TABLE = f"inet {TABLE}"
_ADD_TABLE = f"nft add table {_TABLE}"
_ADD_BRIDGE_TABLE = f"nft add table bridge {TABLE}"


def commands(op: Op, before: Mapping[Key, str] | None = None) -> list[str]:
    """`before`: the values that sysctls had before Weft, where known; they are kept on the host only. Where one is not
    known, the command asks for it and, pasted as it is, does nothing but say so."""
    match op.new if isinstance(op, Change) else op.obj:
        case Netns() as netns:
            return _netns(op, netns)
        case Link() as link:
            return _link(op, link)
        case Qdisc() as qdisc:
            return _qdisc(op, qdisc)
        case Redirect() as redirect:
            return _redirect(op, redirect)
        case Address() as address:
            return _address(op, address)
        case Neighbour() as neighbour:
            return _neighbour(op, neighbour)
        case FdbEntry() as entry:
            return _fdb(op, entry)
        case Route() as route:
            return _route(op, route)
        case Sysctl() as sysctl:
            return _sysctl(op, sysctl, (before or {}).get(sysctl.key))
        case NftSet() | NftElement() | NftChain() | IptablesChain() as rules:
            return _rules(op, rules)
        case TargetObject() as obj:
            return _elsewhere(op, obj)


def _elsewhere(op: Op, obj: TargetObject) -> list[str]:
    match op:
        case Create():
            return obj.making()
        case Change(old=TargetObject() as old):
            return obj.changing(old)
    return obj.removing()


def _rules(op: Op, obj: NftSet | NftElement | NftChain | IptablesChain) -> list[str]:
    match obj:
        case NftSet():
            return _nft_set(op, obj)
        case NftElement():
            return _nft_element(op, obj)
        case NftChain():
            return _nft_chain(op, obj)
        case IptablesChain():
            return _iptables(op, obj)


def script(ops: Iterable[Op], before: Mapping[Key, str] | None = None) -> list[str]:
    """The commands of many operations; an nftables table is made once."""
    made: set[str] = set()
    lines = []
    for line in (line for op in ops for line in commands(op, before)):
        if line not in made:
            lines.append(line)
        if line.endswith((_ADD_TABLE, _ADD_BRIDGE_TABLE)):
            made.add(line)
    return lines


# ---------------------------------------------------------------------------------------------- where a command runs


def _name(ns: str) -> str:
    """The name ip(8) knows a namespace by, or ""."""
    path = PurePosixPath(ns)
    return path.name if path.parent == _NAMED else ""


def _in(ns: str, command: str) -> str:
    """A command in a namespace: `ip -n NAME …` for those that have a name and tools that know it, else nsenter(1)."""
    if ns == HOST:
        return command
    tool, _, rest = command.partition(" ")
    if not (name := _name(ns)):
        return f"nsenter --net={shlex.quote(ns)} {command}"
    return f"{tool} -n {name} {rest}" if tool in ("ip", "bridge", "tc") else f"ip netns exec {name} {command}"


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


# ----------------------------------------------------------------------------------------------------------- devices


def _netns(op: Op, netns: Netns) -> list[str]:
    name = _name(netns.path)
    if isinstance(op, Remove):
        return [f"ip netns del {name}"]
    return [f"ip netns add {name}", f"ip -n {name} link set dev lo alias {NETNS_ALIAS}"]


def _link(op: Op, link: Link) -> list[str]:
    if isinstance(op, Remove):
        return [_in(link.ns, f"ip link del dev {link.name}")]
    if isinstance(op, Change) and isinstance(op.old, Link):
        return _set_link(link, op.old)
    if isinstance(link.type, Veth) and not link.type.primary:
        return _set_link(link, None)
    mtu, mac = f"mtu {link.mtu}" if link.mtu else "", f"address {link.mac}" if link.mac else ""
    made = msgspec.structs.replace(
        link, master="", up=False, alias="", hairpin=False, isolated=False, learning=True, group=0
    )
    there = f"netns {_there(link.ns)}" if outside(link) != link.ns else ""
    add = _words(f"ip link add name {link.name}", there, mtu, mac, _type(link))
    return [_in(outside(link), add), *_set_link(link, made)]


def _type(link: Link) -> str:
    match link.type:
        case Bridge():
            return "type bridge"
        case Ifb():
            return "type ifb"
        case Vxlan(vni, port, local, dev, learning):
            flags = [name for name in ("proxy", "l2miss", "l3miss") if getattr(link.type, name)]
            learns = "learning" if learning else "nolearning"
            underlay = _words(f"local {local}" if local else "", f"dev {dev}" if dev else "")
            return _words(f"type vxlan id {vni}", underlay, f"dstport {port} {learns}", *flags)
        case Ipip(local, remote, ttl, pmtudisc):
            ends = _words(f"local {local}" if local else "", f"remote {remote or 'any'}")
            return f"type ipip {ends} ttl {ttl or 'inherit'} {'pmtudisc' if pmtudisc else 'nopmtudisc'}"
        case Veth(peer, peer_ns):
            mtu = f"mtu {link.mtu}" if link.type.given and link.mtu else ""
            return _words(f"type veth peer name {peer}", mtu, f"netns {_there(peer_ns)}" if peer_ns != link.ns else "")


def _there(ns: str) -> str:
    """Of a shell in the host's namespace, /proc/$$/ns/net is just that; a path without a name does as it is."""
    return "/proc/$$/ns/net" if ns == HOST else _name(ns) or shlex.quote(ns)


def _set_link(link: Link, old: Link | None) -> list[str]:
    """What differs from `old`; all there is to say where that is not known."""
    words = [
        f"mtu {link.mtu}" if link.mtu and (old is None or link.mtu != old.mtu) else "",
        f"address {link.mac}" if link.mac and (old is None or link.mac != old.mac) else "",
        f"group {link.group}" if link.group != (old.group if old else 0) else "",
        f"alias {shlex.quote(link.alias)}" if old is None or link.alias != old.alias else "",
        "nomaster" if old is not None and old.master and not link.master else "",
        f"master {link.master}" if link.master and (old is None or link.master != old.master) else "",
        ("up" if link.up else "down") if old is None or link.up != old.up else "",
    ]
    lines = [_in(link.ns, _words(f"ip link set dev {link.name}", *words))] if any(words) else []
    before = (
        old if old is not None and old.master == link.master else Link(name=link.name, type=link.type)
    )  # a new port
    for name in ("hairpin", "isolated", "learning"):
        if getattr(link, name) != getattr(before, name):
            lines.append(
                _in(link.ns, f"bridge link set dev {link.name} {name} {'on' if getattr(link, name) else 'off'}")
            )
    return lines


def _qdisc(op: Op, obj: Qdisc) -> list[str]:
    verb = {Create: "add", Change: "change", Remove: "del"}[type(op)]
    bucket = f"tbf rate {obj.rate}bit burst {obj.burst} limit {obj.limit}" if not isinstance(op, Remove) else ""
    return [_in(obj.ns, _words(f"tc qdisc {verb} dev {obj.dev} root handle {HANDLE:x}:", bucket))]


def _redirect(op: Op, obj: Redirect) -> list[str]:
    """An ingress qdisc that is there already is none the worse for `replace`."""
    where = f"dev {obj.dev} ingress protocol all pref {PREF}"
    first = f"tc qdisc replace dev {obj.dev} ingress" if isinstance(op, Create) else f"tc filter del {where}"
    add = f"tc filter add {where} u32 match u32 0 0 action mirred egress redirect dev {obj.to}"
    return [_in(obj.ns, line) for line in ([first] if isinstance(op, Remove) else [first, add])]


def _address(op: Op, obj: Address) -> list[str]:
    v6 = ":" in obj.address
    if isinstance(op, Change):
        made = msgspec.structs.replace(obj, routed=True)
        if v6:
            return [*_address(Remove(made), made), *_address(Create(made), made)]
        return [
            *map(partial(_connected, obj), connected(obj)),
            _in(obj.ns, f"ip address replace {obj.address} dev {obj.dev}"),
        ]
    made_already = obj.address.startswith("fe80:")  # by the kernel, as soon as the device has a carrier
    verb = "del" if isinstance(op, Remove) else "replace" if made_already else "add"
    nodad = "nodad" if v6 and isinstance(op, Create) else ""
    return [_in(obj.ns, _words(f"ip address {verb} {obj.address} dev {obj.dev}", nodad))]


def _connected(address: Address, route: Connected) -> str:
    """As the kernel makes it of a v4 address."""
    words = (
        "ip route append",
        route.type if route.type != "unicast" else "",
        f"{route.prefix} dev {address.dev} proto kernel scope {'host' if route.type == 'local' else 'link'}",
        f"src {address.address.partition('/')[0]}",
        f"table {route.table}" if route.table != MAIN else "",
    )
    return _in(address.ns, _words(*words))


# ------------------------------------------------------------------------------------------------------------- paths


def _neighbour(op: Op, obj: Neighbour) -> list[str]:
    if isinstance(op, Remove):
        return [_in(obj.ns, f"ip neigh del {obj.address} dev {obj.dev}")]
    verb = "replace" if isinstance(op, Change) else "add"
    mark = f"nud permanent protocol {obj.proto}"
    return [_in(obj.ns, f"ip neigh {verb} {obj.address} lladdr {obj.lladdr} dev {obj.dev} {mark}")]


def _fdb(op: Op, obj: FdbEntry) -> list[str]:
    verb = {Create: "append" if obj.lladdr == ALL else "add", Change: "replace", Remove: "del"}[type(op)]
    if obj.bridge:
        kind = "" if isinstance(op, Remove) else "static sticky"
        return [_in(obj.ns, _words(f"bridge fdb {verb} {obj.lladdr} dev {obj.dev} master", kind))]
    permanent = "" if isinstance(op, Remove) else "permanent"
    return [_in(obj.ns, _words(f"bridge fdb {verb} {obj.lladdr} dev {obj.dev} dst {obj.dst} self", permanent))]


def _route(op: Op, obj: Route) -> list[str]:
    verb = {Create: "add", Change: "replace", Remove: "del"}[type(op)]
    v6 = ":" in obj.prefix
    scope = "link" if not v6 and obj.type == "unicast" and not obj.via else "global"  # what ip(8) takes for granted
    via = f"via {'inet6 ' if ':' in obj.via and not v6 else ''}{obj.via}" if obj.via else ""
    words = (
        f"ip -6 route {verb}" if v6 else f"ip route {verb}",
        obj.type if obj.type != "unicast" else "",
        obj.prefix,
        via,
        f"dev {obj.dev}" if obj.dev else "",
        "onlink" if obj.onlink else "",
        f"proto {obj.proto}",
        f"scope {obj.scope}" if obj.scope != scope else "",
        f"src {obj.src}" if obj.src else "",
        f"metric {obj.metric}" if obj.metric else "",
        f"table {obj.table}" if obj.table != MAIN else "",
    )
    return [_in(obj.ns, _words(*words))]


def _sysctl(op: Op, obj: Sysctl, before: str | None) -> list[str]:
    if not isinstance(op, Remove):
        setting = shlex.quote(f"{obj.name}={obj.value}")
    elif before is not None:
        setting = shlex.quote(f"{obj.name}={before}")
    else:
        setting = obj.name + '="${BEFORE:?its value before Weft}"'
    return [_in(obj.ns, f"sysctl -w {setting}")]


# ------------------------------------------------------------------------------------------------------------- rules


def _nft(ns: str, *statements: str) -> str:
    """One nft(8) call is one transaction."""
    return _in(ns, f"nft {shlex.quote('; '.join(statements))}")


def _nft_set(op: Op, obj: NftSet) -> list[str]:
    delete = f"delete {noun(obj)} {_TABLE} {obj.name}"
    if isinstance(op, Remove):
        return [_nft(obj.ns, delete)]
    add = f"add {set_text(obj)}"
    if isinstance(op, Change) and isinstance(op.old, NftSet):
        return [_nft(obj.ns, f"delete {noun(op.old)} {_TABLE} {obj.name}", add)]
    return [_in(obj.ns, _ADD_TABLE), _nft(obj.ns, add)]


def _nft_element(op: Op, obj: NftElement) -> list[str]:
    where = f"element {_TABLE} {obj.set}"
    old = [op.old] if isinstance(op, Change) else [op.obj] if isinstance(op, Remove) else []
    lines = [f"delete {where} {{ {element_text(it)} }}" for it in old if isinstance(it, NftElement)]
    if not isinstance(op, Remove):
        lines.append(f"add {where} {{ {element_text(obj)} }}")
    return [_nft(obj.ns, *lines)]


def _nft_chain(op: Op, obj: NftChain) -> list[str]:
    chain = f"{obj.family} {TABLE} {obj.name}"
    flush, delete = f"flush chain {chain}", f"delete chain {chain}"
    if isinstance(op, Remove):
        return [_nft(obj.ns, flush, delete)]
    add = f"add chain {chain}" + (f" {{ {obj.hook} }}" if obj.hook else "")
    rules = [f"add rule {chain} {rule}" for rule in obj.rules]
    if isinstance(op, Create):
        table = _ADD_TABLE if obj.family == "inet" else _ADD_BRIDGE_TABLE
        return [_in(obj.ns, table), _nft(obj.ns, add, *rules)]
    rehung = isinstance(op.old, NftChain) and op.old.hook != obj.hook
    return [_nft(obj.ns, flush, *([delete, add] if rehung else []), *rules)]


def _iptables(op: Op, obj: IptablesChain) -> list[str]:
    tool = f"{'iptables' if obj.family == 4 else 'ip6tables'}-{obj.backend}"
    call = f"{tool} -w -t {obj.table}"
    jump = f"-j {obj.name}"
    rules = [f"-A {obj.name} {rule}" for rule in obj.rules]
    match op:
        case Create():
            lines = [f"-N {obj.name}", *rules, f"-I {obj.parent} 1 {jump}"]
        case Remove():
            lines = [f"-D {obj.parent} {jump}", f"-F {obj.name}", f"-X {obj.name}"]
        case Change(old=old):
            hang = []
            if isinstance(old, IptablesChain) and old.parent != obj.parent:
                hang = [f"-D {old.parent} {jump}", f"-I {obj.parent} 1 {jump}"]
            table = [f"*{obj.table}", f":{obj.name} - [0:0]", *rules, *hang, "COMMIT"]
            given = " ".join(map(shlex.quote, table))
            return [f"printf '%s\\n' {given} | " + _in(obj.ns, f"{tool}-restore -w --noflush")]
    return [_in(obj.ns, f"{call} {line}") for line in lines]
