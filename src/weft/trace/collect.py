"""What a trace needs to know, asked from agents: in a lab from those of all hosts at once, else from the local one.

A way that goes on to a host whose agent cannot be asked ends there, with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath
from typing import Protocol

import msgspec

from weft.api import services as s
from weft.api import types as t
from weft.api.dump import HostDump
from weft.base.errors import Unavailable, WeftError
from weft.base.net import Family
from weft.trace import ends
from weft.trace.path import Path, Start, Trace
from weft.trace.walk import walk

LAB = "WEFT_LAB"
"""Environment variable: a lab's directory."""
_AT_ONCE = 16


class Agent(Protocol):
    """What is asked; `weft.client.Client` is one."""

    def kernel(self) -> HostDump: ...

    def endpoints(self) -> tuple[t.EndpointInfo, ...]: ...

    def nodes(self) -> tuple[t.NodeInfo, ...]: ...

    def services(self) -> tuple[s.ServiceInfo, ...]: ...


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`dumps` by host. `notes`: a line about each host that should have given one and did not."""

    dumps: dict[str, HostDump]
    endpoints: tuple[t.EndpointInfo, ...]
    nodes: tuple[t.NodeInfo, ...]
    services: tuple[s.ServiceInfo, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def by_address(self) -> dict[str, str]:
        return {str(a.ip): n.name for n in self.nodes for a in n.addresses}


def sockets_of_lab(directory: str) -> dict[str, str]:
    """The agents' sockets by host: DIRECTORY/hosts/HOST/run-weft/weft.sock. Raises Unavailable where there is none."""
    found = sorted(FilePath(directory).glob("hosts/*/run-weft/weft.sock"))
    if not found:
        raise Unavailable(f"no agent's socket in the lab at {directory}: is it up (`weft lab ls`)? Else unset {LAB}")
    return {path.parent.parent.name: str(path) for path in found}


def collect(sockets: Mapping[str, str], connect: Callable[[str], Agent]) -> Snapshot:
    """`sockets` by the host's name. Raises what the agent says if there is only one, Unavailable if none of many answers."""
    agents = {host: connect(path) for host, path in sockets.items()}
    with ThreadPoolExecutor(min(len(agents), _AT_ONCE), thread_name_prefix="trace") as pool:
        answers = dict(zip(agents, pool.map(_kernel, agents.values()), strict=True))
    dumps = {answer.node: answer for answer in answers.values() if isinstance(answer, HostDump)}
    refused = {host: answer for host, answer in answers.items() if isinstance(answer, WeftError)}
    if not dumps:
        raise next(iter(refused.values()))
    first = next(agents[host] for host in agents if host not in refused)
    return Snapshot(
        dumps=dumps,
        endpoints=first.endpoints(),
        nodes=first.nodes(),
        services=first.services(),
        notes=tuple(f"{host} is not seen: {error}" for host, error in refused.items()),
    )


def _kernel(agent: Agent) -> HostDump | WeftError:
    try:
        return agent.kernel()
    except WeftError as error:
        return error


def trace(snapshot: Snapshot, origin: str, target: str, family: Family | None = None) -> Trace:
    """The way there; and the way back from an endpoint, which answers with the address it was called by. What is sent to
    a node or to outside is masqueraded, so its answer comes by another way. Raises NotFound, Invalid."""
    start = ends.origin(origin, snapshot.endpoints, snapshot.nodes)
    end = ends.target(target, snapshot.endpoints, snapshot.nodes, snapshot.services)
    chosen = ends.choose_family(start, end, family)
    there = _walk(snapshot, start, end, chosen)
    answered = there.outcome.ending == "delivered" and end.ns
    back = _walk(snapshot, end, start, chosen) if answered else None
    return Trace(origin=start.name, target=end.name, there=there, back=back, notes=snapshot.notes)


def _walk(snapshot: Snapshot, start: ends.End, end: ends.End, family: Family) -> Path:
    sender = Start(host=start.node, ns=start.ns, source=start.address(family))
    return walk(snapshot.dumps, sender, end.address(family), snapshot.by_address)
