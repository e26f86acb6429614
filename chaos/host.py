"""A host's network as lines that can be compared: the same before a run and after all that was made is removed again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from chaos.world import World

_SEPARATOR = "----8<----"
_COMMANDS = (
    "ip -j -d link",
    "ip -j -N -4 route show table all",
    "ip -j -N -6 route show table all",
    "ip -j neigh show nud permanent",
    "nft -j -s list ruleset",
    "{ iptables-save; ip6tables-save; } 2>/dev/null | grep -v '^#'",
    "ip rule; ip -6 rule",
    "cd /proc/sys/net; grep -H . ipv4/ip_forward ipv6/conf/all/forwarding ipv4/conf/*/rp_filter",
)
_PASSING = re.compile(r"\[\d+:\d+\]|packets \d+ bytes \d+|expires \S+")
_DERIVED = ("2", "3", "4", "5")  # RTN_LOCAL, BROADCAST, ANYCAST, MULTICAST: they come with addresses


def snapshot(world: World, host: str) -> frozenset[str]:
    """Without what differs from look to look by itself: numbers of devices, counters, timers, learned neighbours."""
    script = f"; echo '{_SEPARATOR}'; ".join(f"{{ {command}; }}" for command in _COMMANDS)
    links, routes4, routes6, neighbours, rules, *texts = world.sh(host, script).split(_SEPARATOR + "\n")
    lines = {f"link {x['ifname']} {x['flags']} {x.get('ifalias', '')}" for x in _listed(links)}
    lines |= {*_routes(routes4), *_routes(routes6)}
    lines |= {f"neighbour {x['dst']} {x['dev']} {x.get('lladdr')}" for x in _listed(neighbours)}
    lines |= set(_rules(rules))
    for number, text in enumerate(texts):
        lines |= {f"{number} {_PASSING.sub('', line).strip()}" for line in text.splitlines()}
    return frozenset(lines)


def _listed(text: str) -> list[dict[str, Any]]:
    return [entry for entry in json.loads(text or "[]") if entry]


def _rules(text: str) -> Iterator[str]:
    """A set's elements one by one: their order is nobody's."""
    for entry in json.loads(text)["nftables"]:
        for kind, about in entry.items():
            about.pop("handle", None)
            for element in about.pop("elem", ()):
                yield f"element of {about['name']}: {json.dumps(element, sort_keys=True)}"
            yield "" if kind == "metainfo" else f"{kind} {json.dumps(about, sort_keys=True)}"


def _routes(text: str) -> Iterator[str]:
    for route in _listed(text):
        if route.get("type") not in _DERIVED and not route["dst"].startswith(("fe80:", "ff00:")):
            yield f"route {' '.join(str(route.get(k, '')) for k in ('dst', 'gateway', 'dev', 'protocol', 'metric'))}"
