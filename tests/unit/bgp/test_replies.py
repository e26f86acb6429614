"""What BIRD 2.0.12 answered, as it came over its control socket."""

from __future__ import annotations

from pathlib import Path

from weft.bgp.replies import complete, lines, protocols, refusal, routes

HERE = Path(__file__).parent
PROTOCOLS = (HERE / "protocols.txt").read_text()
ROUTES = (HERE / "routes.txt").read_text()


def test_sessions_are_told_from_other_protocols() -> None:
    found = protocols(lines(PROTOCOLS))
    assert set(found) == {"node4:b.x-y", "router:tor", "router:off"}
    up = found["node4:b.x-y"]
    assert (up.state, up.since, up.error, up.received, up.filtered, up.announced) == (
        "Established", 1795212607.0, "", 2, 1, 3,
    )  # fmt: skip
    tor = found["router:tor"]
    assert (tor.up, tor.state, tor.error) == (False, "Active", "BGP Error: Bad peer AS")
    assert (found["router:off"].state, found["router:off"].since) == ("Down", 1795212616.0)


def test_routes_with_several_ways_and_next_hops() -> None:
    own, link, one, other = routes(lines(ROUTES))
    assert (own.prefix, own.type, own.protocol, own.best, own.via) == ("197.19.9.5/32", "blackhole", "hosts4", True, ())
    assert link.via == ("on e0",)
    assert (one.prefix, one.via) == ("197.19.2.0/26", ("10.9.0.2 on e0 weight 1", "10.9.0.3 on e0 weight 1"))
    assert one.attributes["as_path"] == "65001 65002" and one.attributes["community"] == "(64512,100)"
    assert (other.prefix, other.type, other.best, other.since) == ("197.19.2.0/26", "unreachable", False, 1795212609.0)


def test_an_answer_is_complete_with_the_line_that_says_so() -> None:
    assert complete("0001 BIRD 2.0.12 ready.\n")
    for text in ("", "0001 BIRD 2.0.12 ready.", "1002-a\n", "1002-a\n 0000 \n", "1002-a\n1006-  b\n c\n"):
        assert not complete(text)
    assert complete(ROUTES) and not any(complete(ROUTES[:end]) for end in range(len(ROUTES)))


def test_a_refusal_is_told_from_other_answers() -> None:
    assert refusal(lines("0002-Reading configuration from a.conf\n8002 a.conf:4:1 syntax error\n")) == (
        "a.conf:4:1 syntax error"
    )
    assert refusal(lines("0002-Reading configuration\n0003 Reconfigured\n")) == ""
