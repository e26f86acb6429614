"""What goes into the archive: tables of it."""

from __future__ import annotations

AGENT = (
    "status",
    "doctor",
    "plan",
    "store",
    "kernel",
    "mesh",
    "mesh_peers",
    "bgp_sessions",
    "bgp_routes",
    "policy_counters",
)
"""Operations of each host's own, all of them `afar`."""

CLUSTER = ("nodes", "networks", "endpoints", "services", "ipam", "policies", "bgp_settings", "bgp_peers")
"""Operations that any host answers."""

HOST: dict[str, str] = {
    "ip-link": "ip -d -s link",
    "ip-address": "ip -d address",
    "ip-4-rule": "ip -4 -d rule",
    "ip-6-rule": "ip -6 -d rule",
    "ip-4-route": "ip -4 -d route show table all",
    "ip-6-route": "ip -6 -d route show table all",
    "ip-neighbour": "ip -s neighbour",
    "ip-xfrm-state": "ip -s xfrm state list nokeys",
    "ip-xfrm-policy": "ip -s xfrm policy",
    "bridge-link": "bridge -d link",
    "bridge-fdb": "bridge -d fdb",
    "bridge-vlan": "bridge -d vlan",
    "bridge-mdb": "bridge -d mdb",
    "tc-qdisc": "tc -s qdisc",
    "nft": "nft -a list ruleset",
    "iptables": "iptables-save -c",
    "ip6tables": "ip6tables-save -c",
    "iptables-legacy": "iptables-legacy-save -c",
    "ip6tables-legacy": "ip6tables-legacy-save -c",
    "ipset": "ipset list",
    "ipvs": "ipvsadm -Ln --stats",
    "conntrack": "conntrack -S",
    "wireguard": "wg show all",
    "open-vswitch": "ovs-vsctl show",
    "sockets": "ss -tulpn",
    "sockets-sum": "ss -s",
    "sysctl": r"sysctl -a -r ^net\.",
    "modules": "lsmod",
    "namespaces": "ip -d netns",
    "kernel-log": "dmesg",
}
"""File → what shows it, of the host's own namespace."""

NEEDS: dict[str, str] = {
    "iptables-legacy": "/proc/net/ip_tables_names",
    "ip6tables-legacy": "/proc/net/ip6_tables_names",
    "ipset": "/sys/module/ip_set",
    "ipvs": "/proc/net/ip_vs",
    "conntrack": "/proc/sys/net/netfilter/nf_conntrack_max",
    "wireguard": "/sys/module/wireguard",
}
"""What is only looked at where the kernel has it already: these tools would have it loaded."""

OWN = ("ip-link", "ip-address", "ip-4-route", "ip-6-route", "ip-neighbour", "bridge-link", "bridge-fdb", "nft")
"""The same of namespaces of Weft's own."""

VERSIONS = (
    "uname -a",
    "cat /etc/os-release",
    "ip -V",
    "nft --version",
    "iptables --version",
    "bird --version",
    "etcd --version",
    "docker --version",
    "podman --version",
    "containerd --version",
    "ovs-vsctl --version",
)

LOG = "journalctl -u weft-agent --no-pager -o short-iso-precise -n 20000"
