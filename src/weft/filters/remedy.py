"""Commands that show a rule, and that let a packet through which it stops: a rule in front for this flow alone, in the
language of who made the table. Nothing that is there is changed or taken away."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from ipaddress import ip_address

import msgspec

from weft.base.net import IPAddress
from weft.filters.headers import ICMP, ICMPV6, SCTP, TCP, UDP
from weft.filters.model import Where
from weft.filters.owners import owner
from weft.filters.state import Run
from weft.filters.xt import commands

COMMENT = "let through after weft trace"
_PORTS = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}
_DOCKER_USER = "DOCKER-USER"
_BOTH_WAYS = ("prerouting", "forward", "postrouting")
"""Hooks that the answer comes by as well."""


class Flow(msgspec.Struct, frozen=True):
    """`port`: that of the side which serves, at `dst`, 0 where there is none. `answer`: the packet goes the other way."""

    protocol: int
    src: IPAddress
    dst: IPAddress
    port: int = 0
    answer: bool = False


def flow(run: Run) -> Flow | None:
    """None for what is no packet of IP."""
    seen, headers = run.seen, run.headers
    if headers.protocol is None:
        return None
    at, size = (12, 4) if headers.version == 4 else (8, 16)
    src, dst = (ip_address(seen.octets[start : start + size]) for start in (at, at + size))
    sport, dport = (int.from_bytes(seen.octets[headers.transport + n :][:2], "big") for n in (0, 2))
    answer = seen.answer or (seen.connection is not None and seen.connection.reply)
    if answer:
        src, dst, sport, dport = dst, src, dport, sport
    return Flow(headers.protocol, src, dst, dport if headers.protocol in _PORTS else 0, answer)


def completed(where: Where, run: Run, chains: Collection[str], *, stops: bool) -> Where:
    """With its owner, and the commands. `chains`: names of all in its table. `stops`: the packet ends here."""
    whose = where.owner or owner(where.table, where.chain, where.comment, () if where.handle else chains)
    remedy = _remedy(where, run, chains, whose) if stops else ""
    return msgspec.structs.replace(where, owner=whose, show=where.show or _show(where), remedy=remedy)


def _program(where: Where) -> str:
    """Each back end is called by its own name: what plain `iptables` means is up to the host."""
    program = commands.program("legacy" if where.program == "iptables-legacy" else "nft", where.family)
    return program if where.table == "filter" else f"{program} -t {where.table}"


def _show(where: Where) -> str:
    return f"nft -a list chain {where.family} {shlex.quote(where.table)} {shlex.quote(where.chain)}"


def _remedy(where: Where, run: Run, chains: Collection[str], whose: str) -> str:
    """ "" in tables that an agent keeps as it wants them. For what is no packet of IP: what its program undoes the rule by."""
    if whose == "weft":
        return ""
    found = flow(run)
    if found is None:
        return where.remedy
    if whose == "ufw" and where.program != "nft":
        return _ufw(where, found)
    both = (False, True) if where.hook in _BOTH_WAYS else (found.answer,)
    if where.program == "nft":
        return f"nft {shlex.quote('; '.join(_nft(where, found, back) for back in both))}"
    chain = _DOCKER_USER if where.hook == "forward" and _by_docker_user(run, chains) else where.hook.upper()
    return " && ".join(f"{_program(where)} -I {chain} {_iptables(found, back)}" for back in both)


def _by_docker_user(run: Run, chains: Collection[str]) -> bool:
    """Whether the packet came by that chain: where somebody flushed FORWARD, or put a rule before the jump, it does not."""
    return _DOCKER_USER in chains and any(where().text.endswith(f"-j {_DOCKER_USER}") for where in run.passed)


def _ufw(where: Where, found: Flow) -> str:
    known = found.protocol in (TCP, UDP)
    protocol = f" proto {_PORTS[found.protocol]}" if known else ""
    port = f" port {found.port}" if known else ""
    route = "route " if where.hook == "forward" else ""
    direction = " out" if where.hook == "output" else ""
    return f"ufw {route}insert 1 allow{direction}{protocol} from {found.src} to {found.dst}{port}"


def _nft(where: Where, found: Flow, back: bool) -> str:
    word = "ip" if found.src.version == 4 else "ip6"
    src, dst = (found.dst, found.src) if back else (found.src, found.dst)
    place = f"insert rule {where.family} {where.table} {where.chain}"
    if where.handle:
        place += f" position {where.handle}"
    asked = f"{word} saddr {src} {word} daddr {dst}"
    if found.protocol in _PORTS:
        asked += f" {_PORTS[found.protocol]} {'sport' if back else 'dport'} {found.port}"
    else:
        asked += f" meta l4proto {'ipv6-icmp' if found.protocol == ICMPV6 else found.protocol}"
    return f'{place} {asked} counter accept comment "{COMMENT}"'


def _iptables(found: Flow, back: bool) -> str:
    src, dst = (found.dst, found.src) if back else (found.src, found.dst)
    names = {**_PORTS, ICMP: "icmp", ICMPV6: "ipv6-icmp"}
    asked = f"-s {src} -d {dst} -p {names.get(found.protocol, found.protocol)}"
    if found.protocol in _PORTS:
        asked += f" --{'sport' if back else 'dport'} {found.port}"
    return f"{asked} -m comment --comment {shlex.quote(COMMENT)} -j ACCEPT"
