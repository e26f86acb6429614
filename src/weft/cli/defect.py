"""An exception nobody expected: what is told to the user and what is kept for the report.

The report is made to be sent to others, so it has no values that were given on the command line: a store's URL may hold a
password.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence

from weft import __version__


def report(error: Exception) -> str:
    """Keeps the traceback in a file and returns the line for the user."""
    what = _without(sys.argv, f"this is a defect of Weft, sorry ({type(error).__name__}: {error})")
    text = _without(sys.argv, "".join(traceback.format_exception(error)))
    words = " ".join(_kept(sys.argv))
    head = f"weft {__version__}, Python {platform.python_version()}, {platform.platform()}\n{words}\n\n"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="weft-defect-", suffix=".txt", delete=False) as file:
            file.write(head + text)
    except OSError:
        return f"{what}: please report it with what `WEFT_DEBUG=1 weft ...` shows"
    return f"{what}: please report it with {file.name}; WEFT_DEBUG=1 shows it here"


def _kept(argv: Sequence[str]) -> Iterator[str]:
    """The command, and the names of options without their values."""
    option = False
    for word in argv:
        name, equals, _ = word.partition("=")
        if word.startswith("-"):
            yield f"{name}=…" if equals else name
        else:
            yield "…" if option else word
        option = word.startswith("-") and not equals


def _without(argv: Sequence[str], text: str) -> str:
    """The text where what looks like a login in a URL of the command line is left out."""
    for word in argv:
        before, at, _ = word.rpartition("@")
        login = before.partition("://")[2]
        for secret in (login, login.partition(":")[2]) if at else ():
            text = text.replace(secret, "…") if secret else text
    return text
