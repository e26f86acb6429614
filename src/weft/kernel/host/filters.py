"""All that judges packets in a namespace, as it is in the kernel: tables, chains, rules, sets and their elements of
nf_tables, and conntrack's entries. Rules are not decoded here: a dump of ten thousand is one pass over the kernel's
messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TypeVar

import msgspec

from weft.api.dump import (
    ConnectionDump,
    FiltersDump,
    NftChainDump,
    NftElementDump,
    NftFlowtableDump,
    NftRuleDump,
    NftSetDump,
    NftTableDump,
)
from weft.base.attributes import each
from weft.base.errors import WeftError
from weft.kernel.host import balancers, ipsets, xtables
from weft.kernel.host.entries import entries
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import attr, attributes
from weft.kernel.plumbing.nfnl import NFGENMSG, Nftables

T = TypeVar("T")

_ATTEMPTS = 5
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_INET_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_HOOKS = {
    "ip": _INET_HOOKS,
    "ip6": _INET_HOOKS,
    "inet": _INET_HOOKS,
    "bridge": _INET_HOOKS,
    "arp": ("input", "output", "forward"),
    "netdev": ("ingress", "egress"),
}
_TABLE_FLAGS, _DORMANT = 2, 0x1
_PREFIX = 2  # NFTA_DEVICE_PREFIX
_SET_OBJ_TYPE = 15
_GET_FLOWTABLE = 23  # NFT_MSG_GETFLOWTABLE
_FLOWTABLE_TABLE, _FLOWTABLE_NAME, _FLOWTABLE_HOOK, _FLOWTABLE_DEVICES = 1, 2, 3, 3
_ELEM_EXPR, _ELEM_OBJREF, _ELEM_EXPRESSIONS = 7, 9, 11
_DECIDING = (b"limit", b"quota", b"connlimit")
Place = tuple[str, str]
"""Family and name of a table."""


def of(ns: str, addresses: Collection[str] | None = ()) -> FiltersDump:
    """Of a namespace by its path, "" for the calling thread's own. One that cannot be entered is told in `unread`."""
    try:
        return netns.call(ns, lambda: dump(addresses))
    except WeftError as error:
        return FiltersDump(unread=(str(error),))


def dump(addresses: Collection[str] | None = ()) -> FiltersDump:
    """Of the calling thread's namespace. `addresses`: of conntrack's entries, those that began at one of them or lead
    to one; None: all. What cannot be read is told in `unread`."""
    unread: list[str] = []
    with Nftables() as kernel:
        generation, tables = _consistent(kernel, unread)
        connections: tuple[ConnectionDump, ...] = ()
        if kernel.netlink is not None and (addresses is None or addresses):
            try:
                connections = entries(kernel.netlink, addresses)
            except WeftError as error:
                unread.append(f"connections: {error}")
    return FiltersDump(
        nft=tables,
        xtables=_told("iptables", xtables.tables, unread),
        ipsets=_told("ipset", ipsets.sets, unread),
        ipvs=_told("IPVS", balancers.services, unread),
        connections=connections,
        generation=generation,
        unread=tuple(unread),
    )


def _told(what: str, read: Callable[[], tuple[T, ...]], unread: list[str]) -> tuple[T, ...]:
    try:
        return read()
    except WeftError as error:
        unread.append(f"{what}: {error}")
        return ()


def _consistent(kernel: Nftables, unread: list[str]) -> tuple[int, tuple[NftTableDump, ...]]:
    """All of one generation. Where rules change all the time, the last attempt, and that it may be of several."""
    tables: tuple[NftTableDump, ...] = ()
    try:
        for _ in range(_ATTEMPTS):
            before = kernel.generation() or 0
            tables = _tables(kernel)
            if (kernel.generation() or 0) == before:
                return before, tables
    except WeftError as error:
        unread.append(f"nftables: {error}")
        return 0, ()
    unread.append(
        f"rules of nftables changed while they were read, {_ATTEMPTS} times in a row: what is shown may be of several"
    )
    return 0, tables


