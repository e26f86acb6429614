"""`weft init`, one step after the other."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from weft.agent.config import Config
from weft.api import types as t
from weft.base.errors import Failed, Unavailable
from weft.client import Client
from weft.setup import look, systemd, told
from weft.setup.change import Changes
from weft.setup.decide import PASSWORD, SECRET, STDIN, Decision, Wanted, decide
from weft.store.url import is_mesh, mesh_hosts

PATIENCE, MESH_PATIENCE = 30.0, 10.0
"""Seconds until the agent, which runs, has its store and its networks. Of a mesh the other hosts may come much later."""
_never = threading.Event()


class Ask(NamedTuple):
    """How it talks. `say`: a line of what is done; `warn`: of what is amiss; `confirm`: whether it is to be done at all."""

    say: Callable[[str], None]
    warn: Callable[[str], None]
    confirm: Callable[[], bool]
    read: Callable[[], str]


def init(wanted: Wanted, file: Path, ask: Ask, *, start: bool = True, dry: bool = False) -> None:
    """Raises WeftError: then this host is as it was."""
    wanted = _absolute(wanted)
    stdin = ask.read() if STDIN in (wanted.store_password_file, wanted.mesh_secret) else ""
    hosts = wanted.join or (mesh_hosts(wanted.store) if is_mesh(wanted.store) else ())
    there = look.there(file, hosts, stdin)
    decision = decide(wanted, there)
    booted = systemd.runs()
    unit = systemd.state(look.UNIT) if booted and start else None
    _check(decision, unit, ask)
    lines = list(told.plan(decision, str(file), there=there.text is not None, start=_start(unit, decision, there.text)))
    for line in lines or ["nothing to change: the agent runs with these settings"]:
        ask.say(line)
    if dry:
        ask.say("nothing was changed (--dry-run)")
        return
    if lines and not ask.confirm():
        raise Failed("nothing was changed")
    with Changes() as changes:
        _write(decision, file, there.text, changes)
        if unit is not None:
            changes.unit(look.UNIT, restart=bool(lines))
    status = _settled(decision) if unit is not None else None
    if status is not None:
        ask.say(told.state(status))
    for line in told.next_steps(decision, status, started=unit is not None, systemd=booted):
        ask.say(line)


def _absolute(wanted: Wanted) -> Wanted:
    """Files by absolute paths: the agent is started elsewhere."""
    names = ("store_ca", "store_cert", "store_key", "store_password_file", "mesh_secret")
    given = {name: getattr(wanted, name) for name in names}
    return msgspec.structs.replace(
        wanted, **{name: str(Path(path).absolute()) for name, path in given.items() if path not in ("", STDIN)}
    )


def _start(unit: systemd.State | None, decision: Decision, text: str | None) -> str:
    if unit is None:
        return ""
    if unit.active:
        changed = decision.text != text or decision.secrets or decision.forget
        return "weft-agent starts again; containers keep their connections" if changed else ""
    return "weft-agent starts now, and with the host"


def _check(decision: Decision, unit: systemd.State | None, ask: Ask) -> None:
    """Raises Failed where something speaks against an agent here, after all of it has been told."""
    errors = 0
    with _written_apart(decision) as config:
        for found in look.findings(config, unit):
            ask.warn(told.finding(found))
            errors += found.result == "error"
    if errors:
        raise Failed(f"nothing was changed: {errors} error{'s' * (errors > 1)}, see above")


@contextlib.contextmanager
def _written_apart(decision: Decision) -> Iterator[Config]:
    """The settings that are to be, with secrets that are not there yet in files that go at once."""
    fields = {PASSWORD: "store_password_file", SECRET: "mesh_secret"}
    with tempfile.TemporaryDirectory(prefix="weft-init-") as folder:
        apart = dict[str, str]()
        for path, content in decision.secrets.items():
            file = Path(folder, Path(path).name)
            file.touch(mode=0o600)
            file.write_text(content)
            apart[fields[path]] = str(file)
        yield msgspec.structs.replace(decision.config, **apart)


def _write(decision: Decision, file: Path, text: str | None, changes: Changes) -> None:
    """Raises Denied."""
    for path, content in decision.secrets.items():
        changes.folder(Path(path).parent)
        changes.write(Path(path), content, 0o600)
    if decision.text != text:
        changes.folder(file.parent)
        changes.write(file, decision.text, 0o644)
    if decision.forget:
        changes.move_away(look.memory(decision.config))


def _settled(decision: Decision) -> t.Status:
    """What the agent says of itself once all is well, or patience is over. Raises Unavailable where it does not answer."""
    client = Client(decision.config.socket_path)
    end = time.monotonic() + (MESH_PATIENCE if is_mesh(decision.config.store) else PATIENCE)
    while True:
        try:
            found = client.status()
            if found.state == "converged" or time.monotonic() > end:
                return found
        except Unavailable:
            if time.monotonic() > end:
                raise
        _never.wait(0.2)
