"""A process in the agent's care that stays when the agent goes, and is found again by the next one (`weft.daemons.processes`).

Its files are in the agent's run directory, readable by root only. They help to find it, and no more: it is found as well when
somebody has removed them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from weft.base.errors import Failed, Unavailable, Unsupported
from weft.daemons.processes import ended_and_closed, is_ours, processes
from weft.kernel.plumbing import tools

log = logging.getLogger(__name__)

START_SECONDS = 10.0
END_SECONDS = 10.0
_PAUSE = 0.02


class Unheard(Unavailable):
    """It runs, but nobody listens where it should be spoken to, and nobody ever will."""


class ConfigRefused(Failed):
    """A daemon cannot do with a configuration, in its own words."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """`title`: what users call it. `name`: of the executable, and `package`: which package brings it. `file`: what its files
    are called (`file.pid`, `file.log`)."""

    title: str
    name: str
    package: str
    file: str


class Habitat(msgspec.Struct, frozen=True, kw_only=True):
    """`folder`: its working directory. `user`: the numbers of user and group; None: as the agent. `umask`: of the files that it
    makes. `environment`: None: as the agent's. `called`: the first word of its command line, "" is the program's path: where no
    other word may tell whose it is."""

    folder: Path = Path("/")
    user: tuple[int, int] | None = None
    umask: int = 0o177
    environment: Mapping[str, str] | None = None
    called: str = ""

    def run(self, words: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Raises OSError."""
        return subprocess.Popen(
            self._become(words),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=self.folder,
            umask=self.umask,
            env=self.environment,
        )

    def _become(self, words: Sequence[str]) -> Sequence[str]:
        """It is in its folder before it is another user, to whom the folders above may be closed. Its own start does that, not
        this process: with other threads in it, only what execs at once (vfork(2)) may be started."""
        if self.user is None and not self.called:
            return words
        user, group = self.user or (-1, -1)
        called = self.called or words[0]
        return [sys.executable, "-I", "-S", "-c", _BECOME, str(user), str(group), words[0], called, *words[1:]]


_BECOME = """
import os, sys
user, group, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if user >= 0:
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
os.execv(program, sys.argv[4:])
"""


