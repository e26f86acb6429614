"""Where the parts of an archive come from: agents, the usual tools, files."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from weft import __version__
from weft.agent.config import DEFAULT_FILE, Config
from weft.api.operations import BY_NAME
from weft.base.errors import Denied, Unavailable, Unsupported, WeftError
from weft.client import Client
from weft.client.connection import ask
from weft.kernel.host.dump import dump
from weft.kernel.host.shown import show
from weft.model import encode
from weft.support import tables
from weft.support.archive import LARGEST

PATIENCE = 30
"""Seconds for another host's answer."""
MOST_DOCUMENTS = 500
"""Policies of which the documents are fetched."""
OWN = "weft-"
"""How namespaces of Weft's own begin."""


class Part(NamedTuple):
    """A file. `make`: its octets; raises WeftError, OSError: why it cannot be had."""

    name: str
    make: Callable[[], bytes]


class Wanted(NamedTuple):
    """`config`: the agent's settings, and `settings` the file that they are in. `log`: a file; None for the journal.
    `everywhere`: of other hosts, too."""

    client: Client
    config: Config
    settings: Path = DEFAULT_FILE
    log: Path | None = None
    everywhere: bool = False


def parts(wanted: Wanted) -> Iterator[Part]:
    """What is worth most comes first: where there is no room for all, the rest is left out."""
    yield Part("versions.txt", _versions)
    yield Part("settings/weft.toml", wanted.settings.read_bytes)
    yield Part("settings/bird.conf", (Path(wanted.config.run_dir) / "bird.conf").read_bytes)
    yield Part("settings/unit.txt", partial(_shown, "systemctl cat weft-agent"))
    yield from _of_agents(wanted)
    yield Part("log.txt", partial(_tail, wanted.log) if wanted.log else partial(_shown, tables.LOG))
    yield from (Part(f"host/{name}.txt", partial(_of_host, name)) for name in tables.HOST)
    yield from _own_namespaces()


def _of_host(name: str) -> bytes:
    needed = tables.NEEDS.get(name, "/")
    if not Path(needed).exists():
        raise Unsupported(f"the kernel has no {needed}")
    return _shown(tables.HOST[name])


def _shown(command: str, ns: str = "") -> bytes:
    return b"# " + command.encode() + b"\n" + show(command.split(), ns)


def _tail(path: Path) -> bytes:
    """Of a file that may be large: whole lines at its end."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LARGEST))
        return file.read(LARGEST) if size <= LARGEST else file.read(LARGEST).partition(b"\n")[2]


def _versions() -> bytes:
    lines = [f"weft {__version__}, Python {sys.version.split()[0]}, {platform.platform()}".encode()]
    for command in tables.VERSIONS:
        try:
            lines.append(_shown(command).rstrip())
        except WeftError as error:
            lines.append(f"# {command}\n{error}".encode())
    return b"\n\n".join(lines) + b"\n"


def _own_namespaces() -> Iterator[Part]:
    for path in sorted(Path("/run/netns").glob(f"{OWN}*")):
        for name in tables.OWN:
            yield Part(f"host/{path.name}/{name}.txt", partial(_shown, tables.HOST[name], str(path)))


# -- agents ------------------------------------------------------------------------------------------------------------


def _of_agents(wanted: Wanted) -> Iterator[Part]:
    client = wanted.client
    try:
        me = client.status().node
        nodes = sorted(node.name for node in client.nodes()) if wanted.everywhere else []
    except (Unavailable, Denied) as error:
        yield Part("agent", partial(_fails, error))
        yield Part("host/kernel.json", lambda: encode(dump(platform.node(), {}, None)))
        return
    yield from _of_node(client, me)
    yield Part("metrics.txt", lambda: ask(client.socket_path, client.timeout, "GET", "/metrics", None).body)
    yield from (Part(f"cluster/{name}.json", partial(_answer, client, name)) for name in tables.CLUSTER)
    yield from _documents(client)
    for node in nodes:
        if node != me:
            yield from _of_other(client.at(node, PATIENCE), node)


def _of_node(client: Client, node: str) -> Iterator[Part]:
    return (Part(f"nodes/{node}/{name}.json", partial(_answer, client, name)) for name in tables.AGENT)


def _of_other(client: Client, node: str) -> Iterator[Part]:
    """One that is dead is told once, not for each operation."""
    try:
        client.store()
    except WeftError as error:
        yield Part(f"nodes/{node}", partial(_fails, error))
        return
    yield from _of_node(client, node)


def _documents(client: Client) -> Iterator[Part]:
    """Policies as they were written."""
    try:
        found = client.policies().policies[:MOST_DOCUMENTS]
    except WeftError:  # told already, as that list itself cannot be had
        return
    for policy in found:
        yield Part(f"cluster/policies/{policy.id}.json", lambda ref=policy.id: encode(client.policy(ref)))  # type: ignore[misc]


def _answer(client: Client, operation: str) -> bytes:
    assert operation in BY_NAME
    return encode(getattr(client, operation)())


def _fails(error: WeftError) -> bytes:
    raise error
