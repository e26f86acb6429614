"""`weft support`."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.base.errors import Invalid
from weft.cli.options import example, single
from weft.cli.output import complain, counted, say
from weft.cli.session import Waiting, client
from weft.cli.table import Page

if TYPE_CHECKING:
    from weft.support.bundle import Made

app = single()


@app.command(epilog=example("weft support", "weft support --all", "weft support -o /tmp/node-1.tar.gz"))
def support(
    ctx: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else weft-support-HOST-TIME.tar.gz here.")
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Other hosts, too, as their agents tell.")] = False,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="The agent's log. Else the journal.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The agent's settings. Else /etc/weft/weft.toml.")
    ] = None,
) -> None:
    """Write one archive with all that is known of this host and its agent, for whoever is to help.

    Passwords, keys and tokens are taken out; addresses, names and labels are in it. It also works without an agent. What
    could not be had is listed here and in the archive's manifest.
    """
    if output == Path("-"):
        raise typer.BadParameter("an archive is not written to standard output: name a file", param_hint="--output")
    from weft.agent.config import DEFAULT_FILE, Config, load
    from weft.support.bundle import write
    from weft.support.sources import Wanted

    try:
        settings = load(config, {})
    except Invalid as error:
        complain(f"the settings are not understood, so others are taken for granted: {error}")
        settings = Config()
    if log is not None and not log.is_file():
        raise Invalid(f"--log {log} is no file: leave it out for the journal")
    path = output or Path(f"weft-support-{platform.node()}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    with Waiting("gathering"):
        made = write(path, Wanted(client(ctx), settings, config or DEFAULT_FILE, log, everywhere))
    say(*_shown(Page.of_stdout(), path, made))


def _shown(page: Page, path: Path, made: Made) -> Iterator[str]:
    missing = [each for each in made.missing if not each.expected]
    if missing:
        yield page.paint("NOT IN IT", "head")
        yield from page.pairs((each.part, each.why) for each in missing)
        yield ""
    yield (
        f"{path}: {counted(len(made.parts), 'file')}, {path.stat().st_size / 2**20:.1f} MiB; "
        f"{counted(made.removed, 'secret')} taken out. Look through it before you give it away."
    )
