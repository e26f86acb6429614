"""BIRD: one per host, in the agent's care but a session of its own, so that it outlives the agent.

Its files are in the agent's run directory, readable by root only, as the configuration holds passwords. A process is our
BIRD by its command line and its network namespace; the files only help to find it, so it is found as well when somebody
has removed them. Another BIRD on the host is never touched.

`bird.conf` is what BIRD has confirmed, or what it is to start with: nothing is put there before.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from weft.base.errors import Failed, Unavailable, Unsupported
from weft.bgp import config
from weft.bgp.diagnose import Signatures
from weft.bgp.replies import Line, Refused, Unheard, complete, lines, refusal
from weft.daemons.bird_routes import LostRoutes
from weft.kernel.plumbing import tools

PACKAGE = "bird2"
OTHERS = Path("/run/bird/bird.ctl")
"""Where the BIRD that Debian's package starts listens."""
START_SECONDS = 10.0
END_SECONDS = 10.0
ANSWER_SECONDS = 10.0
_PAUSE = 0.02
_COUNTERS = {
    "failure": "TCPMD5Failure",
    "missing": "TCPMD5NotFound",
    "unexpected": "TCPMD5Unexpected",
    "distant": "TCPMinTTLDrop",
}


class Bird:
    """Blocking; every call takes milliseconds, but for starting and ending it, and for asking one that is silent. Each may
    raise Failed where its files cannot be read or written."""

    def __init__(self, run: Path) -> None:
        self._conf, self._new = run / "bird.conf", run / "bird.conf.new"
        self._socket, self._pidfile = run / "bird.ctl", run / "bird.pid"
        self.log = run / "bird.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._ran = False
        """One was seen running: its routes are there, whatever became of its files."""
        self._none_left = False
        """All processes were looked through, and none was ours."""

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
                self._pidfile.write_text(f"{found}\n")
        return found

    def pids(self) -> list[int]:
        """Of all that are ours, by a look at every process. There should be one: older versions of Weft went by the pid file,
        and started another one where that was lost."""
        return [pid for pid in _processes() if self._is_ours(pid)]

    def _noted(self) -> int | None:
        try:
            return int(self._pidfile.read_text())
        except (OSError, ValueError):
            return None

    def _is_ours(self, pid: int) -> bool:
        """By its command line, which names our files, and the network namespace: hosts of a lab have files of the same
        names. A namespace that may not be looked at (proc(5): ptrace access) is taken for ours."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        if words[0].rpartition(b"/")[2] != b"bird" or not {bytes(self._socket), bytes(self._pidfile)} <= set(words):
            return False
        try:
            return Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net")
        except PermissionError:
            return True
        except OSError:
            return False

    def left(self) -> bool:
        """Whether one ran since the host started, alive or not: its routes may be in the kernel."""
        return self._ran or self._pidfile.exists() or self._socket.exists()

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
        """With the configuration that is in place. Where one ran before, it takes over its routes, and waits for the
        neighbours before it drops any (RFC 4724). Raises Unsupported, Failed."""
        program = tools.find("bird")
        if program is None:
            raise Unsupported(f"BIRD is not installed: apt install {PACKAGE}")
        recover = ["-R"] if self.left() else []
        words = [program, "-f", "-c", str(self._conf), "-s", str(self._socket), "-P", str(self._pidfile), *recover]
        self._none_left = False
        before = os.umask(0o177)
        try:
            with self._files("start BIRD"):
                self._socket.unlink(missing_ok=True)
                with self.log.open("ab") as log:
                    self._child = subprocess.Popen(
                        words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
                    )
        finally:
            os.umask(before)
        self._wait_started(self._child)

    def _wait_started(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask("show status")
            except Unavailable:
                if child.poll() is not None:
                    self._child = None
                    raise Failed(f"BIRD ended at once: {self._last_words()}") from None
                if time.monotonic() > deadline:
                    child.kill()
                    child.wait()
                    raise Failed(f"BIRD does not answer after {START_SECONDS:.0f} s: {self._last_words()}") from None
                select.select([], [], [], _PAUSE)
                continue
            return

    def _last_words(self) -> str:
        return next(iter(reversed(self.tail())), "it has said nothing")

    def tail(self, size: int = 65_536) -> list[str]:
        """The last lines of its log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - size))
                return log.read().decode(errors="replace").splitlines()
        except OSError:
            return []

    def kill(self) -> None:
        """All that are ours, at once, so that they tell their neighbours nothing and leave their routes where they are: these
        wait for another one to be started (RFC 4724). Raises Failed."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                try:
                    if self._is_ours(pid):
                        self._ran = True
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
                    if not _ended(fd, END_SECONDS):
                        raise Failed(f"BIRD has not ended in {END_SECONDS:.0f} s, though it was killed")
                finally:
                    os.close(fd)
        self._reap()

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait()
            self._child = None

    def end(self) -> bool:
        """Withdraws its routes, and ends it; whether there was anything to end. Raises Failed, Unsupported, Unavailable."""
        if not self.left() and (self._none_left or self.pid() is None):
            self._none_left = True
            return False
        try:
            self.ask("show status")
        except Unheard:  # it crashed, or nothing can be told to it: whoever starts in its place takes its routes over
            self.kill()
        self.configure(config.render_end(str(self.log)))
        if self.pid() is None:
            self.start()
        fd = self.pidfd()
        self.ask("down")
        if fd is not None:
            try:
                self._wait_ended(fd)
            finally:
                os.close(fd)
        with self._files("remove BIRD's files"):
            for path in (self._socket, self._pidfile, self._conf, self._new):
                path.unlink(missing_ok=True)
        self._ran = False
        return True

    def _wait_ended(self, fd: int) -> None:
        if not _ended(fd, END_SECONDS):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            raise Failed(f"BIRD has not ended in {END_SECONDS:.0f} s and was killed: its routes may still be there")
        self._reap()

    # Its configuration.

    def configured(self) -> str:
        """What it runs on, or is to start with; "" where nothing is known of it."""
        try:
            return self._conf.read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def check(self, text: str) -> None:
        """Raises Refused (BIRD's own words) where BIRD cannot do with it; Unsupported, Failed."""
        with self._files("write BIRD's configuration"):
            self._new.unlink(missing_ok=True)
            self._new.touch(mode=0o600, exist_ok=False)
            self._new.write_text(text)
        output = tools.run(["bird", "-p", "-c", str(self._new)], PACKAGE)
        if output.status:
            said = tools.complaint(output).removeprefix("bird: ").removeprefix(str(self._new))
            raise Refused(f"BIRD refuses its configuration: {said.lstrip(':')}")

    def configure(self, text: str) -> None:
        """It counts from now on, or from BIRD's start; sessions that it leaves as they were go on. Until BIRD has confirmed
        it, it is not what `configured` says, and so is asked for again. Raises Refused, Failed, Unavailable, Unsupported."""
        self.check(text)
        if self.pid() is not None:
            answer = self.ask(f'configure "{self._new}"')
            if said := refusal(answer):
                raise Refused(f"BIRD refuses its configuration: {said}")
            if not any(code in _TAKEN for code, _ in answer):
                raise Unavailable("BIRD has not taken its configuration: it is about to end")
        with self._files("write BIRD's configuration"):
            self._new.rename(self._conf)

    @contextlib.contextmanager
    def _files(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Failed(
                f"cannot {what} in {self._conf.parent}: {error.strerror or error}: it stays as it was until that is mended"
            ) from None

    # What it knows.

    def ask(self, command: str) -> tuple[Line, ...]:
        """Raises Unavailable where none answers: Unheard where nobody listens."""
        return ask(self._socket, command)

    def lost_routes(self) -> LostRoutes:
        """To be told when somebody else removes its routes from the kernel. Raises Denied; the caller closes it."""
        return LostRoutes(self.pid)


_TAKEN = (3, 4, 5)
"""BIRD's replies "Reconfigured", "Reconfiguration in progress" and "… queueing new config"."""


def _ended(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def ask(path: Path, command: str) -> tuple[Line, ...]:
    """One command to the BIRD that listens there. Raises Unavailable: Unheard where nobody listens."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            _read(connection)  # its greeting
            connection.sendall(f"{command}\n".encode())
            return tuple(lines(_read(connection)))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise Unheard(f"BIRD does not answer at {path}: {error.strerror}") from None
    except OSError as error:
        raise Unavailable(f"BIRD does not answer at {path}: {error.strerror or error}") from None


def _read(connection: socket.socket) -> str:
    parts: list[bytes] = []
    tail = b""
    while not complete(tail.decode(errors="replace")):
        part = connection.recv(65_536)
        if not part:
            raise ConnectionResetError("it hung up")
        parts.append(part)
        tail = (tail + part)[-4096:]
    return b"".join(parts).decode(errors="replace")


def signatures() -> Signatures:
    """What the kernel has counted since it started, in this namespace. Raises Failed."""
    try:
        text = Path("/proc/thread-self/net/netstat").read_text()
    except OSError as error:
        raise Failed(f"cannot read the kernel's TCP counters: {error.strerror}") from None
    rows = [line.split() for line in text.splitlines()]
    heads, values = next(pair for pair in zip(rows[::2], rows[1::2], strict=True) if pair[0][0] == "TcpExt:")
    counters = dict(zip(heads, values, strict=True))
    return Signatures(**{name: int(counters.get(counter, 0)) for name, counter in _COUNTERS.items()})
