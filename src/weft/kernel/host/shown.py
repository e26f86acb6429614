"""What the usual tools show of a host, as text: for people, never to be read by Weft itself. Bounded in time and size."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence

from weft.base.errors import Failed, Unsupported
from weft.kernel.plumbing import netns, tools

SECONDS = 15.0
MOST = 16 * 2**20
"""Octets that are read of a command's output."""


def show(command: Sequence[str], ns: str = "") -> bytes:
    """What a command writes, its complaints as well, in the calling thread's namespace or in the one at a path. Raises
    Unsupported where it is not installed, Failed, NotFound."""
    program = tools.find(command[0])
    if program is None:
        raise Unsupported(f"{command[0]} is not installed")
    words = [program, *command[1:]]
    return netns.call(ns, lambda: _run(words)) if ns else _run(words)


def _run(words: Sequence[str]) -> bytes:
    try:
        with subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "COLUMNS": "1000"},
        ) as process:
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(SECONDS, end)
            timer.start()
            try:
                assert process.stdout is not None
                found = process.stdout.read(MOST + 1)
                if len(found) > MOST:
                    process.kill()
                status = process.wait()
            finally:
                timer.cancel()
                process.kill()
    except OSError as error:
        raise Failed(f"{words[0]} cannot be started: {error.strerror}") from None
    if late.is_set():
        raise Failed(f"{words[0]} has not finished in {SECONDS:g} s")
    if len(found) > MOST:
        return found[: found.rfind(b"\n", 0, MOST) + 1] + b"(there is more)\n"
    if status:
        said = found.decode(errors="replace").strip().partition("\n")[0]
        raise Failed(said or f"exit status {status}")
    return found
