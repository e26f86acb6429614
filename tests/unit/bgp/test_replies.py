"""What BIRD 2.0.12 answered, as it came over its control socket."""

from __future__ import annotations

from weft.bgp.replies import complete, lines, protocols, refusal, routes

PROTOCOLS = """\
2002-Name       Proto      Table      State  Since         Info
1002-uplinks    Direct     ---        up     1795212607    
1006-  Channel ipv4
     State:          UP
 
1002-node4:b.x-y BGP        ---        up     1795212607    Established   
1006-  Description:    b
   BGP state:          Established
     Neighbor address: 10.9.0.2
     Neighbor AS:      64512
     Local capabilities
       Graceful restart
         Restart time: 120
   Channel ipv4
     State:          UP
     Routes:         2 imported, 1 filtered, 3 exported, 2 preferred
 
1002-router:tor BGP        ---        start  1795212615    Active        BGP Error: Bad peer AS
1006-  BGP state:          Active
     Neighbor address: 10.9.0.3
     Last error:       BGP Error: Bad peer AS
   Channel ipv4
     State:          DOWN
 
1002-router:off BGP        ---        down   1795212616                  
0000 
"""
ROUTES = """\
1007-Table master4:
 197.19.9.5/32        blackhole [hosts4 1795212607] * (200)
1008-	Type: static univ
1007-10.9.0.0/24          unicast [uplinks 1795212607] * (240)
 	dev e0
1008-	Type: device univ
1007-197.19.2.0/26        unicast [node4:b.x-y 1795212608 from 10.9.0.7] * (100/0) [AS65001i]
 	via 10.9.0.2 on e0 weight 1
 	via 10.9.0.3 on e0 weight 1
1008-	Type: BGP univ
1012-	BGP.origin: IGP
 	BGP.as_path: 65001 65002
 	BGP.next_hop: 10.9.0.2 fe80::1
 	BGP.community: (64512,100)
                      unreachable [node4:c 1795212609] (100/-) [i]
1008-	Type: BGP univ
0000 
"""


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
