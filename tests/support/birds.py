"""A BIRD in memory: what it was told, answers as given, and it may refuse or end."""

from __future__ import annotations

import os
from pathlib import Path

from weft.base.errors import Failed, Unavailable
from weft.bgp.replies import Line, lines


class FakeBird:
    """`refuse`: its complaint about the next configurations. `answers`: by command. `done`: what was asked of it."""

    def __init__(self) -> None:
        self.log = Path("/run/weft/bird.log")
        self.running = self.once = False
        self.text = self.installed = ""
        self.refuse = ""
        self.answers: dict[str, str] = {}
        self.done: list[str] = []
        self._pipe: tuple[int, int] | None = None

    def pid(self) -> int | None:
        return 4711 if self.running else None

    def pidfd(self) -> int | None:
        """The reading end of a pipe that is closed when it ends."""
        if not self.running:
            return None
        self._pipe = os.pipe()
        return self._pipe[0]

    def crash(self) -> None:
        self.running = False
        if self._pipe is not None:
            os.close(self._pipe[1])
            self._pipe = None

    def left(self) -> bool:
        return self.once

    def configured(self) -> str:
        return self.installed

    def install(self, text: str) -> None:
        if self.refuse:
            raise Failed(f"BIRD refuses its configuration: {self.refuse}")
        self.installed = text
        self.done.append("install")

    def start(self) -> None:
        self.running = self.once = True
        self.text = self.installed
        self.done.append("start")

    def reload(self) -> None:
        self.text = self.installed
        self.done.append("reload")

    def end(self) -> bool:
        was, self.once, self.installed = self.once, False, ""
        self.crash()
        if was:
            self.done.append("end")
        return was

    def ask(self, command: str) -> tuple[Line, ...]:
        if not self.running:
            raise Unavailable("BIRD does not answer")
        return tuple(lines(self.answers.get(command, "0000 \n")))

    def tail(self) -> list[str]:
        return []
