"""Sysctls of a namespace that decide about packets, and what its kernel has counted: how full tables are, what was dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SYSCTLS = tuple(
    f"net.{group}.{name}"
    for group, names in {
        "bridge": ("bridge-nf-call-arptables", "bridge-nf-call-ip6tables", "bridge-nf-call-iptables"),
        "core": ("netdev_max_backlog", "somaxconn"),
        "ipv4": (
            *("icmp_echo_ignore_all", "ip_default_ttl", "ip_forward", "ip_local_port_range", "ip_no_pmtu_disc"),
            *("ip_nonlocal_bind", "fwmark_reflect", "tcp_mem", "tcp_mtu_probing", "tcp_syncookies"),
        ),
        "ipv4.conf.all": (
            "accept_local",
            "arp_ignore",
            "arp_announce",
            "rp_filter",
            "route_localnet",
            "src_valid_mark",
        ),
        "ipv4.neigh.default": ("gc_thresh1", "gc_thresh2", "gc_thresh3"),
        "ipv6": ("icmp.echo_ignore_all", "ip_nonlocal_bind"),
        "ipv6.conf.all": ("accept_ra", "disable_ipv6", "forwarding"),
        "ipv6.neigh.default": ("gc_thresh3",),
        "netfilter": (
            "nf_conntrack_count",
            "nf_conntrack_max",
            "nf_conntrack_tcp_be_liberal",
            "nf_conntrack_tcp_loose",
        ),
    }.items()
    for name in names
)
_PROC = Path("/proc/thread-self/net")
_TABLES = (_PROC / "snmp", _PROC / "netstat")
_COUNTED = {
    "Tcp": ("InErrs", "InCsumErrors", "CurrEstab"),
    "Udp": ("InErrors", "RcvbufErrors", "InCsumErrors"),
    "Ip": ("InHdrErrors", "InAddrErrors", "OutNoRoutes", "ReasmFails", "FragFails"),
    "TcpExt": ("ListenOverflows", "ListenDrops", "IPReversePathFilter", "TCPMemoryPressures"),
}
"""Of those that both tables have, by the name of the line."""
_CONNTRACK = ("drop", "early_drop", "insert_failed", "invalid")


def sysctls() -> dict[str, str]:
    """By name with dots, of the calling thread's namespace; without those that it does not have."""
    found = {}
    for name in SYSCTLS:
        try:
            found[name] = " ".join(Path("/proc/sys", *name.split(".")).read_text().split())
        except OSError:
            continue
    return found


def counters() -> dict[str, int]:
    """Since the namespace was made, or the kernel started: "Tcp.InErrs", "conntrack.drop", "softnet.dropped" …"""
    return dict((*_snmp(), *_conntrack(), *_softnet(), *_sockets()))


def _snmp() -> Iterator[tuple[str, int]]:
    """Two lines for each group: names, then numbers."""
    for path in _TABLES:
        lines = _lines(path)
        for names, numbers in zip(lines[::2], lines[1::2], strict=False):
            group, *keys = names.split()
            wanted = _COUNTED.get(group.rstrip(":"), ())
            for key, number in zip(keys, numbers.split()[1:], strict=False):
                if key in wanted:
                    yield f"{group.rstrip(':')}.{key}", int(number)


def _conntrack() -> Iterator[tuple[str, int]]:
    """A line of hexadecimal numbers for each processor, under one of names (net/netfilter/nf_conntrack_standalone.c)."""
    rows = [line.split() for line in _lines(_PROC / "stat" / "nf_conntrack")]
    for name in _CONNTRACK if rows else ():
        if name in rows[0]:
            place = rows[0].index(name)
            yield f"conntrack.{name}", sum(int(row[place], 16) for row in rows[1:])


def _softnet() -> Iterator[tuple[str, int]]:
    """Of all namespaces: packets that a processor's queue had no room for (net/core/net-procfs.c)."""
    rows = [line.split() for line in _lines(_PROC / "softnet_stat")]
    if rows:
        yield "softnet.dropped", sum(int(row[1], 16) for row in rows)


def _sockets() -> Iterator[tuple[str, int]]:
    """TCP sockets, those that wait for late packets among them: each of them may hold a port (/proc/net/sockstat)."""
    for line in _lines(_PROC / "sockstat"):
        kind, *words = line.split()
        if kind == "TCP:":
            said = dict(zip(words[::2], map(int, words[1::2]), strict=False))
            yield "sockets.tcp", said.get("inuse", 0) + said.get("tw", 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
