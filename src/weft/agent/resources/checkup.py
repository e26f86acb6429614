"""What the doctor looks at on the host itself, whatever networks there are."""

from __future__ import annotations

import ctypes
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator

from weft.api import types as t
from weft.base.errors import Failed, Unavailable
from weft.base.net import FAMILIES, Family, parse_address
from weft.bgp.config import METRIC
from weft.bgp.replies import PROTOCOL
from weft.daemons.bird import OTHERS, ask
from weft.hoststate import Neighbour, Object, Sysctl
from weft.kernel.host.diagnose import blocking_chains, neighbour_table
from weft.kernel.kinds import sysctl

FORWARDING: dict[Family, str] = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
STA_UNSYNC = 0x0040
"""adjtimex(2): the kernel's clock is not held by anything."""

NEAR = 0.75
"""Of the limit of a table of neighbours: from here on it is said."""

DEFAULT_LIMIT = 1024
"""The kernel's (arp(7), gc_thresh3). Above it somebody has seen to it, and what was refused before does not count."""


def ok(check: str, detail: str) -> t.Finding:
    return t.Finding(check=check, result="ok", detail=detail)


def other_bird() -> Iterator[t.Finding]:
    """The package starts a BIRD of its own. Ours leaves its routes alone, but not both can listen on one address."""
    try:
        protocols = {text.split()[1] for code, text in ask(OTHERS, "show protocols") if code == PROTOCOL}
    except Unavailable:
        return
    if "BGP" in protocols or "Kernel" in protocols:
        yield t.Finding(
            check="another BIRD",
            result="warning",
            detail=f"a BIRD that is not Weft's answers at {OTHERS}, with {' and '.join(sorted(protocols))}",
            advice="systemctl disable --now bird, unless you need it: then it must not use TCP port 179 of this node's "
            f"addresses, nor the kernel metric {METRIC}",
            fault="other-bird",
            fix="systemctl disable --now bird",
        )


def tools() -> Iterator[t.Finding]:
    if shutil.which("nft"):
        yield ok("tool: nft", "installed")
    else:
        yield t.Finding(
            check="tool: nft",
            result="error",
            detail="nft is not installed",
            advice="apt install nftables",
            fault="tool-missing",
            fix="apt-get install -y nftables",
        )


def forwarding(desired: Iterable[Object]) -> Iterator[t.Finding]:
    """Where Weft needs it on: a host that holds nothing of a network leaves the switch as it is."""
    wanted = {obj.name for obj in desired if isinstance(obj, Sysctl) and not obj.ns}
    for fam in FAMILIES:
        name = FORWARDING[fam].replace("/", ".")
        if FORWARDING[fam] not in wanted:
            continue
        if sysctl.get(FORWARDING[fam]) == "1":
            yield ok(f"forwarding IPv{fam}", f"{name} = 1")
        else:
            advice = f"something set it back: look in /etc/sysctl.d; sysctl -w {name}=1"
            yield t.Finding(
                check=f"forwarding IPv{fam}",
                result="error",
                detail=f"{name} is not 1",
                advice=advice,
                fault="forwarding-off",
                fix=f"sysctl -w {name}=1",
            )


def firewalls() -> Iterator[t.Finding]:
    try:
        chains = blocking_chains()
    except Failed as error:
        yield t.Finding(
            check="firewall", result="warning", detail=str(error), advice="run as root, and look at nft list ruleset"
        )
        return
    for chain in chains:
        yield t.Finding(
            check="firewall",
            result="warning",
            detail=f"chain {chain} drops forwarded packets by policy",
            advice="accept weft* interfaces there: no table can overrule another's drop",
            fault="forward-policy",
        )
    if not chains:
        yield ok("firewall", "no other table drops forwarded packets by policy")


def neighbours(desired: Iterable[Object]) -> Iterator[t.Finding]:
    """The kernel has one table of neighbours for each family, for all namespaces together: every pair of containers that
    talk on one segment has entries in it. Where it is full, packets to neighbours that are not in it are dropped. Weft's own
    entries are permanent and do not count; the kernel tells the sum of all."""
    permanent = Counter(parse_address(obj.address).version for obj in desired if isinstance(obj, Neighbour))
    for fam in FAMILIES:
        table = neighbour_table(fam)
        if table is None:
            continue
        check, name = f"neighbours IPv{fam}", f"net.ipv{fam}.neigh.default.gc_thresh3"
        entries = max(table.entries - permanent[fam], 0)
        detail = f"{entries} entries of all namespaces together; the kernel keeps {table.limit}"
        refused = f"; {table.refused} times since it started there was no room for one more" if table.refused else ""
        if entries < NEAR * table.limit and not (refused and table.limit <= DEFAULT_LIMIT):
            yield ok(check, detail)
            continue
        more = 8 * table.limit
        advice = f"sysctl -w {name}={more} {name[:-1]}2={more // 2}, and write it to /etc/sysctl.d"
        yield t.Finding(
            check=check,
            result="warning",
            detail=detail + refused,
            advice=advice,
            fault="neighbours-full",
            fix=f"sysctl -w {name}={more} {name[:-1]}2={more // 2}",
        )


def clock() -> t.Finding:
    buffer = ctypes.create_string_buffer(256)  # struct timex; `status` is its fifth field, an int after four longs
    ctypes.CDLL(None).adjtimex(buffer)
    long = ctypes.sizeof(ctypes.c_long)
    status = int.from_bytes(buffer.raw[5 * long : 5 * long + 4], "little")
    if status & STA_UNSYNC:
        advice = "run chrony or systemd-timesyncd: certificates and logs of several hosts need one time"
        return t.Finding(
            check="clock",
            result="warning",
            detail="not synchronised",
            advice=advice,
            fault="clock",
            fix="timedatectl set-ntp true",
        )
    return ok("clock", "synchronised")
