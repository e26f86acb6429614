"""Rules of --ip-masq, and those that let the network's packets through a closed FORWARD."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

_MARK = "0x4000/0x4000"


def set_up(name: str, cluster: IPv4Network, own: IPv4Network, masquerade: bool) -> None:
    """`name`: what the chains' names end with, so that several networks on a host have each its own."""
    if masquerade:
        _chain("nat", "POSTROUTING", f"FLANNEL-POSTRTG-{name}", _nat(str(cluster), str(own)))
    _chain("filter", "FORWARD", f"FLANNEL-FWD-{name}", [f"-s {cluster} -j ACCEPT", f"-d {cluster} -j ACCEPT"])


def _nat(cluster: str, own: str) -> Iterator[str]:
    yield f"-m mark --mark {_MARK} -j RETURN"
    yield f"-s {own} -d {cluster} -j RETURN"
    yield f"-s {cluster} -d {own} -j RETURN"
    yield f"! -s {cluster} -d {own} -j RETURN"
    yield f"-s {cluster} ! -d 224.0.0.0/4 -j MASQUERADE --random-fully"
    yield f"! -s {cluster} -d {cluster} -j MASQUERADE --random-fully"


def _chain(table: str, hook: str, chain: str, rules: Iterator[str] | Sequence[str]) -> None:
    if _iptables(table, f"-N {chain}"):
        _must(table, f"-F {chain}")
    for rule in rules:
        _must(table, f"-A {chain} {rule}")
    if _iptables(table, f"-C {hook} -j {chain}"):
        _must(table, f"-A {hook} -j {chain}")


def _iptables(table: str, words: str) -> int:
    command = ["iptables", "-w", "-t", table, *words.split()]
    return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode


def _must(table: str, words: str) -> None:
    if status := _iptables(table, words):
        raise RuntimeError(f"iptables -t {table} {words}: exit status {status}")
