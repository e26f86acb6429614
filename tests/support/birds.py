"""A BIRD in memory: what it was told, answers as given, and it may refuse or end."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from weft.base.errors import Unavailable
from weft.base.net import Family
from weft.bgp.replies import Line, lines
from weft.daemons.resident import ConfigRefused, Unheard


class FakeRemovals:
    """`remove`: somebody removes BIRD's routes of a family."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.close = weakref.finalize(self, _close, self._read, self._write)  # also where no test closes it
        self._lost: set[Family] = set()

    def remove(self, family: Family) -> None:
        self._lost.add(family)
        os.write(self._write, b"x")

    def fileno(self) -> int:
        return self._read

    def drain(self) -> frozenset[Family]:
        os.read(self._read, 4096)
        lost, self._lost = frozenset(self._lost), set()
        return lost


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class FakeBird:
    """`refuse`: its complaint about the next configurations, or about those with `refuse_if` in them. `silent`: it answers
    nothing; `deaf`: its control socket is gone; `number`: how many of it run. `answers`: by command. `done`: what was asked
    of it."""

    title = "BIRD"

    def __init__(self) -> None:
        self.log = Path("/run/weft/bird.log")
        self.running = self.once = False
        self.text = self.installed = ""
        self.refuse = self.refuse_if = ""
        self.silent = self.deaf = False
        self.number = 1
        self.removals = FakeRemovals()
        self.answers: dict[str, str] = {}
        self.done: list[str] = []
        self._ends: weakref.finalize[..., FakeBird] | None = None

    def pid(self) -> int | None:
        return 4711 if self.running else None

    def pids(self) -> list[int]:
        return [4711, 4712][: self.number] if self.running else []

    def pidfd(self) -> int | None:
        """The reading end of a pipe that is closed when it ends."""
        if not self.running:
            return None
        reading, writing = os.pipe()
        self._ends = weakref.finalize(self, _close, writing)
        return reading

    def crash(self) -> None:
        self.running = False
        if self._ends is not None:
            self._ends()
            self._ends = None

    def left(self) -> bool:
        return self.once

    def configured(self) -> str:
        return self.installed

    def check(self, text: str) -> None:
        if self.refuse or (self.refuse_if and self.refuse_if in text):
            raise ConfigRefused(f"BIRD refuses its configuration: {self.refuse or self.refuse_if}")

    def configure(self, text: str) -> None:
        self.check(text)
        if self.running:
            self.ask("configure")
            self.text = text
        self.done.append("configure" if self.running else "install")
        self.installed = text

    def start(self) -> None:
        self.running = self.once = True
        self.silent = self.deaf = False
        self.number = 1
        self.text = self.installed
        self.done.append("start")

    def kill(self) -> None:
        self.done.append("kill")
        self.crash()

    def end(self) -> bool:
        was, self.once, self.installed = self.once, False, ""
        self.crash()
        if was:
            self.done.append("end")
        return was

    def ask(self, command: str) -> tuple[Line, ...]:
        if not self.running or self.deaf:
            raise Unheard("BIRD does not answer: No such file or directory")
        if self.silent:
            raise Unavailable("BIRD does not answer: timed out")
        if command.startswith("reload"):
            self.done.append(command)
        return tuple(lines(self.answers.get(command, "0000 \n")))

    def answer(self) -> None:
        self.ask("show status")

    def lost_routes(self) -> FakeRemovals:
        self.removals = FakeRemovals()
        return self.removals

    def tail(self) -> list[str]:
        return []

    def last_words(self) -> str:
        return "it has said nothing"
