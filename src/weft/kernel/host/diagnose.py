"""Looking at what others on this host do with packets. Reads only."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from weft.base.errors import Failed
from weft.base.net import Family
from weft.hoststate.firewall import TABLE
from weft.kernel.kinds import sysctl
from weft.kernel.plumbing import links
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, open_socket

_LISTEN = "0A"
"""TCP_LISTEN (net/tcp_states.h), as /proc/net/tcp shows it."""


class Holder(msgspec.Struct, frozen=True, order=True):
    """A program that has a socket. `arguments`: of its command line, the program's name first."""

    name: str
    pid: int
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}, pid {self.pid}"


def udp_holders(port: int, ours: Callable[[Sequence[str]], bool] = lambda _: False) -> list[str]:
    """Programs with a socket on a UDP port, as "NAME, pid N". The kernel's own sockets (a VXLAN device's) are nobody's. `ours`:
    given a command line, whether the program is Weft's."""
    return [str(holder) for holder in port_holders("udp", port) if not ours(holder.arguments)]


def port_holders(protocol: str, port: int) -> list[Holder]:
    """The same for "udp" or "tcp" (those that listen). Of SCTP the kernel does not tell."""
    inodes: set[str] = set()
    for name in (protocol, f"{protocol}6"):
        path = Path("/proc/thread-self/net") / name
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        inodes |= {
            f[9]
            for f in map(str.split, lines)
            if int(f[1].rsplit(":", 1)[1], 16) == port and (protocol == "udp" or f[3] == _LISTEN)
        }
    return sorted(_owners({f"socket:[{inode}]" for inode in inodes})) if inodes else []


def _owners(sockets: set[str]) -> set[Holder]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir()):
                arguments = tuple((process / "cmdline").read_text(errors="replace").split("\0"))
                found.add(Holder((process / "comm").read_text().strip(), int(process.name), arguments))
        except OSError:  # it ended, or is not ours to look at
            continue
    return found


class NeighbourTable(msgspec.Struct, frozen=True):
    """`entries`: of all network namespaces together, permanent ones among them. `limit`: how many there can be, but for the
    permanent ones. `refused`: how often since the kernel's start there was no room for one more."""

    entries: int
    limit: int
    refused: int


def neighbour_table(family: Family) -> NeighbourTable | None:
    """None in another namespace than the machine's first one, which alone shows it (net/core/neighbour.c)."""
    stat = Path("/proc/thread-self/net/stat") / {4: "arp_cache", 6: "ndisc_cache"}[family]
    limit = sysctl.get(f"net/ipv{family}/neigh/default/gc_thresh3")
    if limit is None or not stat.exists():
        return None
    names, *rows = (line.split() for line in stat.read_text().splitlines())
    found = [{name: int(value, 16) for name, value in zip(names, row, strict=True)} for row in rows]
    return NeighbourTable(found[0]["entries"], int(limit), sum(row["table_fulls"] for row in found))


def foreign_vteps() -> dict[tuple[int, int], list[str]]:
    """The VXLAN devices of the calling thread's namespace that are not ours, by VNI and UDP port."""
    netlink = Netlink(open_socket())
    try:
        found: dict[tuple[int, int], list[str]] = {}
        for device in netlink.dump(u.RTM_GETLINK, links.dump_filter(), links.decode):
            if device.vxlan is not None and not device.marked:
                found.setdefault((device.vxlan.vni, device.vxlan.port), []).append(device.name)
        return found
    finally:
        netlink.close()


def blocking_chains() -> list[str]:
    """nftables base chains on the forward hook with policy drop, but for iptables' own, in which we have our chain. Raises
    Failed."""
    if shutil.which("nft") is None:
        return []
    answer = subprocess.run(["nft", "-j", "list", "chains"], capture_output=True, text=True)
    if answer.returncode != 0:
        raise Failed(f"the rules cannot be read: nft: {(answer.stderr.strip().splitlines() or ['no reason given'])[0]}")
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in _chains(json.loads(answer.stdout))
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["table"] != TABLE
        and not _is_iptables(chain)
    ]


def _chains(listing: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["chain"] for entry in listing.get("nftables", []) if "chain" in entry]


def _is_iptables(chain: dict[str, Any]) -> bool:
    return chain["family"] in ("ip", "ip6") and chain["table"] == "filter" and chain["name"] == "FORWARD"
