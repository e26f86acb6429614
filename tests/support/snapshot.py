"""What a namespace holds, as lines that can be compared: devices, addresses, routes, neighbours, FDB entries, rules,
sets, Weft's own namespaces.

Left out is what differs from one look to the next without anybody's doing (numbers of devices, counters, timers, learned
neighbours, link-local addresses, random MAC addresses of the hosts' ends of veth pairs).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from weft.lab.inside import Inside

_SEPARATOR = "----8<----"
_COMMANDS = (
    "ip -j -d link",
    "ip -j addr",
    "ip -j -N -4 route show table all",
    "ip -j -N -6 route show table all",
    "ip -j neigh show nud permanent",
    "bridge -j fdb show",
    "nft -j -s list ruleset",
    "{ iptables-save; ip6tables-save; } 2>/dev/null",
    "ip -j -N -4 rule; ip -j -N -6 rule",
    "ipset save 2>/dev/null | sort; cd /run/netns 2>/dev/null && ls | grep ^weft-",
    "cd /proc/sys/net; cat ipv4/ip_forward ipv6/conf/all/forwarding ipv4/conf/all/rp_filter ipv6/conf/eth0/accept_ra",
)
_RULES = 6
"""Of the commands, the first about rules."""
_LINK_DATA = ("id", "local", "local6", "link", "port", "learning", "parent_dev")
_DEAD = ("linkdown", "dead")
_TYPES = ("2", "3", "4", "5")  # RTN_LOCAL, BROADCAST, ANYCAST, MULTICAST: they come with addresses
_RA = "9"  # RTPROT_RA

Snapshot = frozenset[str]


def snapshot(inside: Inside, *, rules: bool = True) -> Snapshot:
    """Everything in there; without `rules` no nftables, iptables and sysctls, which cost most of the time."""
    commands = [command if rules or number < _RULES else "true" for number, command in enumerate(_COMMANDS)]
    script = f"; echo '{_SEPARATOR}'; ".join(f"{{ {command}; }}" for command in commands)
    parts = inside.run(["bash", "-c", script], check=True).stdout.split(_SEPARATOR + "\n")
    links, addresses, routes4, routes6, neighbours, fdb, nft, iptables, policy, named, sysctls = parts
    lines = {*_links(links), *_addresses(addresses), *_routes(routes4), *_routes(routes6)}
    lines |= {*_neighbours(neighbours), *_fdb(fdb), *_nft(nft)}
    lines |= {f"iptables {line.partition(' [')[0]}" for line in iptables.splitlines() if not line.startswith("#")}
    lines |= {f"rule {line}" for line in policy.splitlines()}
    lines |= {f"named {line}" for line in named.splitlines()}
    lines |= {f"sysctl {number} {value}" for number, value in enumerate(sysctls.split())}
    return frozenset(lines)


def difference(before: Snapshot, after: Snapshot) -> str:
    """Empty if there is none."""
    gone = [f"- {line}" for line in sorted(before - after)]
    return "\n".join(gone + [f"+ {line}" for line in sorted(after - before)])


def _listed(text: str) -> list[dict[str, Any]]:
    return [entry for entry in json.loads(text or "[]") if entry]


def _links(text: str) -> Iterator[str]:
    for link in _listed(text):
        info = link.get("linkinfo", {})
        kind, data = info.get("info_kind", ""), info.get("info_data", {})
        shown = {name: data[name] for name in _LINK_DATA if name in data}
        mac = "" if kind == "veth" and link.get("master") else link.get("address", "")
        up = "up" if "UP" in link["flags"] else "down"
        yield (
            f"link {link['ifname']} {kind} {shown} mtu {link['mtu']} {mac} {up} "
            f"master {link.get('master', '')} alias {link.get('ifalias', '')}"
        )


def _addresses(text: str) -> Iterator[str]:
    for link in _listed(text):
        for address in link.get("addr_info", ()):
            if address.get("scope") != "link" or address["family"] == "inet":
                yield f"address {address['local']}/{address['prefixlen']} dev {link['ifname']}"


def _routes(text: str) -> Iterator[str]:
    for route in _listed(text):
        if route["dst"].startswith(("fe80:", "ff00:")) or route.get("type") in _TYPES or route.get("protocol") == _RA:
            continue
        flags = [flag for flag in route.get("flags", ()) if flag not in _DEAD]
        shown = {
            name: route[name] for name in ("type", "gateway", "dev", "protocol", "metric", "table") if name in route
        }
        yield f"route {route['dst']} {shown} {flags}"


def _neighbours(text: str) -> Iterator[str]:
    for entry in _listed(text):
        yield f"neighbour {entry['dst']} dev {entry['dev']} {entry.get('lladdr')}"


def _fdb(text: str) -> Iterator[str]:
    for entry in _listed(text):
        if "dst" in entry:
            yield f"fdb {entry['mac']} dev {entry['ifname']} dst {entry['dst']} {entry.get('state')}"


def _nft(text: str) -> Iterator[str]:
    places: Counter[tuple[str, str, str]] = Counter()
    for entry in json.loads(text)["nftables"] if text else ():
        for kind, about in entry.items():
            about.pop("handle", None)
            if isinstance(
                about.get("elem"), list
            ):  # a set of several ranges tells them in the order in which they came
                about["elem"].sort(key=lambda element: json.dumps(element, sort_keys=True))
            place = ""
            if kind == "rule":  # their order counts
                chain = about["family"], about["table"], about["chain"]
                places[chain] += 1
                place = f" {places[chain]}"
            if kind != "metainfo":
                yield f"nft {kind}{place} {json.dumps(about, sort_keys=True)}"
