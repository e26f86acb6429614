"""A daemon that reads files when it starts, and again when it gets a signal: most are that plain.

What it is to run on is its files and its command line. Both are looked up where they are, on the disk and in the running
process, so an agent that has just started knows as well whether they are what they should be. If the files should be others,
they are written and it is told; if the command line should be another, it is started anew.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import msgspec

from weft.base.errors import Unavailable
from weft.daemons.processes import command_line, takes
from weft.daemons.resident import Program, Resident


class Setting(msgspec.Struct, frozen=True):
    """`files`: by name, in the run directory. `arguments`: of the command line."""

    files: Mapping[str, str] = {}
    arguments: tuple[str, ...] = ()


class PlainDaemon(Resident):
    """`names`: of the files that it may have. `reload`: the signal upon which it reads them again; None: it has to be started
    anew."""

    def __init__(
        self,
        run: Path,
        program: Program,
        marks: tuple[str, ...],
        names: tuple[str, ...] = (),
        reload: signal.Signals | None = signal.SIGHUP,
    ) -> None:
        super().__init__(run, program, marks)
        self._names, self._reload = names, reload
        self._setting = Setting()
        self._untold = run / f"{program.file}.untold"
        """There while files have been written of which the daemon has not been told."""

    def arguments(self) -> list[str]:
        return list(self._setting.arguments)

    def answer(self) -> None:
        """That it runs is all that is known of it; and that it takes the signal, which ends whoever does not yet."""
        pid = self._child.pid if self._child else self.pid()
        if pid is not None and self._reload is not None and not takes(pid, self._reload):
            raise Unavailable(f"{self.title} does not take {self._reload.name} yet")

    def files(self) -> tuple[Path, ...]:
        return (self.pidfile, self._untold, *(self.run / name for name in self._names))

    def has(self, wanted: Setting) -> bool:
        """Whether it runs on that, or would be started with it."""
        self._setting = wanted
        assert wanted.files.keys() <= set(self._names)
        return not self._untold.exists() and self._changed(wanted) == {} and self._runs_with(wanted)

    def configure(self, wanted: Setting) -> None:
        """It runs on that from now on, or is to be started with it. Raises Failed."""
        self._setting = wanted
        with self.writing(f"write {self.title}'s files"):
            changed = self._changed(wanted)
            if changed:
                self._untold.touch(mode=0o600)
            for path, text in changed.items():
                _write(path, text)
        if self.pid() is not None:
            if self._reload is None or not self._runs_with(wanted):
                self.dismiss()
            else:
                for fd in self.signal(self._reload):
                    os.close(fd)
        with self.writing(f"write {self.title}'s files"):
            self._untold.unlink(missing_ok=True)

    def _changed(self, wanted: Setting) -> dict[Path, str]:
        paths = ((self.run / name, text) for name, text in wanted.files.items())
        return {path: text for path, text in paths if _read(path) != text}

    def _runs_with(self, wanted: Setting) -> bool:
        """As far as one runs. A script has its interpreter before its own words."""
        pid = self.pid()
        words = [os.fsencode(word) for word in wanted.arguments]
        return pid is None or not words or command_line(pid)[-len(words) :] == words


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> None:
    """The whole or nothing of it, readable by root only."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600, exist_ok=False)
    new.write_text(text)
    new.rename(path)
