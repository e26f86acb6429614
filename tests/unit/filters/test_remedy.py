"""What lets a flow through names the flow's ports and both its ways."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from weft.filters.model import Connection, Seen, Tuple, Where
from weft.filters.octets import packet
from weft.filters.remedy import completed
from weft.filters.state import Run

CLIENT, SERVER = ip_address("10.0.0.1"), ip_address("10.0.0.2")


def _remedy(hook: str, family: str, *, answer: bool) -> str:
    what = Tuple(6, SERVER, CLIENT, 80, 40000) if answer else Tuple(6, CLIENT, SERVER, 40000, 80)
    untracked = Connection(state="untracked")
    seen = Seen(octets=packet(what, flags=18 if answer else 2), connection=untracked, answer=answer)
    where = Where(program="nft", family=family, table="fw", chain="c", handle=7, hook=hook)
    return completed(where, Run(seen, family, hook), (), stops=True).remedy


@pytest.mark.parametrize(("hook", "family"), [("prerouting", "inet"), ("forward", "inet"), ("ingress", "netdev")])
def test_an_answer_that_conntrack_does_not_know(hook: str, family: str) -> None:
    remedy = _remedy(hook, family, answer=True)
    assert "ip saddr 10.0.0.2 ip daddr 10.0.0.1 tcp sport 80 counter accept" in remedy
    assert "40000" not in remedy


@pytest.mark.parametrize("hook", ["prerouting", "forward", "postrouting"])
def test_both_ways_where_both_come_by(hook: str) -> None:
    remedy = _remedy(hook, "inet", answer=False)
    assert "ip saddr 10.0.0.1 ip daddr 10.0.0.2 tcp dport 80 counter accept" in remedy
    assert "ip saddr 10.0.0.2 ip daddr 10.0.0.1 tcp sport 80 counter accept" in remedy
