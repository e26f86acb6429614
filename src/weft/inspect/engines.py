"""Whose process it is: the container's id by its control group, its name by what engines keep on this host.

    docker       names from its socket; where that is silent, ids only
    podman       names and pids from its storage, CRI-O's likewise
    containerd   pids and names from the directories of its tasks, also of Docker's and of Kubernetes' (CRI)

Nothing here fails for the lack of any of them. Only files that root of this host decides about are believed (`View.trusted`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from weft.base.errors import WeftError
from weft.inspect.model import Container
from weft.inspect.processes import View, read

PATIENCE = 0.5
"""Seconds for Docker to answer: without an answer there are ids."""

_ID = re.compile(r"(?:^|/)(?:([a-z-]+?)[-:])?([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_PREFIXES = {
    "docker": "docker",
    "libpod": "podman",
    "cri-containerd": "kubernetes",
    "crio": "kubernetes",
    "nerdctl": "containerd",
}
_FOLDERS = {"docker": "docker", "libpod_parent": "podman", "kubepods": "kubernetes"}
_NAMESPACES = {"moby": "docker", "k8s.io": "kubernetes"}
"""Of containerd; what is in another one is said to be containerd's."""
TASKS = (
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task",
)
_STORAGE = "/var/lib/containers/storage"
_RUNNING = "/run/containers/storage"


def of_cgroup(text: str) -> tuple[str, str] | None:
    """Engine and id of the innermost container that a process is in by its /proc/PID/cgroup; the engine "" where that does
    not tell. Pure."""
    for line in text.splitlines():
        path = line.split(":", 2)[-1]
        if found := list(_ID.finditer(path)):
            prefix, id = found[-1].groups()
            if prefix and prefix.endswith("conmon"):  # Podman's, beside the container
                continue
            folders = path[: found[-1].start()].split("/")
            by_folder = next((name for f in folders for head, name in _FOLDERS.items() if f.startswith(head)), "")
            return _PREFIXES.get(prefix or "", by_folder), id
    return None


@dataclass
class Known:
    """What engines say: by id the engine, the name, and the first process."""

    engines: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)

    def container(self, id: str, engine: str = "") -> Container:
        return Container(engine=engine or self.engines.get(id, ""), id=id, name=self.names.get(id, ""))


def known(views: Iterable[View]) -> Known:
    found = Known()
    asked: set[tuple[int, int]] = set()
    for view in views:
        if view.trusted:
            _tasks(view, found)
            _storage(view, found)
            _docker(view, found, asked)
    return found


# -- containerd --------------------------------------------------------------------------------------------------------

_NAME_KEYS = ("io.kubernetes.cri.container-name", "nerdctl/name")
_POD_KEYS = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name")


class _Spec(msgspec.Struct):
    """The part of an OCI bundle's config.json that is wanted."""

    annotations: dict[str, str] = {}


def _tasks(view: View, found: Known) -> None:
    for folder in TASKS:
        for namespace in _entries(view.path(folder)):
            engine = _NAMESPACES.get(namespace, "containerd")
            for id in _entries(bundles := view.path(f"{folder}/{namespace}")):
                found.engines[id] = engine
                if (pid := read(f"{bundles}/{id}/init.pid").strip()).isdigit():
                    found.pids[id] = int(pid)
                if engine != "docker":
                    found.names[id] = _task_name(f"{bundles}/{id}/config.json") or ("" if len(id) == 64 else id)


def _task_name(path: str) -> str:
    """As those who made it wrote down: NAMESPACE/POD/CONTAINER in Kubernetes."""
    try:
        notes = msgspec.json.decode(read(path), type=_Spec).annotations
    except msgspec.MsgspecError:
        return ""
    own = next((notes[key] for key in _NAME_KEYS if notes.get(key)), "")
    pod = [notes[key] for key in _POD_KEYS if notes.get(key)]
    return "/".join([*pod, *([own] if own else [])])


# -- Podman, CRI-O -----------------------------------------------------------------------------------------------------


class _Stored(msgspec.Struct):
    id: str
    names: list[str] = []


def _storage(view: View, found: Known) -> None:
    for path in _fitting(view.path(_STORAGE), "*-containers/containers.json"):
        for each in _decoded(read(str(path)), list[_Stored]) or ():
            name = each.names[0] if each.names else ""
            found.engines[each.id] = "kubernetes" if name.startswith("k8s_") else "podman"
            found.names[each.id] = name
    for path in _fitting(view.path(_RUNNING), "*-containers/*/userdata/pidfile"):
        if (pid := read(str(path)).strip()).isdigit():
            found.pids[path.parts[-3]] = int(pid)


# -- Docker ------------------------------------------------------------------------------------------------------------


class _Listed(msgspec.Struct, rename="pascal"):
    """One of GET /containers/json (Docker Engine API)."""

    id: str
    names: list[str] = []


def _docker(view: View, found: Known, asked: set[tuple[int, int]]) -> None:
    path = view.path("/run/docker.sock")
    try:
        about = Path(path).stat()
    except OSError:
        return
    if (which := (about.st_dev, about.st_ino)) in asked:
        return
    asked.add(which)
    from weft.client.connection import ask  # HTTP is loaded only where there is a Docker

    try:
        answer = ask(path, PATIENCE, "GET", "/containers/json", None)
    except WeftError:
        return
    for each in _decoded(answer.body, list[_Listed]) or ():
        found.engines[each.id] = "docker"
        # A link to it gives it a further name, with a slash within.
        found.names[each.id] = next((n.lstrip("/") for n in each.names if "/" not in n.lstrip("/")), "")


def _decoded(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None


def _fitting(folder: str, pattern: str) -> list[Path]:
    try:
        return list(Path(folder).glob(pattern))
    except OSError:
        return []


def _entries(folder: str) -> Iterator[str]:
    try:
        yield from sorted(entry.name for entry in Path(folder).iterdir())
    except OSError:
        return
