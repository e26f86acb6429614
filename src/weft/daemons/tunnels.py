"""The pump (`weft.tunnel`): one for all tunnels of this host that a program carries, a resident of the agent's.

It runs as long as there is a table for it, which the kernel adapter writes (`weft.kernel.kinds.tunnel`). Where one changes, the
pump sees that itself. One of another version of Weft is started anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from weft import __version__
from weft.daemons.plain import PlainDaemon, Setting
from weft.daemons.resident import Program
from weft.daemons.supervisor import DaemonSupervisor
from weft.tunnel import counters, sleeve, table

MODULE = "weft.tunnel"


class TunnelStatus(msgspec.Struct, frozen=True):
    """`counts`: by the names of `weft.tunnel.counters`. `trouble`: why it carries nothing, or ""."""

    device: str
    counts: Mapping[str, int]
    trouble: str


class Pump(PlainDaemon):
    """Blocking, as any resident."""

    def __init__(self, run: Path) -> None:
        self.folder = run / table.FOLDER
        program = Program(title="the pump", name=Path(sys.executable).name, package="weft", file=table.FOLDER)
        super().__init__(run, program, (MODULE, str(self.folder)), reload=None)

    def executable(self) -> str:
        return sys.executable

    def is_own(self, words: Sequence[str]) -> bool:
        """Whether this is the command line of the pump, or of one of its processes."""
        return MODULE in words and any(word.startswith(str(self.folder)) for word in words)

    def setting(self) -> Setting:
        return Setting(arguments=("-m", MODULE, str(self.folder), __version__))


class Tunnels:
    """`supervisor`: keeps the pump running. `key`: of which those of encrypted frames are made; none without a mesh."""

    def __init__(self, run: Path, key: bytes = b"") -> None:
        self.pump = Pump(run)
        self._key = key
        self.supervisor: DaemonSupervisor[Setting] = DaemonSupervisor(self.pump, self.pump, self._decide)
        self._known: frozenset[str] = frozenset()

    async def _decide(self) -> Setting | None:
        if not self._devices():
            return None
        self._give_key()
        return self.pump.setting()

    def _give_key(self) -> None:
        if self._key:
            with suppress(OSError):  # then the pump says that there is none
                sleeve.give_key(self.pump.folder, self._key)

    def _devices(self) -> frozenset[str]:
        with suppress(OSError):
            return frozenset(path.name for path in table.files(self.pump.folder))
        return frozenset()

    def stepped(self) -> None:
        """Tables may have come or gone. What somebody did to the key is mended as what was done to these."""
        found = self._devices()
        if found:
            self._give_key()
        if bool(found) != bool(self._known):
            self.supervisor.touch()
        self._known = found

    def problems(self) -> Iterator[str]:
        """What is amiss, a line each."""
        if self.supervisor.trouble:
            yield f"tunnels that the pump carries: {self.supervisor.trouble}"
            return
        yield from (f"{s.device} carries nothing: {s.trouble}" for s in self.states() if s.trouble)

    def states(self) -> Iterator[TunnelStatus]:
        """Of each tunnel of this host, by its device."""
        for device in sorted(self._devices()):
            path, trouble = self.pump.folder / device, self.supervisor.trouble
            with suppress(OSError):
                trouble = trouble or table.beside(path, table.TROUBLE).read_text()
            yield TunnelStatus(device, counters.read(table.beside(path, table.COUNTERS)), trouble)
