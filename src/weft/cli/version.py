"""`weft version`."""

from __future__ import annotations

from weft import __version__
from weft.cli.options import example, single
from weft.cli.output import say

app = single()


@app.command(epilog=example("weft version"))
def version() -> None:
    """Show the version of this command. `weft status` shows the agent's."""
    say(f"weft {__version__}")