class Resident:
    """Blocking; every call takes milliseconds, but for starting and ending it. Each may raise Failed where its files cannot be
    read or written. `marks`: the words of its command line by which it is known; each names something in the run directory."""

    def __init__(self, run: Path, program: Program, marks: tuple[str, ...]) -> None:
        self.run, self.program = run, program
        self.pidfile, self.log = run / f"{program.file}.pid", run / f"{program.file}.log"
        self._marks = {os.fsencode(word) for word in marks}
        self._child: subprocess.Popen[bytes] | None = None
        self._ran = False
        """One was seen running, whatever became of its files."""
        self._none_left = False
        """All processes were looked through, and none was ours."""

    @property
    def title(self) -> str:
        return self.program.title

    # What a daemon says of itself.

    def executable(self) -> str:
        """The program's path. Raises Unsupported."""
        found = tools.find(self.program.name)
        if found is None:
            raise Unsupported(f"{self.title} is not installed: apt install {self.program.package}")
        return found

    def arguments(self) -> list[str]:
        """What follows the program in its command line. The marks are among them."""
        raise NotImplementedError

    def answer(self) -> None:
        """Raises Unavailable where it runs and does not do what it is there for; Unheard where it never will again."""

    def files(self) -> tuple[Path, ...]:
        """Those that go with it, but for its log."""
        return (self.pidfile,)

    # The process.

    def pid(self) -> int | None:
        """Of the running one."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        noted = self._noted()
        if noted is not None and self._is_ours(noted):
            self._ran = True
            return noted
        found = next(iter(self.pids()), None)
        if found is not None:
            self._ran = True
            with contextlib.suppress(OSError):  # for whoever else goes by this file
                self.pidfile.write_text(f"{found}\n")
        return found

    def pids(self) -> list[int]:
        """Of all that are ours, by a look at every process. There should be one: older versions of Weft went by the pid file,
        and started another one where that was lost."""
        return [pid for pid in processes() if self._is_ours(pid)]

    def _noted(self) -> int | None:
        try:
            return int(self.pidfile.read_text())
        except (OSError, ValueError):
            return None

    def _is_ours(self, pid: int) -> bool:
        return is_ours(pid, self.program.name, self._marks)

    def left(self) -> bool:
        """Whether one ran since the host started, alive or not: what it did may still be there."""
        return self._ran or self.pidfile.exists()

    def pidfd(self) -> int | None:
        """Readable when the running one ends (pidfd_open(2)); the caller closes it."""
        pid = self.pid()
        if pid is None:
            return None
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if self._is_ours(pid):
            return fd
        os.close(fd)
        return None

    def start(self) -> None:
        """Until it answers. Raises Unsupported, Failed."""
        words = [self.executable(), *self.arguments()]
        self._none_left = False
        with self.writing(f"start {self.title}"):
            self.before_start()
            with open(self.log, "ab", opener=_for_us) as log:
                self._child = self.habitat().run(words, log)
        self._wait_started(self._child)
        self.pid()

    def before_start(self) -> None:
        """What has to go before another one can begin."""

    def habitat(self) -> Habitat:
        """In what it runs."""
        return Habitat()

    def _wait_started(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.answer()
                if child.poll() is None and is_ours(child.pid, self.program.name, self._marks):
                    return  # right after execve(2) it has no command line yet
            except Unavailable:
                pass
            if child.poll() is not None:
                self._child = None
                raise Failed(f"{self.title} ended at once: {self.last_words()}")
            if time.monotonic() > deadline:
                child.kill()
                child.wait()
                raise Failed(f"{self.title} does not answer after {START_SECONDS:.0f} s: {self.last_words()}")
            select.select([], [], [], _PAUSE)

    def last_words(self) -> str:
        """The last line of its log."""
        return next(iter(reversed(self.tail())), "it has said nothing")

    def tail(self, size: int = 65_536) -> list[str]:
        """The last lines of its log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - size))
                return log.read().decode(errors="replace").splitlines()
        except OSError:
            return []

    # Its end.

    def kill(self) -> None:
        """All that are ours, at once, so that they can undo nothing of what they did: another one is started, and takes it
        over. Raises Failed."""
        for fd in self.signal(signal.SIGKILL):
            if not ended_and_closed(fd, END_SECONDS):
                raise Failed(f"{self.title} has not ended in {END_SECONDS:.0f} s, though it was killed")
        self._reap()

    def end(self) -> bool:
        """Ends it and removes its files; whether there was anything to end. One that does not go is killed. Raises Failed."""
        if self.is_gone():
            return False
        self.dismiss()
        self.gone()
        return True

    def dismiss(self) -> None:
        """All that are ours end, of themselves or by force. Raises Failed."""
        if [fd for fd in list(self.signal(signal.SIGTERM)) if not ended_and_closed(fd, END_SECONDS)]:
            log.warning("%s has not ended in %.0f s: it is killed", self.title, END_SECONDS)
            self.kill()
        self._reap()

    def is_gone(self) -> bool:
        """Whether there is nothing to end."""
        self._none_left = not self.left() and (self._none_left or self.pid() is None)
        return self._none_left

    def gone(self) -> None:
        """It has ended: its files, but for the log, go."""
        self._reap()
        with self.writing(f"remove {self.title}'s files"):
            for path in self.files():
                path.unlink(missing_ok=True)
        self._ran = False

    def signal(self, number: signal.Signals) -> Iterator[int]:
        """To all that are ours; of each a descriptor that is readable when it has ended, for the caller to close."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                if self._is_ours(pid):
                    self._ran = True
                    signal.pidfd_send_signal(fd, number)
                yield fd

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait()
            self._child = None

    @contextlib.contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Raises Failed where files cannot be written."""
        try:
            yield
        except OSError as error:
            raise Failed(
                f"cannot {what} in {self.run}: {error.strerror or error}: it stays as it was until that is mended"
            ) from None


def _for_us(path: str, flags: int) -> int:
    """Opens a file that nobody else reads. A umask would be for all threads at once."""
    return os.open(path, flags, 0o600)
