"""Rules in nft's own language, as far as it is understood: what lies in each register is followed through the
expressions. What is not understood stands in angle brackets."""

from __future__ import annotations

import functools

import msgspec

from weft.api.dump import NftRuleDump, NftTableDump
from weft.base.attributes import name, number
from weft.filters import xt
from weft.filters.nft import act, compute, ct, meta, nat, payload
from weft.filters.nft.decode import expressions
from weft.filters.nft.machine import NONSENSE
from weft.filters.nft.terms import Term, of_ct, of_fib, of_meta, of_payload
from weft.filters.nft.values import WRITE
from weft.filters.nft.writer import Writer, elements

_UNITS = {1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}
_BURST = 5
"""What nft takes where nothing is said."""
_LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit")
_ICMP_CODES = {0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable"}
_ICMP_CODES |= {9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"}
_ICMPV6_CODES = {0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable"}
_ICMPX_CODES = {0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"}


def written(table: NftTableDump, rule: NftRuleDump) -> str:
    """Without its comment and its handle."""
    writer = Writer(table)
    try:
        for each in expressions(rule.expressions):
            _add(each, writer)
        return writer.text()
    except NONSENSE:
        return "<numbers that no kernel writes>"


@functools.singledispatch
def _add(each: object, to: Writer) -> None:
    to.say(f"<{getattr(each, 'kind', type(each).__name__.lower())}>")


@_add.register
def _payload(each: payload.Payload, to: Writer) -> None:
    term = of_payload(each, to.network, to.transport)
    if each.source is None:
        to.store(each.register, to.read(term))
    else:
        to.say(f"{to.read(term).text} set {_assigned(to.load(each.source), term)}")


def _assigned(source: Term, target: Term) -> str:
    return source.whole() if source.value is None else target.write(source.value[: target.length])


@_add.register
def _extension(each: payload.ExtensionHeader, to: Writer) -> None:
    word = {0: "exthdr", 1: "tcp option", 2: "ip option", 3: "sctp chunk", 4: "dccp option"}.get(each.op, "option")
    text = f"{word} {each.kind}" + ("" if each.present else f" @{each.offset},{each.length}")
    if each.source is None:
        to.store(each.register, Term(text, "exists" if each.present else "number", max(1, each.length)))
    else:
        to.say(f"{text} set {to.load(each.source).whole()}")


@_add.register
def _meta(each: meta.Meta, to: Writer) -> None:
    term = of_meta(each)
    if each.source is None:
        to.store(each.register, term)
    else:
        to.say(f"meta {each.key} set {_assigned(to.load(each.source), term)}")


@_add.register
def _ct(each: ct.Ct, to: Writer) -> None:
    sizes = {"saddr": 16 if to.network == "ip6" else 4, "daddr": 16 if to.network == "ip6" else 4}
    term = of_ct(each, sizes.get(each.key, ct.LENGTHS.get(each.key, 4)))
    if each.source is None:
        to.store(each.register, term)
    else:
        to.say(f"{term.text} set {_assigned(to.load(each.source), term)}")


@_add.register
def _cmp(each: compute.Cmp, to: Writer) -> None:
    to.compare(to.load(each.register, len(each.data)), each.op, each.data)


@_add.register
def _range(each: compute.Range, to: Writer) -> None:
    term = to.load(each.register)
    to.say(f"{term.whole()} {'!= ' if each.inverted else ''}{term.write(each.first)}-{term.write(each.last)}")


@_add.register
def _bitwise(each: compute.Bitwise, to: Writer) -> None:
    term = to.load(each.source, each.length)
    if each.op == 0:
        changed = msgspec.structs.replace(term, mask=each.mask, xor=each.xor)
    else:
        sign = ("", "<<", ">>", "&", "|", "^")[each.op]
        operand = to.load(each.other).whole() if each.other is not None else WRITE["own"](each.data)
        changed = msgspec.structs.replace(term, text=f"{term.whole()} {sign} {operand}", mask=b"", xor=b"")
    to.store(each.register, changed)


@_add.register
def _byteorder(each: compute.Byteorder, to: Writer) -> None:
    term = to.load(each.source)
    turned = {"own": "number", "mark": "hex"}.get(term.kind, term.kind)
    to.store(each.register, msgspec.structs.replace(term, kind=turned))


@_add.register
def _immediate(each: compute.Immediate, to: Writer) -> None:
    if each.go is not None:
        to.say(to.go(each.go))
    else:
        to.store(each.register, Term("", "ip" if len(each.data) in (4, 16) else "number", len(each.data), each.data))


@_add.register
def _lookup(each: compute.LookUp, to: Writer) -> None:
    found = to.set_named(each.set)
    key = to.key(each.key, found.key_length if found else 4)
    shown = elements(found) if found and each.set.startswith("__") else f"@{each.set}"
    if each.verdicts:
        to.say(f"{key} vmap {shown}")
    elif each.register is not None:
        length = found.data_length if found else 4
        to.store(each.register, Term(f"{key} map {shown}", "hex", length))
    else:
        to.say(f"{key} {'!= ' if each.inverted else ''}{shown}")


@_add.register
def _dynset(each: compute.Dynset, to: Writer) -> None:
    found = to.set_named(each.set)
    key = to.key(each.key, found.key_length if found else 4)
    to.say(f"{('add', 'update', 'delete')[each.op]} @{each.set} {{ {key} }}")


@_add.register
def _nat(each: nat.Nat, to: Writer) -> None:
    family = f" {each.family}" if to.inet else ""
    address = to.load(each.address[0]).whole() if each.address else ""
    if each.address and each.address[1] != each.address[0] and not each.flags & nat.NETMAP:
        address += f"-{to.load(each.address[1]).whole()}"
    if ":" in address and each.ports:
        address = f"[{address}]"
    prefix = " prefix" if each.flags & nat.NETMAP else ""
    to.say(f"{each.kind}{family if each.address else ''}{prefix} to {address}{_ports(each.ports, to)}")


def _ports(ports: nat.Ports | None, to: Writer) -> str:
    if ports is None or to.load(ports.first).value is None:
        return ""
    first, last = (str(int.from_bytes((to.load(at).value or b"")[:2], "big")) for at in (ports.first, ports.last))
    return f":{first}" if first == last else f":{first}-{last}"


@_add.register
def _masquerade(each: nat.Masquerade, to: Writer) -> None:
    ports = _ports(each.ports, to)
    to.say(f"masquerade to {ports}" if ports else "masquerade")


@_add.register
def _redirect(each: nat.Redirect, to: Writer) -> None:
    ports = _ports(each.ports, to)
    to.say(f"redirect to {ports}" if ports else "redirect")


@_add.register
def _reject(each: act.Reject, to: Writer) -> None:
    if each.type == 1:
        to.say("reject with tcp reset")
    elif each.type == 2:
        code = _ICMPX_CODES.get(each.code, str(each.code))
        to.say("reject" if each.code == 1 else f"reject with icmpx {code}")
    else:
        v6 = to.network == "ip6"
        code = (_ICMPV6_CODES if v6 else _ICMP_CODES).get(each.code, str(each.code))
        to.say("reject" if code == "port-unreachable" else f"reject with {'icmpv6' if v6 else 'icmp'} {code}")


@_add.register
def _nothing(each: act.Nothing, to: Writer) -> None:
    found = each.found
    if each.kind == "counter":
        to.say(f"counter packets {number(found, 2)} bytes {number(found, 1)}")
    elif each.kind == "log":
        to.say(_log(found))
    else:
        to.say(each.kind)


@_add.register
def _flow_add(each: act.FlowAdd, to: Writer) -> None:
    to.say(f"flow add @{each.flowtable}")


def _log(found: dict[int, bytes]) -> str:
    words = ["log"]
    if 2 in found:
        words.append(f'prefix "{name(found, 2)}"')
    if 1 in found:
        words.append(f"group {number(found, 1)}")
    elif (level := number(found, 5, 4)) != 4 and level < len(_LEVELS):
        words.append(f"level {_LEVELS[level]}")
    return " ".join(words)


@_add.register
def _limit(each: act.Limit, to: Writer) -> None:
    found = each.found
    if each.kind == "connlimit":
        to.say(f"ct count {'over ' if number(found, 2) & 1 else ''}{number(found, 1)}")
        return
    over = "over " if number(found, 5) & 1 else ""
    unit = _UNITS.get(number(found, 2), f"{number(found, 2)} s")
    kind, burst = ("bytes", "bytes") if number(found, 4) == 1 else ("", "packets")
    rate = f"{number(found, 1)} {kind}/{unit}" if kind else f"{number(found, 1)}/{unit}"
    usual = number(found, 3) == _BURST and burst == "packets"
    to.say(f"limit rate {over}{rate}" + ("" if usual else f" burst {number(found, 3)} {burst}"))


@_add.register
def _quota(each: act.Quota, to: Writer) -> None:
    to.say(f"quota {'over ' if each.inverted else ''}{each.octets} bytes")


@_add.register
def _ending(each: act.Ending, to: Writer) -> None:
    to.say(f"queue to {number(each.found, 1)}" if each.kind == "queue" else each.kind)


@_add.register
def _notrack(each: act.Notrack, to: Writer) -> None:
    to.say("notrack")


@_add.register
def _object(each: act.ObjectReference, to: Writer) -> None:
    kind = {1: "counter", 2: "quota", 3: "ct helper set", 4: "limit", 5: "ct count", 7: "ct timeout set"}.get(
        each.type, "object"
    )
    to.say(f"{kind} map @{each.map}" if each.map else f'{kind} name "{each.name}"')


@_add.register
def _number(each: act.Number, to: Writer) -> None:
    offset = f" offset {each.offset}" if each.offset else ""
    to.store(each.register, Term(f"numgen {'random' if each.random else 'inc'} mod {each.modulus}{offset}", "own", 4))


@_add.register
def _hash(each: act.Hash, to: Writer) -> None:
    what = "symhash" if each.symmetric else f"jhash {to.key(each.source, each.length)}"
    to.store(each.register, Term(f"{what} mod {each.modulus}", "own", 4))


@_add.register
def _fib(each: act.Fib, to: Writer) -> None:
    to.store(each.register, of_fib(each))


@_add.register
def _elsewhere(each: act.Elsewhere, to: Writer) -> None:
    if each.register is None:
        to.say(f"<{each.kind}>")
    else:
        to.store(each.register, Term(f"<{each.kind} {each.key}>", "own", 4))


@_add.register
def _match(each: act.Match, to: Writer) -> None:
    to.say(xt.match_text(each.name, each.revision, each.info, to.family, xt.Ipsets(())))


@_add.register
def _target(each: act.Target, to: Writer) -> None:
    to.say(xt.target_text(each.name, each.revision, each.info, to.family, xt.Ipsets(())))
