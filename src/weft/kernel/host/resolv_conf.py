"""/etc/netns/NAME/resolv.conf: `ip netns exec NAME` shows its commands this file as /etc/resolv.conf (ip-netns(8)).

Written for the containers whose user asks for it, where there is none; a file without our mark is somebody else's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from weft.base.errors import Invalid
from weft.kernel.plumbing import netns

ADDRESS = "127.0.0.11"
"""At which containers ask for names: as Docker has it, so that a container's resolv.conf is the same with either."""
FOLDER = Path("/etc/netns")
MARK = "# Written by Weft for `weft attach --dns`, and removed when the container is detached.\n"


def name_at(path: str) -> str:
    """What ip-netns(8) calls the namespace at a path. Raises Invalid where it has no name."""
    found = Path(path)
    if found.parent != netns.NAMED[0]:
        raise Invalid(f"{path} has no name below {netns.NAMED[0]}, and so no file of its own: leave out --dns")
    return found.name


def write_files(wanted: Collection[str], search: str) -> list[str]:
    """Write the files of these namespaces, and remove those of others that are ours. `search`: domains, as the host's file has
    them. What cannot be done, a line each. Blocks."""
    return list(_write_files(wanted, search))


def _write_files(wanted: Collection[str], search: str) -> Iterator[str]:
    for file in _ours():
        if file.parent.name not in wanted:
            with contextlib.suppress(OSError):
                file.unlink()
                file.parent.rmdir()  # where nothing else is in it
    for name in sorted(wanted):
        try:
            if not _write(FOLDER / name / "resolv.conf", search):
                yield f"{FOLDER / name}/resolv.conf is there and not Weft's: it stays as it is"
        except OSError as error:
            yield f"{FOLDER / name}/resolv.conf cannot be written: {error.strerror}"


def _ours() -> list[Path]:
    return [file for file in FOLDER.glob("*/resolv.conf") if _read(file).startswith(MARK)]


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _write(file: Path, search: str) -> bool:
    """Whether it may be. Raises OSError."""
    domains = f"search {search}\n" if search else ""
    # A name without a dot is asked for as it is first, and only then with these domains.
    text = f"{MARK}nameserver {ADDRESS}\n{domains}options ndots:0\n"
    there = _read(file)
    if there == text:
        return True
    if os.path.lexists(file) and not there.startswith(MARK):  # also a link that leads nowhere
        return False
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = file.with_name(".resolv.conf.weft")
    new.write_text(text)
    new.replace(file)
    return True
