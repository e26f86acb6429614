"""Routes in containers, and others' routes and rules on hosts that take packets away from networks."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from weft.api.dump import RouteDump
from weft.base.names import sysctl_name
from weft.faults.scene import Fault, Inside, Scene

WEFT, BIRD, KERNEL = 87, 12, 2
"""By whom a route was made: Weft's number, BIRD's, and the kernel's own (rtnetlink.h)."""
_REFUSING = ("blackhole", "unreachable", "prohibit")
_MAIN, _LOCAL, _DEFAULT = 254, 255, 253


def no_default(scene: Scene) -> Iterator[Fault]:
    """Of what the endpoint's network gives a way out."""
    for space in scene.containers:
        defaults = {route.prefix for route in space.dump.routes if route.prefix in ("0.0.0.0/0", "::/0")}
        for endpoint in space.endpoints:
            for gateway in endpoint.gateways:
                wanted = "0.0.0.0/0" if gateway.version == 4 else "::/0"
                if wanted in defaults:
                    continue
                words = ("ip", f"-{gateway.version}", "route", "add", "default", "via", str(gateway))
                yield space.fault(
                    "no-route-in-container",
                    f"{space.name} has no default route of IPv{gateway.version}; it should go by {gateway}",
                    fix=space.command(*words, "dev", endpoint.interface, "onlink"),
                )


def taken_away(scene: Scene) -> Iterator[Fault]:
    """A route of somebody else's inside a network's subnets: refused, or sent elsewhere."""
    for host in scene.hosts:
        for route in host.dump.routes:
            if route.proto in (WEFT, BIRD, KERNEL) or route.table == _LOCAL or not _within(scene, route):
                continue
            prefix = route.prefix
            table = () if route.table == _MAIN else ("table", str(route.table))
            refused = route.type in _REFUSING
            words = (
                "ip",
                f"-{ip_network(prefix).version}",
                "route",
                "del",
                *((route.type,) if refused else ()),
                prefix,
                *table,
            )
            metric = ("metric", str(route.metric)) if route.metric else ()
            yield host.fault(
                ("blackhole" if route.type == "blackhole" else "prohibited") if refused else "overlap",
                f"{host.name} has a route of somebody else's, {_text(route)}, to addresses of a network's",
                advice="find out who made it",
                fix=host.command(*words, *metric),
            )


def _within(scene: Scene, route: RouteDump) -> bool:
    prefix = ip_network(route.prefix)
    return prefix.prefixlen > 0 and any(
        prefix.version == subnet.version and prefix.overlaps(subnet) and prefix.prefixlen >= subnet.prefixlen
        for network in scene.told.networks
        for subnet in network.subnets
    )


def _text(route: RouteDump) -> str:
    kind = f"{route.type} " if route.type != "unicast" else ""
    return (
        f"{kind}{route.prefix}"
        + (f" via {route.via}" if route.via else "")
        + (f" dev {route.dev}" if route.dev else "")
    )


def diverted(scene: Scene) -> Iterator[Fault]:
    """A rule for addresses of a network's, by which Weft's own tables are passed over."""
    for host in scene.hosts:
        ours = {route.table for route in host.dump.routes if route.proto in (WEFT, BIRD)} | {_MAIN, _LOCAL, _DEFAULT, 0}
        for rule in host.dump.rules:
            told = rule.dst or rule.src
            if not told or (rule.table in ours and rule.action == "lookup"):
                continue
            prefix = ip_network(told)
            if any(prefix.version == s.version and prefix.overlaps(s) for n in scene.told.networks for s in n.subnets):
                yield host.fault(
                    "rule-diverts",
                    f"rule {rule.priority} of {host.name} takes packets with {told} another way",
                    advice="find out who made it",
                    fix=host.command("ip", f"-{rule.family}", "rule", "del", "priority", str(rule.priority)),
                )


def ipv6_off(scene: Scene) -> Iterator[Fault]:
    for space in scene.containers:
        for endpoint in space.endpoints:
            link = space.link(endpoint.interface)
            if link is None or not any(a.version == 6 for a in endpoint.addresses):
                continue
            if 6 in link.disabled:
                yield _switch(
                    space, sysctl_name(f"net/ipv6/conf/{link.name}/disable_ipv6"), f"IPv6 is off at {link.name}"
                )
            elif space.dump.sysctls.get("net.ipv6.conf.all.disable_ipv6") == "1":
                yield _switch(space, "net.ipv6.conf.all.disable_ipv6", "IPv6 is off")


def _switch(space: Inside, name: str, what: str) -> Fault:
    return space.fault(
        "ipv6-disabled",
        f"{what} in {space.name}",
        advice="its addresses are gone with it: attach it again afterwards, or add them",
        fix=space.command("sysctl", "-w", f"{name}=0"),
    )


def to_gone_hosts(scene: Scene) -> Iterator[Fault]:
    """What still leads to a host that is not there any more."""
    gone = {str(a.ip): n for n in scene.told.nodes if not n.alive and not n.foreign for a in n.addresses}
    for host in scene.hosts if gone else ():
        used = {route.via for route in host.dump.routes} | {entry.dst for entry in host.dump.fdb}
        for address, node in gone.items():
            if address in used and not node.withdrawn:
                yield host.fault(
                    "route-to-gone-host",
                    f"{host.name} still sends to {node.name} ({address}): {node.evidence or 'its agent is silent'}",
                    advice=f"if it will not come back: `weft node rm {node.name}`",
                    warning=True,
                )
