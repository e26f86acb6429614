"""Rules as nft(8) reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from weft.hoststate.rules import actions as a
from weft.hoststate.rules.matches import Limit, Match, Selector

_QUOTED = ("iifname", "oifname")
_FULL = 0xFFFFFFFF


def text(matches: Iterable[Match | Limit], actions: Iterable[a.Action]) -> str:
    """A rule without its comment."""
    asked = [_match(it) if isinstance(it, Match) else _limit(it) for it in matches]
    return " ".join([*asked, *(_ACTIONS[type(action)](action) for action in actions)])


def selector(fields: Iterable[str]) -> str:
    return " . ".join(fields)


def _limit(limit: Limit) -> str:
    return f"limit rate {limit.rate}/{limit.per} burst {limit.burst} packets"


def _match(match: Match) -> str:
    what, no = selector(match.fields), "!= " if match.negated else ""
    if match.among:
        return f"{what} {no}@{match.among}"
    values = [f'"{value}"' if what in _QUOTED else value for value in match.values]
    if len(values) > 1:
        return f"{what} {no}{{ {', '.join(values)} }}"
    if what == "tcp flags":
        flags, _, looked_at = values[0].partition("/")
        return f"{what} & ({looked_at.replace(',', '|')}) {no or '== '}{flags.replace(',', '|')}"
    value, _, mask = values[0].partition("/") if what.endswith((" mark", "ct status")) else (values[0], "", "")
    return f"{what} & {mask} {no or '== '}{value}" if mask else f"{what} {no}{value}"


def _set_mark(action: a.SetMark) -> str:
    kept = "" if action.mask == _FULL else f"{action.of} & {_FULL & ~action.mask:#010x} | "
    return f"{action.of} set {kept}{action.value:#010x}"


def _spread(action: a.Spread) -> str:
    number = "numgen random" if action.by is None else f"jhash {selector(action.by.fields)}"
    targets = ", ".join(f"{n} : jump {chain}" for n, chain in enumerate(action.chains))
    return f"{number} mod {len(action.chains)} vmap {{ {targets} }}"


def _nat(action: a.Nat) -> str:
    start = f"{action.change} {'ip' if action.family == 4 else 'ip6'} to"
    if isinstance(action.by, Selector):
        return f"{start} {selector(action.by.fields)} map @{action.map}"
    if not action.port:
        return f"{start} {action.to}"
    return f"{start} {action.to if action.family == 4 else f'[{action.to}]'}:{action.port}"


_REJECTED = {"tcp-reset": "tcp reset"}

_ACTIONS: Mapping[type, Callable[[Any], str]] = {
    a.Counter: lambda _: "counter",
    a.Log: lambda action: f'log prefix "{action.prefix}"' + (f" group {action.group}" if action.group else ""),
    a.SetMark: _set_mark,
    a.ClampMss: lambda _: "tcp option maxseg size set rt mtu",
    a.Notrack: lambda _: "notrack",
    a.FlowAdd: lambda action: f"flow add @{action.flowtable}",
    a.Verdict: lambda action: action.name,
    a.Reject: lambda action: f"reject with {_REJECTED.get(action.answer, f'icmpx {action.answer}')}",
    a.Jump: lambda action: f"{'jump' if action.back else 'goto'} {action.chain}",
    a.Spread: _spread,
    a.Dispatch: lambda action: f"{selector(action.by.fields)} vmap @{action.map}",
    a.Nat: _nat,
    a.Masquerade: lambda action: "masquerade fully-random" if action.random else "masquerade",
}
