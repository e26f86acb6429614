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

        argv = sys.argv[1:] if argv is None else list(argv)
        status = root().main(argv, prog_name="weft", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except WeftError as error:
        complain(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if (wrong := _wrong_usage(error, argv or ())) is not None:
            return wrong
        # A defect: users get one line about it, not a traceback.
        if os.environ.get("WEFT_DEBUG"):
            raise
        from weft.cli.defect import report

        complain(report(error))
        return 1


def _wrong_usage(error: Exception, argv: Sequence[str]) -> int | None:
    """Tells of it, and returns the exit status; None where it is something else."""
    from weft.cli import usage
    from weft.cli.output import complain

    if isinstance(error, usage.NoArgsIsHelp):
        sys.stderr.write(f"{error.format_message()}\n")
    elif isinstance(error, usage.Abort):
        complain("nothing was done")
        return 1
    elif isinstance(error, usage.ClickException):
        complain(usage.line(error, argv))
    else:
        return None
    return int(getattr(error, "exit_code", 1))
