"""The command `weft`: thin, one file per verb; everything it knows it asks from the agent.

Only here errors become exit statuses: 0 done, 1 failed, 2 wrong usage, 4 not found, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from weft.base.errors import WeftError

INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command (`argv` without the program's name) and returns its exit status."""
    try:
        from weft.cli.app import root
        from weft.cli.output import complain

        root().main(sys.argv[1:] if argv is None else list(argv), prog_name="weft")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except WeftError as error:
        complain(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # a defect: users get one line about it, not a traceback
        if os.environ.get("WEFT_DEBUG"):
            raise
        from weft.cli.defect import report

        complain(report(error))
        return 1
    return 0
