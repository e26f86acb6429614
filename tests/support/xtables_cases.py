"""Rules of iptables, and for each of them packets that it is for (True), that it is not for (False), and that it cannot tell
of (None). Their octets, as the kernel has them, are in tests/unit/filters/xt/tables.json."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

from weft.filters.model import Connection, Device, Tuple

TABLES = Path(__file__).parents[1] / "unit/filters/xt/tables.json"
A, B = ip_address("10.0.0.1"), ip_address("10.0.0.2")
_ETHERNET = bytes.fromhex("0242000000bb0242000000aa0800")


def connection(state: Any, **more: Any) -> Connection:
    there = Tuple(6, A, B, 40000, 80)
    return Connection(state=state, **{"original": there, "answer": there.turned(), **more})


def _port(name: str) -> Device:
    return Device(name=name)


_NEW, _OLD = connection("new"), connection("established", reply=True)
_DNAT = connection("new", original=Tuple(6, A, ip_address("192.0.2.1"), 40000, 8080))
_MASQUERADED = connection("established", answer=Tuple(6, B, ip_address("192.0.2.9"), 80, 1024))
CASES: list[tuple[str, list[tuple[bool | None, dict[str, Any]]]]] = [
    ("-s 10.0.0.0/24 ! -d 10.0.0.2/32", [(False, {}), (True, {"dst": "10.0.0.3"}), (False, {"src": "10.0.1.1"})]),
    ("-i eth+ ! -o eth0", [(True, {"iif": "eth1"}), (False, {"iif": "lo"}), (False, {"iif": "eth1", "oif": "eth0"})]),
    ("-i eth0", [(True, {"iif": "eth0"}), (False, {"iif": "eth01"}), (False, {})]),
    ("! -p tcp", [(False, {}), (True, {"protocol": 17})]),
    ("-p tcp -m tcp --dport 80:81 ! --sport 1:1023", [(True, {}), (False, {"dport": 82}), (False, {"sport": 5})]),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", [(True, {}), (False, {"flags": 18})]),
    ("-p udp -m udp --dport 53", [(True, {"protocol": 17, "dport": 53}), (False, {"dport": 53})]),
    ("-p icmp -m icmp --icmp-type 8", [(True, {"protocol": 1}), (False, {})]),
    ("-p icmp -m icmp --icmp-type 3/4", [(False, {"protocol": 1})]),
    ("-p icmp -m icmp ! --icmp-type 3/4", [(True, {"protocol": 1})]),
    ("-p tcp -m multiport --dports 80,443,8000:8080", [(True, {"dport": 8001}), (False, {"dport": 81})]),
    ("-p tcp -m multiport ! --ports 80", [(False, {}), (False, {"sport": 80}), (True, {"dport": 81})]),
    ("-m conntrack --ctstate RELATED,ESTABLISHED", [(True, {"connection": _OLD}), (False, {"connection": _NEW})]),
    ("-m conntrack ! --ctstate NEW", [(False, {"connection": _NEW}), (True, {})]),
    ("-m conntrack --ctstate INVALID", [(True, {"connection": Connection(state="invalid")}), (True, {})]),
    (
        "-m conntrack --ctstate UNTRACKED",
        [(True, {"connection": Connection(state="untracked")}), (False, {"connection": _NEW})],
    ),
    ("-m conntrack --ctstate DNAT", [(True, {"connection": _DNAT}), (False, {"connection": _NEW})]),
    ("-m conntrack --ctstate SNAT", [(True, {"connection": _MASQUERADED}), (False, {"connection": _DNAT})]),
    (
        "-m conntrack --ctorigdst 192.0.2.1 --ctorigdstport 8080 --ctdir ORIGINAL",
        [(True, {"connection": _DNAT}), (False, {"connection": _NEW}), (False, {})],
    ),
    (
        "-m conntrack --ctorigsrc 10.0.0.0/8 --ctproto 6 ! --ctstatus ASSURED",
        [(True, {"connection": _NEW}), (False, {"connection": connection("established", status=4)})],
    ),
    ("-m state --state NEW", [(True, {"connection": _NEW}), (False, {"connection": _OLD})]),
    ("-m mark --mark 0x1/0x3", [(True, {"mark": 5}), (False, {"mark": 3})]),
    ("-m mark ! --mark 0x0", [(True, {"mark": 5}), (False, {})]),
    ("-m connmark --mark 0x5", [(True, {"connection": connection("new", mark=5)}), (False, {}), (False, {"mark": 5})]),
    ("-m addrtype --dst-type LOCAL", [(True, {"local": {B: "local"}}), (False, {"local": {B: "unicast"}}), (None, {})]),
    ("-m addrtype ! --src-type LOCAL", [(False, {"local": {A: "local"}}), (True, {"local": {A: "unicast"}})]),
    ("-m set --match-set a src", [(True, {}), (False, {"src": "10.0.0.9"})]),
    ("-m set ! --match-set a src", [(False, {}), (True, {"src": "10.0.0.9"})]),
    ("-m set --match-set n dst", [(True, {"dst": "10.1.1.1"}), (False, {"dst": "10.1.2.1"}), (False, {})]),
    ("-m set --match-set p src,dst", [(True, {}), (False, {"dport": 81}), (True, {"protocol": 1})]),
    ("-m set --match-set i src,src", [(True, {"iif": "eth0"}), (False, {"iif": "eth1"})]),
    ("-m set --match-set i dst,src", [(True, {"physin": _port("eth1")})]),
    ("-m set --match-set b dst", [(True, {}), (False, {"dport": 81})]),
    ("-m set --match-set ls src", [(True, {}), (True, {"src": "10.1.0.1"}), (False, {"src": "10.9.0.1"})]),
    ("-m set --match-set nm src", [(True, {"src": "10.3.3.77"}), (False, {})]),
    (
        "-m set --match-set np dst,dst,src",
        [(True, {"src": "192.168.0.1", "dst": "10.0.0.9", "protocol": 17, "dport": 53}), (False, {})],
    ),
    ("-m physdev --physdev-in eth0", [(True, {"physin": _port("eth0")}), (False, {"iif": "eth0"})]),
    (
        "-m physdev --physdev-is-bridged",
        [(True, {"physin": _port("a"), "physout": _port("b")}), (False, {"physin": _port("a")}), (False, {})],
    ),
    ("-m physdev ! --physdev-is-bridged", [(True, {}), (False, {"physin": _port("a"), "physout": _port("b")})]),
    ("-m mac --mac-source 02:42:00:00:00:aa", [(True, {"link": _ETHERNET}), (None, {"iif": "eth0"}), (False, {})]),
    (
        "-m iprange --src-range 10.0.0.1-10.0.0.5 ! --dst-range 10.0.0.8-10.0.0.9",
        [(True, {}), (False, {"src": "10.0.0.6"}), (False, {"dst": "10.0.0.8"})],
    ),
    ("-m limit --limit 5/min", [(None, {})]),
    ("-p tcp -m tcp --dport 22 -m limit --limit 5/min", [(False, {}), (None, {"dport": 22})]),
    ("-m length --length 40:60", [(True, {}), (False, {"protocol": 1})]),
    ("-m ttl --ttl-lt 64", [(False, {})]),
    ("-m ttl --ttl-eq 64", [(True, {})]),
    ("-m dscp --dscp 0x00", [(True, {})]),
    ("-m tos --tos 0x10/0x3f", [(False, {})]),
    ("-m pkttype --pkt-type unicast", [(True, {}), (False, {"dst": "224.0.0.1"})]),
    ("-m string --string evil --algo bm", [(None, {})]),
    ('-m comment --comment "all of them"', [(True, {})]),
    ("-f", [(False, {})]),
    ("! -f", [(True, {})]),
]
