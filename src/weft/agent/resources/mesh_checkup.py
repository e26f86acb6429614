"""What the doctor looks at where the store is mesh://."""

from __future__ import annotations

from collections.abc import Iterator

from weft.agent.mesh import TASKS, Mesh
from weft.agent.resources.checkup import ok
from weft.api import types as t
from weft.kernel.plumbing import tools
from weft.tasks import Supervisor


def findings(mesh: Mesh, supervisor: Supervisor) -> Iterator[t.Finding]:
    yield from _members(mesh)
    yield _voter(mesh)
    for task in TASKS:
        if reason := supervisor.failing(task):
            advice = "it is tried again; until then this host does without it"
            yield t.Finding(check=task, result="error", detail=reason, advice=advice)


def _members(mesh: Mesh) -> Iterator[t.Finding]:
    if not mesh.part:
        yield t.Finding(check="mesh", result="error", detail=mesh.waiting(), advice="see to this host's uplink")
        return
    troubles = list(mesh.problems())
    for text in troubles:
        yield t.Finding(check="mesh", result="warning", detail=text, advice="see docs/mesh.md, What can be amiss")
    if not troubles:
        heard = sum(mesh.heard(member.name) for member in mesh.part.membership.members())
        yield ok("mesh", f"{heard} hosts are heard")


def _voter(mesh: Mesh) -> t.Finding:
    if tools.find("etcd"):
        return ok("mesh: voter", "etcd is installed, so this host can keep the store")
    return t.Finding(
        check="mesh: voter",
        result="error" if mesh.is_named() else "warning",
        detail="etcd is not installed: this host uses the store, and cannot be one of those that keep it",
        advice="apt install etcd-server (its own service is not needed: systemctl disable --now etcd), if it is to be one",
    )
