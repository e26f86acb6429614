"""Completion for each shell, as a file where the shell looks for one (`weft --install-completion` is for one user's home)."""

from __future__ import annotations

from pathlib import Path

from typer._completion_shared import get_completion_script

PLACES = {
    "bash": Path("usr/share/bash-completion/completions/weft"),
    "zsh": Path("usr/share/zsh/vendor-completions/_weft"),
    "fish": Path("usr/share/fish/vendor_completions.d/weft.fish"),
}

_COMPDEF = "compdef _weft_completion weft"
# zsh runs the file when it completes `weft` for the first time: it is to complete then, too.
_FIRST = f'if [[ $funcstack[1] == _weft ]]; then _weft_completion "$@"; else {_COMPDEF}; fi'


def script(shell: str) -> str:
    text = get_completion_script(prog_name="weft", complete_var="_WEFT_COMPLETE", shell=shell)
    return text.replace(_COMPDEF, _FIRST) + "\n"


def lay(root: Path) -> None:
    for shell, place in PLACES.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(script(shell))
