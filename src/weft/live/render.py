"""A proof as lines of text, below the trace that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from weft.live.proof import Proof, Ruled, Sight

Paint = Callable[[str, str], str]
"""As in `weft.trace.render`."""
_POINTS = {"in": "in", "out": "out", "drop": "drop"}
_STYLES = {"answered": "good", "arrived": "good"}


def render(found: Proof, width: int, paint: Paint) -> Iterator[str]:
    """What each host saw, in the order of its own clock; then what became of it, and whether that was to be expected."""
    yield ""
    yield paint("sent for real", "head")
    yield from _sights([sight for sight in found.sights if sight.what == "probe"], found.rules, paint)
    others = [sight for sight in found.sights if sight.what != "probe"]
    if others:
        yield paint("what came back", "head")
        yield from _sights(_backwards(others), (), paint)
    yield paint(
        found.text if found.text.startswith(("it ", "dropped")) else f"answer: {found.text}",
        _STYLES.get(found.end, "bad"),
    )
    if found.rule is not None:
        yield f"  see it on {found.rule.place.partition('/')[0]}: `{found.rule.show}`"
    if found.faults:
        yield f"  what such a drop is evidence of: {', '.join(found.faults)}"
    if found.agrees:
        yield paint("as the tables say", "good")
    else:
        yield paint(f"differs: {found.differs}", "warn")
    for what in found.unseen:
        yield paint(f"note: not seen: {what}", "warn")


def _backwards(sights: list[Sight]) -> list[Sight]:
    """By the hosts in turned order; each keeps its own."""
    hosts = list(dict.fromkeys(_host(sight) for sight in sights))
    return [sight for host in reversed(hosts) for sight in sights if _host(sight) == host]


def _host(sight: Sight) -> str:
    return sight.place.partition("/")[0]


def _sights(sights: list[Sight], rules: tuple[Ruled, ...], paint: Paint) -> Iterator[str]:
    """Under each place also the rules that it matched there, when the packet has left it."""
    told = set[str]()
    for place, some in groupby(sights, key=lambda sight: sight.place):
        yield paint(place, "head")
        yield from (_line(sight, paint) for sight in some)
        yield from (_rule(rule, paint) for rule in rules if rule.place == place and place not in told)
        told.add(place)


def _line(sight: Sight, paint: Paint) -> str:
    head = f"{sight.after:>8.0f} µs  {_POINTS.get(sight.point, sight.point):<4}  {sight.device:<15}"
    if sight.point == "drop":
        function = f" in {sight.function}" if sight.function else ""
        return f"{head}  {paint((sight.reason or 'dropped') + function, 'bad')}"
    within = f" in {sight.tunnel}" if sight.tunnel else ""
    return f"{head}  {paint(sight.addresses + within, 'dim')}"


def _rule(rule: Ruled, paint: Paint) -> str:
    handle = f"handle {rule.handle}" if rule.handle else "policy"
    return paint(f"{'':>11}  rule  {rule.family} {rule.table} {rule.chain} {handle}: {rule.verdict}", "dim")
