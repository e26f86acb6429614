"""Commands of iptables about its rules. Each back end is called by its own name: what plain `iptables` means is up to the
host."""

from __future__ import annotations

from typing import NamedTuple


class Commands(NamedTuple):
    """`show`: shows the rule or policy. `remedy`: undoes what it does."""

    show: str
    remedy: str


def program(back_end: str, family: str) -> str:
    """`back_end`: "nft" or "legacy". `family`: "ip" or "ip6"."""
    return f"{'ip6tables' if family == 'ip6' else 'iptables'}-{back_end}"


def of_rule(program: str, table: str, chain: str, position: int, spec: str) -> Commands:
    """`position`: in its chain, from 1. `spec`: as iptables-save writes it, "" where that is not known whole: then the rule is
    removed by its position, which is right only as long as no other is added before it."""
    start = f"{program} -t {table}"
    return Commands(f"{start} -S {chain} {position}", f"{start} -D {chain} {spec or position}")


def of_policy(program: str, table: str, chain: str) -> Commands:
    start = f"{program} -t {table}"
    return Commands(f"{start} -S {chain}", f"{start} -P {chain} ACCEPT")
