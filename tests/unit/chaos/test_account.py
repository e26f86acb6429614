"""What a fault may cost, and that anything beyond it is noticed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from chaos.account import Account, Span
from chaos.faults import NOTHING, OPENED, REPAIRED, Cost
from chaos.probes import Ping, Probe

START, END = 100.0, 102.0


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


def span(cost: Cost, host: str = "node-1") -> Span:
    return Span("a fault", cost, frozenset({host}), START, END, slack=1.0)


def probe(sock: socket.socket, odd: tuple[float, ...], *, wanted: bool = True, driver: str = "vxlan") -> Probe:
    """One ping each second; those sent at `odd` were lost (or, where none is wanted, answered)."""
    hosts = frozenset({"node-1", "node-4"})
    made = Probe("a → b", sock, ip_address("10.0.0.1"), hosts, driver, wanted, ident=1)
    for number, at in enumerate((98.0, 99.0, *odd, 110.0)):
        made.pings[number] = Ping(at, at + 0.1 if wanted != (at in odd) else 0.0)
    return made


def settled(cost: Cost, found: Probe, host: str = "node-1") -> list[str]:
    return list(Account().settle([found], 90.0, 120.0, span(cost, host)))


@pytest.mark.parametrize(
    ("cost", "at", "excused"),
    [
        (NOTHING, 101.0, False),
        (REPAIRED, 99.5, False),
        (REPAIRED, 100.0, True),
        (REPAIRED, 101.0, True),
        (REPAIRED, 102.9, True),
        (REPAIRED, 103.1, False),
        (Cost(during=True, after=1.0, drivers=("routed",)), 101.0, False),
        (Cost(during=True, after=1.0, drivers=("vxlan",)), 101.0, True),
    ],
)
def test_a_loss_is_excused_in_its_time_only(sock: socket.socket, cost: Cost, at: float, excused: bool) -> None:
    assert (settled(cost, probe(sock, (at,))) == []) is excused


def test_a_loss_elsewhere_is_not_excused(sock: socket.socket) -> None:
    assert settled(REPAIRED, probe(sock, (101.0,)), "node-4") == []
    (said,) = settled(REPAIRED, probe(sock, (101.0,)), "node-2")
    assert "1 pings were lost, from +1.00 s to +1.00 s after the begin of 'a fault'" in said


def test_what_must_not_pass_may_pass_only_where_the_rules_are_gone(sock: socket.socket) -> None:
    assert settled(REPAIRED, probe(sock, (), wanted=False)) == []
    assert settled(OPENED, probe(sock, (101.0,), wanted=False)) == []
    for cost, at in ((REPAIRED, 101.0), (NOTHING, 101.0), (OPENED, 104.0)):
        (said,) = settled(cost, probe(sock, (at,), wanted=False))
        assert "1 pings were answered, which must not be" in said


def test_the_table_says_what_it_cost(sock: socket.socket) -> None:
    account = Account()
    assert list(account.settle([probe(sock, (100.5, 101.5))], 90.0, 120.0, span(REPAIRED))) == []
    assert list(account.settle([probe(sock, ())], 90.0, 120.0, span(REPAIRED))) == []
    assert list(account.table()) == ["    2 × a fault: 2 pings lost, longest silence 1.1 s"]
