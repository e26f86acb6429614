"""BIRD: one per host, a resident of the agent's (`weft.daemons.resident`). Another BIRD on the host is never touched.

`bird.conf` is what BIRD has confirmed, or what it is to start with: nothing is put there before. It holds passwords.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from weft.base.errors import Failed, Unavailable
from weft.bgp import config
from weft.bgp.diagnose import Signatures
from weft.bgp.replies import Line, complete, lines, refusal
from weft.daemons.bird_routes import LostRoutes
from weft.daemons.processes import ended
from weft.daemons.resident import END_SECONDS, ConfigRefused, Program, Resident, Unheard
from weft.kernel.plumbing import tools

PACKAGE = "bird2"
PROGRAM = Program(title="BIRD", name="bird", package=PACKAGE, file="bird")
OTHERS = Path("/run/bird/bird.ctl")
"""Where the BIRD that Debian's package starts listens."""
ANSWER_SECONDS = 10.0
_COUNTERS = {
    "failure": "TCPMD5Failure",
    "missing": "TCPMD5NotFound",
    "unexpected": "TCPMD5Unexpected",
    "distant": "TCPMinTTLDrop",
}


class Bird(Resident):
    """Blocking; every call takes milliseconds, but for starting and ending it, and for asking one that is silent. Each may
    raise Failed where its files cannot be read or written."""

    def __init__(self, run: Path) -> None:
        self._conf, self._new = run / "bird.conf", run / "bird.conf.new"
        self._socket = run / "bird.ctl"
        super().__init__(run, PROGRAM, (str(self._socket), str(run / "bird.pid")))

    # The process.

    def arguments(self) -> list[str]:
        """Where one ran before, it takes over its routes, and waits for the neighbours before it drops any (RFC 4724)."""
        recover = ["-R"] if self.left() else []
        return ["-f", "-c", str(self._conf), "-s", str(self._socket), "-P", str(self.pidfile), *recover]

    def before_start(self) -> None:
        self._socket.unlink(missing_ok=True)

    def answer(self) -> None:
        self.ask("show status")

    def left(self) -> bool:
        """Whether one ran since the host started, alive or not: its routes may be in the kernel."""
        return super().left() or self._socket.exists()

    def files(self) -> tuple[Path, ...]:
        return (self._socket, self.pidfile, self._conf, self._new)

    def end(self) -> bool:
        """Withdraws its routes, and ends it; whether there was anything to end. Raises Failed, Unsupported, Unavailable."""
        if self.is_gone():
            return False
        try:
            self.answer()
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
        self.gone()
        return True

    def _wait_ended(self, fd: int) -> None:
        if not ended(fd, END_SECONDS):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            raise Failed(f"BIRD has not ended in {END_SECONDS:.0f} s and was killed: its routes may still be there")

    # Its configuration.

    def configured(self) -> str:
        """What it runs on, or is to start with; "" where nothing is known of it."""
        try:
            return self._conf.read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def check(self, text: str) -> None:
        """Raises ConfigRefused (BIRD's own words) where BIRD cannot do with it; Unsupported, Failed."""
        with self.writing("write BIRD's configuration"):
            self._new.unlink(missing_ok=True)
            self._new.touch(mode=0o600, exist_ok=False)
            self._new.write_text(text)
        output = tools.run(["bird", "-p", "-c", str(self._new)], PACKAGE)
        if output.status:
            said = tools.complaint(output).removeprefix("bird: ").removeprefix(str(self._new))
            raise ConfigRefused(f"BIRD refuses its configuration: {said.lstrip(':')}")

    def configure(self, text: str) -> None:
        """It counts from now on, or from BIRD's start; sessions that it leaves as they were go on. Until BIRD has confirmed
        it, it is not what `configured` says, and so is asked for again. Raises ConfigRefused, Failed, Unavailable,
        Unsupported."""
        self.check(text)
        if self.pid() is not None:
            answer = self.ask(f'configure "{self._new}"')
            if said := refusal(answer):
                raise ConfigRefused(f"BIRD refuses its configuration: {said}")
            if not any(code in _TAKEN for code, _ in answer):
                raise Unavailable("BIRD has not taken its configuration: it is about to end")
        with self.writing("write BIRD's configuration"):
            self._new.rename(self._conf)

    # What it knows.

    def ask(self, command: str) -> tuple[Line, ...]:
        """Raises Unavailable where none answers: Unheard where nobody listens."""
        return ask(self._socket, command)

    def lost_routes(self) -> LostRoutes:
        """To be told when somebody else removes its routes from the kernel. Raises Denied; the caller closes it."""
        return LostRoutes(self.pid)


_TAKEN = (3, 4, 5)
"""BIRD's replies "Reconfigured", "Reconfiguration in progress" and "… queueing new config"."""


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
