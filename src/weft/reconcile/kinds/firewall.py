"""Rules: sets, their elements, and chains, of nftables and of iptables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from errno import EINVAL

from weft.hoststate import IptablesChain, Key, NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import TABLE, element_text, noun, set_text
from weft.reconcile.kinds.kind import Kind, within
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Change, Create, Op, Remove

_TABLE = f"inet {TABLE}"
_ADD_TABLE = f"nft add table {_TABLE}"
_ADD_BRIDGE_TABLE = f"nft add table bridge {TABLE}"

_JUMP = re.compile(r"(?:\b(?:jump|goto)|-[jg]) ([^\s,;}]+)")
_SET = re.compile(r"@(?!(?:ll|nh|th|ih),\d)([^\s,;}]+)")
"""A set's name; what is excluded are places in a packet, such as `@th,96,24`."""


# -- relations ---------------------------------------------------------------------------------------------------------


def jumps(chain: NftChain | IptablesChain) -> set[Key]:
    """The chains its rules lead to (and, for iptables, keys of targets such as ACCEPT, which name no chain of ours)."""
    return {(*chain.key[:-1], name) for rule in chain.rules for name in _JUMP.findall(rule)}


def sets(chain: NftChain) -> set[Key]:
    """The sets its rules look up."""
    return {("nft-set", chain.ns, name) for rule in chain.rules for name in _SET.findall(rule)}


def _chains(chain: IptablesChain) -> set[Key]:
    """Without targets."""
    return {key for key in jumps(chain) if not key[-1].isupper() or "-" in key[-1]}


def _set_of(element: NftElement) -> Key:
    return ("nft-set", element.ns, element.set)


def _refuses_element(element: NftElement, _making: bool, there: Mapping[Key, Object]) -> int:
    """Of a map, every element leads somewhere."""
    holder = there[_set_of(element)]
    return 0 if isinstance(holder, NftSet) and bool(holder.to) == bool(element.to) else EINVAL


def _takes(_obj: Object, _making: bool, _there: Mapping[Key, Object]) -> int:
    """What is there already may be added again."""
    return 0


# -- commands ----------------------------------------------------------------------------------------------------------


def _nft(ns: str, *statements: str) -> str:
    """One nft(8) call is one transaction."""
    return run_in(ns, f"nft {shlex.quote('; '.join(statements))}")


def _nft_set(op: Op, obj: NftSet) -> list[str]:
    delete = f"delete {noun(obj)} {_TABLE} {obj.name}"
    if isinstance(op, Remove):
        return [_nft(obj.ns, delete)]
    add = f"add {set_text(obj)}"
    if isinstance(op, Change) and isinstance(op.old, NftSet):
        return [_nft(obj.ns, f"delete {noun(op.old)} {_TABLE} {obj.name}", add)]
    return [run_in(obj.ns, _ADD_TABLE), _nft(obj.ns, add)]


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
        return [run_in(obj.ns, table), _nft(obj.ns, add, *rules)]
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
            return [f"printf '%s\\n' {given} | " + run_in(obj.ns, f"{tool}-restore -w --noflush")]
    return [run_in(obj.ns, f"{call} {line}") for line in lines]


SET = Kind(
    of=NftSet,
    commands=_nft_set,
    once=(_ADD_TABLE, _ADD_BRIDGE_TABLE),
    carries=True,
    in_place=lambda _found, _wanted: False,
    told="namespace",
    refuses=_takes,
)
ELEMENT = Kind(
    of=NftElement,
    commands=_nft_element,
    hosts=lambda element: (*within(element), _set_of(element)),
    told="namespace",
    refuses=_refuses_element,
)
CHAIN = Kind(
    of=NftChain,
    commands=_nft_chain,
    once=(_ADD_TABLE, _ADD_BRIDGE_TABLE),
    names=lambda chain: jumps(chain) | sets(chain),
    told="namespace",
    refuses=_takes,
)
IPTABLES_CHAIN = Kind(of=IptablesChain, commands=_iptables, names=_chains, told="namespace", refuses=_takes)
