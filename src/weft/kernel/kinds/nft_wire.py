"""Messages of nf_tables, to the kernel and from it: tables, sets, elements, flowtables, chains, rules. Pure.
From linux/netfilter/nf_tables.h.

An interval of a single field is two elements: its first value, and, marked as an end, the value after its last one. So
neighbours share a value, once as the end of one and once as the start of the other. What reaches to the last value there
is has no end. Intervals of several fields have both bounds in one element, and the last value is the second bound.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

import msgspec

from weft.base.errors import Invalid, WeftError
from weft.hoststate.firewall import (
    TABLE,
    Family,
    Hook,
    NftChain,
    NftElement,
    NftFlowDevice,
    NftFlowtable,
    NftSet,
    Table,
)
from weft.hoststate.rules import MARK, FoundRule
from weft.kernel.kinds import nft_types
from weft.kernel.kinds.nft_types import Shape
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, attr, attributes
from weft.kernel.plumbing.nfnl import NFGENMSG, message

FAMILIES: dict[Family, int] = {
    "inet": u.NFPROTO_INET,
    "bridge": u.AF_BRIDGE,
    "netdev": u.NFPROTO_NETDEV,
    "ip": u.AF_INET,
    "ip6": u.AF_INET6,
}

_FAMILY_NAMES = {number: name for name, number in FAMILIES.items()}

_FLAGS = {
    "constant": u.NFT_SET_CONSTANT,
    "interval": u.NFT_SET_INTERVAL,
    "dynamic": u.NFT_SET_EVAL,
    "timeout": u.NFT_SET_TIMEOUT,
}
"""In the order in which nft prints them."""
_KEY_ORDER, _DATA_ORDER, _KEY_TYPEOF, _DATA_TYPEOF, _DATA_INTERVAL = 0, 1, 3, 4, 6
"""What nft remembers of a set (libnftnl's enum nftnl_udata_set_types)."""
VERDICT = ("verdict",)
"""What a map of verdicts leads to."""
_OPEN = b"\x01\x04\x01\x00\x00\x00"
"""What nft remembers of an interval that has no end."""
_VERDICTS = {"drop": 0, "accept": 1, "continue": -1, "jump": -3, "goto": -4, "return": -5}
_VERDICT_NAMES = {code: name for name, code in _VERDICTS.items()}
_NESTED = u.NLA_F_NESTED
_ATTR = struct.Struct("=HH")
ROOM = 60_000
"""Octets of elements in one message: the length of an attribute has 16 bits."""


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _be32(value: int) -> bytes:
    return struct.pack(">I", value & 0xFFFFFFFF)


def _int(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")


def _name(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def _body(family: Family, *attrs: bytes) -> bytes:
    return NFGENMSG.pack(FAMILIES[family], 0, 0) + b"".join(attrs)


def _write(kind: int, create: bool, body: bytes) -> Message:
    return Message(message(kind), u.NLM_F_REQUEST | (u.NLM_F_CREATE if create else 0), body)


# -- tables and sets ---------------------------------------------------------------------------------------------------


def new_table(table: Table) -> Message:
    return _write(u.NFT_MSG_NEWTABLE, True, _body(table.family, attr(u.NFTA_TABLE_NAME, _text(table.name))))


def del_table(table: Table) -> Message:
    return _write(u.NFT_MSG_DELTABLE, False, _body(table.family, attr(u.NFTA_TABLE_NAME, _text(table.name))))


def shapes(obj: NftSet) -> tuple[Shape, Shape | None]:
    """Of the keys, and of what they lead to (None: nowhere, or to verdicts). Raises Unsupported."""
    key = nft_types.shape(obj.type, "interval" in obj.flags)
    return key, nft_types.shape(obj.to) if obj.to not in ((), VERDICT) else None


def new_set(obj: NftSet, number: int) -> Message:
    """`number`: no other set of the transaction has it. Raises Unsupported."""
    key, data = shapes(obj)
    concat = len(key.fields) > 1 and key.interval
    flags = sum(_FLAGS.get(flag, 0) for flag in obj.flags) | (u.NFT_SET_CONCAT if concat else 0)
    flags |= (u.NFT_SET_MAP if obj.to else 0) | (u.NFT_SET_TIMEOUT if obj.timeout else 0)
    remembered = _remember(_KEY_ORDER, key.order)
    attrs = [
        *_set_name(obj.name),
        attr(u.NFTA_SET_FLAGS, _be32(flags)),
        attr(u.NFTA_SET_KEY_TYPE, _be32(key.number)),
        attr(u.NFTA_SET_KEY_LEN, _be32(key.length)),
        attr(u.NFTA_SET_ID, _be32(number)),
    ]
    if obj.to:
        attrs.append(attr(u.NFTA_SET_DATA_TYPE, _be32(data.number if data else u.NFT_DATA_VERDICT)))
        attrs.append(attr(u.NFTA_SET_DATA_LEN, _be32(data.length if data else 0)))
        remembered += _remember(_DATA_ORDER, data.order if data else 0)
    if concat:
        fields = b"".join(attr(_NESTED | u.NFTA_LIST_ELEM, attr(u.NFTA_SET_FIELD_LEN, _be32(n))) for n in key.lengths)
        attrs.append(attr(_NESTED | u.NFTA_SET_DESC, attr(_NESTED | u.NFTA_SET_DESC_CONCAT, fields)))
    if obj.timeout:
        attrs.append(attr(u.NFTA_SET_TIMEOUT, struct.pack(">Q", obj.timeout * 1000)))
    if nft_types.nameless(key.fields):
        remembered += _taken(_KEY_TYPEOF, key) + (_taken(_DATA_TYPEOF, data) if data else b"")
    if obj.to:
        remembered += _remember(_DATA_INTERVAL, 0)
    body = _body(obj.table.family, *attrs, attr(u.NFTA_SET_USERDATA, remembered))
    return _write(u.NFT_MSG_NEWSET, True, body)


def _taken(kind: int, shape: Shape) -> bytes:
    taken = nft_types.expressions(shape.fields)
    return bytes((kind, len(taken))) + taken


def del_set(obj: NftSet) -> Message:
    return _write(u.NFT_MSG_DELSET, False, _body(obj.table.family, *_set_name(obj.name)))


def _set_name(name: str) -> tuple[bytes, bytes]:
    return attr(u.NFTA_SET_TABLE, _text(TABLE)), attr(u.NFTA_SET_NAME, _text(name))


def _remember(kind: int, value: int) -> bytes:
    return bytes((kind, 4)) + struct.pack("=I", value)


def all_of(family: Family) -> bytes:
    """The body of the request for all sets, chains or rules of our table."""
    return _body(family, attr(u.NFTA_SET_TABLE, _text(TABLE)))


def decode_set(data: bytes, start: int, end: int, table: Table, ns: str) -> NftSet | None:
    """None for what is part of a rule. A set of a type that Weft makes none of has a type that fits nothing."""
    found = attributes(data, start + NFGENMSG.size, end)
    flags = _int(found, u.NFTA_SET_FLAGS)
    if flags & u.NFT_SET_ANONYMOUS:
        return None
    remembered = nft_types.tlvs(found.get(u.NFTA_SET_USERDATA, b""))
    to: tuple[str, ...] = ()
    if flags & u.NFT_SET_MAP:
        kind = _int(found, u.NFTA_SET_DATA_TYPE)
        to = VERDICT if kind == u.NFT_DATA_VERDICT else nft_types.parts_of(kind, remembered.get(_DATA_TYPEOF, b""))
    timeout = _int(found, u.NFTA_SET_TIMEOUT) // 1000
    named = tuple(flag for flag, bit in _FLAGS.items() if flags & bit)
    return NftSet(
        name=_name(found, u.NFTA_SET_NAME),
        type=nft_types.parts_of(_int(found, u.NFTA_SET_KEY_TYPE), remembered.get(_KEY_TYPEOF, b"")),
        flags=() if timeout and named == ("timeout",) else named,  # as nft prints it
        to=to,
        timeout=timeout,
        table=table,
        ns=ns,
    )


# -- elements ----------------------------------------------------------------------------------------------------------


Encode = Callable[[NftElement], bytes]
"""The attributes of what one element of ours is to the kernel. Raises Invalid."""


def encoder(obj: NftSet) -> Encode:
    """For the elements of this set. Raises Unsupported."""
    key, data = shapes(obj)
    pack = _intervals(key) if key.interval else _points(key)
    if not obj.to:
        return lambda element: pack(element.value, b"")
    lead = data.pack if data else None

    def encode(element: NftElement) -> bytes:
        if lead is None:
            return pack(element.value, attr(_NESTED | u.NFTA_SET_ELEM_DATA, _verdict(element.to)))
        value = attr(u.NFTA_DATA_VALUE, lead(element.to))
        return pack(element.value, attr(_NESTED | u.NFTA_SET_ELEM_DATA, value))

    return encode


def _verdict(text: str) -> bytes:
    name, _, chain = text.partition(" ")
    if name not in _VERDICTS or bool(chain) != (name in ("jump", "goto")):
        raise Invalid(f"'{text}' is no verdict")
    code = attr(u.NFTA_VERDICT_CODE, _be32(_VERDICTS[name]))
    return attr(_NESTED | u.NFTA_DATA_VERDICT, code + (attr(u.NFTA_VERDICT_CHAIN, _text(chain)) if chain else b""))


def _heads(length: int) -> tuple[bytes, bytes, bytes]:
    """What precedes and follows a key of so many octets, in an element; and the padding."""
    padding = bytes(-length & 3)
    key = _ATTR.pack(8 + length + len(padding), _NESTED | u.NFTA_SET_ELEM_KEY) + _ATTR.pack(
        4 + length, u.NFTA_DATA_VALUE
    )
    return key, padding, _ATTR.pack(12 + length + len(padding), _NESTED | u.NFTA_LIST_ELEM)


def _points(key: Shape) -> Callable[[str, bytes], bytes]:
    head, padding, lone = _heads(key.length)
    prefix, pack = lone + head, key.pack

    def one(value: str, data: bytes) -> bytes:
        if not data:
            return prefix + pack(value) + padding
        return attr(_NESTED | u.NFTA_LIST_ELEM, head + pack(value) + padding + data)

    return one


def _intervals(key: Shape) -> Callable[[str, bytes], bytes]:
    head, padding, lone = _heads(key.length)
    closing = attr(u.NFTA_SET_ELEM_FLAGS, _be32(u.NFT_SET_ELEM_INTERVAL_END)) + head
    closing = _ATTR.pack(4 + len(closing) + key.length + len(padding), _NESTED | u.NFTA_LIST_ELEM) + closing
    last, size, bounds = b"\xff" * key.length, key.length, key.bounds

    def several(value: str, data: bytes) -> bytes:
        low, high = bounds(value)
        end = attr(_NESTED | u.NFTA_SET_ELEM_KEY_END, attr(u.NFTA_DATA_VALUE, high))
        return attr(_NESTED | u.NFTA_LIST_ELEM, head + low + end + data)

    def single(value: str, data: bytes) -> bytes:
        low, high = bounds(value)
        if high == last:
            opened = attr(u.NFTA_SET_ELEM_USERDATA, _OPEN)
            return attr(_NESTED | u.NFTA_LIST_ELEM, head + low + padding + data + opened)
        begin = attr(_NESTED | u.NFTA_LIST_ELEM, head + low + padding + data) if data else lone + head + low + padding
        return begin + closing + (int.from_bytes(high, "big") + 1).to_bytes(size, "big") + padding

    return several if len(key.fields) > 1 else single


def elements(obj: NftSet, encoded: Sequence[bytes], *, new: bool) -> Message:
    """These come to the set, or go. No more than ROOM octets of them."""
    kind = u.NFT_MSG_NEWSETELEM if new else u.NFT_MSG_DELSETELEM
    listed = attr(_NESTED | u.NFTA_SET_ELEM_LIST_ELEMENTS, b"".join(encoded))
    return _write(kind, new, _body(obj.table.family, *_set_name(obj.name), listed))


def get_elements(obj: NftSet) -> bytes:
    """The body of the request for all elements of a set."""
    return _body(obj.table.family, *_set_name(obj.name))


class Raw(msgspec.Struct, frozen=True, gc=False):
    """One element as the kernel has it. `end`: the first value after an interval. `high`: the last value, b"" for none."""

    key: bytes
    end: bool
    high: bytes
    to: dict[int, bytes] | None


def decode_elements(data: bytes, start: int, end: int) -> list[Raw]:
    """Of one message."""
    listed = attributes(data, start + NFGENMSG.size, end).get(u.NFTA_SET_ELEM_LIST_ELEMENTS, b"")
    found, at = [], 0
    while at + 4 <= len(listed):
        size, _ = _ATTR.unpack_from(listed, at)
        parts = attributes(listed, at + 4, at + size)
        key, high, to = (
            _nested(parts, kind) for kind in (u.NFTA_SET_ELEM_KEY, u.NFTA_SET_ELEM_KEY_END, u.NFTA_SET_ELEM_DATA)
        )
        flags = _int(parts, u.NFTA_SET_ELEM_FLAGS)
        if key is not None:  # else it is the one that stands for all others
            last = high.get(u.NFTA_DATA_VALUE, b"") if high else b""
            found.append(Raw(key.get(u.NFTA_DATA_VALUE, b""), bool(flags & u.NFT_SET_ELEM_INTERVAL_END), last, to))
        at += (size + 3) & ~3
    return found


def _nested(parts: dict[int, bytes], kind: int) -> dict[int, bytes] | None:
    inner = parts.get(kind)
    return None if inner is None else attributes(inner, 0, len(inner))


def read_elements(obj: NftSet, raw: Sequence[Raw]) -> Iterator[NftElement]:
    """What these are in words; nothing of a set whose type is none of ours."""
    try:
        key, data = shapes(obj)
    except WeftError:
        return
    pairs = _paired(raw, key.length) if key.interval and len(key.fields) == 1 else ((each, each.high) for each in raw)
    for each, high in pairs:
        value, to = key.text(each.key, high or None), _to(each, data)
        yield NftElement(set=obj.name, value=value, to=to, table=obj.table, ns=obj.ns)


def _paired(raw: Sequence[Raw], size: int) -> Iterator[tuple[Raw, bytes]]:
    """Starts with the last value of their interval."""
    start: Raw | None = None
    for each in sorted(raw, key=lambda each: (each.key, not each.end)):
        if start is not None:
            yield start, (int.from_bytes(each.key, "big") - 1).to_bytes(size, "big")
        start = None if each.end else each
    if start is not None:
        yield start, b"\xff" * size


def _to(raw: Raw, data: Shape | None) -> str:
    if raw.to is None:
        return ""
    if data is not None:
        return data.text(raw.to.get(u.NFTA_DATA_VALUE, b""))
    return " ".join(filter(None, _verdict_of(raw.to)))


def _verdict_of(data: dict[int, bytes]) -> tuple[str, str]:
    """Its name, and the chain that it leads to."""
    verdict = _nested(data, u.NFTA_DATA_VERDICT) or {}
    code = struct.unpack(">i", verdict.get(u.NFTA_VERDICT_CODE, bytes(4)))[0]
    return _VERDICT_NAMES.get(code, str(code)), _name(verdict, u.NFTA_VERDICT_CHAIN)


# -- flowtables --------------------------------------------------------------------------------------------------------


_INGRESS = attr(u.NFTA_FLOWTABLE_HOOK_NUM, _be32(u.NF_NETDEV_INGRESS)) + attr(u.NFTA_FLOWTABLE_HOOK_PRIORITY, _be32(0))
"""Where all of ours hang."""


def new_flowtable(obj: NftFlowtable) -> Message:
    return _write(u.NFT_MSG_NEWFLOWTABLE, True, _flowtable(obj.table, obj.name, _INGRESS))


def del_flowtable(obj: NftFlowtable) -> Message:
    return _write(u.NFT_MSG_DELFLOWTABLE, False, _flowtable(obj.table, obj.name))


def flow_device(obj: NftFlowDevice, *, new: bool) -> Message:
    """It comes to the flowtable's devices, or goes; the others stay."""
    kind = u.NFT_MSG_NEWFLOWTABLE if new else u.NFT_MSG_DELFLOWTABLE
    devices = attr(_NESTED | u.NFTA_FLOWTABLE_HOOK_DEVS, attr(u.NFTA_DEVICE_NAME, _text(obj.dev)))
    return _write(kind, new, _flowtable(obj.table, obj.flowtable, _INGRESS + devices))


def _flowtable(table: Table, name: str, hook: bytes = b"") -> bytes:
    attrs = [attr(u.NFTA_FLOWTABLE_TABLE, _text(table.name)), attr(u.NFTA_FLOWTABLE_NAME, _text(name))]
    return _body(table.family, *attrs, attr(_NESTED | u.NFTA_FLOWTABLE_HOOK, hook) if hook else b"")


def all_flowtables() -> bytes:
    """The body of the request for all flowtables, of whatever table."""
    return NFGENMSG.pack(u.AF_UNSPEC, 0, 0)


def decode_flowtable(data: bytes, start: int, end: int, ns: str) -> tuple[NftFlowtable, list[NftFlowDevice]] | None:
    """With its devices. None for one of a table that is not ours."""
    found = attributes(data, start + NFGENMSG.size, end)
    family = _FAMILY_NAMES.get(data[start])
    if family is None or _name(found, u.NFTA_FLOWTABLE_TABLE) != TABLE:
        return None
    table = Table(family)
    name, hook = _name(found, u.NFTA_FLOWTABLE_NAME), _nested(found, u.NFTA_FLOWTABLE_HOOK) or {}
    devices = [
        NftFlowDevice(flowtable=name, dev=dev.rstrip(b"\0").decode(errors="replace"), table=table, ns=ns)
        for dev in _listed(hook.get(u.NFTA_FLOWTABLE_HOOK_DEVS, b""))
    ]
    return NftFlowtable(name=name, table=table, ns=ns), devices


# -- chains and rules --------------------------------------------------------------------------------------------------

_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_NETDEV_HOOKS = ("ingress", "egress")
_DROP = 0
FLOW_ADD = "flow_offload"
"""The expression that adds to a flowtable."""


def decode_chain(data: bytes, start: int, end: int, table: Table, ns: str) -> NftChain | None:
    """Without its rules. None for one of another table."""
    found = attributes(data, start + NFGENMSG.size, end)
    if _name(found, u.NFTA_CHAIN_TABLE) != table.name:
        return None
    hook = _hook(found, table.family) if u.NFTA_CHAIN_HOOK in found else None
    return NftChain(name=_name(found, u.NFTA_CHAIN_NAME), table=table, hook=hook, ns=ns)


def _hook(found: dict[int, bytes], family: Family) -> Hook:
    parts = _nested(found, u.NFTA_CHAIN_HOOK) or {}
    number, names = _int(parts, u.NFTA_HOOK_HOOKNUM), _NETDEV_HOOKS if family == "netdev" else _HOOKS
    devices = [_name(parts, u.NFTA_HOOK_DEV)] if u.NFTA_HOOK_DEV in parts else []
    devices += [name.rstrip(b"\0").decode(errors="replace") for name in _listed(parts.get(u.NFTA_HOOK_DEVS, b""))]
    return Hook(
        type=_name(found, u.NFTA_CHAIN_TYPE),
        hook=names[number] if number < len(names) else str(number),
        priority=struct.unpack(">i", parts.get(u.NFTA_HOOK_PRIORITY, bytes(4)))[0],
        policy="drop" if u.NFTA_CHAIN_POLICY in found and _int(found, u.NFTA_CHAIN_POLICY) == _DROP else "accept",
        devices=tuple(sorted(set(devices))),
    )


def _listed(data: bytes) -> Iterator[bytes]:
    """The payloads of attributes of one kind."""
    at = 0
    while at + 4 <= len(data):
        size = _ATTR.unpack_from(data, at)[0]
        if size < 4:
            return
        yield data[at + 4 : at + size]
        at += (size + 3) & ~3


def decode_rule(data: bytes, start: int, end: int, table: Table) -> tuple[str, FoundRule] | None:
    """The name of its chain, and what is known of the rule. None for one of another table. Of all tables or chains, a dump
    tells the rules of a chain in their order."""
    found = attributes(data, start + NFGENMSG.size, end)
    if _name(found, u.NFTA_RULE_TABLE) != table.name:
        return None
    remembered = nft_types.tlvs(found.get(u.NFTA_RULE_USERDATA, b""))
    comment = _name(remembered, u.NFTNL_UDATA_RULE_COMMENT)
    sets, jumps, flowtables = list[str](), list[str](), list[str]()
    for kind, parts in expressions(found):
        _note(kind, parts, sets, jumps, flowtables)
    mark = comment if MARK.fullmatch(comment) else ""
    rule = FoundRule(mark, tuple(sets), tuple(jumps), tuple(flowtables))
    return _name(found, u.NFTA_RULE_CHAIN), rule


def expressions(found: dict[int, bytes]) -> Iterator[tuple[str, dict[int, bytes]]]:
    """Of a rule, by the attributes of its message: the name of each, and its own attributes."""
    for expression in _listed(found.get(u.NFTA_RULE_EXPRESSIONS, b"")):
        parts = attributes(expression, 0, len(expression))
        yield _name(parts, u.NFTA_EXPR_NAME), _nested(parts, u.NFTA_EXPR_DATA) or {}


class Adding(msgspec.Struct, frozen=True):
    """A rule, and where it stands: behind the one with the handle `after`, 0: first. `expressions`, `remembered`: as the kernel
    has them, of one that adds to a flowtable; b"" of others."""

    table: Table
    chain: str
    handle: int
    expressions: bytes = b""
    remembered: bytes = b""
    after: int = 0


def decode_adding(data: bytes, start: int, end: int, table: Table) -> Adding | None:
    """None for a rule of another table."""
    found = attributes(data, start + NFGENMSG.size, end)
    if _name(found, u.NFTA_RULE_TABLE) != table.name:
        return None
    chain, handle = _name(found, u.NFTA_RULE_CHAIN), _int(found, u.NFTA_RULE_HANDLE)
    if not any(kind == FLOW_ADD for kind, _ in expressions(found)):
        return Adding(table, chain, handle)
    remembered = found.get(u.NFTA_RULE_USERDATA, b"")
    return Adding(table, chain, handle, found[u.NFTA_RULE_EXPRESSIONS], remembered)


def del_rule(rule: Adding) -> Message:
    handle = attr(u.NFTA_RULE_HANDLE, struct.pack(">Q", rule.handle))
    return _write(u.NFT_MSG_DELRULE, False, _body(rule.table.family, *_rule_name(rule), handle))


def new_rule(rule: Adding) -> Message:
    """The same, as long as it names no set in braces."""
    attrs = [*_rule_name(rule), attr(_NESTED | u.NFTA_RULE_EXPRESSIONS, rule.expressions)]
    attrs += [attr(u.NFTA_RULE_USERDATA, rule.remembered)] if rule.remembered else []
    attrs += [attr(u.NFTA_RULE_POSITION, struct.pack(">Q", rule.after))] if rule.after else []
    flags = u.NLM_F_REQUEST | u.NLM_F_CREATE | (u.NLM_F_APPEND if rule.after else 0)
    return Message(message(u.NFT_MSG_NEWRULE), flags, _body(rule.table.family, *attrs))


def _rule_name(rule: Adding) -> tuple[bytes, bytes]:
    return attr(u.NFTA_RULE_TABLE, _text(rule.table.name)), attr(u.NFTA_RULE_CHAIN, _text(rule.chain))


def _note(kind: str, data: dict[int, bytes], sets: list[str], jumps: list[str], flowtables: list[str]) -> None:
    """Which set an expression looks up, which chain it leads to, which flowtable it adds to. A set in braces, which is part of
    the rule, is called __set or __map and a number."""
    if kind in ("lookup", "dynset"):
        name = _name(data, u.NFTA_LOOKUP_SET if kind == "lookup" else u.NFTA_DYNSET_SET_NAME)
        sets += [] if name.startswith("__") else [name]
    elif kind == "immediate":
        chain = _verdict_of(_nested(data, u.NFTA_IMMEDIATE_DATA) or {})[1]
        jumps += [chain] if chain else []
    elif kind == FLOW_ADD:
        flowtables.append(_name(data, u.NFTA_FLOW_TABLE_NAME))
