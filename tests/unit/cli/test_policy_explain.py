"""`weft policy explain` against an agent of canned answers."""

from __future__ import annotations

import msgspec
import pytest

from support.canned import EXPLANATION
from support.canned_agent import Asked, CannedAgent
from weft.api import observed as o
from weft.base.errors import NotFound, Unavailable

DENIED = """\
denied: networkpolicy/shop/web selects web for ingress, and no rule fits (ingress)

node-4/client (40.15.65.7) → node-1/web (40.15.43.2), tcp port 80

egress of client on node-4: allowed, no policy selects client for egress
whether it is in force is known on node-4: ask there

ingress of web on node-1: denied, networkpolicy/shop/web selects web for ingress, and no rule fits
TIER     POLICY                       RULE     ACTION
admin    clusternetworkpolicy//guard  2 inner  pass
default  networkpolicy/shop/web       -        no rule fits
default  -                            -        deny (the tier's default)
not in force on node-1:
    chain pi-0123456789abcdef: missing, or not as it should be
"""
EGRESS, INGRESS = EXPLANATION.sides
RULE = o.VerdictStep(tier="default", policy="networkpolicy/shop/web", rule=2, action="allow")
ALLOWED = msgspec.structs.replace(
    EXPLANATION,
    allowed=True,
    port=None,
    sides=(
        EGRESS,
        msgspec.structs.replace(
            INGRESS,
            allowed=True,
            reason="rule 2 of networkpolicy/shop/web",
            steps=(RULE,),
            enforced=True,
            faults=(),
        ),
    ),
)


def test_what_is_denied(weft, agent: CannedAgent) -> None:
    ran = weft("policy", "explain", "client", "web", "--port", "80")
    assert (ran.status, ran.out, ran.err) == (1, DENIED, "")
    params = {"source": "client", "target": "web", "protocol": "tcp", "port": "80"}
    assert agent.asked == [Asked("explain", params, b""), Asked("explain", params, b"", "node-4")]


def test_what_is_allowed(weft, agent: CannedAgent) -> None:
    agent.answers["explain"] = ALLOWED
    ran = weft("policy", "explain", "client", "web")
    assert ran.status == 0
    assert ran.lines[0] == "allowed: rule 2 of networkpolicy/shop/web (ingress)"
    assert ran.lines[2].endswith("tcp, a port that no rule names")
    assert ran.lines[-1] == "in force on node-1: rule 3 of chain pi-0123456789abcdef"


def test_networks_that_keep_apart(weft, agent: CannedAgent) -> None:
    apart = "networks blue and red do not reach each other"
    agent.answers["explain"] = msgspec.structs.replace(ALLOWED, allowed=False, isolated=apart)
    ran = weft("policy", "explain", "client", "web")
    assert ran.status == 1 and ran.lines[0] == f"denied: {apart}"


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_the_exit_status_is_the_same_in_every_form(weft, agent: CannedAgent, output: str) -> None:
    assert weft("policy", "explain", "client", "web", "-o", output).status == 1


def test_what_does_not_exist_has_a_status_of_its_own(weft, agent: CannedAgent) -> None:
    agent.answers["explain"] = NotFound("x is no endpoint, node or address")
    assert weft("policy", "explain", "x", "web").status == 4
    assert weft("policy", "explain", "x", "web", "--port", "70000").status == 2


def test_each_host_is_asked_about_its_own(weft, agent: CannedAgent) -> None:
    there = msgspec.structs.replace(
        EXPLANATION, sides=(msgspec.structs.replace(EGRESS, enforced=True, rules="no rule is asked"), INGRESS)
    )
    agent.answers["explain"] = EXPLANATION
    agent.answers["explain", "node-4"] = there
    assert "in force on node-4: no rule is asked" in weft("policy", "explain", "client", "web").lines
    agent.answers["explain", "node-4"] = Unavailable("it has no store")
    assert "    its agent cannot be asked: it has no store" in weft("policy", "explain", "client", "web").lines
