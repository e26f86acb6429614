"""What every command that asks the agent needs: its client, and a sign of life while it waits."""

from __future__ import annotations

import sys
import threading
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import typer

if TYPE_CHECKING:
    from rich.status import Status

    from weft.client import Client

PATIENCE = 1.0
"""Seconds without a sign of life."""


class Session(NamedTuple):
    """`socket`: as given by --socket or WEFT_SOCKET; "" where it is not."""

    socket: str = ""


def session(ctx: typer.Context) -> Session:
    found = ctx.find_object(Session)
    return found or Session()


def client(ctx: typer.Context) -> Client:
    from weft.client import DEFAULT_SOCKET, Client

    return Client(session(ctx).socket or DEFAULT_SOCKET, as_of=as_of)


@cache
def as_of(mark: str) -> None:
    """What is shown is what the agent knew when it last heard from the store: said once."""
    from datetime import datetime  # the store is away: there is time

    when, _, why = mark.partition(" ")
    try:
        clock = datetime.fromisoformat(when).astimezone().strftime("%H:%M:%S")
    except ValueError:
        clock = when
    print(f"weft: as of {clock}: {why}", file=sys.stderr)


class Waiting:
    """A spinner on stderr, once it has taken longer than a second and only on a terminal.

    with Waiting("attaching"): …
    """

    def __init__(self, text: str, patience: float = PATIENCE) -> None:
        self._text = text
        self._timer = threading.Timer(patience, self._show)
        self._timer.daemon = True
        self._status: Status | None = None

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            self._timer.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join()
        if self._status is not None:
            self._status.stop()
        if isinstance(error, KeyboardInterrupt):  # nobody else sees it: typer makes an exit status of it
            from weft.cli.output import complain

            for note in getattr(error, "__notes__", ()):
                complain(note)

    def _show(self) -> None:
        from rich.console import Console

        self._status = Console(stderr=True).status(f"{self._text} ...")
        self._status.start()
