"""Rules as arguments of iptables and ip6tables, which say less than nftables. What they cannot say is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from weft.base.errors import Unsupported
from weft.base.net import Family, parse_network
from weft.hoststate.rules import actions as a
from weft.hoststate.rules.matches import Limit, Match

CHAIN_PREFIX = "WEFT-"
"""Ownership mark of iptables chains, and of the jumps to them."""
SET_PREFIX = "weft-"
"""Ownership mark of the sets that rules of iptables look up (ipset): rules name them without it."""

MOST_PORTS = 15
"""In one rule (a range counts as two)."""

Words = list[str]


def words(
    matches: Iterable[Match | Limit], actions: Iterable[a.Action], family: Family, comment: str = ""
) -> tuple[str, ...]:
    """A rule's arguments, without "-A CHAIN". Raises Unsupported."""
    found: Words = []
    asked = tuple(matches)
    groups = [g for it in asked for g in ([_limit(it)] if isinstance(it, Limit) else _match(it, family, asked))]
    for word_group in sorted(groups, key=lambda group: group[:2] == ["!", "-p"]):
        _add(found, word_group)
    if comment:
        found += ["-m", "comment", "--comment", comment]
    targets = [target for action in actions if (target := _target(action, family))]
    if len(targets) > 1:
        raise Unsupported(f"a rule of iptables does one thing, not {' and '.join(' '.join(t) for t in targets)}")
    return (*found, *(word for target in targets for word in target))


def _add(found: Words, group: Words) -> None:
    """A protocol, which several matches may need, is named once; of those that it is not, the rest is asked of conntrack. So it
    is with addresses: the first of an end is named, others are ranges."""
    if group[-2] in ("-s", "-d") and group[-2] in found:
        network = parse_network(group[-1])
        no, end = group[:-2], "--src-range" if group[-2] == "-s" else "--dst-range"
        group = ["-m", "iprange", *no, end, f"{network[0]}-{network[-1]}"]
    if group[:2] == ["!", "-p"] and "-p" in found:
        group = ["-m", "conntrack", "!", "--ctproto", group[2]]
    if group[:1] == ["-p"] and "-p" in found:
        if (said := found[found.index("-p") + 1]) != group[1]:
            raise Unsupported(f"a packet is of one protocol, not {said} and {group[1]}")
        return
    found += group


# -- matches -----------------------------------------------------------------------------------------------------------


def _limit(limit: Limit) -> Words:
    return ["-m", "limit", "--limit", f"{limit.rate}/{limit.per}", "--limit-burst", str(limit.burst)]


def _match(match: Match, family: Family, asked: Iterable[Match | Limit]) -> list[Words]:
    """Groups of arguments that belong together. `asked`: all that the rule asks."""
    name = match.fields[0]
    if match.among:
        return [_among(match, family)]
    if len(match.fields) > 1 or name not in _MATCHES:
        raise Unsupported(f"iptables cannot ask for {' . '.join(match.fields)}")
    only = {"ip ": 4, "icmp ": 4, "ip6": 6, "icmpv6": 6}
    if any(name.startswith(start) and family != wanted for start, wanted in only.items()):
        raise Unsupported(f"IPv{family} packets have no {name}")
    if len(match.values) > 1 and name not in _SEVERAL:
        raise Unsupported(f"iptables compares {name} with one value, not with {', '.join(match.values)}")
    if name in _CODES:
        return [_code(match, asked)]
    if name.startswith("th ") and not any(_names_protocol(it) for it in asked):
        raise Unsupported(f"iptables can ask for {name} only of one protocol that the rule names")
    return _MATCHES[name](match, ["!"] if match.negated else [])


_KEYS = {
    ("saddr",): "src",
    ("daddr",): "dst",
    ("saddr", "meta l4proto", "th dport"): "src,dst",
    ("daddr", "meta l4proto", "th dport"): "dst,dst",
    ("saddr", "meta l4proto", "th sport"): "src,src",
    ("daddr", "meta l4proto", "th sport"): "dst,src",
}
"""What sets can be asked for, without the family, as ipset calls it."""


