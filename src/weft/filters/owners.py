"""Whose a rule seems to be, by the names of its table and chain."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TABLES = {
    "weft": "weft",
    "docker-bridges": "docker",
    "firewalld": "firewalld",
    "kube-proxy": "kube-proxy",
    "netavark": "podman",
    "libvirt_network": "libvirt",
    "f2b-table": "fail2ban",
    "incus": "incus",
    "lxd": "lxd",
    "cilium": "cilium",
    "calico": "calico",
    "cni": "cni",
    "flannel-ipv4": "flannel",
    "flannel-ipv6": "flannel",
    "tailscale": "tailscale",
    "crowdsec": "crowdsec",
}
_CHAINS = (
    ("WEFT-", "weft"),
    ("DOCKER", "docker"),
    ("ufw-", "ufw"),
    ("ufw6-", "ufw"),
    ("KUBE-", "kube-proxy"),
    ("cali-", "calico"),
    ("CILIUM_", "cilium"),
    ("OLD_CILIUM_", "cilium"),
    ("CNI-", "cni"),
    ("NETAVARK", "podman"),
    ("LIBVIRT_", "libvirt"),
    ("FLANNEL-", "flannel"),
    ("WEAVE", "weave"),
    ("f2b-", "fail2ban"),
    ("ts-", "tailscale"),
    ("nixos-fw", "nixos"),
    ("FWD_", "firewalld"),
)
_MARK = re.compile(r"\b(docker|kubernetes|flannel|firewalld|ufw|podman|calico|cilium|weft)\b", re.IGNORECASE)


def owner(table: str, chain: str, comment: str = "", beside: Iterable[str] = ()) -> str:
    """ "" for a person's, or nobody known. `beside`: chains of the same table, by which it is told who set a policy:
    Docker and ufw set that of FORWARD."""
    if table in _TABLES:
        return _TABLES[table]
    for beginning, whose in _CHAINS:
        if chain.startswith(beginning):
            return whose
    if found := _MARK.search(comment):
        return {"kubernetes": "kube-proxy"}.get(found[1].lower(), found[1].lower())
    return next((whose for name in beside if (whose := owner("", name)) in ("docker", "ufw")), "")
