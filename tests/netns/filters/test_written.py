"""Rules are written as nft itself lists them."""

from __future__ import annotations

import re

import pytest

from netns.filters.test_evaluated import RULES
from support.namespaces import Home
from weft.filters.nft.text import comment
from weft.filters.nft.write import written
from weft.kernel.host import filters

MORE = """
table ip v4 {
  set many { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80, 10.1.1.1-10.1.1.3 . 90-91 } }
  chain f {
    type filter hook forward priority 0; policy accept;
    ip saddr . tcp dport @many counter packets 3 bytes 9 drop
    ip saddr != 10.0.0.0/8 ip daddr 10.0.0.0/24 ip protocol icmp drop
    tcp flags syn / syn,ack log prefix "new " accept
    ct state != new ct status dnat ct mark 0x00000001 accept
    ct original ip daddr 1.2.3.4 ct direction reply drop
    ip saddr { 10.0.0.1, 10.0.0.2 } udp sport 100-200 reject
    tcp dport vmap { 22 : accept, 23 : drop, 24 : jump g }
    meta mark set ct mark
    ct mark set meta mark & 0x000000ff
    fib saddr . iif oif missing drop
    fib daddr type local accept
    meta pkttype broadcast drop
    tcp dport 80 reject with tcp reset
    icmp type { destination-unreachable, time-exceeded } accept
  }
  chain g { limit rate 3/minute burst 7 packets accept; }
  chain n { type nat hook prerouting priority dstnat; policy accept; tcp dport 80 dnat to 10.0.0.1:8080; udp dport 1 redirect; }
  chain s { type nat hook postrouting priority srcnat; policy accept; ip saddr 10.0.0.0/8 snat to 1.1.1.1-1.1.1.3; }
}
table bridge b {
  chain f { type filter hook forward priority 0; policy accept; ether saddr 02:00:00:00:00:01 arp operation request drop; }
}
"""


@pytest.mark.parametrize("rules", [RULES, MORE])
def test_as_nft_lists_them(netns: Home, rules: str) -> None:
    netns.run("nft", "-f", "-", stdin=rules)
    mine = {}
    for table in filters.dump().nft:
        for rule in (rule for chain in table.chains for rule in chain.rules):
            said = comment(rule.userdata)
            mine[table.family, rule.handle] = written(table, rule) + (f' comment "{said}"' if said else "")
    theirs = {}
    family = ""
    for line in netns.sh("nft -a list ruleset").splitlines():
        if found := re.match(r"table (\S+)", line):
            family = found[1]
        elif (found := re.match(r"\t\t(.*) # handle (\d+)$", line)) and (family, int(found[2])) in mine:
            theirs[family, int(found[2])] = found[1]
    assert mine == theirs
