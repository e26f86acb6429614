"""What runs while something breaks: a ping of 100 Hz and a checked TCP transfer between containers of a lab.

with Traffic(tmp_path, [Pair(lab.inside("node-1/c1"), lab.inside("node-2/c2"), "10.1.2.2")]) as traffic:
    …
    traffic.flows()       # both still get through, after whatever happened
    assert traffic.lost() == 0
"""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from support import stream
from support.waiting import until
from weft.lab.inside import Inside

INTERVAL = 0.01
"""Seconds between two pings."""
_PORT = 5301
_REPLY = re.compile(r"^\[(\d+\.\d+)\] \d+ bytes from .* icmp_seq=(\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Pair:
    source: Inside
    target: Inside
    address: str
    """The target's."""

    def __str__(self) -> str:
        return f"{self.source.name} → {self.target.name} ({self.address})"


@dataclass(frozen=True)
class Loss:
    """`sent`: pings from the first to the last that was answered; `lost`: those without an answer among them; `gap`:
    the longest time without an answer, in seconds."""

    sent: int
    lost: int
    gap: float


class Ping:
    def __init__(self, pair: Pair, output: Path) -> None:
        self.pair, self._output = pair, output
        self._replies: list[tuple[float, int]] = []
        with output.open("w") as file:
            words = ["stdbuf", "-oL", "ping", "-n", "-D", "-i", str(INTERVAL), pair.address]
            self._process = pair.source.popen(words, stdout=file.fileno(), stderr=subprocess.STDOUT)

    def replies(self) -> list[tuple[float, int]]:
        """(Unix time, number) of each."""
        return [(float(at), int(number)) for at, number in _REPLY.findall(self._output.read_text())]

    def loss(self, since: int = 0) -> Loss:
        """`since`: a number of a ping."""
        replies = [(at, number) for at, number in self.replies() if number >= since]
        if not replies:
            return Loss(0, 0, 0.0)
        numbers = {number for _, number in replies}
        times = sorted(at for at, _ in replies)
        gap = max((b - a for a, b in itertools.pairwise(times)), default=0.0)
        sent = max(numbers) - min(numbers) + 1
        return Loss(sent, sent - len(numbers), gap)

    def latest(self) -> int:
        return max((number for _, number in self.replies()), default=0)

    def answered_after(self, number: int) -> bool:
        """Several in a row, so that it is not one that was under way."""
        return self.latest() >= number + 5

    def end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)


class Transfer:
    """From the source to the target."""

    def __init__(self, pair: Pair, port: int, output: Path) -> None:
        self.pair, self._output = pair, output
        serve = [sys.executable, stream.__file__, "serve", str(port)]
        with output.open("w") as file:
            self._server = pair.target.popen(serve, stdout=file.fileno(), stderr=subprocess.STDOUT)
        until(lambda: "listening" in output.read_text(), 20, f"{pair}: a listener")
        self._client = pair.source.popen([sys.executable, stream.__file__, "send", pair.address, str(port)])

    def received(self) -> int:
        """Octets so far."""
        lines = self._output.read_text().splitlines()
        words = lines[-1].split() if lines else []
        return int(words[1]) if len(words) == 2 and words[1].isdigit() else 0

    def end(self) -> int:
        """Finishes it; how many segments were sent again. Fails if it broke, or an octet got lost."""
        self._client.send_signal(signal.SIGTERM)
        said, complaint = self._client.communicate(timeout=30)
        assert said.startswith("sent "), f"{self.pair}: the connection broke: {complaint.strip() or said}"
        self._server.wait(10)
        last = self._output.read_text().splitlines()[-1]
        assert last == f"intact {said.split()[1]}", f"{self.pair}: sent {said.split()[1]} octets, {last}"
        return int(said.split()[2])

    def kill(self) -> None:
        for process in (self._client, self._server):
            if process.poll() is None:
                process.kill()
        self._client.communicate(timeout=10)
        self._server.wait(10)


@dataclass
class Traffic:
    """On every pair, from entering to leaving. Leaving without an error ends the transfers, which checks them."""

    folder: Path
    pairs: list[Pair]
    pings: list[Ping] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    retransmitted: int = 0
    _undo: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Traffic:
        with ExitStack() as undo:
            for number, pair in enumerate(self.pairs):
                ping = Ping(pair, self.folder / f"ping-{number}")
                undo.callback(ping.end)
                self.pings.append(ping)
                transfer = Transfer(pair, _PORT + number, self.folder / f"transfer-{number}")
                undo.callback(transfer.kill)
                self.transfers.append(transfer)
            self.flows()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._undo:
            if error is None:
                self.flows()
                self.retransmitted = sum(transfer.end() for transfer in self.transfers)

    def flows(self, seconds: float = 20) -> float:
        """Waits until each ping is answered and each transfer goes on, from now; the seconds it took."""
        pings = [(ping, ping.latest()) for ping in self.pings]
        transfers = [(transfer, transfer.received()) for transfer in self.transfers]

        def all_do() -> str:
            stuck = [f"ping {p.pair}" for p, before in pings if not p.answered_after(before)]
            stuck += [f"transfer {t.pair}" for t, before in transfers if t.received() <= before]
            return "; ".join(stuck)

        return until(lambda: not all_do(), seconds, lambda: f"an end of silence: {all_do()}")

    def mark(self) -> list[int]:
        """The numbers of the latest answers, for `losses`."""
        return [ping.latest() for ping in self.pings]

    def losses(self, since: list[int] | None = None) -> list[Loss]:
        return [p.loss(first) for p, first in zip(self.pings, since or [0] * len(self.pings), strict=True)]

    def lost(self, since: list[int] | None = None) -> int:
        return sum(loss.lost for loss in self.losses(since))
