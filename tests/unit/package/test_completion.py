"""Scripts for completion, as the shells read them."""

from __future__ import annotations

import subprocess

import pytest

from tools.package import completion


@pytest.mark.parametrize("shell", completion.PLACES)
def test_a_script_asks_weft_and_no_other_program(shell: str) -> None:
    text = completion.script(shell)
    assert "_WEFT_COMPLETE=complete_" in text
    assert "python" not in text


def test_bash_completes_with_it() -> None:
    asks = 'weft() { :; }; COMP_WORDS=(weft net); COMP_CWORD=1; env() { printf "network\\nnetns\\n"; }; _weft_completion weft'
    script = f'{completion.script("bash")}{asks}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    assert (
        subprocess.run(["bash", "-c", script], text=True, capture_output=True, check=True).stdout == "network\nnetns\n"
    )


def test_zsh_completes_at_the_first_time() -> None:
    """The file is the body of the function `_weft` then: it has to complete, not only to be there for the next time."""
    assert 'funcstack[1] == _weft ]]; then _weft_completion "$@"' in completion.script("zsh")
