"""The doctor's look at dumps: every check of the table, over one host or all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.api import types as t
from weft.api.dump import HostDump
from weft.faults.catalogue import GROUPS
from weft.faults.checks import cluster, devices, packets, routes, tables
from weft.faults.scene import Check, Fault, Scene, Told

CHECKS: dict[Check, tuple[str, ...]] = {
    devices.down: ("link-down", "no-device"),
    devices.loopback_down: ("resolver-unreachable",),
    devices.addresses_missing: ("address-missing",),
    devices.duplicate_addresses: ("duplicate-address",),
    devices.duplicate_macs: ("duplicate-mac",),
    devices.dad_failed: ("dad-failed",),
    devices.arp_off: ("arp-off",),
    devices.silenced: ("arp-ignored", "echo-ignored"),
    devices.ports_mtu: ("port-mtu",),
    devices.stale_neighbours: ("stale-neighbour",),
    devices.stale_fdb: ("stale-fdb",),
    devices.programs: ("shaping", "tc-drops", "xdp-drops"),
    devices.fast_path: ("fast-path-missing",),
    routes.no_default: ("no-route-in-container",),
    routes.taken_away: ("blackhole", "prohibited", "overlap"),
    routes.diverted: ("rule-diverts",),
    routes.ipv6_off: ("ipv6-disabled",),
    routes.to_gone_hosts: ("route-to-gone-host",),
    cluster.tunnels_differ: ("vni-differs", "tunnel-port-differs"),
    cluster.tunnel_addresses: ("tunnel-address-changed",),
    cluster.wrong_hosts: ("fdb-wrong-host",),
    cluster.macs_claimed_twice: ("mac-claimed-twice",),
    packets.tunnels: ("underlay-filtered",),
    packets.forwarded: ("forward-policy", "rule-drops"),
    packets.bridged: ("bridge-nf",),
    packets.masqueraded: ("masquerade-wide",),
    packets.two_iptables: ("two-iptables",),
    tables.conntrack: ("conntrack-full",),
    tables.clashes: ("source-ports-clash",),
    tables.ports: ("ports-exhausted",),
    tables.queues: ("backlog-full", "receive-buffer-full"),
    tables.checksums: ("checksum-offload",),
    tables.memory: ("memory-pressure",),
    cluster.dead_agents: ("agent-dead",),
    cluster.without_members: ("no-backends",),
}
"""What is looked for, and the kinds of the catalogue that it finds."""

ACROSS: tuple[Check, ...] = (cluster.tunnels_differ,)
"""What shows only where several hosts are looked at together (`weft doctor --all`)."""


def examine(dumps: Mapping[str, HostDump], told: Told) -> Iterator[t.Finding]:
    """What is wrong, and for each group of the catalogue where nothing is, that it was looked for."""
    scene = Scene(dumps, told)
    found = {check: [_finding(fault) for fault in check(scene)] for check in CHECKS}
    for title, kinds in GROUPS.items():
        own = {kind.id for kind in kinds}
        checks = [check for check, names in CHECKS.items() if own & set(names)]
        wrong = [finding for check in checks for finding in found[check] if finding.fault in own]
        yield from wrong
        if not wrong:
            looked = own & {name for names in CHECKS.values() for name in names}
            yield t.Finding(
                check=title.lower(), result="ok", detail=f"{len(looked)} kinds of faults looked for, none found"
            )


def compare(dumps: Mapping[str, HostDump]) -> Iterator[t.Finding]:
    """What only shows between hosts, of which the dumps are enough."""
    scene = Scene(dumps, Told())
    for check in ACROSS:
        yield from (_finding(fault) for fault in check(scene))


def _finding(fault: Fault) -> t.Finding:
    return t.Finding(
        check=f"{fault.kind}: {fault.what}",
        result="warning" if fault.warning else "error",
        detail=fault.detail,
        advice=fault.advice or (f"on {fault.host}: {fault.fix}" if fault.fix else ""),
        fault=fault.kind,
        fix=fault.fix,
        host=fault.host,
    )
