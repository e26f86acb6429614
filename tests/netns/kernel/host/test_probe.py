"""Who answers a probe: living hosts, also through their firewall's refusal; nobody else."""

from __future__ import annotations

import threading
import time
from ipaddress import ip_address

import pytest

from support.namespaces import Home, Namespace
from weft.base.errors import Denied
from weft.kernel.host import probe
from weft.kernel.host.probe import answering

HERE, THERE, NOBODY = (ip_address(a) for a in ("10.9.0.1", "10.9.0.2", "10.9.0.3"))
THERE6, NOBODY6 = ip_address("fd09::2"), ip_address("fd09::3")
UNREACHABLE = ip_address("10.77.0.1")


@pytest.fixture
def other(netns: Home) -> Namespace:
    made = netns.new()
    netns.sh(f"ip link add one type veth peer name two netns {made.path}")
    for space, device, number in ((netns, "one", 1), (made, "two", 2)):
        space.sh(f"ip link set {device} up")
        space.sh(f"ip addr add 10.9.0.{number}/24 dev {device}")
        space.sh(f"ip addr add fd09::{number}/64 dev {device} nodad")
    return made


def test_those_that_live_answer_all_at_once(netns: Home, other: Namespace) -> None:
    assert answering([THERE, THERE6, HERE], 5) == {THERE, THERE6, HERE}
    start = time.monotonic()
    assert answering([THERE, NOBODY, THERE6, NOBODY6, UNREACHABLE], 1) == {THERE, THERE6}
    assert time.monotonic() - start >= 1, "others may answer yet"
    assert answering([], 1) == set()


def test_a_firewall_that_refuses_answers_in_its_hosts_name(netns: Home, other: Namespace) -> None:
    other.run("nft", "add table ip f; add chain ip f i { type filter hook input priority 0; }")
    other.run("nft", "add rule ip f i icmp type echo-request reject with icmp type host-prohibited")
    assert answering([THERE], 5) == {THERE}
    other.run("nft", "flush chain ip f i; add rule ip f i icmp type echo-request drop")
    assert answering([THERE], 0.3) == set()


def test_a_router_that_says_there_is_nobody_is_no_answer(netns: Home, other: Namespace) -> None:
    netns.sh("ip route add 10.77.0.0/24 via 10.9.0.2")
    other.sh("sysctl -qw net.ipv4.ip_forward=1")
    assert answering([UNREACHABLE], 0.5) == set()


def test_a_reply_to_somebody_elses_request_is_no_answer(
    netns: Home, other: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may send what they like in the host's name: they do not know the token."""
    other.run("nft", "add table ip f; add chain ip f i { type filter hook input priority 0; }")
    other.run(
        "nft", "add rule ip f i icmp type echo-request icmp id 7 accept; add rule ip f i icmp type echo-request drop"
    )
    stop = threading.Event()

    def noise() -> None:
        while not stop.is_set():
            netns.run("ping", "-c1", "-W1", "-e", "7", "10.9.0.2", check=False)

    thread = threading.Thread(target=noise)
    thread.start()
    monkeypatch.setattr(probe.secrets, "token_bytes", lambda n: b"x" * n)
    try:
        assert answering([THERE], 1) == set()
    finally:
        stop.set()
        thread.join()


def test_without_the_right_to_ask_it_says_so(netns: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(probe.socket, "socket", refused)
    with pytest.raises(Denied, match="the agent needs CAP_NET_RAW"):
        answering([HERE], 1)
