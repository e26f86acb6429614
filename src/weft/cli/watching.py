"""`-w`: a list that is shown again as it changes, until somebody presses Ctrl-C."""

from __future__ import annotations

import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from weft.base.errors import Failed, Unavailable
from weft.cli.columns import Table
from weft.cli.output import Format, complain, counted, json_line, say, write, yaml_of
from weft.cli.table import Page
from weft.cli.view import Listed
from weft.client import Client

PACE = 1.0
"""Seconds from one look to the next, where nobody tells of changes."""
PATIENCE = 20
"""Seconds after which all is asked for again, whatever was told."""


def watch(table: Table[Any], find: Callable[[], Listed[Any]], agent: Client) -> None:
    """Until nobody reads, or KeyboardInterrupt. What goes wrong with the first look is raised; later it is told, and tried
    again: agents are restarted. Raises WeftError."""
    tidings = _Tidings(agent, table.tells)
    found, trouble = find(), ""
    screen = _Screen() if _redraws(found) else _Blocks()
    while screen.show(found, trouble):
        try:
            tidings.wait()
            found, trouble = find(), ""
        except (Unavailable, Failed) as error:
            trouble = str(error)
            threading.Event().wait(PACE)


def _redraws(found: Listed[Any]) -> bool:
    return found.view.output is Format.TABLE and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class _Screen:
    """In place. Ages go on also where nothing changes."""

    def __init__(self) -> None:
        write("\x1b[2J")  # ECMA-48: ED; below CUP, EL, ED

    def show(self, found: Listed[Any], trouble: str) -> bool:
        page = Page.of_stdout()
        below = list(page.paragraph(f"{trouble} (trying again)", style="bad")) if trouble else []
        lines = list(found.lines(page))
        room = max(shutil.get_terminal_size().lines - 1 - len(below), 2)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"... and {counted(len(lines) - room + 1, 'more line')}"]
        return write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in (*lines, *below)) + "\x1b[J")


class _Blocks:
    """One below the other, wherever something changed: tables with an empty line between them, JSON in a line each."""

    def __init__(self) -> None:
        self._shown: tuple[Any, ...] = ()
        self._trouble = ""

    def show(self, found: Listed[Any], trouble: str) -> bool:
        if bool(trouble) != bool(self._trouble):
            complain(f"{trouble} (trying again)" if trouble else "the agent answers again")
        self._trouble = trouble
        if trouble or self._shown == (found.value,):
            return True
        first, self._shown = not self._shown, (found.value,)
        if found.view.output is Format.JSON:
            return say(json_line(found.value))
        if found.view.output is Format.YAML:
            return write(f"---\n{yaml_of(found.value)}")
        return say(*([] if first else [""]), *found.lines(Page.of_stdout()))


class _Tidings:
    """Waits until the agent tells of a change in one of the tables, or for a moment where it does not tell of such things."""

    def __init__(self, agent: Client, tables: Sequence[str]) -> None:
        self._agent, self._tables = agent, tables
        self._last = agent.topology().at if tables else ""

    def wait(self) -> None:
        """Raises WeftError."""
        if not self._tables:
            threading.Event().wait(PACE)
            return
        end = time.monotonic() + PATIENCE
        while (left := end - time.monotonic()) > 0:
            news = self._agent.topology(self._last, str(math.ceil(left)))
            self._last = news.at
            if news.whole or any(getattr(news, table) for table in self._tables):
                return