def _among(match: Match, family: Family) -> Words:
    ip = "ip " if family == 4 else "ip6 "
    key = _KEYS.get(tuple(name.removeprefix(ip) for name in match.fields))
    if key is None:
        raise Unsupported(f"iptables cannot look IPv{family} packets' {' . '.join(match.fields)} up in {match.among}")
    return ["-m", "set", *(["!"] if match.negated else []), "--match-set", f"{SET_PREFIX}{match.among}", key]


_CODES = {"icmp code": ("icmp type", "--icmp-type"), "icmpv6 code": ("icmpv6 type", "--icmpv6-type")}


def _code(match: Match, asked: Iterable[Match | Limit]) -> Words:
    """Only together with the type that it is of."""
    of, option = _CODES[match.fields[0]]
    types = [it for it in asked if isinstance(it, Match) and it.fields == (of,) and not it.negated]
    if not types:
        raise Unsupported(f"iptables can ask for {match.fields[0]} only of one {of} that the rule names")
    no = ["!"] if match.negated else []
    return ["-m", "icmp6" if "v6" in of else "icmp", *no, option, f"{types[0].values[0]}/{match.values[0]}"]


def _names_protocol(it: Match | Limit) -> bool:
    return isinstance(it, Match) and it.fields == ("meta l4proto",) and not it.negated and it.values[0] in _WITH_PORTS


def _single(*option: str, translate: Callable[[str], str] = str) -> Callable[[Match, Words], list[Words]]:
    """An option with one value; what comes before the last word loads the extension that has it."""
    return lambda match, no: [[*option[:-1], *no, option[-1], translate(match.values[0])]]


def _ports(protocol: str, end: str) -> Callable[[Match, Words], list[Words]]:
    """`protocol`: "th" is whatever else in the rule names."""

    def groups(match: Match, no: Words) -> list[Words]:
        values = [value.replace("-", ":") for value in match.values]
        if len(values) == 1 and protocol != "th":
            return [["-p", protocol], ["-m", protocol, *no, f"--{end}", values[0]]]
        if len(values) + sum(":" in value for value in values) > MOST_PORTS:
            raise Unsupported(f"a rule of iptables takes {MOST_PORTS} ports at most")
        named = [] if protocol == "th" else [["-p", protocol]]
        return [*named, ["-m", "multiport", *no, f"--{end}s", ",".join(values)]]

    return groups


def _states(match: Match, no: Words) -> list[Words]:
    return [["-m", "conntrack", *no, "--ctstate", ",".join(value.upper() for value in match.values)]]


def _status(match: Match, no: Words) -> list[Words]:
    if not {"dnat", "snat"}.issuperset(match.values):
        raise Unsupported(f"iptables has no {match.fields[0]} {', '.join(match.values)}")
    return _states(match, no)


def _way_back(_match: Match, no: Words) -> list[Words]:
    return [["-m", "rpfilter", *([] if no else ["--invert"])]]


def _flags(match: Match, no: Words) -> list[Words]:
    flags, _, looked_at = match.values[0].partition("/")
    return [["-p", "tcp"], ["-m", "tcp", *no, "--tcp-flags", looked_at.upper(), flags.upper()]]


def _group(value: str) -> str:
    if "-" in value:
        raise Unsupported(f"iptables compares groups of devices with one number, not with {value}")
    return value


_ND = {
    "nd-router-solicit": "133",
    "nd-router-advert": "134",
    "nd-neighbor-solicit": "135",
    "nd-neighbor-advert": "136",
    "nd-redirect": "137",
}
_WITH_PORTS = ("tcp", "udp", "sctp")
_SEVERAL = (*(f"{p} {end}" for p in (*_WITH_PORTS, "th") for end in ("sport", "dport")), "ct state", "ct status")


def _device(value: str) -> str:
    return f"{value[:-1]}+" if value.endswith("*") else value