def _tables(kernel: Nftables) -> tuple[NftTableDump, ...]:
    everything = NFGENMSG.pack(u.AF_UNSPEC, 0, 0)
    tables = kernel.dump(u.NFT_MSG_GETTABLE, everything, _table)
    if not tables:
        return ()
    rules: dict[tuple[str, str, str], list[NftRuleDump]] = {}
    kernel.dump(u.NFT_MSG_GETRULE, everything, partial(_rule, rules))
    chains: dict[Place, list[NftChainDump]] = {}
    kernel.dump(u.NFT_MSG_GETCHAIN, everything, partial(_chain, rules, chains))
    sets: dict[Place, list[NftSetDump]] = {}
    for place, found in kernel.dump(u.NFT_MSG_GETSET, everything, _set):
        sets.setdefault(place, []).append(_with_elements(kernel, place, found))
    flowtables: dict[Place, list[NftFlowtableDump]] = {}
    for place, flowtable in kernel.dump(_GET_FLOWTABLE, everything, _flowtable):
        flowtables.setdefault(place, []).append(flowtable)
    return tuple(
        NftTableDump(
            family=family,
            name=name,
            dormant=dormant,
            chains=tuple(chains.get((family, name), ())),
            sets=tuple(sets.get((family, name), ())),
            flowtables=tuple(flowtables.get((family, name), ())),
        )
        for family, name, dormant in tables
    )


