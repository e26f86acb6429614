"""An exception nobody expected: what is told to the user and what is kept for the report."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback

from weft import __version__


def report(error: Exception) -> str:
    """Keeps the traceback in a file and returns the line for the user."""
    what = f"this is a defect of Weft, sorry ({type(error).__name__}: {error})"
    text = "".join(traceback.format_exception(error))
    head = f"weft {__version__}, Python {platform.python_version()}, {platform.platform()}\n{' '.join(sys.argv)}\n\n"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="weft-defect-", suffix=".txt", delete=False) as file:
            file.write(head + text)
    except OSError:
        return f"{what}: please report it with what `WEFT_DEBUG=1 weft ...` shows"
    return f"{what}: please report it with {file.name}; WEFT_DEBUG=1 shows it here"
