"""Who reaches whom, asked of a prober in each pod (`support.prober`), as a table; and two such tables side by side."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Any, NamedTuple

PROTOCOLS = ("TCP", "UDP", "SCTP")
PORTS = (80, 81)
COMMAND = (sys.executable, "-I", "-S", str(Path(__file__).with_name("prober.py")))
"""A prober: what goes before it enters the pod; see there."""
WAIT = 0.5
"""Seconds for an answer. What was not answered in this time and should have been is asked again."""
PATIENCE = 2.0
"""Seconds for an answer that has not come in a first attempt."""
ATTEMPTS = 2
"""More of them: a machine that is busy loses packets, and what is denied stays so."""


class Probe(NamedTuple):
    """Names of pods as the prober of the first one was given them."""

    source: str
    target: str
    protocol: str
    port: int


Table = frozenset[Probe]
"""What is reached."""


def every(sources: Iterable[str], targets: Iterable[str]) -> Table:
    """All that can be tried between these."""
    return frozenset(itertools.starmap(Probe, itertools.product(sources, targets, PROTOCOLS, PORTS)))


@dataclass
class Probers:
    """One prober for each pod, until leaving."""

    _running: dict[str, Popen[str]] = field(default_factory=dict)
    _started: list[str] = field(default_factory=list)
    _round: int = 0
    _undo: ExitStack = field(default_factory=ExitStack)

    def start(self, name: str, popen: Callable[[], Popen[str]]) -> None:
        """`popen`: starts it, with pipes to its standard streams."""
        self._running[name] = popen()
        self._started.append(name)
        self._undo.callback(_end, self._running[name])

    def ready(self) -> None:
        """Waits for all that were started since the last time."""
        while self._started:
            name = self._started.pop()
            assert "ready" in _line(name, self._running[name])

    def stop(self, name: str) -> None:
        _end(self._running.pop(name))

    def close(self) -> None:
        self._undo.close()

    def __enter__(self) -> Probers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, probes: Table, addresses: Mapping[str, str], wait: float = WAIT) -> Table:
        """Those of `probes` that were answered, or whose packets arrived. `addresses`: of the targets."""
        self._round += 1
        addresses = {name: str(ip_address(address)) for name, address in addresses.items()}
        by_source: dict[str, list[tuple[str, str, str, int]]] = {name: [] for name in self._running}
        for p in sorted(probes):
            by_source[p.source].append(("|".join(map(str, p)), addresses[p.target], p.protocol, p.port))
        for name, targets in by_source.items():
            _say(self._running[name], {"round": self._round, "wait": wait, "targets": targets})
        names = {address: name for name, address in addresses.items()}
        found: set[Probe] = set()
        for name in by_source:
            answer = _line(name, self._running[name])
            for source, target, protocol, port in (text.split("|") for text in answer["answered"]):
                found.add(Probe(source, target, protocol, int(port)))
            found |= {Probe(names.get(a, a), name, protocol, port) for a, protocol, port in answer["heard"]}
        return frozenset(found)

    def look(self, expected: Table, addresses: Mapping[str, str], sources: Iterable[str] | None = None) -> Table:
        """All that is reached. What should have been is tried again, with patience: it may just have been slow."""
        seen = self.ask(every(self._running if sources is None else sources, addresses), addresses)
        for _ in range(ATTEMPTS):
            if missing := expected - seen:
                seen |= self.ask(missing, addresses, PATIENCE)
        return seen


def _say(process: Popen[str], words: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(words) + "\n")
    process.stdin.flush()


def _line(name: str, process: Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(f"the prober of {name} has ended: {process.communicate()[1]}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _end(process: Popen[str]) -> None:
    with process:
        if process.poll() is None:
            process.kill()


# ---------------------------------------------------------------------------------------------------- as a picture


def differences(expected: Table, seen: Table) -> str:
    """A matrix of both; "" where they agree. Each place is a source, a target and six probes, 80 and 81 of each protocol.
    A letter: reached; a dot: not reached; and where they differ: "+" reached against what was expected, "-" not reached."""
    if expected == seen:
        return ""
    sources = sorted({p.source for p in expected | seen})
    targets = sorted({p.target for p in expected | seen})
    head = f"{len(seen - expected)} reached that should not (+), {len(expected - seen)} not reached (-)"
    width = max(map(len, sources + targets))
    lines = [head, f"{'':{width}} " + " ".join(f"{t:{7}}" for t in targets)]
    for source in sources:
        cells = (_cell(expected, seen, source, target) for target in targets)
        lines.append(f"{source:{width}} " + " ".join(f"{cell:{7}}" for cell in cells))
    return "\n".join(lines)


def _cell(expected: Table, seen: Table, source: str, target: str) -> str:
    text = ""
    for port, protocol in itertools.product(PORTS, PROTOCOLS):
        probe = Probe(source, target, protocol, port)
        right = protocol[0] if probe in expected else "."
        text += right if (probe in expected) == (probe in seen) else "+-"[probe in expected]
    return f"{text[:3]}|{text[3:]}"
