"""From what BIRD and the kernel tell of a session that is down to words."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
import pytest

from weft.bgp.diagnose import Signatures, bad_as, verdict
from weft.bgp.plan import PlannedSession
from weft.bgp.replies import BirdProtocol
from weft.model import BgpPeer

NODE = PlannedSession(
    name="node4:node-2",
    kind="node",
    with_="node-2",
    family=4,
    local=ip_address("192.168.1.68"),
    remote=ip_address("192.168.1.254"),
    asn=64512,
)
TOR = BgpPeer(name="tor", address=ip_address("192.168.1.1"), asn=65001)
ROUTER = msgspec.structs.replace(
    NODE, name="router:tor", kind="router", with_="tor", remote=TOR.address, asn=TOR.asn, router=TOR
)
SECRET = msgspec.structs.replace(ROUTER, password="secret", router=msgspec.structs.replace(TOR, password="secret"))
SIGNED = msgspec.structs.replace(NODE, password="5e" * 32, ttl_security=True)


def words(session: PlannedSession, error: str = "", dropped: Signatures | None = None, asn: int = 0) -> str:
    state = BirdProtocol(name=session.name, state="Active", since=0, error=error)
    return ": ".join(verdict(session, state, dropped or Signatures(), {session.name: asn} if asn else {}, 64512))


def test_what_is_up_needs_no_words() -> None:
    up = BirdProtocol(name="x", state="Established", since=1, error="Received: Bad peer AS")
    assert verdict(ROUTER, up, Signatures(failure=9), {}, 64512) == ("", "")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            words(ROUTER, "BGP Error: Bad peer AS", asn=65002),
            "192.168.1.1 says that it is AS 65002, configured is 65001",
        ),
        (words(ROUTER, "BGP Error: Bad peer AS"), "says that it is another AS, configured is 65001"),
        (words(ROUTER, "Received: Bad peer AS"), "192.168.1.1 does not expect AS 64512, which this host has"),
        (words(NODE, "BGP Error: Bad peer AS", asn=64999), "give all agents of the cluster the same settings"),
        (words(SECRET, "", Signatures(failure=4)), "password mismatch: TCP segments with another password than ours"),
        (words(SECRET, "Socket: Connection closed", Signatures(missing=4)), "192.168.1.1 uses none, we do"),
        (words(ROUTER, "", Signatures(unexpected=4)), "192.168.1.1 uses one, we do not"),
        (words(ROUTER, "", Signatures(failure=4)), "no answer from 192.168.1.1"),
        (words(SIGNED, "", Signatures(missing=4)), "look whether the agent of node-2 runs and reaches the store"),
        (words(SIGNED, "", Signatures(distant=4)), "give node-2 and this node different `segment` settings"),
        (words(NODE, "", Signatures(unexpected=4)), "192.168.1.254 uses one, we do not"),
        (words(SECRET), "whether it has the same password"),
        (words(NODE, "Socket: Connection refused"), "nothing listens on TCP port 179 of 192.168.1.254"),
        (words(NODE, "Error: Hold timer expired"), "nothing was heard from it for the hold time"),
        (words(NODE, "Socket: Connection closed"), "no answer from 192.168.1.254"),
        (words(ROUTER, "Received: Connection rejected", Signatures(unexpected=4)), "configure it there, with AS 64512"),
        (words(ROUTER, "BGP Error: Something new"), "Something new: look into the log of 192.168.1.1's BGP speaker"),
    ],
)
def test_words(said: str, expected: str) -> None:
    assert expected in said and "\n" not in said and "{" not in said


def test_numbers_come_from_the_log_the_last_one_counting() -> None:
    log = [
        "2026-11-20 22:10:25.513 <RMT> node4:b.x-y: Error: Bad peer AS: 64500",
        "2026-11-20 22:10:25.513 <INFO> Reconfigured",
        "2026-11-20 22:10:27.318 <RMT> node4:b.x-y: Error: Bad peer AS: 64512",
        "2026-11-20 22:10:30.012 <RMT> router:tor: Received: Bad peer AS: 64999",
        "half a li",
    ]
    assert bad_as(log) == {"node4:b.x-y": 64512, "router:tor": 64999}


def test_only_what_was_counted_meanwhile_counts() -> None:
    before, now = Signatures(failure=3, missing=1), Signatures(failure=5, missing=1, unexpected=2)
    assert now.since(before) == Signatures(failure=2, unexpected=2)
