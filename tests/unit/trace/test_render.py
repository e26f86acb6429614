from __future__ import annotations

import re
from typing import Literal

import msgspec
import pytest

from support import dumps as d
from weft.trace import walk
from weft.trace.path import Short, Trace
from weft.trace.render import render


def plain(text: str, _style: str) -> str:
    return text


def marked(text: str, style: str) -> str:
    return f"<{style}>{text}" if style else text


def trace(dumps: d.Dumps, family: int = 4, to: str = "node-2") -> Trace:
    there = walk(dumps, d.start("node-1", family), d.address(to, family))
    back = (
        walk(dumps, d.start(to, family), d.address("node-1", family)) if there.outcome.ending == "delivered" else None
    )
    return Trace(origin="node-1/c1", target=f"{to}/c{to[-1]}", there=there, back=back)


def test_every_hop_under_its_place() -> None:
    lines = list(render(trace(d.reference("vxlan")), 100, plain))
    assert lines[0] == "node-1/c1 (40.15.43.2) to node-2/c2 (40.15.26.2)"
    assert [line for line in lines if re.fullmatch(r"node-\d\S*", line)] == [
        "node-1/c1",
        "node-1",
        "node-2",
        "node-2/c2",
    ]
    assert "  5  forward      40.15.26.0/24 via 40.15.26.0 dev weft.1 onlink proto 87" in lines
    numbers = [int(found[1]) for line in lines if (found := re.match(r" *(\d+)  ", line))]
    assert numbers == list(range(1, 17))
    assert "delivered to 40.15.26.2 on node-2/c2, TTL 62, MTU 1450" in lines
    assert lines[-1] == "the way back: delivered to 40.15.43.2 on node-1/c1, TTL 62, MTU 1450"


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("to", ["node-2", "node-4"])
def test_fits(width: int, family: int, to: str) -> None:
    for whole in (d.reference("vxlan"), d.reference("host-gw")):
        lines = list(render(trace(whole, family, to), width, plain))
        assert max(map(len, lines)) <= width, max(lines, key=len)


def test_an_end_on_the_way_says_why_and_what_to_do() -> None:
    broken = d.without(d.reference("vxlan"), "node-1", "", "fdb", lambda f: f.dst == "192.168.1.254")
    lines = list(render(trace(broken), 100, plain))
    end = next(number for number, line in enumerate(lines) if line.startswith("ends here: "))
    told = " ".join(line.strip() for line in lines[end:])
    assert told.startswith("ends here: weft.1 on node-1 has no FDB entry for ")
    assert "what to do: on node-1: `bridge fdb replace " in told and told.endswith(" dst 192.168.1.254 self permanent`")
    assert not any("way back" in line for line in lines)


def test_a_way_back_that_ends_is_shown_in_full() -> None:
    broken = d.without(d.reference("vxlan"), "node-2", "", "neighbours", lambda n: n.address == "40.15.43.0")
    found = trace(broken)
    lines = list(render(found, 100, plain))
    start = lines.index("the way back")
    assert lines[start + 1] == "node-2/c2"
    assert "ends here: weft.1 on node-2 has no neighbour entry for 40.15.43.0" in lines[-2]
    assert found.there.outcome.arrived
    assert not found.arrived


def test_colours_are_the_painters() -> None:
    delivered = list(render(trace(d.reference("vxlan")), 100, marked))
    assert "<good>delivered to 40.15.26.2 on node-2/c2, TTL 62, MTU 1450" in delivered
    ended = list(render(trace(d.reference("host-gw"), to="node-4"), 100, marked))
    assert any(line.startswith("<bad>ends here: node-1 has no route to 40.15.9.2") for line in ended)


def test_notes() -> None:
    whole = trace(d.reference("vxlan"))
    noted = Trace(origin=whole.origin, target=whole.target, there=whole.there, notes=("node-3 is not seen: no agent",))
    assert list(render(noted, 100, marked))[-1] == "<warn>note: node-3 is not seen: no agent"


@pytest.mark.parametrize(
    ("means", "head"),
    [
        (("bypass", "bypass"), "from a connection's first one on, packets take a short way"),
        (("cache", "cache"), "once both sides have sent, packets take a short way"),
        (("bypass", "flowtable"), "once both sides have sent, packets take a short way"),
        ((), ""),
    ],
)
def test_from_when_on_packets_take_a_short_way(
    means: tuple[Literal["flowtable", "cache", "bypass"], ...], head: str
) -> None:
    shorts = tuple(Short(place="node-1", host="node-1", came_by="a", out="b", by=by, skips=("routes",)) for by in means)
    found = trace(d.reference("vxlan"))
    assert found.back is not None
    there, back = (
        msgspec.structs.replace(way, short=s) for way, s in ((found.there, shorts[:1]), (found.back, shorts[1:]))
    )
    lines = list(render(msgspec.structs.replace(found, there=there, back=back), 100, plain))
    assert [line for line in lines if line.endswith("a short way")] == [head] * bool(head)
    assert len([line for line in lines if line.startswith("  node-1: from a to b")]) == len(means)