def _text(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def _int(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")


def _inside(found: dict[int, bytes], kind: int) -> dict[int, bytes]:
    """Of an attribute that has attributes; none where it is not there."""
    nested = found.get(kind, b"")
    return attributes(nested, 0, len(nested))


def _table(data: bytes, start: int, end: int) -> tuple[str, str, bool]:
    found = attributes(data, start + 4, end)
    return (
        _FAMILIES.get(data[start], str(data[start])),
        _text(found, u.NFTA_TABLE_NAME),
        bool(_int(found, _TABLE_FLAGS) & _DORMANT),
    )


def _rule(rules: dict[tuple[str, str, str], list[NftRuleDump]], data: bytes, start: int, end: int) -> None:
    found = attributes(data, start + 4, end)
    place = _FAMILIES.get(data[start], ""), _text(found, u.NFTA_RULE_TABLE), _text(found, u.NFTA_RULE_CHAIN)
    rules.setdefault(place, []).append(
        NftRuleDump(
            handle=_int(found, u.NFTA_RULE_HANDLE),
            expressions=found.get(u.NFTA_RULE_EXPRESSIONS, b""),
            userdata=found.get(u.NFTA_RULE_USERDATA, b""),
        )
    )


def _chain(
    rules: dict[tuple[str, str, str], list[NftRuleDump]],
    chains: dict[Place, list[NftChainDump]],
    data: bytes,
    start: int,
    end: int,
) -> None:
    found = attributes(data, start + 4, end)
    place = _FAMILIES.get(data[start], ""), _text(found, u.NFTA_CHAIN_TABLE)
    name = _text(found, u.NFTA_CHAIN_NAME)
    hook = _inside(found, u.NFTA_CHAIN_HOOK)
    names = dict(enumerate(_HOOKS.get(place[0], ())))
    chains.setdefault(place, []).append(
        NftChainDump(
            name=name,
            type=_text(found, u.NFTA_CHAIN_TYPE),
            hook=names.get(_int(hook, u.NFTA_HOOK_HOOKNUM), "") if hook else "",
            priority=int.from_bytes(hook.get(u.NFTA_HOOK_PRIORITY, b""), "big", signed=True),
            policy="drop"
            if hook and _int(found, u.NFTA_CHAIN_POLICY) == 0 and u.NFTA_CHAIN_POLICY in found
            else "accept",
            devices=tuple(_devices(hook)),
            rules=tuple(rules.get((*place, name), ())),
        )
    )


def _devices(hook: dict[int, bytes]) -> Iterable[str]:
    """A name that ends in * stands for all that begin so (NFTA_DEVICE_PREFIX)."""
    if u.NFTA_HOOK_DEVS not in hook:
        return [name] if (name := _text(hook, u.NFTA_HOOK_DEV)) else []
    return [
        value.rstrip(b"\0").decode(errors="replace") + ("*" if kind == _PREFIX else "")
        for kind, value in each(hook[u.NFTA_HOOK_DEVS])
    ]


def _flowtable(data: bytes, start: int, end: int) -> tuple[Place, NftFlowtableDump]:
    found = attributes(data, start + 4, end)
    listed = _inside(found, _FLOWTABLE_HOOK).get(_FLOWTABLE_DEVICES, b"")
    devices = tuple(value.rstrip(b"\0").decode(errors="replace") for _, value in each(listed))
    place = _FAMILIES.get(data[start], ""), _text(found, _FLOWTABLE_TABLE)
    return place, NftFlowtableDump(name=_text(found, _FLOWTABLE_NAME), devices=devices)


# -- sets --------------------------------------------------------------------------------------------------------------


def _set(data: bytes, start: int, end: int) -> tuple[Place, NftSetDump]:
    found = attributes(data, start + 4, end)
    concat = _inside(found, u.NFTA_SET_DESC).get(u.NFTA_SET_DESC_CONCAT, b"")
    fields = tuple(int.from_bytes(field[4:8], "big") for _, field in each(concat))
    place = _FAMILIES.get(data[start], ""), _text(found, u.NFTA_SET_TABLE)
    return place, NftSetDump(
        name=_text(found, u.NFTA_SET_NAME),
        flags=_int(found, u.NFTA_SET_FLAGS),
        key_type=_int(found, u.NFTA_SET_KEY_TYPE),
        key_length=_int(found, u.NFTA_SET_KEY_LEN),
        data_type=_int(found, u.NFTA_SET_DATA_TYPE),
        data_length=_int(found, u.NFTA_SET_DATA_LEN),
        object_type=_int(found, _SET_OBJ_TYPE),
        fields=fields,
    )


def _with_elements(kernel: Nftables, place: Place, found: NftSetDump) -> NftSetDump:
    family = next(number for number, name in _FAMILIES.items() if name == place[0])
    body = (
        NFGENMSG.pack(family, 0, 0)
        + attr(u.NFTA_SET_ELEM_LIST_TABLE, place[1].encode() + b"\0")
        + attr(u.NFTA_SET_ELEM_LIST_SET, found.name.encode() + b"\0")
    )
    elements: list[NftElementDump] = []
    kernel.dump(u.NFT_MSG_GETSETELEM, body, partial(_elements, elements))
    return msgspec.structs.replace(found, elements=tuple(elements))


def _elements(elements: list[NftElementDump], data: bytes, start: int, end: int) -> None:
    listed = attributes(data, start + 4, end).get(u.NFTA_SET_ELEM_LIST_ELEMENTS, b"")
    elements.extend(_element(attributes(one, 0, len(one))) for _, one in each(listed))


def _element(found: dict[int, bytes]) -> NftElementDump:
    data = _inside(found, u.NFTA_SET_ELEM_DATA)
    own = found.get(_ELEM_EXPRESSIONS, b"")
    if _ELEM_EXPR in found:
        own = attr(u.NFTA_LIST_ELEM, found[_ELEM_EXPR])
    return NftElementDump(
        key=_inside(found, u.NFTA_SET_ELEM_KEY).get(u.NFTA_DATA_VALUE, b""),
        end=_inside(found, u.NFTA_SET_ELEM_KEY_END).get(u.NFTA_DATA_VALUE, b""),
        data=data.get(u.NFTA_DATA_VALUE, b""),
        verdict=data.get(u.NFTA_DATA_VERDICT, b""),
        object=_text(found, _ELEM_OBJREF),
        flags=_int(found, u.NFTA_SET_ELEM_FLAGS),
        expressions=own if any(kind in own for kind in _DECIDING) else b"",
    )
