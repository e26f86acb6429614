"""Rules as arguments of iptables and ip6tables, which say less than nftables. What they cannot say is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from weft.base.errors import Unsupported
from weft.base.net import Family
from weft.hoststate.rules import actions as a
from weft.hoststate.rules.matches import Limit, Match

MOST_PORTS = 15
"""In one rule (a range counts as two)."""

Words = list[str]


def words(
    matches: Iterable[Match | Limit], actions: Iterable[a.Action], family: Family, comment: str = ""
) -> tuple[str, ...]:
    """A rule's arguments, without "-A CHAIN". Raises Unsupported."""
    found: Words = []
    for it in matches:
        for word_group in [_limit(it)] if isinstance(it, Limit) else _match(it, family):
            _add(found, word_group)
    if comment:
        found += ["-m", "comment", "--comment", comment]
    targets = [target for action in actions if (target := _target(action, family))]
    if len(targets) > 1:
        raise Unsupported(f"a rule of iptables does one thing, not {' and '.join(' '.join(t) for t in targets)}")
    return (*found, *(word for target in targets for word in target))


def _add(found: Words, group: Words) -> None:
    """A protocol, which several matches may need, is named once."""
    if group[:1] == ["-p"] and "-p" in found:
        if (said := found[found.index("-p") + 1]) != group[1]:
            raise Unsupported(f"a packet is of one protocol, not {said} and {group[1]}")
        return
    found += group


# -- matches -----------------------------------------------------------------------------------------------------------


def _limit(limit: Limit) -> Words:
    return ["-m", "limit", "--limit", f"{limit.rate}/{limit.per}", "--limit-burst", str(limit.burst)]


def _match(match: Match, family: Family) -> list[Words]:
    """Groups of arguments that belong together."""
    name = match.fields[0]
    if match.among or len(match.fields) > 1 or name not in _MATCHES:
        what = f"the set {match.among}" if match.among else name
        raise Unsupported(f"iptables cannot ask for {what}")
    only = {"ip ": 4, "icmp ": 4, "ip6": 6, "icmpv6": 6}
    if any(name.startswith(start) and family != wanted for start, wanted in only.items()):
        raise Unsupported(f"IPv{family} packets have no {name}")
    if len(match.values) > 1 and name not in _SEVERAL:
        raise Unsupported(f"iptables compares {name} with one value, not with {', '.join(match.values)}")
    return _MATCHES[name](match, ["!"] if match.negated else [])


def _single(*option: str, translate: Callable[[str], str] = str) -> Callable[[Match, Words], list[Words]]:
    """An option with one value; what comes before the last word loads the extension that has it."""
    return lambda match, no: [[*option[:-1], *no, option[-1], translate(match.values[0])]]


def _ports(protocol: str, end: str) -> Callable[[Match, Words], list[Words]]:
    def groups(match: Match, no: Words) -> list[Words]:
        values = [value.replace("-", ":") for value in match.values]
        if len(values) == 1:
            return [["-p", protocol], ["-m", protocol, *no, f"--{end}", values[0]]]
        if len(values) + sum(":" in value for value in values) > MOST_PORTS:
            raise Unsupported(f"a rule of iptables takes {MOST_PORTS} ports at most")
        return [["-p", protocol], ["-m", "multiport", *no, f"--{end}s", ",".join(values)]]

    return groups


def _states(match: Match, no: Words) -> list[Words]:
    return [["-m", "conntrack", *no, "--ctstate", ",".join(value.upper() for value in match.values)]]


def _status(match: Match, no: Words) -> list[Words]:
    if not {"dnat", "snat"}.issuperset(match.values):
        raise Unsupported(f"iptables has no {match.fields[0]} {', '.join(match.values)}")
    return _states(match, no)


def _way_back(_match: Match, no: Words) -> list[Words]:
    return [["-m", "rpfilter", *([] if no else ["--invert"])]]


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
_SEVERAL = (*(f"{p} {end}" for p in ("tcp", "udp", "sctp") for end in ("sport", "dport")), "ct state", "ct status")


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
    "meta l4proto": _single("-p"),
    "meta pkttype": _single("-m", "pkttype", "--pkt-type", translate=lambda value: value.replace("host", "unicast")),
    **{f"{ip} saddr": _single("-s") for ip in ("ip", "ip6")},
    **{f"{ip} daddr": _single("-d") for ip in ("ip", "ip6")},
    **{f"{p} {end}": _ports(p, end) for p in ("tcp", "udp", "sctp") for end in ("sport", "dport")},
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
    a.Notrack: lambda _action, _family: ["-j", "CT", "--notrack"],
    a.Verdict: lambda action, _: ["-j", action.name.upper()],
    a.Reject: _reject,
    a.Jump: lambda action, _: ["-j" if action.back else "-g", action.chain],
    a.Nat: _nat,
    a.Masquerade: lambda action, _: ["-j", "MASQUERADE", *(["--random-fully"] if action.random else [])],
}
