"""`weft completion bash|zsh|fish`."""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from typing import Annotated

import typer

from weft.cli.options import example, single
from weft.cli.output import write

app = single()


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command(
    epilog=example(
        "weft completion bash > /etc/bash_completion.d/weft",
        "weft completion zsh > /usr/local/share/zsh/site-functions/_weft",
        "weft completion fish > ~/.config/fish/completions/weft.fish",
    )
)
def completion(shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="For which shell.")]) -> None:
    """Print the script by which a shell completes commands, options and names of what there is."""
    write(files("weft.cli").joinpath(f"complete.{shell}.txt").read_text())
