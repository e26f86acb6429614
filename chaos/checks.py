"""What has to hold once a fault is over: each check gives what is wrong, a line each.

They look at the store, the kernels and the agents' files themselves, not only at what the agents say.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from chaos.model import HOSTS, SPARE, Model
from chaos.reach import ports, reachability
from chaos.stored import stored
from chaos.world import RUN, World
from weft.api import types as t
from weft.base.errors import WeftError
from weft.datapaths.registry import DRIVERS

Check = Callable[[World, Model], Iterable[str]]

_FORBIDDEN = ("traceback", "defect", "was never retrieved", "was never awaited", "unclosed ")
_RESTARTING = "birdc -s {run}/bird.ctl show {what} | grep -iE 'graceful restart.*(progress|active)' || true"


def converged(world: World, model: Model) -> Iterator[str]:
    for host in HOSTS:
        try:
            yield from _unsettled(world, host)
        except WeftError as error:
            yield f"{host}: {error}"


def _unsettled(world: World, host: str) -> Iterator[str]:
    status = world.client(host).status()
    if status.state != "converged":
        troubles = "; ".join(f"{x.object}: {x.reason}" for x in status.troubles)
        yield f"{host} is {status.state}: {status.store.reason} {troubles}"
    waiting = [n.name for n in status.networks if not n.subnets and not DRIVERS[n.driver].addresses.blocks]
    if waiting:
        yield f"{host} has no subnet in {', '.join(waiting)}"
    if status.bgp is None or status.bgp.reason or status.bgp.established < status.bgp.sessions:
        yield f"{host}: BGP: {status.bgp}"
    dead = [peer.name for peer in status.peers if not peer.alive]
    if dead or len(status.peers) != len(HOSTS) - 1:
        yield f"{host} does not see all others alive: {[p.name for p in status.peers]}, dead: {dead}"


def bgp_restarted(world: World, model: Model) -> Iterator[str]:
    """Another restart before everyone has heard everything again would be one too many (RFC 4724, 4.2)."""
    for host in HOSTS:
        for what in ("status", "protocols all"):
            if said := world.sh(host, _RESTARTING.format(run=RUN, what=what)):
                yield f"{host}: {said.strip()}"


def nothing_planned(world: World, model: Model) -> Iterator[str]:
    for host in HOSTS:
        commands = world.client(host).plan().commands
        yield from (f"{host} would do: {command}" for command in commands[:5])


def endpoints(world: World, model: Model) -> Iterator[str]:
    """Every agent knows the same containers, those of the model."""
    wanted = {(b.host, b.net, b.name, b.port, b.floating_addresses) for b in model.boxes.values()}
    for host in HOSTS:
        found = {_shown(e) for e in world.client(host).endpoints()}
        yield from (f"{host} lacks endpoint {x}" for x in sorted(wanted - found, key=str))
        yield from (f"{host} has endpoint {x} too many" for x in sorted(found - wanted, key=str))


def _shown(e: t.EndpointInfo) -> tuple[object, ...]:
    return e.node, e.network, e.name, e.ports[0].host_port if e.ports else 0, e.floating


def audit(world: World, model: Model) -> Iterator[str]:
    for fault in world.client(HOSTS[0]).check_ipam(t.CheckIpam()).faults:
        yield f"audit: {fault.network} {fault.kind} {fault.subject} {fault.node}: {fault.text}"


def devices(world: World, model: Model) -> Iterator[str]:
    """A host's devices, namespaces and bridges are those of its containers, one for one."""
    for host in HOSTS:
        yield from (f"{host}: {wrong}" for wrong in _devices(world, model, host))


def _devices(world: World, model: Model, host: str) -> Iterator[str]:
    boxes = model.on(host)
    overlays = {b.net for b in boxes if model.nets[b.net].driver == "overlay"}
    wanted = {b.name for b in boxes} | {f"weft-{net}" for net in overlays} | {SPARE}
    yield from _difference("namespaces", wanted, set(world.namespaces(host)))
    listed = {e.host_interface: e.name for e in world.client(host).endpoints(node=host)}
    yield from _difference("endpoints", {b.name for b in boxes}, set(listed.values()))
    found, ways_out = set[str](), 0
    for space in ["", *(f"weft-{net}" for net in sorted(overlays))]:
        for link in json.loads(world.sh(host, f"ip {f'-n {space}' if space else ''} -j -d link")):
            if link.get("linkinfo", {}).get("info_kind") == "veth" and link["ifname"] != "eth0":
                ways_out += link["ifname"].startswith("weftg")
                found |= set() if link["ifname"].startswith("weftg") else {link["ifname"]}
    yield from _difference("veths", set(listed), found)
    outward = [b for b in boxes if b.net in overlays and not model.nets[b.net].internal]
    if ways_out != len(outward):
        yield f"{ways_out} second interfaces for {len(outward)} containers"


def _difference(what: str, wanted: set[str], found: set[str]) -> Iterator[str]:
    if wanted - found:
        yield f"{what} missing: {', '.join(sorted(wanted - found))}"
    if found - wanted:
        yield f"{what} left over: {', '.join(sorted(found - wanted))}"


def spare_untouched(world: World, model: Model) -> Iterator[str]:
    """Nothing was attached by a wrong request."""
    for host in HOSTS:
        links = json.loads(world.sh(host, f"ip -n {SPARE} -j link"))
        if len(links) != 1:
            yield f"{host}: {SPARE} has {[link['ifname'] for link in links]}"


def sysctls(world: World, model: Model) -> Iterator[str]:
    """What `sysctl.json` keeps for later is about devices that there are."""
    for host in HOSTS:
        kept = json.loads(world.sh(host, f"cat {RUN}/sysctl.json 2>/dev/null || echo {{}}"))
        present = set(world.sh(host, "ls /sys/class/net").split()) | {"all", "default"}
        for name in kept:
            parts = name.replace(".", "/").split("/")
            at = next((i for i, part in enumerate(parts) if part in ("conf", "neigh")), None)
            if at is not None and not any(p in name for p in present):
                yield f"{host}: sysctl.json keeps {name}"


def logs(world: World, model: Model) -> Iterator[str]:
    for host in HOSTS:
        lines = world.lab.agent(host).log.read_text(errors="replace").splitlines()
        bad = [line for line in lines if any(word in line.lower() for word in _FORBIDDEN)]
        yield from (f"{host}'s log, {n} times: {line[:300]}" for line, n in Counter(bad).items())


CHECKS: dict[str, Check] = {
    "converged": converged,
    "BGP restarted": bgp_restarted,
    "nothing planned": nothing_planned,
    "endpoints as in the model": endpoints,
    "store as in the model": stored,
    "audit empty": audit,
    "devices as in the model": devices,
    "spare namespaces untouched": spare_untouched,
    "sysctls": sysctls,
    "reachability": reachability,
    "published ports": ports,
    "logs": logs,
}
"""In the order in which they are made."""
QUICK = ("converged", "BGP restarted")
"""Those that are made after each step."""
FINAL = ("logs", "spare namespaces untouched")
"""Those that waiting does not mend."""
