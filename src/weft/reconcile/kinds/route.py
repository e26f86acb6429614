"""Routes."""

from __future__ import annotations

from collections.abc import Mapping
from errno import EEXIST, EINVAL, ENETDOWN

from weft.hoststate import PROTO, Address, Key, Link, Object, Route
from weft.hoststate.paths import MAIN, is_own_table
from weft.reconcile.kinds.kind import Kind, on_device, within
from weft.reconcile.kinds.shell import join, run_in
from weft.reconcile.protocol import Change, Create, Op, Remove

LOOPBACK = "lo"
"""Is in every namespace, and stays."""


def _commands(op: Op, obj: Route) -> list[str]:
    verb = {Create: "add", Change: "replace", Remove: "del"}[type(op)]
    v6 = ":" in obj.prefix
    scope = "link" if not v6 and obj.type == "unicast" and not obj.via else "global"  # what ip(8) takes for granted
    via = f"via {'inet6 ' if ':' in obj.via and not v6 else ''}{obj.via}" if obj.via else ""
    words = (
        f"ip -6 route {verb}" if v6 else f"ip route {verb}",
        obj.type if obj.type != "unicast" else "",
        obj.prefix,
        via,
        f"dev {obj.dev}" if obj.dev else "",
        "onlink" if obj.onlink else "",
        f"proto {obj.proto}",
        f"scope {obj.scope}" if obj.scope != scope else "",
        f"src {obj.src}" if obj.src else "",
        f"metric {obj.metric}" if obj.metric else "",
        f"table {obj.table}" if obj.table != MAIN else "",
    )
    return [run_in(obj.ns, join(*words))]


def _hosts(route: Route) -> tuple[Key, ...]:
    return on_device(route) if route.dev and route.dev != LOOPBACK else within(route)


def _rank(route: Route) -> int:
    """Routes over a next hop come after those to it."""
    return 1 if route.via else 0


def _refuses(route: Route, making: bool, there: Mapping[Key, Object]) -> int:
    if making and route.key in there:
        return EEXIST
    link = there.get(("link", route.ns, route.dev))
    if isinstance(link, Link) and not link.up:
        return ENETDOWN
    here = (o.address for o in there.values() if isinstance(o, Address) and o.ns == route.ns) if route.src else ()
    return EINVAL if route.src and not any(address.startswith(f"{route.src}/") for address in here) else 0


ROUTE = Kind(
    of=Route,
    commands=_commands,
    words=lambda rest: " ".join(rest[1:2]),
    is_ours=lambda route: route.proto == PROTO and is_own_table(route.table),
    hosts=_hosts,
    rank=_rank,
    ipv6_on=lambda route: route.dev if ":" in route.prefix else "",
    silent=lambda route: ":" not in route.prefix,  # fib_table_flush() tells nobody
    refuses=_refuses,
)