_MATCHES: Mapping[str, Callable[[Match, Words], list[Words]]] = {
    "iifname": _single("-i", translate=_device),
    "oifname": _single("-o", translate=_device),
    "iifgroup": _single("-m", "devgroup", "--src-group", translate=_group),
    "oifgroup": _single("-m", "devgroup", "--dst-group", translate=_group),
    "meta mark": _single("-m", "mark", "--mark"),
    "ct mark": _single("-m", "connmark", "--mark"),
    "ct state": _states,
    "ct status": _status,
    "ct direction": _single("-m", "conntrack", "--ctdir", translate=str.upper),
    "tcp flags": _flags,
    "meta l4proto": _single("-p"),
    "meta pkttype": _single("-m", "pkttype", "--pkt-type", translate=lambda value: value.replace("host", "unicast")),
    **{f"{ip} saddr": _single("-s") for ip in ("ip", "ip6")},
    **{f"{ip} daddr": _single("-d") for ip in ("ip", "ip6")},
    **{f"{p} {end}": _ports(p, end) for p in (*_WITH_PORTS, "th") for end in ("sport", "dport")},
    **{code: lambda _match, _no: [] for code in _CODES},
    "icmp type": lambda match, no: [["-p", "icmp"], ["-m", "icmp", *no, "--icmp-type", match.values[0]]],
    "icmpv6 type": lambda match, no: [
        ["-p", "ipv6-icmp"],
        ["-m", "icmp6", *no, "--icmpv6-type", _ND.get(match.values[0], match.values[0])],
    ],
    "ether saddr": _single("-m", "mac", "--mac-source"),
    "fib daddr type": _single("-m", "addrtype", "--dst-type", translate=str.upper),
    "fib saddr . iif oif": _way_back,
}


# -- targets -----------------------------------------------------------------------------------------------------------


def _target(action: a.Action, family: Family) -> Words:
    if type(action) not in _TARGETS:
        raise Unsupported(f"iptables has no {type(action).__name__.lower()}")
    return _TARGETS[type(action)](action, family)


def _reject(action: a.Reject, family: Family) -> Words:
    answer = action.answer if family == 4 else action.answer.replace("admin", "adm")
    prefix = "icmp-" if family == 4 else "icmp6-"
    return ["-j", "REJECT", "--reject-with", answer if answer == "tcp-reset" else prefix + answer]


def _nat(action: a.Nat, family: Family) -> Words:
    if action.map:
        raise Unsupported(f"iptables cannot ask for the map {action.map}")
    if action.family != family:
        raise Unsupported(f"IPv{family} packets cannot be sent to {action.to}")
    port = f":{action.port}" if action.port else ""
    to = f"[{action.to}]" if port and family == 6 else action.to
    option = "--to-destination" if action.change == "dnat" else "--to-source"
    return ["-j", action.change.upper(), option, to + port]


def _dispatch(action: a.Dispatch, family: Family) -> Words:
    """The map is a tree of chains, whose root is called like it."""
    ip = "ip" if family == 4 else "ip6"
    if action.by.fields not in ((f"{ip} saddr",), (f"{ip} daddr",)):
        raise Unsupported(f"iptables has no dispatch of IPv{family} packets by {' . '.join(action.by.fields)}")
    return ["-j", f"{CHAIN_PREFIX}{action.map}"]


def _log(action: a.Log) -> Words:
    if action.group:
        return ["-j", "NFLOG", "--nflog-group", str(action.group), "--nflog-prefix", f'"{action.prefix}"']
    return ["-j", "LOG", "--log-prefix", f'"{action.prefix}"']


def _set_mark(action: a.SetMark, _family: Family) -> Words:
    target = "MARK" if action.of == "meta mark" else "CONNMARK"
    return ["-j", target, "--set-xmark", f"{action.value:#x}/{action.mask:#x}"]


_TARGETS: Mapping[type, Callable[[Any, Family], Words]] = {
    a.Counter: lambda _action, _family: [],  # all rules count
    a.Log: lambda action, _: _log(action),
    a.SetMark: _set_mark,
    a.ClampMss: lambda _action, _family: ["-j", "TCPMSS", "--clamp-mss-to-pmtu"],
    a.Notrack: lambda _action, _family: ["-j", "CT", "--notrack"],
    a.Verdict: lambda action, _: ["-j", action.name.upper()],
    a.Reject: _reject,
    a.Jump: lambda action, _: ["-j" if action.back else "-g", action.chain],
    a.Dispatch: _dispatch,
    a.Nat: _nat,
    a.Masquerade: lambda action, _: ["-j", "MASQUERADE", *(["--random-fully"] if action.random else [])],
}
