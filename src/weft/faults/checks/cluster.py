"""What hosts should agree on, and what the cluster itself tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_interface

from weft.faults.scene import Fault, Scene


def tunnels_differ(scene: Scene) -> Iterator[Fault]:
    """One network's tunnel devices on several hosts: what most have is taken to be right."""
    found = {
        (host.host, link.name): link.vxlan
        for host in scene.hosts
        for link in host.dump.links
        if link.vxlan is not None and link.alias.startswith("weft")
    }
    for kind, what in (("vni-differs", "VNI"), ("tunnel-port-differs", "UDP port")):
        for name in sorted({name for _, name in found}):
            values = {
                host: vxlan.vni if what == "VNI" else vxlan.port for (host, n), vxlan in found.items() if n == name
            }
            usual = Counter(values.values()).most_common(1)[0][0]
            for host, value in values.items():
                if value != usual:
                    yield Fault(
                        kind=kind,
                        host=host,
                        what=host,
                        detail=f"{name} on {host} has {what} {value}, on other hosts {usual}",
                        advice="its agent makes it anew",
                        fix=f"ip link del {name}",
                    )


def tunnel_addresses(scene: Scene) -> Iterator[Fault]:
    for host in scene.hosts:
        held = {str(ip_interface(a.address).ip) for a in host.dump.addresses}
        for space in scene.spaces:
            for link in space.dump.links if space.host == host.host else ():
                if link.vxlan is not None and link.vxlan.local and link.vxlan.local not in held:
                    yield Fault(
                        kind="tunnel-address-changed",
                        host=host.host,
                        what=space.name,
                        detail=f"{link.name} sends from {link.vxlan.local}, which is no address of {host.name} (any more)",
                        advice="its agent makes it anew; `weft status` says which address it takes for the host's",
                        fix=space.command("ip", "link", "del", link.name),
                    )


def wrong_hosts(scene: Scene) -> Iterator[Fault]:
    """FDB entries of tunnels that name an address of no node, or the wrong one for an endpoint's MAC."""
    for space in scene.spaces:
        for entry in space.dump.fdb:
            holders = scene.by_mac.get(entry.lladdr, ())
            node = scene.underlay.get(entry.dst)
            if not entry.dst or entry.master or len(holders) != 1 or holders[0].node == node:
                continue
            right = next(
                (str(a.ip) for n in scene.told.nodes if n.name == holders[0].node for a in n.addresses[:1]), ""
            )
            words = ("bridge", "fdb", "replace", entry.lladdr, "dev", entry.dev, "dst", right, "self", "permanent")
            yield space.fault(
                "fdb-wrong-host",
                f"{entry.dev} sends frames for {entry.lladdr} to {node or entry.dst}, but {holders[0].name} is on "
                f"{holders[0].node}",
                fix=space.command(*words) if right else "",
            )


def dead_agents(scene: Scene) -> Iterator[Fault]:
    for node in scene.told.nodes:
        if not node.alive and not node.foreign:
            yield Fault(
                kind="agent-dead",
                host=node.name,
                what=node.name,
                detail=f"the agent of {node.name} is not there: {node.evidence or 'its presence in the store has ended'}",
                advice=f"on {node.name}: start it, and look at its log (`journalctl -u weft-agent`); "
                f"or `weft node rm {node.name}`",
                fix="systemctl restart weft-agent",
                warning=True,
            )


def without_members(scene: Scene) -> Iterator[Fault]:
    for each in scene.told.services:
        name = f"{each.service.network}/{each.service.name}"
        if not each.members:
            yield Fault(
                kind="no-backends",
                host="",
                what=name,
                detail=f"service {name} has no members, so nobody answers at its address",
                advice="`weft service show` says whom it looks for, `weft endpoint label` makes somebody a member",
            )


def macs_claimed_twice(scene: Scene) -> Iterator[Fault]:
    seen = Counter((e.network, e.mac) for e in scene.told.endpoints if e.mac)
    for (network, mac), count in seen.items():
        holders = [e for e in scene.told.endpoints if (e.network, e.mac) == (network, mac)]
        if count > 1 and mac.startswith(("02", "06", "0a", "0e")) and len({e.node for e in holders}) > 1:
            yield Fault(
                kind="mac-claimed-twice",
                host=holders[1].node,
                what=network,
                detail=f"{holders[0].node}/{holders[0].name} and {holders[1].node}/{holders[1].name} of {network} have {mac}",
                advice="attach one of them again with another --mac",
            )
