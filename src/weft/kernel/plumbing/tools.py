"""Running nft, iptables and BIRD: the only programs that Weft's kernel adapter starts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from weft.base.errors import Failed, Unsupported

TIMEOUT = 30.0
"""Seconds."""


class Output(msgspec.Struct, frozen=True):
    status: int
    out: str
    err: str


Started = Callable[[int], None]


def find(program: str) -> str | None:
    """Its path."""
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")


def run(command: Sequence[str], package: str, stdin: str = "", started: Started | None = None) -> Output:
    """In the calling thread's namespace. `started` is told the process id before the program gets its input, so before
    it can have done anything. Raises Unsupported (the program is not there: install `package`), Failed (it hangs, or
    cannot be started)."""
    program = find(command[0])
    if program is None:
        raise Unsupported(f"{command[0]} is not installed: install {package}")
    try:
        return _run([program, *command[1:]], stdin, started)
    except OSError as error:
        raise Failed(f"{command[0]} cannot be started: {error.strerror}") from None


def _run(command: Sequence[str], stdin: str, started: Started | None) -> Output:
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    ) as process:
        if started is not None:
            started(process.pid)
        try:
            out, err = process.communicate(stdin, TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed(f"{Path(command[0]).name} has not finished in {TIMEOUT:.0f} s") from None
    return Output(process.returncode, out, err)


def complaint(output: Output) -> str:
    """What a program wrote about its failure, in one line."""
    lines = [line.strip() for line in output.err.splitlines() if line.strip()]
    if not lines:
        return f"exit status {output.status}"
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
