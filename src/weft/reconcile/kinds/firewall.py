"""Rules of nftables: sets, their elements, flowtables, their devices, and chains."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from errno import EINVAL
from typing import get_args

from weft.hoststate import Key, NftChain, NftElement, NftFlowDevice, NftFlowtable, NftSet, Object
from weft.hoststate.firewall import (
    INET,
    Family,
    Table,
    chain_text,
    element_text,
    flow_device_text,
    flowtable_text,
    noun,
    same_rules,
    set_text,
)
from weft.hoststate.rules import Rule
from weft.reconcile.kinds.kind import Kind, link_key, within
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Change, Create, Op, Remove

_ADD_TABLE = "nft add table "
_ONCE = tuple(f"{_ADD_TABLE}{Table(family)}" for family in get_args(Family))

# -- relations ---------------------------------------------------------------------------------------------------------


def _refuses_element(element: NftElement, _making: bool, there: Mapping[Key, Object]) -> int:
    """Of a map, every element leads somewhere."""
    holder = there[element.holder]
    return 0 if isinstance(holder, NftSet) and bool(holder.to) == bool(element.to) else EINVAL


def _element_carriers(element: NftElement) -> tuple[Key, ...]:
    """What leads to a chain is removed by itself: its set goes only after the chains that look it up, that chain before."""
    return within(element) if element.chains else ELEMENT.hosts(element)


def takes(_obj: Object, _making: bool, _there: Mapping[Key, Object]) -> int:
    """What is there already may be added again."""
    return 0


# -- commands ----------------------------------------------------------------------------------------------------------


def _nft(ns: str, *statements: str) -> str:
    """One nft(8) call is one transaction."""
    return run_in(ns, f"nft {shlex.quote('; '.join(statements))}")


def _table(obj: NftSet | NftFlowtable | NftChain) -> str:
    return run_in(obj.ns, f"{_ADD_TABLE}{obj.table}")


def _words(key: list[str]) -> str:
    """The table is named only where it is not the one that nearly all is in."""
    table, *rest = key
    return " ".join(rest if table == str(INET) else key)


def _nft_set(op: Op, obj: NftSet) -> list[str]:
    delete = f"delete {noun(obj)} {obj.table} {obj.name}"
    if isinstance(op, Remove):
        return [_nft(obj.ns, delete)]
    add = f"add {set_text(obj)}"
    if isinstance(op, Change) and isinstance(op.old, NftSet):
        return [_nft(obj.ns, f"delete {noun(op.old)} {obj.table} {obj.name}", add)]
    return [_table(obj), _nft(obj.ns, add)]


def _nft_element(op: Op, obj: NftElement) -> list[str]:
    where = f"element {obj.table} {obj.set}"
    old = [op.old] if isinstance(op, Change) else [op.obj] if isinstance(op, Remove) else []
    lines = [f"delete {where} {{ {element_text(it)} }}" for it in old if isinstance(it, NftElement)]
    if not isinstance(op, Remove):
        lines.append(f"add {where} {{ {element_text(obj)} }}")
    return [_nft(obj.ns, *lines)]


def _nft_flowtable(op: Op, obj: NftFlowtable) -> list[str]:
    delete = f"delete flowtable {obj.table} {obj.name}"
    if isinstance(op, Remove):
        return [_nft(obj.ns, delete)]
    again = [delete] if isinstance(op, Change) else []
    return [_table(obj), _nft(obj.ns, *again, f"add {flowtable_text(obj)}")]


def _nft_flow_device(op: Op, obj: NftFlowDevice) -> list[str]:
    return [_nft(obj.ns, f"{'delete' if isinstance(op, Remove) else 'add'} {flow_device_text(obj)}")]


def _nft_chain(op: Op, obj: NftChain) -> list[str]:
    chain = f"{obj.table} {obj.name}"
    flush, delete = f"flush chain {chain}", f"delete chain {chain}"
    if isinstance(op, Remove):
        return [_nft(obj.ns, flush, delete)]
    add = f"add {chain_text(obj)}"
    rules = [f"add rule {chain} {rule.nft}" for rule in obj.rules if isinstance(rule, Rule)]
    if isinstance(op, Create):
        return [_table(obj), _nft(obj.ns, add, *rules)]
    rehung = isinstance(op.old, NftChain) and op.old.hook != obj.hook
    return [_nft(obj.ns, flush, *([delete, add] if rehung else []), *rules)]


SET = Kind(
    of=NftSet,
    commands=_nft_set,
    words=_words,
    once=_ONCE,
    carries=True,
    in_place=lambda _found, _wanted: False,
    told="namespace",
    refuses=takes,
)
ELEMENT = Kind(
    of=NftElement,
    commands=_nft_element,
    words=_words,
    hosts=lambda element: (*within(element), element.holder),
    carriers=_element_carriers,
    names=lambda element: element.chains,
    told="namespace",
    refuses=_refuses_element,
)
FLOWTABLE = Kind(
    of=NftFlowtable,
    commands=_nft_flowtable,
    optional=True,
    words=_words,
    once=_ONCE,
    carries=True,
    in_place=lambda _found, _wanted: False,
    told="namespace",
    refuses=takes,
)
FLOW_DEVICE = Kind(
    of=NftFlowDevice,
    commands=_nft_flow_device,
    optional=True,
    words=_words,
    hosts=lambda device: (*within(device), device.holder, link_key(device.ns, device.dev)),
    told="namespace",
    silent=lambda _device: True,
    refuses=takes,
)
CHAIN = Kind(
    of=NftChain,
    commands=_nft_chain,
    once=_ONCE,
    names=lambda chain: chain.jumps | chain.sets | chain.flowtables,
    fits=same_rules,
    words=_words,
    told="namespace",
    refuses=takes,
)
