"""Who reaches whom: one ping from every container to every address of every other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from weft.base.errors import Failed
from weft.base.net import Family
from weft.hoststate.links import GATEWAY_ALIAS
from weft.lab.inside import Inside
from weft.lab.lab import Lab

_SOURCES_AT_ONCE = 4
_PINGS_AT_ONCE = 8  # of each source
_WAIT_SECONDS = 2
# One line per address: address, ping's exit status, its last line ("rtt min/avg/max/mdev = 0.05/0.05/0.05/0.0 ms").
_PING = f"""
out=$(ping -n -q -c 1 -W {_WAIT_SECONDS} "$1" 2>&1); status=$?
printf '%s\\t%s\\t%s\\n' "$1" "$status" "${{out##*$'\\n'}}"
"""


@dataclass(frozen=True)
class Attached:
    """`addresses` without prefix lengths; `network` is None where the lab did not attach it."""

    name: str
    network: str | None
    inside: Inside
    addresses: tuple[str, ...]


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """`source`, `target`: HOST/CONTAINER. `expected`: both are in the same network, so it has to succeed.

    `rtt_ms`: None when no answer came within two seconds.
    """

    source: str
    target: str
    address: str
    family: Family
    ok: bool
    rtt_ms: float | None
    expected: bool


def containers(lab: Lab, network: str | None = None) -> list[Attached]:
    """Of all hosts, or those attached to one network. Raises Failed."""
    found = []
    for host in lab.hosts.values():
        for name in host.containers():
            attached_to = lab.network_of(host.name, name)
            if network in (None, attached_to):
                inside = host.container(name)
                found.append(Attached(inside.name, attached_to, inside, _addresses(inside)))
    return found


def measure(chosen: Iterable[Attached]) -> list[Ping]:
    """In the order of the containers."""
    everyone = list(chosen)
    with ThreadPoolExecutor(_SOURCES_AT_ONCE) as pool:
        rows = list(pool.map(lambda source: _from(source, everyone), everyone))
    return [ping for row in rows for ping in row]


def _from(source: Attached, everyone: list[Attached]) -> list[Ping]:
    targets = {address: other for other in everyone if other is not source for address in other.addresses}
    if not targets:
        return []
    argv = ["xargs", "-r", "-P", str(_PINGS_AT_ONCE), "-n", "1", "bash", "-c", _PING, "ping"]
    result = source.inside.run(argv, input="\n".join(targets))
    answers = {address: (status, last) for address, status, last in map(_fields, result.stdout.splitlines())}
    if missing := [address for address in targets if address not in answers]:
        raise Failed(f"{source.name}: no ping to {missing[0]}: {result.stderr.strip() or 'is iputils-ping installed?'}")
    return [_ping(source, target, address, *answers[address]) for address, target in targets.items()]


def _ping(source: Attached, target: Attached, address: str, status: str, last: str) -> Ping:
    ok = status == "0"
    return Ping(
        source=source.name,
        target=target.name,
        address=address,
        family=6 if ":" in address else 4,
        ok=ok,
        rtt_ms=float(last.split("=")[1].split("/")[1]) if ok else None,
        expected=None in (source.network, target.network) or source.network == target.network,
    )


def _fields(line: str) -> tuple[str, str, str]:
    address, status, last = line.split("\t", 2)
    return address, status, last


def _addresses(inside: Inside) -> tuple[str, ...]:
    """Without those of the second interface that leads out of some networks: each host has the same."""
    links = json.loads(inside.must("addresses", ["ip", "-j", "-d", "address"]))
    own = [link for link in links if link.get("ifalias") != GATEWAY_ALIAS]
    return tuple(info["local"] for link in own for info in link["addr_info"] if info["scope"] == "global")
