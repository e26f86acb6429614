"""What `weft init` says. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from weft.api import types as t
from weft.setup.decide import SECRET, Decision, joining
from weft.store.url import is_mesh, mesh_hosts

CREATE = "weft network create blue --driver vxlan --subnet 10.20.0.0/16 --subnet fd00:20::/48"


def finding(found: t.Finding) -> str:
    """One line."""
    advice = (
        found.advice if not found.fix or found.fix in found.advice else f"{found.advice}; `{found.fix}`".lstrip("; ")
    )
    return f"{found.result}: {found.check}: {found.detail}" + (f": {advice}" if advice else "")


def plan(decision: Decision, file: str, *, there: bool, start: str) -> Iterator[str]:
    """What is going to be done. `start`: what becomes of the agent, in words; "" for nothing."""
    if decision.changes:
        yield f"{file}: {'; '.join(decision.changes)}"
    elif not there:
        yield f"{file}: all settings as comments, none set"
    for path in decision.secrets:
        yield f"{path}: the {'mesh secret' if path == SECRET else 'password of the store'}, readable by root only"
    if decision.forget:
        yield "this host forgets the cluster that it was in"
    if start:
        yield start


def state(status: t.Status) -> str:
    """Of the agent, in one line."""
    at = ", ".join(str(address.ip) for address in status.addresses)
    where = f" at {at} ({status.uplink})" if at else ""
    store = f"store {status.store.url} {status.store.state}" + (
        f": {status.store.reason}" if status.store.reason else ""
    )
    peers = f"; {len(status.peers)} other host{'s' * (len(status.peers) != 1)}" if status.peers else ""
    return f"node {status.node}{where}: {status.state}; {store}{peers}"


def next_steps(decision: Decision, status: t.Status | None, *, started: bool, systemd: bool) -> Iterator[str]:
    """The commands to type next, each with what it is for."""
    if not started:
        command = "systemctl enable --now weft-agent" if systemd else "weft agent run"
        yield "no systemd runs here; start the agent by hand:" if not systemd else "start the agent:"
        yield f"  {command}"
    if is_mesh(decision.config.store) and decision.made:
        yield "on each of the other hosts, with this host's secret:"
        yield f"  {joining(mesh_hosts(decision.config.store))}"
        yield "and then, on any of them:"
    elif started and status is not None and status.store.state == "connected":
        yield "next:"
    else:
        yield "and then:"
    networks = status.networks if status else ()
    yield f"  weft attach CONTAINER --network {networks[0].name}" if networks else f"  {CREATE}"
