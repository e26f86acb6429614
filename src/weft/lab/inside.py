"""Commands inside a lab's namespaces: `nsenter` puts them there, this module makes them behave like plain ones.

nsenter(1) forks when it enters a pid namespace and waits for the child. So that nobody notices:
signals sent to the Popen object go to the child; the child gets SIGTERM when nsenter dies; Ctrl-C reaches the child,
which may take its time, and nsenter ignores it (see `as_foreground`); nsenter itself hands on the exit status.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.base.errors import Failed
from weft.lab.process import PROC, Process, children, seen_from_outside

ENVIRONMENT = "WEFT_LAB"
"""Names the lab's directory to everything that runs inside."""

_NOT_INSIDE = ("WEFT_SOCKET", "TMUX", "XDG_RUNTIME_DIR")
"""They name sockets below the /run of outside, or an agent that is not the host's."""

_DETACHED = 'log=$1; shift; env --default-signal=INT,QUIT setsid "$@" </dev/null >>"$log" 2>&1 & echo $!'


_MUST_SECONDS = 30


class InsideProcess(subprocess.Popen[str]):
    """The nsenter process; `returncode` is the command's own, and so are the signals sent to it."""

    def send_signal(self, sig: int) -> None:
        deadline = 100
        while self.poll() is None and deadline:
            for pid in children(self.pid):
                os.kill(pid, sig)  # a child of our unreaped child: the pid cannot be anybody else's
                return
            deadline -= 1
            select.select([], [], [], 0.01)  # it has not forked yet
        if self.poll() is None:
            super().send_signal(sig)


@dataclass(frozen=True)
class Inside:
    """The namespaces of `holder`. `within`: a command that goes further in, such as `ip netns exec NAME`."""

    name: str
    holder: Process
    init: Process
    directory: Path
    within: tuple[str, ...] = ()

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` as a command that can be run outside. Raises Failed when the namespaces' holder is gone."""
        if not self.holder.alive:
            raise Failed(f"{self.name} has lost the process that held its namespaces: `weft lab down`, then up again")
        pid = str(self.holder.pid)
        user = [] if _same_user_namespace(pid) else ["--user", "--preserve-credentials"]
        enter = ["nsenter", "--target", pid, *user, "--mount", "--net", "--uts", "--pid"]
        enter += [f"--wdns={_working_directory()}", "--"]
        plain = ["setpriv", "--pdeathsig", "TERM", "--", "env", "--default-signal=INT,QUIT", "--"]
        return [*enter, *plain, *self.within, *argv]

    def environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if name not in _NOT_INSIDE}
        path = f"{Path(sys.executable).parent}:{outside.get('PATH', os.defpath)}"  # this very `weft` inside, too
        return {**outside, ENVIRONMENT: str(self.directory), "PATH": path}

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
    ) -> InsideProcess:
        return InsideProcess(
            self.command(argv), stdin=stdin, stdout=stdout, stderr=stderr, text=True, env=self.environment()
        )

    def run(
        self, argv: Sequence[str], *, input: str | None = None, check: bool = False, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Output as text. Raises CalledProcessError (`check`), TimeoutExpired (after having killed it)."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        with self.popen(argv, stdin=stdin) as process:
            try:
                out, err = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                raise
        result = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check:
            result.check_returncode()
        return result

    def must(self, what: str, argv: Sequence[str], *, input: str | None = None) -> str:
        """Its output. Raises Failed with the command's complaint."""
        try:
            result = self.run(argv, input=input, timeout=_MUST_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name}: {what}: no end of it within {_MUST_SECONDS} s: try again") from None
        if result.returncode:
            raise Failed(f"{self.name}: {what}: {complaint(result.stderr) or f'exit status {result.returncode}'}")
        return result.stdout

    def detach(self, argv: Sequence[str], log: Path) -> Process:
        """Starts a process that outlives us, as a child of the lab's init; output is added to `log`."""
        pid = int(self.must(f"start {argv[0]}", ["bash", "-c", _DETACHED, "weft-lab", str(log), *argv]))
        process = seen_from_outside(self.init).get(pid)
        return process or Process(pid, 0)  # already ended: equal to no living process

    def as_foreground(self, argv: Sequence[str]) -> None:
        """Becomes this command: standard streams, terminal and exit status are its own. Does not return."""
        command = self.command(argv)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        os.execvpe(command[0], command, self.environment())


def complaint(stderr: str) -> str:
    """The line of a tool's error output that tells the reason."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return "; ".join(lines[:2])


def _same_user_namespace(pid: str) -> bool:
    return (PROC / pid / "ns/user").readlink() == (PROC / "self/ns/user").readlink()


def _working_directory() -> Path:
    """Ours, where it exists inside too: every host has a /run of its own."""
    try:
        cwd = Path.cwd()
    except FileNotFoundError:
        return Path("/")
    return Path("/") if cwd.is_relative_to("/run") else cwd
