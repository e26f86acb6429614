"""`weft ui`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from weft.cli import defect
from weft.cli.options import example, single
from weft.cli.output import say
from weft.cli.session import client, session

app = single()


@app.command(epilog=example("weft ui", "weft ui --port 8600 --open"))
def ui(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Of 127.0.0.1; else any that is free.")] = 0,
    show: Annotated[bool, typer.Option("--open", help="Open it in this user's browser.")] = False,
) -> None:
    """The cluster in a browser: hosts, networks, endpoints as they change, any packet's way, problems with what to do.

    Prints the address, and serves the page there until it is ended (Ctrl-C). The address has a token: whoever has it can
    see everything and change nothing. From another computer: ssh -L 8600:127.0.0.1:8600 HOST sudo weft ui --port 8600
    """
    client(ctx).status()  # says what is amiss before a browser has to
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(_serve(session(ctx).socket, port, show=show))


async def _serve(named: str, port: int, *, show: bool) -> None:
    from weft.client import DEFAULT_SOCKET
    from weft.ui.server import Page

    page = Page(named or DEFAULT_SOCKET, defect.report)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with page.served(port) as address:
        say(address)
        with _browser(address) if show else contextlib.nullcontext():
            await ended.wait()


@contextlib.contextmanager
def _browser(address: str) -> Iterator[None]:
    """By a file that only this user can read: command lines, which have what a browser is to open, anybody can."""
    import tempfile
    import webbrowser

    with tempfile.TemporaryDirectory(prefix="weft-ui-") as folder:
        path = Path(folder) / "weft.html"
        path.write_text(f'<!doctype html><title>Weft</title><meta http-equiv="refresh" content="0; url={address}">')
        if not webbrowser.open(path.as_uri()):
            say("no browser could be opened here: open that address yourself")
        yield
