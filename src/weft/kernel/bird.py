"""BIRD: one per host, in the agent's care but a session of its own, so that it outlives the agent.

Its files are in the agent's run directory, readable by root only, as the configuration holds passwords. It is known by
its pid file and its command line, and spoken to by its control socket; another BIRD on the host is never touched.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

from weft.base.errors import Failed, Unavailable, Unsupported
from weft.bgp import config
from weft.bgp.diagnose import Signatures
from weft.bgp.replies import Line, complete, lines, refusal
from weft.kernel import tools

PACKAGE = "bird2"
OTHERS = Path("/run/bird/bird.ctl")
"""Where the BIRD that Debian's package starts listens."""
START_SECONDS = 10.0
END_SECONDS = 10.0
ANSWER_SECONDS = 10.0
_PAUSE = 0.02
_COUNTERS = {"failure": "TCPMD5Failure", "missing": "TCPMD5NotFound", "unexpected": "TCPMD5Unexpected"}


def installed() -> bool:
    return tools.find("bird") is not None


class Bird:
    """Blocking; every call takes milliseconds, but for starting and ending it."""

    def __init__(self, run: Path) -> None:
        self._conf, self._new = run / "bird.conf", run / "bird.conf.new"
        self._socket, self._pidfile = run / "bird.ctl", run / "bird.pid"
        self.log = run / "bird.log"
        self._child: subprocess.Popen[bytes] | None = None

    # The process.

    def pid(self) -> int | None:
        """Of the running one."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        try:
            pid = int(self._pidfile.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self._socket).encode() in words else None

    def left(self) -> bool:
        """Whether one ran since the host started, alive or not: its routes may be in the kernel."""
        return self._pidfile.exists()

    def pidfd(self) -> int | None:
        """Readable when the running one ends (pidfd_open(2)); the caller closes it."""
        pid = self.pid()
        if pid is None:
            return None
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if self.pid() == pid:
            return fd
        os.close(fd)
        return None

    def configured(self) -> str:
        """What it runs on; "" where nothing is known of it."""
        try:
            return self._conf.read_text()
        except FileNotFoundError:
            return ""

    def start(self) -> None:
        """With the configuration that is in place. Where one ran before, it takes over its routes, and waits for the
        neighbours before it drops any (RFC 4724). Raises Unsupported, Failed."""
        program = tools.find("bird")
        if program is None:
            raise Unsupported(f"BIRD is not installed: apt install {PACKAGE}")
        recover = ["-R"] if self.left() else []
        words = [program, "-f", "-c", str(self._conf), "-s", str(self._socket), "-P", str(self._pidfile), *recover]
        self._socket.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
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
        except FileNotFoundError:
            return []

    def end(self) -> bool:
        """Withdraws its routes, and ends it; whether there was anything to end. Raises Failed, Unsupported."""
        if not self.left():
            return False
        self.install(config.render_end(str(self.log)))
        if self.pid() is None:  # it crashed: whoever starts in its place takes its routes over
            self.start()
        else:
            self.reload()
        fd = self.pidfd()
        self.ask("down")
        if fd is not None:
            try:
                self._wait_ended(fd)
            finally:
                os.close(fd)
        for path in (self._socket, self._pidfile, self._conf, self._new):
            path.unlink(missing_ok=True)
        return True

    def _wait_ended(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(END_SECONDS * 1000):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            raise Failed(f"BIRD has not ended in {END_SECONDS:.0f} s and was killed: its routes may still be there")
        if self._child is not None:
            self._child.wait()
            self._child = None

    # Its configuration.

    def install(self, text: str) -> None:
        """In place, but not read yet, if BIRD can do with it. Raises Failed (BIRD's own words), Unsupported."""
        self._new.unlink(missing_ok=True)
        self._new.touch(mode=0o600, exist_ok=False)
        self._new.write_text(text)
        output = tools.run(["bird", "-p", "-c", str(self._new)], PACKAGE)
        if output.status:
            said = tools.complaint(output).removeprefix("bird: ").removeprefix(str(self._new))
            raise Failed(f"BIRD refuses its configuration: {said.lstrip(':')}")
        self._new.rename(self._conf)

    def reload(self) -> None:
        """What is in place counts from now on; sessions that it leaves as they were go on. Raises Failed, Unavailable."""
        if said := refusal(self.ask("configure")):
            raise Failed(f"BIRD refuses its configuration: {said}")

    # What it knows.

    def ask(self, command: str) -> tuple[Line, ...]:
        """Raises Unavailable where none answers."""
        return ask(self._socket, command)


def ask(path: Path, command: str) -> tuple[Line, ...]:
    """One command to the BIRD that listens there. Raises Unavailable."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            _read(connection)  # its greeting
            connection.sendall(f"{command}\n".encode())
            return tuple(lines(_read(connection)))
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
    """What the kernel has counted since it started, in this namespace."""
    rows = [line.split() for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()]
    heads, values = next(pair for pair in zip(rows[::2], rows[1::2], strict=True) if pair[0][0] == "TcpExt:")
    counters = dict(zip(heads, values, strict=True))
    return Signatures(**{name: int(counters.get(counter, 0)) for name, counter in _COUNTERS.items()})
