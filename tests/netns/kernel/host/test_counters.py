"""What rules have counted, by chain and place; sets are not looked at."""

from __future__ import annotations

import socket

from support.namespaces import Home
from weft.kernel.host import counters
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.nfnl import Nftables, message
from weft.policy.counting import Count

RULES = """
table inet weft {
    set big { type ipv4_addr; elements = { 192.0.2.1 } }
    chain out { type filter hook output priority 0; jump po-1; }
    chain po-1 {
        ip daddr @big counter drop
        udp dport 9 counter return
        udp dport 7
        udp dport 7 counter packets 5 bytes 500 drop
    }
    chain po-2 { counter drop; }
}
table inet other {
    chain po-1 { counter packets 77 bytes 77; }
}
"""


def send(times: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(times):
            sock.sendto(b"0123456789", ("127.0.0.1", 9))


def test_each_rule_says_what_it_counted(netns: Home) -> None:
    netns.run("nft", "-f", "-", stdin=RULES)
    send(3)
    found = counters.nft("")
    assert found["po-1"] == [Count(), Count(3, 3 * 38), Count(), Count(5, 500)]
    assert counters.nft("", "po-2") == {"po-2": [Count()]}
    assert counters.nft("", "po-9") == {}
    assert counters.nft(netns.new().path) == {}


def test_sets_are_not_read(netns: Home, monkeypatch: object) -> None:
    netns.run("nft", "-f", "-", stdin=RULES)
    asked: list[int] = []
    dump = Nftables.dump

    def note(self: Nftables, kind: int, *arguments: object) -> object:
        asked.append(message(kind) & 0xFF)
        return dump(self, kind, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Nftables, "dump", note)  # type: ignore[attr-defined]
    counters.nft("")
    assert asked == [u.NFT_MSG_GETRULE]
