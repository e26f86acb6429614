"""What a tunnel runs on: a file for each device, called as it is, in a folder below the agent's run directory.

The agent's kernel adapter replaces it as a whole; an operator may edit it by hand. The pump reads it whenever it changes. The
agent may be gone: the pump goes on with what it read last. The first line is the tunnel's own, then comes one for each prefix:

    tunnel local 192.168.1.68 port 8285 mtu 1472
    prefix 40.15.43.0/24 here
    prefix 40.15.26.0/24 192.168.1.254
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

FOLDER = "tunnel"
HERE = "here"
COUNTERS, TROUBLE = ".counters", ".trouble"
"""Files beside the table, which the pump writes, are called as it is with one of these at the end, and a dot before it."""


class Table(NamedTuple):
    """`local`: the underlay address that datagrams are sent from and taken at. `prefixes`: what is for one goes to that host,
    and comes from there. Those that are HERE are this host's containers'; the first address of each is the tunnel's own."""

    local: str
    port: int
    mtu: int
    prefixes: Mapping[str, str] = {}

    @property
    def runs_on(self) -> tuple[str, int]:
        """What the socket is for: with another one, another socket is needed."""
        return self.local, self.port


def first_line(local: str, port: int, mtu: int) -> str:
    return f"tunnel local {local} port {port} mtu {mtu}"


def line(prefix: str, remote: str) -> str:
    return f"prefix {prefix} {remote}"


def parse(text: str) -> Table:
    """Raises ValueError."""
    first, *others = text.splitlines() or [""]
    match first.split():
        case ["tunnel", "local", local, "port", port, "mtu", mtu]:
            table = Table(local, int(port), int(mtu))
            if not 0 < table.port < 1 << 16:
                raise ValueError(f"port {port} is outside 1 to 65535")
        case _:
            raise ValueError(f"'{first}' does not say what the tunnel runs on")
    prefixes = {}
    for each in others:
        match each.split():
            case ["prefix", prefix, remote]:
                prefixes[prefix] = remote
            case _:
                raise ValueError(f"'{each}' does not say where a prefix is")
    return table._replace(prefixes=prefixes)


def read(path: Path) -> Table:
    """Raises OSError, ValueError."""
    return parse(path.read_text())


def write(path: Path, table: Table) -> None:
    """The whole or nothing of it. Raises OSError."""
    put(path, [first_line(table.local, table.port, table.mtu), *(line(*each) for each in table.prefixes.items())])


def put(path: Path, lines: Iterable[str]) -> None:
    """A file of the folder, for nobody else's eyes. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = beside(path, ".new")
    fresh.touch(0o600)
    fresh.write_text("".join(f"{line}\n" for line in lines))
    fresh.replace(path)


def remove(path: Path) -> None:
    """With what the pump wrote beside it. Raises OSError."""
    for each in (path, beside(path, COUNTERS), beside(path, TROUBLE)):
        each.unlink(missing_ok=True)


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}{suffix}")


def files(folder: Path) -> Iterator[Path]:
    """The tables in it: other than plain files are none. Raises OSError."""
    try:
        with os.scandir(folder) as entries:
            yield from (
                folder / e.name for e in entries if not e.name.startswith(".") and e.is_file(follow_symlinks=False)
            )
    except FileNotFoundError:
        return
